"""One input becomes the members of one sample and its index row."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.audio.options import TranscodeOptions
from shardkit.audio.steps import Steps
from shardkit.audio.transcode import Encoded, transcode_steps
from shardkit.core.errors import AudioError, InputError
from shardkit.format.arrays import ArrayLayout
from shardkit.format.hashing import member_hash
from shardkit.format.index import PRIMARY, AudioEntry, IndexRow, MemberEntry
from shardkit.format.tar import TarWriter
from shardkit.pack.cells import shown
from shardkit.pack.content import check_content
from shardkit.pack.fields import JSON_FIELD, kind_of_extension
from shardkit.pack.inputs import PackInput
from shardkit.pack.places import placed
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

# Annotations are often rounded to a few milliseconds; further past the end than this they belong to other audio.
INTERVAL_SLACK_S = 0.05


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample ready to be written: (field, extension, bytes, index facts) of each member."""

    members: tuple[tuple[str, str, bytes, AudioEntry | ArrayLayout | None], ...]
    intervals: tuple[tuple[str, int, int], ...]
    num_clipped: int
    duration_s: float


def prepare(item: PackInput, options: TranscodeOptions, *, hops_s: Mapping[str, float]) -> Steps[Prepared]:
    """Make everything of a sample, encoded and measured; nothing is written yet, so a failure leaves no trace.

    Raises:
        AudioError: A recording can't be read or can't be packed as asked, or an interval lies outside it.
        FormatError: Another member is not what its ending says.
        InputError: The options don't fit the recording.
        StorageError: A file can't be read.
    """
    with placed(item.where):
        return (yield from _prepare(item, options, hops_s))


def _prepare(item: PackInput, options: TranscodeOptions, hops_s: Mapping[str, float]) -> Steps[Prepared]:
    primary = yield from _encode(item.location, options)
    members: list[tuple[str, str, bytes, AudioEntry | ArrayLayout | None]] = [
        (PRIMARY, primary.extension, primary.data, audio_entry(primary))
    ]
    clipped = primary.num_clipped
    for name, location in item.members.items():
        extension = location.name.rpartition(".")[2].lower()
        kind = kind_of_extension(extension)
        if kind == "audio":
            stem = yield from _encode(location, options)
            members.append((name, f"{name}.{stem.extension}", stem.data, audio_entry(stem)))
            clipped += stem.num_clipped
        else:
            data = read_bytes(location)
            layout = check_content(kind, data, hop_s=hops_s.get(name), where=f"field {name!r}, {location}")
            members.append((name, f"{name}.{extension}", data, layout))
    intervals = _intervals_in_samples(item, primary)
    members.append((JSON_FIELD, "json", _json_member(item, hops_s), None))
    return Prepared(tuple(members), intervals, clipped, primary.facts.frames / primary.facts.sample_rate)


def write_sample(item: PackInput, prepared: Prepared, tar: TarWriter, *, hops_s: Mapping[str, float]) -> IndexRow:
    """Append a sample's members to the tar and return its index row."""
    members = {}
    for field, extension, data, facts in prepared.members:
        placed = tar.add(f"{item.key}.{extension}", data)
        members[field] = MemberEntry(
            extension=extension,
            offset=placed.offset,
            size=placed.size,
            xxh3=member_hash(data),
            audio=facts if isinstance(facts, AudioEntry) else None,
            hop_s=hops_s.get(field),
            array=facts if isinstance(facts, ArrayLayout) else None,
        )
    return IndexRow(
        key=item.key,
        members=members,
        labels=item.labels,
        intervals=prepared.intervals,
        metadata=item.metadata,
    )


def _encode(location: Location, options: TranscodeOptions) -> Steps[Encoded]:
    source = location.local_path if location.is_local else read_bytes(location)
    return transcode_steps(source, options, name=str(location))


def audio_entry(encoded: Encoded) -> AudioEntry:
    """Return the index's facts of an encoded recording."""
    facts = encoded.facts
    return AudioEntry(
        codec=facts.codec,
        sample_format=facts.sample_format,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
        frames=facts.frames,
        bit_depth=facts.bit_depth,
        data_offset=facts.data_offset,
        peak=encoded.peak,
        loudness_lufs=encoded.lufs,
        seek_table=encoded.seek_table,
        loudness_track=encoded.loudness,
        setup=encoded.setup,
    )


def _intervals_in_samples(item: PackInput, primary: Encoded) -> tuple[tuple[str, int, int], ...]:
    rate, frames = primary.facts.sample_rate, primary.facts.frames
    found = []
    for name, start_s, stop_s in item.intervals:
        start, stop = round(start_s * rate), round(stop_s * rate)
        if start >= frames or stop > frames + INTERVAL_SLACK_S * rate:
            raise AudioError(
                f"interval {name!r} from {start_s:g} s to {stop_s:g} s lies outside the recording "
                f"of {frames / rate:g} s ({item.location}); mend its bounds"
            )
        found.append((name, start, max(start + 1, min(stop, frames))))
    return tuple(found)


def _json_member(item: PackInput, hops_s: Mapping[str, float]) -> bytes:
    content: dict[str, Any] = {**item.metadata, "labels": list(item.labels)}
    if item.intervals:
        content["intervals"] = [list(interval) for interval in item.intervals]
    if hops_s:
        content["hops_s"] = dict(hops_s)
    try:
        return _dumped(content)
    except ValueError:
        for name, value in item.metadata.items():
            try:
                _dumped(value)
            except ValueError as err:
                raise InputError(
                    f"column {name!r} holds {shown(value)}, which JSON can't hold; leave the cell empty"
                ) from err
        raise


def _dumped(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain, allow_nan=False)
    return text.encode()


def _plain(value: Any) -> str:
    """Return what JSON has no type for as text: bytes in base 64; dates, times and decimals as they are written."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
