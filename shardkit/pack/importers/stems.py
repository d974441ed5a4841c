"""``--from stems``: a folder of multi-track recordings; the tracks of one instant become fields of one sample.

    by=track  (usual)                    by=stem
      song 1/mixture.wav                   mixture/song 1.wav
      song 1/vocals.wav                    vocals/song 1.wav
      song 1/drums.wav                     drums/song 1.wav
      song 2/mixture.wav                   mixture/song 2.wav

``primary`` is the sample's audio, whose length is the sample's; every other stem is a field of its name. A stem that a
track lacks is silence in a batch, and ``Batch.present`` says so.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.pack.cells import key_of_path
from shardkit.pack.fields import JSON_FIELD
from shardkit.pack.importers.contract import File, Imported, Missing, Recording, Request
from shardkit.pack.inputs import why_not_packed
from shardkit.storage.backend import StoredFile
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, list_files

_BY: Final = ("track", "stem")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
_MOST = 100  # characters of a field's name


def stems(request: Request, *, primary: str = "mixture", by: str = "track") -> Imported:
    """Return one sample a track, its stems as fields; keys are the paths of the tracks.

    Args:
        request: Its source is the folder.
        primary: The stem that is the sample's audio; it must be there, or the track is missing.
        by: ``track``: a folder for each track, a file for each stem. ``stem``: a folder for each stem.

    Raises:
        InputError: No such folder, no track has the primary stem, a track has a stem twice.
    """
    if by not in _BY:
        raise InputError(f"--from-option by={by}: choose {' or '.join(_BY)}")
    if not is_folder(request.source):
        raise InputError(f"{request.source}: not a folder; --from stems packs a folder of tracks, or of stems")
    tracks, unpacked = _tracks(request.source, by)
    names = sorted({stem for track in tracks.values() for stem in track})
    if primary not in names:
        found = ", ".join(names) or "none"
        raise InputError(
            f"{request.source}: no track has a stem {primary!r}; there is {found}; name the one that all have with "
            "--from-option primary=NAME"
        )
    fields = _fields([name for name in names if name != primary], request.source)
    recordings, missing = [], []
    for track, paths in tracks.items():
        where = str(request.source / track)
        if primary not in paths:
            tried = f"{track}/{primary}" if by == "track" else f"{primary}/{track}"
            missing.append(Missing(file=tried, where=where, tried=(f"{request.source / tried}.*",)))
            continue
        located = {stem: File(((request.source / file.name).url,), size=file.size) for stem, file in paths.items()}
        recordings.append(
            Recording(
                file=located.pop(primary),
                where=where,
                key=key_of_path(f"{track}.wav"),
                members={fields[stem]: file for stem, file in located.items()},
            )
        )
    return Imported(recordings=recordings, missing=missing, unpacked=unpacked)


def _tracks(folder: Location, by: str) -> tuple[Mapping[str, Mapping[str, StoredFile]], list[tuple[str, str, str]]]:
    """Return the path of each stem of each track, and what is neither."""
    tracks: dict[str, dict[str, StoredFile]] = defaultdict(dict)
    unpacked = []
    for file in list_files(folder):
        path = file.name
        reason = why_not_packed(path)
        if reason is None and "/" not in path:
            reason = f"not in a folder of its {by}"
        if reason is not None:
            unpacked.append((path, str(folder), reason))
            continue
        name = path.rpartition(".")[0]
        track, _, stem = name.rpartition("/") if by == "track" else reversed(name.partition("/"))
        first = tracks[track].setdefault(stem, file)
        if first != file:
            raise InputError(f"{folder}: {first.name!r} and {path!r} are both the stem {stem!r} of {track!r}; keep one")
    return tracks, unpacked


def _fields(stems: list[str], folder: Location) -> dict[str, str]:
    """Return the name of each stem's field: its own, where a field can have it."""
    found: dict[str, str] = {}
    for stem in stems:
        name = _NO_NAME.sub("_", stem)
        name = f"_{name}" if not re.match(r"[A-Za-z_]", name) else name
        name = f"{name}_" if name in (PRIMARY, JSON_FIELD) else name
        other = next((known for known, field in found.items() if field == name), None)
        if other is not None or len(name) > _MOST:
            fault = f"would be fields of one name with {other!r}" if other else f"has more than {_MOST} characters"
            raise InputError(f"{folder}: the stem {stem!r} {fault}; rename it")
        found[stem] = name
    return found
