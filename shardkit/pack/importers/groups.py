"""``--from groups``: a YAML of named groups of folders, as audiotree and descript-audio-codec have them.

train/AudioDataBalancedSource.sources:       this line may be left out; where there are several, section= names one
  speech: [/data/daps/train, ~/vctk]         recordings of every folder, at any depth
  music:
    - $DATA/jamendo/*                        each folder that the pattern names, or each file: ~/takes/**/*.flac
"""

import glob
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from shardkit.core.errors import InputError, ShardkitError
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.format.yamltext import parse_yaml
from shardkit.pack.cells import key_of_path, shown
from shardkit.pack.importers.contract import File, Imported, Recording, Request
from shardkit.pack.inputs import why_not_packed
from shardkit.pack.manifests import read_text
from shardkit.pack.places import placed
from shardkit.storage.environment import expanded_path
from shardkit.storage.location import Location, locate
from shardkit.storage.store import StoredFile, list_files


class _Place(NamedTuple):
    """A folder, and which files below it by their paths from there; None: all."""

    folder: Location
    paths: frozenset[str] | None = None


def groups(request: Request, *, section: str | None = None) -> Imported:
    """Return the recordings of all groups, with the columns ``group`` and ``folder``.

    Args:
        request: INPUT is the YAML; relative folders are seen from ``--root``.
        section: Which of the YAML's mappings holds the groups, if they are not its top level.

    Raises:
        InputError: Not such a YAML, a folder that is not there or has no recordings, or one recording twice in a group.
    """
    recordings: list[Recording] = []
    unpacked: list[tuple[str, str, str]] = []
    with placed(str(request.source)):
        found = _groups(request.source, section)
        for group, references in found.items():
            with _findable(group):
                places = [place for reference in references for place in _places(request.files.root, reference)]
            folders = [place.folder for place in places]
            seen: dict[str, str] = {}
            for place, name in zip(places, _names(folders), strict=True):
                folder = place.folder
                with _findable(group):
                    files = _files(group, place)
                for file in files:
                    reason = why_not_packed(file.name)
                    if reason is not None:
                        unpacked.append((str(folder / file.name), str(folder), reason))
                        continue
                    recordings.append(_recording(group, folder, name, file, f"{request.source}: group {group!r}"))
                    _check_once(group, str(folder / file.name), str(folder), seen)
    return Imported(recordings=recordings, unpacked=unpacked)


def _groups(source: Location, section: str | None) -> dict[str, list[str]]:
    """Return the folders of each group, as they are written."""
    content = parse_yaml(read_text(source), loader=_Loader)
    sections = {name: part for name, part in content.items() if isinstance(part, Mapping)} if _is_map(content) else {}
    if section is not None and section not in sections:
        raise InputError(f"no section {section!r}; it has {', '.join(map(str, sections)) or 'none'}")
    if section is None and len(sections) > 1:
        raise InputError(f"choose one of {', '.join(map(str, sections))} with --from-option section=NAME")
    chosen = sections[section or next(iter(sections))] if sections else content
    if not _is_map(chosen):
        raise InputError(f"holds {shown(chosen)}; names of groups, each with a list of folders, are needed")
    return {str(name): _listed(name, folders) for name, folders in chosen.items()}


class _Loader(yaml.SafeLoader):
    """YAML in which nothing is named twice; of two groups of one name, PyYAML keeps the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See ``yaml``."""
        seen: set[Hashable] = set()
        for number, (key, _) in enumerate(node.value):
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                break  # said by the call below
            if name in seen:
                line = node.value[number][0].start_mark.line + 1
                raise InputError(f"line {line}: {name!r} is there twice; rename one, or make them one group")
            seen.add(name)
        return super().construct_mapping(node, deep)


@contextmanager
def _findable(group: str) -> Iterator[None]:
    """Say of which group a path is that can't be one."""
    try:
        yield
    except ShardkitError:
        raise
    except OSError as err:
        raise InputError(f"group {group!r}: a folder can't be looked for: {err.strerror}; mend its path") from err


def _is_map(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content)


def _listed(group: Any, folders: Any) -> list[str]:
    listed = [folders] if isinstance(folders, str) else folders
    if not isinstance(listed, list) or not all(isinstance(folder, str) and folder for folder in listed):
        raise InputError(f"group {group!r} is {shown(folders)}; a list of folders is needed")
    if not listed:
        raise InputError(f"group {group!r} has no folders; give it some, or take it out")
    return listed


def _places(root: Location, reference: str) -> Iterator[_Place]:
    """Yield the folders that a reference names, sorted: several, or some files of one, where it is a pattern."""
    path = expanded_path(reference)
    if "://" in path:
        yield _Place(locate(path, root.options))
        return
    whole = locate(path) if path.startswith("/") or not root.is_local else root / path
    if not (whole.is_local and glob.has_magic(path)) or whole.local_path.is_dir():
        yield _Place(whole)
        return
    folders: list[Path] = []
    files: list[Path] = []
    for match in map(Path, sorted(glob.glob(str(whole), recursive=True))):  # noqa: PTH207  (Path's follows no links)
        if not any(folder in match.parents for folder in folders):
            (folders if match.is_dir() else files).append(match)
    if not folders and not files:
        raise InputError(f"no folder is named by {reference!r}, and no file ({whole}); mend it, or take it out")
    yield from (_Place(locate(folder)) for folder in folders)
    if files:
        fixed = next(parent for parent in whole.local_path.parents if not glob.has_magic(str(parent)))
        yield _Place(locate(fixed), frozenset(file.relative_to(fixed).as_posix() for file in files))


def _files(group: str, place: _Place) -> list[StoredFile]:
    """Return the files of a place, sorted; some of them are recordings."""
    folder = place.folder
    if folder.is_local and not folder.local_path.is_dir():
        raise InputError(f"group {group!r}: there is no folder {folder}; mend it, or take it out")
    files = [file for file in list_files(folder) if place.paths is None or file.name in place.paths]
    if any(file.name == MANIFEST_NAME for file in files):
        raise InputError(f"group {group!r}: {folder} is packed already; name it among the sources of a stream")
    if all(why_not_packed(file.name) for file in files):
        raise InputError(f"group {group!r}: no recordings below {folder}; mend it, or take it out")
    return files


def _names(folders: list[Location]) -> list[str]:
    """Return what to call the folders of a group in keys: by their last part, numbered where that is not enough."""
    last = [folder.name for folder in folders]
    return [name if last.count(name) == 1 else f"{number}-{name}" for number, name in enumerate(last)]


def _recording(group: str, folder: Location, name: str, file: StoredFile, where: str) -> Recording:
    location = folder / file.name
    return Recording(
        file=File((str(location),), size=file.size),
        where=f"{where}: {location}",
        key=f"{group}/{name}/{key_of_path(file.name)}",
        metadata={"group": group, "folder": str(folder)},
    )


def _check_once(group: str, path: str, folder: str, seen: dict[str, str]) -> None:
    first = seen.setdefault(path, folder)
    if first != folder:
        raise InputError(f"group {group!r}: {path} lies in {first} and in {folder}; name one of these folders")
