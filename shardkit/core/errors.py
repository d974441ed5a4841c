"""The exceptions shardkit raises, split by who can mend the matter.

    ShardkitError
    ├── InputError (ValueError)          what was asked for can't be: an option, a manifest, weights, a query
    ├── StateError (ValueError)          a saved state belongs to another stream
    ├── AudioError (ValueError)          a recording can't be read, or holds what can't be packed
    ├── FormatError (ValueError)         a dataset, an index or a tar is not what FORMAT.md says
    │   └── CorruptDataError             bytes differ from the hash or length recorded for them
    └── StorageError (OSError)           a location can't be reached, read or written
        ├── NotFoundError (FileNotFoundError)
        └── AccessError (PermissionError)

Every message is one line that says where, what was found, and what to do. The command line prints it without a
traceback and exits with ``exit_code``: 2 when the request itself is wrong, 1 when data or storage is.
"""


class ShardkitError(Exception):
    """Base of all errors that shardkit raises on purpose."""

    exit_code = 1


class InputError(ShardkitError, ValueError):
    """What was asked for can't be done as asked: an option, a manifest, weights, a query, a key."""

    exit_code = 2


class StateError(ShardkitError, ValueError):
    """A saved stream state does not belong to this stream; the message names what differs."""


class AudioError(ShardkitError, ValueError):
    """A recording can't be decoded, or holds what can't be packed as asked."""


class FormatError(ShardkitError, ValueError):
    """A dataset, an index or a tar is not what the format says."""


class CorruptDataError(FormatError):
    """Bytes differ from the hash or the length that was recorded for them."""


class StorageError(ShardkitError, OSError):
    """A location can't be reached, read or written."""


class NotFoundError(StorageError, FileNotFoundError):
    """Nothing is stored at that location."""


class AccessError(StorageError, PermissionError):
    """The location refused the credentials, or the file system the permission."""
