"""Pure functions and values: errors, randomness, order, mixture, crops, ranges. No I/O."""
