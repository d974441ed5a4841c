"""AudioSet's own tables: one line a clip, or one line an event of a clip.

    weak     # three lines of comments
             --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"           times in the video
    strong   segment_id  start_time_seconds  end_time_seconds  label      times in the clip
             b0RFKhbpFJA_30000  0.000  9.533  /m/03m9d0z
    framed   the same with a column ``present``: PRESENT or NOT_PRESENT, in frames of 0.96 s

A video's id is eleven letters, digits, ``-`` and ``_``. A weak id is one; a segment id is one and, behind its last
``_``, the clip's start in the video in milliseconds.

Source:
    Gemmeke et al. (2017) and Hershey et al. (2021); https://research.google.com/audioset/download.html and
    download_strong.html.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath
from sys import intern
from typing import Literal, NamedTuple

from shardkit.core.errors import InputError
from shardkit.pack.cells import shown
from shardkit.pack.manifests import read_records
from shardkit.storage.location import Location

Kind = Literal["weak", "strong", "framed"]
_Records = Iterator[tuple[int, list[str]]]

_VIDEO = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COLUMNS = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
_PRESENT = {"PRESENT": True, "NOT_PRESENT": False}
_NUM_SEGMENTS = re.compile(r"num_segs=(\d+)")


class Clip(NamedTuple):
    """A line of a weak table; the times are seconds of the video."""

    where: str
    video: str
    start_s: float
    stop_s: float
    mids: tuple[str, ...]


class Event(NamedTuple):
    """A line of a strong or framed table; ``start_ms`` is the clip's start in its video, the times are of the clip."""

    where: str
    video: str
    start_ms: int
    start_s: float
    stop_s: float
    mid: str
    present: bool


class Table(NamedTuple):
    """One table.

    Attributes:
        kind: Which.
        subset: What its name says: ``balanced_train``, ``eval``, ``train``.
        clips: Lines of a weak one.
        events: Lines of the others.
        note: What does not agree with the comments, if anything.
    """

    kind: Kind
    subset: str
    clips: list[Clip]
    events: list[Event]
    note: str | None = None


def read_table(location: Location) -> Table:
    """Return the table in a file, whose first line tells its kind.

    Raises:
        InputError: It is none of the three, or a line is not as it should be; the message gives the line.
    """
    tabs = location.name.lower().endswith(".tsv")
    records = read_records(location, "\t" if tabs else ",", spaced=not tabs)
    first = next(records, (1, []))
    header = [cell.strip() for cell in first[1]]
    if "segment_id" in header:
        kind: Kind = "framed" if "present" in header else "strong"
        return Table(kind, subset_of(location.name), [], list(_events(location, header, records)))
    if not header or not (header[0].startswith("#") or len(header) == 4):
        raise InputError(
            f"{location}: begins with {shown(', '.join(header))}; three lines of comments (weak labels), or a header "
            f"{' '.join(_COLUMNS)} parted by tabs (strong labels) were expected"
        )
    said, clips = _clips(location, chain([first], records))
    note = None
    if said is not None and said != len(clips):
        note = f"{location.name}: its comment says {said:,} segments, it has {len(clips):,}"
    return Table("weak", subset_of(location.name), clips, [], note)


def subset_of(name: str) -> str:
    """Return the subset that a table's name speaks of.

    >>> subset_of("balanced_train_segments.csv"), subset_of("audioset_eval_strong.tsv")
    ('balanced_train', 'eval')
    """
    stem = PurePosixPath(name).stem.removeprefix("audioset_")
    return re.sub(r"_(segments|strong|framed)(_posneg)?$", "", stem)


def _clips(location: Location, records: _Records) -> tuple[int | None, list[Clip]]:
    said, clips = None, []
    for number, cells in records:
        if cells and cells[0].startswith("#"):
            found = _NUM_SEGMENTS.search(" ".join(cells))
            said = int(found[1]) if found else said
        elif cells:
            clips.append(_clip(f"{location}:{number}", [cell.strip() for cell in cells]))
    return said, clips


def _clip(where: str, cells: list[str]) -> Clip:
    if len(cells) != 4:
        raise InputError(f'{where}: {len(cells)} cells; YTID, start_seconds, end_seconds, "mid,mid" are needed')
    start_s, stop_s = (_seconds(text, where) for text in cells[1:3])
    if start_s >= stop_s:
        raise InputError(f"{where}: the clip from {start_s:g} s to {stop_s:g} s ends before it starts")
    mids = tuple(dict.fromkeys(intern(part.strip()) for part in cells[3].split(",") if part.strip()))
    if not mids:
        raise InputError(f"{where}: no labels; name one at least")
    return Clip(where, _video(cells[0], where), start_s, stop_s, mids)


def _events(location: Location, header: list[str], records: _Records) -> Iterator[Event]:
    absent = [name for name in _COLUMNS if name not in header]
    if absent:
        raise InputError(f"{location}: no column {absent[0]!r}; it has {', '.join(header)}")
    places = [header.index(name) for name in _COLUMNS]
    present = header.index("present") if "present" in header else None
    for number, cells in records:
        where = f"{location}:{number}"
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(f"{where}: {len(cells)} cells, the header has {len(header)}")
        segment, start, stop, mid = (cells[place].strip() for place in places)
        video, start_ms = split_segment(segment, where)
        start_s, stop_s = _seconds(start, where), _seconds(stop, where)
        if start_s > stop_s:
            raise InputError(f"{where}: the event from {start_s:g} s to {stop_s:g} s ends before it starts")
        if not mid:
            raise InputError(f"{where}: no label; name one")
        yield Event(
            where, video, start_ms, start_s, stop_s, intern(mid), present is None or _flag(cells[present], where)
        )


def split_segment(segment: str, where: str) -> tuple[str, int]:
    """Return the video's id and the start in milliseconds of a segment id: what is before and behind its last ``_``.

    >>> split_segment("-_a_bc-d_ef_30000", "x.tsv:2")
    ('-_a_bc-d_ef', 30000)
    """
    video, _, start = segment.rpartition("_")
    if not (video and start.isascii() and start.isdigit()):
        raise InputError(f"{where}: {shown(segment)} is no segment id; YTID_STARTMS, such as b0RFKhbpFJA_30000, is one")
    return _video(video, where), int(start)


def _video(text: str, where: str) -> str:
    if not _VIDEO.fullmatch(text):
        raise InputError(f"{where}: {shown(text)} is no id of a video; letters, digits, '-' and '_' are")
    return text


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise InputError(f"{where}: {shown(text)} is no time in seconds")
    return value


def _flag(text: str, where: str) -> bool:
    found = _PRESENT.get(text.strip())
    if found is None:
        raise InputError(f"{where}: present is {shown(text)}; write PRESENT or NOT_PRESENT")
    return found
