"""``--from groups``: a YAML of named groups of folders, as audiotree and descript-audio-codec have them.

train/AudioDataBalancedSource.sources:       this line may be left out; where there are several, section= names one
  speech: [/data/daps/train, ~/vctk]         recordings of every folder, at any depth
  music:
    - $DATA/jamendo/*                        each folder that the pattern names
"""

import glob
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shardkit.core.errors import InputError
from shardkit.pack.cells import key_of_path, shown
from shardkit.pack.importers.contract import File, Imported, Recording, Request
from shardkit.pack.inputs import AUDIO_EXTENSIONS
from shardkit.pack.manifests import read_text
from shardkit.pack.places import placed
from shardkit.storage.location import Location, locate
from shardkit.storage.store import StoredFile, list_files


def groups(request: Request, *, section: str | None = None) -> Imported:
    """Return the recordings of all groups, with the columns ``group`` and ``folder``.

    Args:
        request: INPUT is the YAML; relative folders are seen from ``--root``.
        section: Which of the YAML's mappings holds the groups, if they are not its top level.

    Raises:
        InputError: Not such a YAML, a folder that is not there or has no recordings, or one recording twice in a group.
    """
    recordings: list[Recording] = []
    hidden: list[tuple[str, str, str]] = []
    with placed(str(request.source)):
        found = _groups(request.source, section)
        for group, references in found.items():
            folders = [folder for reference in references for folder in _folders(request.files.root, reference)]
            seen: dict[str, str] = {}
            for folder, name in zip(folders, _names(folders), strict=True):
                for file in _files(group, folder):
                    if _is_hidden(file):
                        hidden.append((str(folder / file.name), str(folder), "a hidden file"))
                        continue
                    recordings.append(_recording(group, folder, name, file, f"{request.source}: group {group!r}"))
                    _check_once(group, str(folder / file.name), str(folder), seen)
    return Imported(recordings=recordings, unpacked=hidden)


def _groups(source: Location, section: str | None) -> dict[str, list[str]]:
    """Return the folders of each group, as they are written."""
    try:
        content = yaml.safe_load(read_text(source))
    except yaml.YAMLError as err:
        raise InputError(f"not YAML: {' '.join(str(err).split())}") from err
    sections = {name: part for name, part in content.items() if isinstance(part, Mapping)} if _is_map(content) else {}
    if section is not None and section not in sections:
        raise InputError(f"no section {section!r}; it has {', '.join(map(str, sections)) or 'none'}")
    if section is None and len(sections) > 1:
        raise InputError(f"choose one of {', '.join(map(str, sections))} with --from-option section=NAME")
    chosen = sections[section or next(iter(sections))] if sections else content
    if not _is_map(chosen):
        raise InputError(f"holds {shown(chosen)}; names of groups, each with a list of folders, are needed")
    return {str(name): _listed(name, folders) for name, folders in chosen.items()}


def _is_map(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content)


def _listed(group: Any, folders: Any) -> list[str]:
    listed = [folders] if isinstance(folders, str) else folders
    if not isinstance(listed, list) or not all(isinstance(folder, str) and folder for folder in listed):
        raise InputError(f"group {group!r} is {shown(folders)}; a list of folders is needed")
    if not listed:
        raise InputError(f"group {group!r} has no folders; give it some, or take it out")
    return listed


def _folders(root: Location, reference: str) -> Iterator[Location]:
    """Yield the folders that a reference names, sorted: several where it is a pattern."""
    path = os.path.expanduser(os.path.expandvars(reference))  # noqa: PTH111  (a URL is no Path)
    if "://" in path:
        yield locate(path, root.options)
        return
    whole = locate(path) if path.startswith("/") or not root.is_local else root / path
    if not (whole.is_local and glob.has_magic(path)) or whole.local_path.is_dir():
        yield whole
        return
    matches = sorted(match for match in glob.glob(str(whole)) if os.path.isdir(match))  # noqa: PTH112, PTH207
    if not matches:
        raise InputError(f"no folder is named by {reference!r} ({whole}); mend it, or take it out")
    yield from map(locate, matches)


def _files(group: str, folder: Location) -> list[StoredFile]:
    """Return the recordings below a folder, sorted, whatever the case of their extensions."""
    if folder.is_local and not folder.local_path.is_dir():
        raise InputError(f"group {group!r}: there is no folder {folder}; mend it, or set the variable in it")
    files = list_files(folder, AUDIO_EXTENSIONS)
    if all(map(_is_hidden, files)):
        raise InputError(f"group {group!r}: no recordings below {folder}; mend it, or take it out")
    return files


def _is_hidden(file: StoredFile) -> bool:
    return file.name.rpartition("/")[2].startswith(".")


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
