"""The format: manifest, index and tar, bytes to values and back. Knows nothing of where bytes live."""
