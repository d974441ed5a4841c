"""Where something is stored: a value that names a local path or a URL, and opens nothing.

Local names are taken literally: a space, ``#``, ``%`` or ``?`` in a path is that character, in ``file://`` too
(fsspec does the same; RFC 8089 would percent-decode). In ``http://`` URLs they keep the meaning of RFC 3986.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import fsspec

from shardkit.core.errors import InputError
from shardkit.storage.patience import patience_of

LOCAL = "file"
HTTP = frozenset({"http", "https"})
S3 = frozenset({"s3", "s3a"})
# Stores of objects under whole names: no folders to make, and an upload appears whole or not at all.
OBJECT_STORES = S3 | {"gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2", "tos"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")  # RFC 3986, section 3.1
_CHAINED = re.compile(r"[A-Za-z0-9+.\-]+::")  # fsspec's own notation: simplecache::s3://bucket/key
_ALIASES = {"local": LOCAL}
_USUAL = "a path, file, s3, gs, az, http, https, memory"


@dataclass(frozen=True, slots=True, repr=False)
class Location:
    """A local path or a URL, with the options its storage is opened with; made by ``locate``.

    Values compare, hash and pickle. ``str`` and ``repr`` show neither options nor the credentials in a URL.

    >>> locate("s3://bucket/speech") / "train/000000.tar"
    Location('s3://bucket/speech/train/000000.tar')
    """

    protocol: str
    path: str  # local: absolute; otherwise what follows "://", without a slash at the end
    options_json: str = "{}"  # canonical JSON, so that equal options are equal values

    @property
    def is_local(self) -> bool:
        """True for a path of this machine's file system."""
        return self.protocol == LOCAL

    @property
    def local_path(self) -> Path:
        """The path, of a local location."""
        if not self.is_local:
            raise InputError(f"{self}: not on this machine's file system; give a local path")
        return Path(self.path)

    @property
    def url(self) -> str:
        """What to open: the local path, or the whole URL, which may hold credentials; show ``str`` instead."""
        return self.path if self.is_local else f"{self.protocol}://{self.path}"

    @property
    def options(self) -> dict[str, object]:
        """A copy of the storage options."""
        options: dict[str, object] = json.loads(self.options_json)
        return options

    @property
    def name(self) -> str:
        """The last part of the path, as a file name."""
        last = self._split_query()[0].rpartition("/")[2]
        return unquote(last) if self.protocol in HTTP else last

    @property
    def parent(self) -> "Location":
        """The folder this is in; a root, a bucket or a host is its own parent."""
        path, query = self._split_query()
        if self.is_local:
            return self._at(str(Path(path).parent))
        return self._at((path.rpartition("/")[0] or path) + query)

    def __truediv__(self, name: str) -> "Location":
        """Return the location of ``name``, a relative path with forward slashes, seen from this folder."""
        if not name or name.startswith("/"):
            raise InputError(f"{self}: {name!r} is not a relative path; use it alone, or take the slash away")
        if "\0" in name:
            raise InputError(f"{self}: {name!r} has a NUL character, which no file's name has; mend it")
        folder, rest = self, name.removesuffix("/")
        while rest == ".." or rest.startswith("../"):
            if folder.parent == folder:
                raise InputError(f"{self}: {name!r} leads out of it; use a whole path or URL")
            folder, rest = folder.parent, rest[3:]
        parts = [part for part in rest.split("/") if part != "."]
        if ".." in parts:
            raise InputError(f"{self}: '..' in the middle of {name!r}; write the path without the detour")
        path, query = folder._split_query()
        below = "/".join(parts)
        if self.protocol in HTTP:
            below = quote(below)
        joined = f"{path.rstrip('/')}/{below}" if path and below else path or below
        return self._at(joined + query)

    def __str__(self) -> str:
        if self.is_local:
            return self.path
        path, query = self._split_query()
        host, slash, rest = path.partition("/")
        return f"{self.protocol}://{host.rpartition('@')[2]}{slash}{rest}{'?…' if query else ''}"

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    def _at(self, path: str) -> "Location":
        return Location(self.protocol, path, self.options_json)

    def _split_query(self) -> tuple[str, str]:
        """Return (path, query with its ``?``): only HTTP has queries, elsewhere ``?`` is part of a name."""
        if self.protocol not in HTTP:
            return self.path, ""
        path, mark, query = self.path.partition("?")
        return path, mark + query


def locate(url: str | os.PathLike[str], options: Mapping[str, object] | None = None) -> Location:
    """Return the location that a path or URL names, without opening it.

    Args:
        url: A local path (``~`` is expanded, a relative one made absolute), ``file://`` or any URL that fsspec reads.
        options: Storage options as fsspec takes them (``endpoint_url``, ``anon``, …), and those of ``patience``, plain
            data; unused for paths.

    Raises:
        InputError: The protocol is unknown or lacks its package, or the options are not plain data.
    """
    if not isinstance(url, str | os.PathLike) or not isinstance(text := os.fspath(url), str):
        raise InputError(f"{url!r} is no path and no URL; give one as text, or a pathlib.Path")
    if not text or "\0" in text:
        raise InputError(f"{text!r} names no file or folder; give a path or a URL")
    if _CHAINED.match(text) and "://" in text:
        raise InputError(f"{text.partition('://')[0]}://…: chained URLs are not supported; give the innermost one")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Location(LOCAL, os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111  (keeps any name)
    protocol = _ALIASES.get(scheme[1].lower(), scheme[1].lower())
    rest = text[scheme.end() :]
    if protocol == LOCAL:
        return Location(LOCAL, _path_of_file_url(rest))
    _check_protocol(protocol)
    if not rest.strip("/") and protocol != "memory":
        raise InputError(f"{text}: names no bucket or host; write {protocol}://NAME/…")
    patience_of(options or {})  # here, where the options were given, rather than at the first read
    return Location(protocol, rest.rstrip("/"), _canonical(options or {}))


def _path_of_file_url(rest: str) -> str:
    """Return the path of ``file://`` + rest; the only host it may name is this one (RFC 8089, section 2)."""
    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise InputError(f"file://{rest}: not an absolute path; write file:///folder/name, or the path alone")
    return os.path.abspath(path)  # noqa: PTH100


def _check_protocol(protocol: str) -> None:
    if protocol not in fsspec.available_protocols():
        raise InputError(f"{protocol}://: unknown protocol; known are {_USUAL} and the others of fsspec's registry")
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as err:
        raise InputError(f"{protocol}://: its package is not installed: {err}") from err


def _canonical(options: Mapping[str, object]) -> str:
    """Return options as JSON; nothing but plain data can be compared, hashed and sent to another process."""
    try:
        return json.dumps(dict(options), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as err:
        raise InputError(
            "storage options must be plain data (text, numbers, true/false, and mappings or lists of them); "
            f"got {', '.join(f'{key}: {type(value).__name__}' for key, value in options.items())}"
        ) from err
