"""``--from audioset``: AudioSet's tables, and the clips that are there of the videos that they name.

    INPUT   a weak CSV, a strong TSV or a framed TSV, or a folder of them: tables of one clip are one sample
    --root  a folder with Y<YTID>.wav, <YTID>.flac … at any depth, part00 … part40; it is listed once

A sample is a clip: its key is YTID_STARTMS, as strong segment ids are. Weak labels become its labels, strong events its
intervals, counted from the clip's start; where the clip lies in its video is metadata, and no audio is ever looked
for there: the recordings are cut already.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.core.errors import InputError
from shardkit.core.sizes import count
from shardkit.pack.importers.audioset_names import NAME_FILES, Names, named_files, read_names
from shardkit.pack.importers.audioset_tables import Clip, Event, Table, read_table
from shardkit.pack.importers.contract import File, Imported, Missing, Recording, Request
from shardkit.pack.inputs import AUDIO_EXTENSIONS
from shardkit.storage.location import Location
from shardkit.storage.store import exists, is_folder, list_files

_CLIP_S = 10.0  # what strong tables annotate
_LONGER_S = 1.0  # than its clip a recording may be: encoders pad, tools cut at key frames
_WEAK = ("weak",)
_Id = tuple[str, int]  # video and start in ms


@dataclass(slots=True)
class _Segment:
    """What all tables say of one clip."""

    where: str
    subset: str
    clip: Clip | None = None
    kinds: tuple[str, ...] = ()
    events: tuple[Event, ...] | list[Event] = ()  # a list from the first one on: most clips of weak tables have none


def audioset(
    request: Request,
    *,
    labels: str = "names",
    events: str | None = None,
    classes: Location | None = None,
    names: Location | None = None,
    ontology: Location | None = None,
) -> Imported:
    """Return the clips of AudioSet's tables that have a recording.

    Args:
        request: INPUT is a table or a folder of tables.
        labels: ``names`` of classes, or their ``mids``.
        events: Which events to take where a folder has both: ``strong`` or ``framed``.
        classes: ``class_labels_indices.csv``; its order is the vocabulary's. By default, what lies beside the tables.
        names: ``mid_to_display_name.tsv``; likewise.
        ontology: ``ontology.json``; likewise. The dataset keeps how its classes are related.

    Raises:
        InputError: A table is not as it should be, a clip is there twice, a class has no name, ...
    """
    if labels not in ("names", "mids"):
        raise InputError(f"--from-option labels={labels}: choose names or mids")
    tables, beside = _read_tables(request.source, events)
    given = {"classes": classes, "names": names, "ontology": ontology}
    chosen = {option: location or beside.get(option) for option, location in given.items()}
    known = read_names("mids" if labels == "mids" else "names", **chosen)
    segments = _joined(tables)
    found = _Recordings(request)
    # Each segment goes as its recording comes: there are two million of them.
    recordings = [item for key in list(segments) if (item := found.recording(key, segments.pop(key), known))]
    notes = [table.note for table in tables if table.note]
    if found.unnamed:
        notes.append(f"{count(found.unnamed, 'recording')} below {request.files.root} named by no table")
    return Imported(
        recordings=recordings,
        missing=found.missing,
        unpacked=found.others,
        labels=known.vocabulary,
        incomplete=True,
        notes=tuple(notes),
        ontology=known.ontology,
    )


def _read_tables(source: Location, events: str | None) -> tuple[list[Table], dict[str, Location]]:
    """Return the tables, and the files of names beside them."""
    if events not in (None, "strong", "framed"):
        raise InputError(f"--from-option events={events}: choose strong or framed")
    if not is_folder(source):
        there = [name for name in NAME_FILES.values() if exists(source.parent / name)]
        return [read_table(source)], named_files(source.parent, there)
    there = [file.name for file in list_files(source, (".csv", ".tsv", ".json")) if "/" not in file.name]
    helpers = named_files(source, there)
    taken = {location.name for location in helpers.values()}
    tables = [read_table(source / name) for name in there if name not in taken and not name.endswith(".json")]
    if not tables:
        raise InputError(f"{source}: no tables in it; *_segments.csv, *_strong.tsv or *_framed.tsv are needed")
    kinds = {table.kind for table in tables}
    if {"strong", "framed"} <= kinds and events is None:
        raise InputError(
            f"{source}: has strong and framed tables; choose one with --from-option events=strong or framed"
        )
    wanted = {"weak", events or "strong", events or "framed"}
    return [table for table in tables if table.kind in wanted], helpers


def _joined(tables: Iterable[Table]) -> dict[_Id, _Segment]:
    """Return what the tables say of each clip, in the order in which they first name it."""
    segments: dict[_Id, _Segment] = {}
    for table in sorted(tables, key=lambda table: table.kind != "weak"):
        for clip in table.clips:
            key = (clip.video, round(clip.start_s * 1000))
            if key in segments:
                raise InputError(f"{clip.where}: {clip.video} from {clip.start_s:g} s is also {segments[key].where}")
            segments[key] = _Segment(clip.where, table.subset, clip, _WEAK)
        for event in table.events:
            key = (event.video, event.start_ms)
            segment = segments.setdefault(key, _Segment(event.where, table.subset))
            if table.kind not in segment.kinds:
                segment.kinds = (*segment.kinds, table.kind)
            if isinstance(segment.events, tuple):
                segment.events = []
            segment.events.append(event)
    return segments


class _Recordings:
    """Finds the recording of each clip among the files below the root, and makes a ``Recording`` of both."""

    def __init__(self, request: Request) -> None:
        self.missing: list[Missing] = []
        self.others: list[tuple[str, str, str]] = []
        self._root = request.files.root
        self._taken: dict[str, str] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._sizes = request.files.listed()
        for path in self._sizes:
            if path.lower().endswith(AUDIO_EXTENSIONS):
                self._by_stem.setdefault(path.rpartition("/")[2].rpartition(".")[0], []).append(path)

    @property
    def unnamed(self) -> int:
        """How many recordings below the root belong to no clip."""
        return sum(map(len, self._by_stem.values())) - len(self._taken) - len(self.others)

    def recording(self, key: _Id, segment: _Segment, names: Names) -> Recording | None:
        """Return a clip's recording, or None where it is missing; its labels are read either way."""
        said = _said(key, segment, names)
        path = self._path(key, segment.where)
        if path is None:
            return None
        clip = segment.clip
        clip_s = _CLIP_S if clip is None else clip.stop_s - clip.start_s
        return Recording(
            file=File((path,), size=self._sizes[path]),
            where=segment.where,
            key=f"{key[0]}_{key[1]}",
            cut_intervals=True,
            duration_s=(0.0, clip_s + _LONGER_S),
            **said,
        )

    def _path(self, key: _Id, where: str) -> str | None:
        video, start_ms = key
        stems = (f"Y{video}_{start_ms}", f"{video}_{start_ms}", f"Y{video}", video)
        paths = [path for stem in stems for path in self._by_stem.get(stem, ())]
        if not paths:
            tried = tuple(f"{self._root}/**/{stem}.*" for stem in (*stems[2:], *stems[:2]))
            self.missing.append(Missing(file=f"Y{video}", where=where, tried=tried))
            return None
        path, *others = paths
        if path in self._taken:
            raise InputError(
                f"{where}: {path} would be this clip and that of {self._taken[path]}; name the files by clip, such as "
                f"{stems[0]}.flac"
            )
        self._taken[path] = where
        self.others += [(other, where, f"another recording of the clip that {path} is") for other in others]
        return path


def _said(key: _Id, segment: _Segment, names: Names) -> dict[str, Any]:
    """Return the labels, intervals and metadata of a clip."""
    clip = segment.clip
    events = [
        (event.present, (names.of(event.mid, event.where), event.start_s, event.stop_s)) for event in segment.events
    ]
    present = [event for is_present, event in events if is_present]
    absent = [event for is_present, event in events if not is_present]
    labels = [event[0] for event in present] if clip is None else [names.of(mid, clip.where) for mid in clip.mids]
    metadata: dict[str, Any] = {
        "ytid": key[0],
        "subset": segment.subset,
        "annotation": "+".join(segment.kinds),
        "source_start_s": key[1] / 1000,
    }
    if clip is not None:
        metadata["source_stop_s"] = clip.stop_s
    if absent:
        metadata["absent_events"] = [_as_object(*event) for event in absent]
    return {"labels": tuple(dict.fromkeys(labels)), "intervals": tuple(present), "metadata": metadata}


def _as_object(name: str, start_s: float, stop_s: float) -> Mapping[str, Any]:
    return {"name": name, "start_s": start_s, "stop_s": stop_s}
