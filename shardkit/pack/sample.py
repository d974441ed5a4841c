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
from shardkit.pack.bounds import Bounds, bounds_in_samples
from shardkit.pack.cells import shown
from shardkit.pack.content import check_content
from shardkit.pack.fields import JSON_FIELD, kind_of_extension
from shardkit.pack.inputs import PackInput
from shardkit.pack.members import Derived, extension_of, file_of
from shardkit.pack.places import placed
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample ready to be written: (field, extension, bytes, index facts) of each member."""

    members: tuple[tuple[str, str, bytes, AudioEntry | ArrayLayout | None], ...]
    bounds: Bounds
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
    duration_s = primary.facts.frames / primary.facts.sample_rate
    _check_duration(item, duration_s)
    for name, member in item.members.items():
        extension, location = extension_of(member), file_of(member)
        kind = kind_of_extension(extension)
        if kind == "audio":
            stem = yield from _encode(location, options)
            members.append((name, f"{name}.{stem.extension}", stem.data, audio_entry(stem)))
            clipped += stem.num_clipped
        else:
            data = read_bytes(location)
            if isinstance(member, Derived):
                with placed(f"field {name!r}, {location}"):
                    data = member.recipe.make(data, duration_s=duration_s)
            layout = check_content(kind, data, hop_s=hops_s.get(name), where=f"field {name!r}, {location}")
            members.append((name, f"{name}.{extension}", data, layout))
    bounds = bounds_in_samples(
        item.intervals,
        rate=primary.facts.sample_rate,
        frames=primary.facts.frames,
        cut=item.cut_intervals,
        where=str(item.location),
    )
    members.append((JSON_FIELD, "json", _json_member(item, bounds, hops_s), None))
    return Prepared(tuple(members), bounds, clipped, duration_s)


def _check_duration(item: PackInput, duration_s: float) -> None:
    low, high = item.duration_s or (0.0, float("inf"))
    if not low <= duration_s <= high:
        kind = (
            "shorter than the metadata says: at least" if duration_s < low else "longer than the metadata says: at most"
        )
        limit = low if duration_s < low else high
        raise AudioError(
            f"{item.location} has {duration_s:g} s, {kind} {limit:g} s; is it another recording, or one that was not "
            "cut like the others?"
        )


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
        intervals=prepared.bounds.samples,
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


def _json_member(item: PackInput, bounds: Bounds, hops_s: Mapping[str, float]) -> bytes:
    content: dict[str, Any] = {**item.metadata, "labels": list(item.labels)}
    if bounds.seconds:
        content["intervals"] = [list(interval) for interval in bounds.seconds]
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
