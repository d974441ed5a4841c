"""``--from groups``: a YAML of named groups of folders, as audiotree's data sources take them.

    speech:                       folders, globs or URLs; relative to the file, with ~ and $NAME expanded
      - ~/daps/train
      - $DATA/vctk
    music: /data/musdb/*/train

Each recording keeps the columns ``group`` and ``folder``: sources are ``where("group == 'speech'")``, and
``balance("folder", power=1)`` draws the folders of a group equally often.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from shardkit.core.errors import InputError
from shardkit.core.sizes import count
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.cells import cell_text, key_of_path, shown
from shardkit.pack.importers.contract import File, Imported, Recording, Request
from shardkit.pack.inputs import FOLDER_LABEL, why_not_packed
from shardkit.pack.manifests import read_text
from shardkit.pack.places import placed
from shardkit.storage.environment import expanded_path
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import list_files

GROUP = "group"
_SOURCES = "sources"
_MAGIC = re.compile(r"[*?\[]")


class _Entry(NamedTuple):
    """What one line of a group names: files below a folder whose path from there fits; ``text`` as it was written."""

    text: str
    folder: Location
    fits: re.Pattern[str] | None


class _Found(NamedTuple):
    recordings: list[Recording]
    unpacked: list[tuple[str, str, str]]


def groups(request: Request, *, sources: str | None = None) -> Imported:
    """Return the recordings of all groups, in the order of the file and sorted by name; keys are GROUP/FOLDER/PATH.

    Args:
        request: Its source is the YAML.
        sources: The key under which the groups stand; None: the file is the groups, or has one key that ends in
            ``sources``, as ``train/AudioDataBalancedSource.sources`` does.

    Raises:
        InputError: Not such a file, or a group without recordings; the message names it.
    """
    recordings: list[Recording] = []
    unpacked: list[tuple[str, str, str]] = []
    for name, content in _groups_of(request.source, sources).items():
        with placed(f"{request.source}: group {name!r}"):
            found = _group(name, content, request.source)
        recordings += found.recordings
        unpacked += found.unpacked
    times = Counter(recording.file.names[0] for recording in recordings)
    several = sum(number > 1 for number in times.values())
    notes = (f"{count(several, 'recording')} in several groups, packed once for each",) if several else ()
    return Imported(recordings=recordings, unpacked=sorted(set(unpacked)), notes=notes)


def _groups_of(source: Location, key: str | None) -> dict[str, Any]:
    """Return what the file says of each group."""
    try:
        content = yaml.load(read_text(source), _Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as err:
        raise InputError(f"{source}: not YAML: {' '.join(str(err).split())}") from err
    content = _mapping(content, str(source))
    if key is None:
        named = [name for name in content if name == _SOURCES or name.endswith(f".{_SOURCES}")]
        if len(named) > 1:
            raise InputError(
                f"{source}: groups stand under {', '.join(named)}; choose: --from-option sources={named[0]}"
            )
        key = named[0] if named else None
    if key is None:
        return content
    if key not in content:
        raise InputError(f"{source}: no key {key!r}; it has {', '.join(content) or 'none'}")
    return _mapping(content[key], f"{source}: {key}")


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where}: holds {shown(content)}; write the name of each group, and its folders below it")
    return {cell_text(name, "group"): value for name, value in content.items()}


class _Loader(yaml.SafeLoader):
    """YAML in which no group can be named twice; of two, PyYAML keeps the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See ``yaml``."""
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, name in enumerate(names):
            if name in names[:number]:
                line = node.value[number][0].start_mark.line + 1
                raise InputError(f"line {line}: {name!r} is there twice; rename one, or make them one group")
        return super().construct_mapping(node, deep)


def _group(name: str, content: Any, source: Location) -> _Found:
    texts: Sequence[Any] = content if isinstance(content, list) else [content]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"holds {shown(text)}; folders or globs are needed")
    if not texts:
        raise InputError("it is empty; name its folders, or take it out")
    entries = [_entry(text, source.parent) for text in texts]
    labels = _labels([entry.folder for entry in entries])
    found, seen = _Found([], []), dict[str, int]()
    for number, entry in enumerate(entries):
        some = False
        for path, reason in _files(entry):
            location = entry.folder / path
            if reason is not None:
                found.unpacked.append((path, str(entry.folder), reason))
                continue
            some = True
            first = seen.setdefault(location.url, number)
            if first != number:
                raise InputError(f"{location} is in {texts[first]!r} and in {entry.text!r}; take it out of one of them")
            label = labels[entry.folder]
            found.recordings.append(
                Recording(
                    file=File((location.url,)),
                    where=f"{source}: group {name!r}",
                    key=f"{name}/{label}/{key_of_path(path)}",
                    metadata={GROUP: name, FOLDER_LABEL: label},
                )
            )
        if not some:
            raise InputError(f"no recordings at {entry.text!r} ({entry.folder}); mend the path, or take it out")
    return found


def _entry(text: str, folder: Location) -> _Entry:
    """Return what a line names: of a glob, the folder before its first wildcard, and what must fit behind it."""
    path = expanded_path(text)
    magic = _MAGIC.search(path)
    if magic is None:
        return _Entry(text, resolve(folder, path), None)
    start = path.rfind("/", 0, magic.start()) + 1
    return _Entry(text, resolve(folder, path[:start] or "."), re.compile(_pattern(path[start:])))


def _pattern(glob: str) -> str:
    """Return a glob as a regular expression; what it fits may also be a folder of the file.

    >>> bool(re.fullmatch(_pattern("*/train"), "a/train/b/c.wav")), bool(re.fullmatch(_pattern("*.wav"), "a/b.wav"))
    (True, False)
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", glob.rstrip("/"))
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = [
        signs.get(part) or (part.replace("[!", "[^", 1) if number % 2 else re.escape(part))
        for number, part in enumerate(parts)
    ]
    return "".join(found) + "(?:/.*)?"


def _files(entry: _Entry) -> Iterator[tuple[str, str | None]]:
    """Yield the path of each file of an entry from its folder, and why it is not packed."""
    for path, _ in list_files(entry.folder):
        if path == MANIFEST_NAME and entry.fits is None:
            raise InputError(f"{entry.folder}: a dataset, packed already; name it among the sources of a stream")
        if entry.fits is None or entry.fits.fullmatch(path):
            yield path, why_not_packed(path)


def _labels(folders: Sequence[Location]) -> dict[Location, str]:
    """Return for each folder of a group the shortest end of its path that no other has."""
    parts = {folder: [part for part in folder.path.split("/") if part] or ["root"] for folder in folders}
    found = {}
    for folder, mine in parts.items():
        others = [other for place, other in parts.items() if place != folder]
        size = next((n for n in range(1, len(mine)) if all(mine[-n:] != other[-n:] for other in others)), len(mine))
        found[folder] = "/".join(mine[-size:])
    return found
