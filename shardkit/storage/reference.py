"""What a manifest refers to: a path as it stands in a file, seen from that file's folder."""

import re
from pathlib import Path

from shardkit.storage.location import HTTP, Location, locate
from shardkit.storage.reach import check_reach

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def resolve(folder: Location, reference: str) -> Location:
    """Return the location of a reference: a URL, an absolute path, or a path relative to ``folder``.

    What is stored elsewhere may not name files of this machine, nor lead into its network (``reach``). A URL of the
    folder's own protocol is opened with the folder's options; over HTTP only one of its own host, since
    the options may hold a password that another host must not see.

    >>> str(resolve(locate("s3://bucket/speech"), "../music/a b.flac"))
    's3://bucket/music/a b.flac'
    """
    if _URL.match(reference):
        protocol, _, rest = reference.partition("://")
        same = protocol.lower() == folder.protocol
        if folder.protocol in HTTP:
            same = same and rest.partition("/")[0] == folder.path.partition("/")[0]
        found = locate(reference, folder.options if same else None)
        check_reach(folder, found)
        return found
    if folder.is_local and Path(reference).is_absolute():
        return locate(reference)
    return folder / reference
