"""Checks of index rows against the manifest and against themselves; no tar is opened."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from shardkit.audio.checks import CheckTable
from shardkit.audio.decode import read_table
from shardkit.audio.facts import AudioFacts
from shardkit.audio.points import PointTable
from shardkit.core.errors import FormatError
from shardkit.core.loudness import num_hops
from shardkit.format.arrays import ArrayLayout
from shardkit.format.index import PRIMARY, PRIMARY_COLUMNS, index_schema
from shardkit.format.manifest import FeaturesInfo, Manifest, ShardInfo
from shardkit.format.tar import split_name
from shardkit.report.problems import REFEATURIZE, REINDEX, REMANIFEST, Kind, Problem

_MAP_VALUE = re.compile(r" \('.*?'\)(?=>)")
_ROUNDING_S = 1e-5  # shards' seconds are rounded to 1e-6 and added up in whatever order


def manifest_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield where the manifest contradicts itself."""
    for name, found, shards in [
        ("totals", manifest.totals, manifest.shards),
        *(
            (f"split {split!r}", totals, [shard for shard in manifest.shards if shard.split == split])
            for split, totals in manifest.splits.items()
        ),
    ]:
        sums: dict[str, float] = {
            "shards": len(shards),
            "samples": sum(shard.samples for shard in shards),
            "bytes": sum(shard.bytes for shard in shards),
            "duration_s": sum(shard.duration_s for shard in shards),
        }
        for unit, value in sums.items():
            said = getattr(found, unit)
            if abs(said - value) > (_ROUNDING_S * max(1, len(shards)) if unit == "duration_s" else 0):
                yield _manifest(f"{name}: {unit} is {said}, its shards add up to {value}")
    for shard in manifest.shards:
        if shard.split not in manifest.splits:
            yield _manifest(f"shard {shard.path}: its split {shard.split!r} is not among the splits")
    for what, listed in {
        "shard": [shard.path for shard in manifest.shards],
        "index": [shard.index for shard in manifest.shards],
        "label": manifest.labels,
    }.items():
        for name in sorted(name for name, times in Counter(listed).items() if times > 1):
            yield _manifest(f"{what} {name!r} is listed twice")


def schema_problems(table: pa.Table, manifest: Manifest, shard: ShardInfo) -> Iterator[Problem]:
    """Yield what is wrong with the columns of an index; with any of it, its rows can't be checked."""
    expected = index_schema({name: info.kind for name, info in manifest.fields.items()}, {})
    types = {field.name: field.type for field in expected if field.name != "fields"}
    texts = {name: str(kind) for name, kind in types.items()} | dict(manifest.columns)
    for name, text in texts.items():
        times = table.column_names.count(name)
        found = str(table.schema.field(name).type) if times == 1 else "there twice" if times else "missing"
        if _spelling(found) != _spelling(text):
            yield _index(shard, f"column {name!r} is {found}, {text} expected")
    if table.column_names.count("fields") != 1:
        yield _index(shard, "column 'fields' is there twice")
        return
    struct = table.schema.field("fields").type
    if not pa.types.is_struct(struct):
        yield _index(shard, f"column 'fields' is {struct}, a struct expected")
        return
    for field in expected.field("fields").type:
        inner = struct.field(field.name).type if struct.get_field_index(field.name) >= 0 else None
        if inner != field.type:
            yield _index(shard, f"field {field.name!r} is {inner or 'missing'}, {field.type} expected")
    for field in struct:
        if field.name not in manifest.fields:
            yield _index(shard, f"field {field.name!r} is not in the manifest")


def _spelling(kind: str) -> str:
    """Return a type without the names that Arrow gives to parts of it, which change when they go through a file.

    >>> _spelling("list<element: map<string, int16 ('x')>>")
    'list<item: map<string, int16>>'
    """
    return _MAP_VALUE.sub("", kind.replace("<element: ", "<item: "))


def row_problems(
    row: Mapping[str, Any], manifest: Manifest, shard: ShardInfo, *, setups: Collection[int]
) -> Iterator[Problem]:
    """Yield what is wrong with one row, of an index whose columns are right.

    Args:
        row: The row.
        manifest: Of the dataset.
        shard: The row's.
        setups: Hashes of the decoder setups that the index has.
    """
    key = row["key"]

    advice = REINDEX if manifest.has_audio else REFEATURIZE

    def problem(what: str, member: str | None = None, offset: int | None = None) -> Problem:
        return Problem(
            kind="index-row", shard=shard.path, key=key, member=member, offset=offset, what=what, advice=advice
        )

    if key is None:
        yield problem("a row has no key")
        return
    for label in row["labels"] or ():
        if label not in manifest.labels:
            yield problem(f"label {label!r} is not in the manifest's vocabulary of {len(manifest.labels)}")
    members = {name: member for name, member in (row["fields"] or {}).items() if member is not None}
    if key.startswith("/") or ".." in key.split("/"):
        yield problem("its key would lead out of a folder: it begins with '/' or has a '..'")
    if PRIMARY not in members:
        yield problem(f"the row has no field {PRIMARY!r}, which every sample must have")
    alone = [*_primary(row, members.get(PRIMARY)), *_intervals(row, manifest.interval_names)]
    for what in [*alone, *_features(row, members, manifest.features)]:
        yield problem(what)
    if not manifest.has_audio:
        members.pop(PRIMARY, None)  # of which there are facts alone
    for name, member in members.items():
        place = (member["extension"], member["offset"])
        if None in (member["extension"], member["offset"], member["size"], member["xxh3"]):
            yield problem(f"field {name!r} lacks its extension, offset, size or xxh3", *place)
            continue
        if split_name(f"{key}.{member['extension']}") != (key, member["extension"]):
            yield problem("key and extension don't make a name from which WebDataset reads them back", *place)
        if member["extension"] not in manifest.fields[name].extensions:
            yield problem(f"the manifest knows {', '.join(manifest.fields[name].extensions)} of {name!r}", *place)
        checks = _audio(member, setups) if "codec" in member else _array(member) if "dtype" in member else ()
        for what in checks:
            yield problem(what, *place)


def duration_problems(rows: Sequence[Mapping[str, Any]], shard: ShardInfo) -> Iterator[Problem]:
    """Yield a problem if the rows don't add up to what the manifest says of the shard."""
    if len(rows) != shard.samples:
        yield _index(shard, f"{len(rows):,} rows, the manifest says {shard.samples:,}", kind="index-row")
        return
    total = math.fsum(row["duration_s"] or 0.0 for row in rows)
    if not abs(total - shard.duration_s) <= _ROUNDING_S:
        what = f"its rows add up to {total:.6f} s of audio, the manifest says {shard.duration_s:.6f} s"
        yield _index(shard, what, kind="index-row")


def _primary(row: Mapping[str, Any], audio: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield where the copies at the top level differ from what they are copies of."""
    for name in PRIMARY_COLUMNS:
        original = None if audio is None else audio[name]
        if row[name] != original:
            yield f"{name} is {row[name]}, fields.{PRIMARY} has {original}"
    rate = (audio or {}).get("sample_rate")
    seconds = audio["frames"] / rate if audio and rate and audio["frames"] is not None else None
    if row["duration_s"] != seconds:
        yield f"duration_s is {row['duration_s']}, frames / sample_rate is {seconds}"


def _intervals(row: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    frames = row["frames"] or 0
    for item in row["intervals"] or ():
        name, start, stop = (item["name"], item["start"], item["stop"]) if item else (None, None, None)
        if name not in names:
            yield f"interval {name!r} is not among the manifest's interval names"
        if start is None or stop is None or not 0 <= start < stop <= frames:
            yield f"interval {name!r} from sample {start} to {stop} does not lie in the recording's {frames} samples"


def _audio(member: Mapping[str, Any], setups: Collection[int]) -> Iterator[str]:
    """Yield what can't be true of a recording."""
    names = AudioFacts.__dataclass_fields__
    try:
        facts = AudioFacts(**{name: member[name] for name in names})
    except (FormatError, TypeError) as err:
        yield f"its facts are impossible: {err}"
        return
    hops, track = num_hops(facts.frames, facts.sample_rate), member["loudness_track"]
    if track is not None and len(track) != hops:
        yield f"its loudness track has {len(track)} hops of 100 ms, {facts.frames} samples have {hops}"
    if member["seek_table"] is None:
        return
    try:
        table = read_table(member["seek_table"], facts.codec)
    except FormatError as err:
        yield f"its seek table can't be read: {err}"
        return
    if isinstance(table, PointTable):
        yield from _points(table, facts, member["size"], setups)
    elif isinstance(table, CheckTable):
        if table.frames != facts.frames:
            yield f"its checksums are of {table.frames} samples, it has {facts.frames}"
    elif table.end != member["size"] or table.samples[-1] >= facts.frames:
        yield (
            f"its seek table ends at byte {table.end} of {member['size']} and sample {table.samples[-1]} "
            f"of {facts.frames}"
        )


def _array(member: Mapping[str, Any]) -> Iterator[str]:
    """Yield what can't be true of an array."""
    if member["hop_s"] is not None and not 0 < member["hop_s"] < math.inf:
        yield f"its hop is {member['hop_s']} s"
    parts = [member[name] for name in ("dtype", "shape", "data_offset")]
    if parts == [None, None, None]:
        return
    try:
        layout = ArrayLayout(parts[0], tuple(parts[1]), parts[2])
        end = layout.byte_range(0, layout.shape[0])[1]
    except (TypeError, IndexError) as err:
        yield f"its rows lie as {parts}, which can't be: {err}"
        return
    if layout.data_offset < 0 or min(layout.shape) < 1 or end != member["size"]:
        rows = f"{layout.shape} of {layout.dtype} from byte {layout.data_offset}"
        yield f"its rows, {rows}, do not end at {member['size']}"


def _features(
    row: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]], told: FeaturesInfo | None
) -> Iterator[str]:
    """Yield where a row contradicts what the manifest says of features."""
    if told is None:
        return
    audio, features = members.get(PRIMARY), members.get(told.field)
    if audio is not None and any(audio[name] is not None for name in ("offset", "size", "seek_table")):
        yield f"it has a recording at byte {audio['offset']}, in a dataset of features"
    if features is None:
        yield f"the row has no field {told.field!r}, which every sample of these features must have"
        return
    if (features["dtype"], features["hop_s"]) != (told.dtype, told.hop_s):
        found = f"{features['dtype']} with a hop of {features['hop_s']} s"
        yield f"its features are {found}, the manifest says {told.dtype} with a hop of {told.hop_s} s"
    shape, channels = features["shape"] or [], told.channels or row["channels"]
    if shape[1:] != [channels, len(told.silence)]:
        yield f"its features have the shape {shape}, the manifest says (frame, {channels}, {len(told.silence)})"
        return
    # How many frames the last windows have is the module's to say; but they lie in the recording and cover it.
    most = (row["duration_s"] or 0.0) / told.hop_s
    least = most - 1 - told.config.get("n_fft", math.inf) / told.hop_length
    if not least - _ROUNDING_S <= shape[0] <= most + 1 + _ROUNDING_S:
        yield f"its features have {shape[0]} frames, where the recording has {most:.1f} hops"


def _points(table: PointTable, facts: AudioFacts, size: int, setups: Collection[int]) -> Iterator[str]:
    """Yield what can't be true of the points of a lossy member."""
    exact = table.exact_from()
    last = int(exact[-1])
    if exact[1] < 1:
        yield f"the second point of its seek table is exact from sample {exact[1]} on, where the first one is"
    if table.end > size or last >= facts.frames:
        yield f"its seek table ends at byte {table.end} of {size} and sample {last} of {facts.frames}"
    if (table.setup is not None) is not (facts.codec == "vorbis"):
        yield f"its seek table is not one of {facts.codec}: that needs {'a' if table.setup is None else 'no'} setup"
    elif table.setup is not None and table.setup not in setups:
        yield f"its seek table needs the decoder setup {table.setup:016x}, which the index lacks"


def _index(shard: ShardInfo, what: str, *, kind: Kind = "index-columns") -> Problem:
    return Problem(kind=kind, shard=shard.path, what=f"index {shard.index}: {what}", advice=REINDEX)


def _manifest(what: str) -> Problem:
    return Problem(kind="manifest-contradiction", shard=None, what=what, advice=REMANIFEST)
