"""Readers of hostile input, as the library's own users call them."""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import shardkit as sk
from shardkit.audio import probe
from shardkit.audio.decode import AudioMember, decode, needed_for, read_table
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.transcode import transcode
from shardkit.core.errors import ShardkitError
from shardkit.format import tar
from shardkit.format.arrays import read_array
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.pack.imported import read_imported
from shardkit.pack.importers.audioset_names import read_names
from shardkit.pack.inputs import InputOptions, read_inputs
from shardkit.report.export import export
from shardkit.report.info import describe
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.stream.config import load_config as load_stream_config
from tools.fuzz import seeds
from tools.fuzz.mutate import VALUES, mutated, mutated_json

MAX_MESSAGE = 100_000  # characters of an error; the command line prints less


class Untold(Exception):  # noqa: N818  (an error of the error)
    """An error that does not say what it should, as it should."""


def told(read: Callable[[bytes], object], data: bytes) -> ShardkitError | None:
    """Return the error that reading raised on purpose, None where there was none.

    Raises:
        Exception: Any other; a defect.
    """
    try:
        read(data)
    except ShardkitError as err:
        text = str(err)
        if not text.strip() or len(text) > MAX_MESSAGE:
            raise Untold(f"a message of {len(text)} characters: {text[:200]!r}") from err
        return err
    return None


# Recordings


def read_recording(data: bytes) -> None:
    """Probe a recording, and pack it as it is and resampled; read crops of it where it can be."""
    errors = []
    for action in (probe.probe, _keep_and_crop, _resample):
        try:
            action(data)
        except ShardkitError as err:
            errors.append(err)
    if errors:
        raise errors[-1]


def _keep_and_crop(data: bytes) -> None:
    encoded = transcode(data, TranscodeOptions(codec="keep"), name="x")
    table = None if encoded.seek_table is None else read_table(encoded.seek_table, encoded.facts.codec)
    _crops(AudioMember(encoded.facts, len(encoded.data), table, encoded.setup), encoded.data)


def _resample(data: bytes) -> None:
    transcode(data, TranscodeOptions(codec="flac", sample_rate=6000, channels=1, bit_depth=16), name="x")


def _crops(member: AudioMember, data: bytes) -> None:
    frames = member.facts.frames
    for start, stop in {(0, min(100, frames)), (frames // 2, min(frames, frames // 2 + 200)), (frames - 1, frames)}:
        needed = needed_for(member, start, stop)
        decode(member, data[needed.lo : needed.hi], needed.lo, start, stop, needed)


_CODECS = ("flac", "wav", "vorbis", "mp3")


def coded_tables() -> Sequence[bytes]:
    """Return seek tables behind a byte that says of which codec."""
    return [bytes([_CODECS.index(codec)]) + table for codec, table, _ in seeds.tables()]


def change_table(files: Sequence[bytes], random: Random) -> bytes:
    """Change a table, not the byte in front."""
    data = random.choice(files)
    return data[:1] + mutated(data[1:], [file[1:] for file in files], random)


def read_coded_table(data: bytes) -> None:
    """Read crops of a sound recording by another table."""
    codec, _, encoded = seeds.tables()[(data[0] if data else 0) % len(_CODECS)]
    table = read_table(data[1:], codec)
    _crops(AudioMember(encoded.facts, len(encoded.data), table, encoded.setup), encoded.data)
    table.to_bytes()


# Tars and members


def read_tar(data: bytes) -> None:
    """List a tar."""
    listed = list(tar.scan(io.BytesIO(data), where="x.tar"))
    end = 0
    for member in listed:
        assert 0 < member.offset and 0 <= member.size and member.offset + member.size <= len(data), member
        assert member.offset >= end, f"{member} overlaps what is before it"
        end = member.offset + member.size


def adopt_tar(data: bytes) -> None:
    """Index a tar where it lies, and use the dataset."""
    folder = _new_folder("adopt")
    (folder / "a.tar").write_bytes(data)
    try:
        adopt([locate(folder / "a.tar")], locate(folder / "out"), options=AdoptOptions(on_error="skip", workers=1))
        use_dataset(folder / "out")
    finally:
        shutil.rmtree(folder)


def read_npy(data: bytes) -> None:
    """Read an array, whole and by its layout."""
    array, layout = read_array(data)
    assert array.nbytes <= len(data), (array.nbytes, len(data))
    if layout is not None:
        lo, hi = layout.byte_range(0, layout.shape[0])
        layout.rows(data[lo:hi])


# Datasets


def use_dataset(folder: Path) -> None:
    """Do with a dataset what its users do: look at it, verify it, read, stream and export it."""
    errors: list[ShardkitError] = []
    for action in (_look, _verify, _read_all, _stream, _export):
        try:
            action(folder)
        except ShardkitError as err:
            errors.append(err)
    if errors:
        raise errors[0]


def _look(folder: Path) -> None:
    found = sk.open(folder, split="all")
    json.dumps(describe(found))
    list(found.keys())
    found.where("duration_s > 0")


def _verify(folder: Path) -> None:
    str(verify(locate(folder), deep=True))


def _read_all(folder: Path) -> None:
    found = sk.open(folder, split="all")
    errors = []
    for key in list(found.keys())[:8]:
        for options in ({}, {"start_s": 0.01, "duration_s": 0.02}):
            try:
                found.read(key, **options)
            except ShardkitError as err:
                errors.append(err)
    if errors:
        raise errors[0]


def _stream(folder: Path) -> None:
    found = sk.open(folder, split="all")
    fields = [name for name in found.manifest.fields if name != "audio"]
    for crop in (sk.SalientCrop(0.03), sk.EventCrop(0.02), None):
        stream = sk.Stream(
            found, crop=crop, batch_size=3, threads=1, fields=fields, mask_hop=40, sample_rate=RATE, channels=1,
            passes=1, loudness=True, memory="64MB",
        )  # fmt: skip
        list(islice(stream, 3))


RATE = seeds.RATE


def _export(folder: Path) -> None:
    target = _new_folder("export")
    inside = target / "in"
    try:
        export(sk.open(folder, split="all"), inside)
    finally:
        outside = [path for path in target.rglob("*") if path != inside and inside not in path.parents]
        links = [path for path in target.rglob("*") if path.is_symlink()]
        shutil.rmtree(target)
        assert not outside and not links, (outside, links)


def open_manifest(data: bytes) -> None:
    """Use a dataset with another manifest."""
    with _Copy() as folder:
        (folder / MANIFEST_NAME).write_bytes(data)
        use_dataset(folder)


@cache
def indices() -> Sequence[bytes]:
    """Return the indices of a dataset."""
    return [path.read_bytes() for path in sorted((seeds.dataset() / "train").glob("*.parquet"))]


def open_index(data: bytes) -> None:
    """Use a dataset with another index, which its manifest vouches for."""
    with _Copy() as folder:
        _put_index(folder, data)
        use_dataset(folder)


def open_edited_rows(data: bytes) -> None:
    """Use a dataset in whose index some values are hostile, and all types right where they can be."""
    random = Random(data)  # noqa: S311
    table = pq.read_table(io.BytesIO(indices()[0]))
    rows = table.to_pylist()
    for _ in range(random.randint(1, 3)):
        _edit(rows[random.randrange(len(rows))], random)
    try:
        edited = pa.Table.from_pylist(rows, schema=table.schema)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return  # not a value of that column
    _use_table(edited)


def _edit(row: dict[str, Any], random: Random) -> None:
    """Put a hostile value of about the right type into a row, or into one of its members."""
    holder: Any = row
    while True:
        key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        value = holder[key]
        if isinstance(value, dict | list) and value and random.random() < 0.8:
            holder = value
            continue
        break
    if isinstance(value, int):
        holder[key] = random.choice(
            [None, 0, -1, 1, value + 1, value * 7, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1]
        )
    elif isinstance(value, float):
        holder[key] = random.choice([None, 0.0, -1.0, float("nan"), float("inf"), 1e300, value * 3])
    elif isinstance(value, bytes):
        holder[key] = random.choice([None, b"", mutated(value, [value], random), bytes(2000)])
    elif isinstance(value, str):
        strings = [
            None,
            *(other for other in VALUES if isinstance(other, str)),
            "flac",
            "wav",
            "mp3",
            "<f4",
            "|O",
            "s16",
        ]
        holder[key] = random.choice(strings)
    else:
        holder[key] = random.choice([None, *VALUES])


def open_edited_columns(data: bytes) -> None:
    """Use a dataset whose index has a column of another type, or less or more columns."""
    random = Random(data)  # noqa: S311
    table = pq.read_table(io.BytesIO(indices()[0]))
    number = random.randrange(table.num_columns)
    name = table.column_names[number]
    others: list[Any] = [pa.nulls(len(table)), pa.array([7] * len(table)), pa.array([b"\xff\xfe"] * len(table)),
                         pa.array([[1]] * len(table)), pa.array([{"a": 1}] * len(table)), pa.array([1.5] * len(table)),
                         pa.array(["x"] * len(table)).dictionary_encode(), pa.array(["x"] * len(table))]  # fmt: skip
    kind = random.randrange(4)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1 and name == "fields":
        struct = table.column(number).combine_chunks()
        parts = {
            part.name: struct.field(part.name) for part in [struct.type.field(i) for i in range(struct.type.num_fields)]
        }
        parts[random.choice(list(parts))] = random.choice(others)
        table = table.set_column(number, name, pa.StructArray.from_arrays(list(parts.values()), list(parts)))
    elif kind == 2:
        table = table.append_column(name, table.column(number))
    else:
        table = table.set_column(number, name, random.choice(others))
    if random.random() < 0.3:
        metadata = dict(table.schema.metadata or {})
        note = mutated_json(json.loads(metadata[b"shardkit"]), random)
        table = table.replace_schema_metadata({b"shardkit": json.dumps(note)})
    _use_table(table)


def _use_table(table: pa.Table) -> None:
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink)
    except pa.ArrowInvalid:
        return  # a null in a column that has none
    with _Copy() as folder:
        _put_index(folder, sink.getvalue())
        use_dataset(folder)


def _put_index(folder: Path, data: bytes) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    shard = manifest["shards"][0]
    shard["index_hash"] = file_hash(data)
    (folder / shard["index"]).write_bytes(data)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


class _Copy:
    """A copy of the dataset whose tars are links to its own, for as long as it is used."""

    def __enter__(self) -> Path:
        self.folder = _new_folder("copy")
        (self.folder / "train").mkdir()
        for path in seeds.dataset().rglob("*"):
            if path.is_file():
                target = self.folder / path.relative_to(seeds.dataset())
                if path.suffix == ".tar":
                    os.link(path, target)
                else:
                    shutil.copyfile(path, target)
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


_NUMBER = iter(range(1 << 60))


@cache
def _scratch() -> Path:
    return seeds.scratch()


def _new_folder(name: str) -> Path:
    folder = _scratch() / f"{name}-{os.getpid()}-{next(_NUMBER)}"
    folder.mkdir()
    return folder


# States and configurations


@cache
def states() -> Sequence[bytes]:
    """Return states of streams, with what was fed back."""
    stream = _stateful()
    for _ in range(3):
        for batch in stream:
            stream.feedback(batch.positions.tolist(), [0.9] * len(batch.positions))
    state = {"state": stream.state_dict(), "feedback": stream.feedback_state()}
    return [json.dumps(state).encode()]


@cache
def _stateful() -> sk.Stream:
    return sk.Stream(
        {"a": sk.open(seeds.dataset()), "b": sk.open(seeds.dataset()).take(3)},
        weights=[(0, {"a": 0.5, "b": 0.5}), (3, {"a": 0.75, "b": 0.25})],
        crop=sk.RandomCrop(0.05), batch_size=2, threads=1, mining=sk.Mining("a"), epoch_samples=4,
        sample_rate=RATE, channels=1,
    )  # fmt: skip


def load_state(data: bytes) -> None:
    """Load a state and go on from it."""
    states()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return  # the caller's file, not ours
    state, feedback = (found.get("state"), found.get("feedback")) if isinstance(found, dict) else (found, None)
    if isinstance(state, dict):  # else the digest would refuse whatever is in the feedback
        from shardkit.core.mining import HardExamples

        with suppress(ShardkitError):
            state = state | {"mined": HardExamples.load(feedback).digest()}
    errors = []
    for weights in (None, "new"):
        stream = _stateful()
        try:
            stream.load_state_dict(state, feedback=feedback, weights=weights)
            list(islice(stream, 2))
        except ShardkitError as err:
            errors.append(err)
    if errors:
        raise errors[0]


@cache
def configs() -> Sequence[bytes]:
    """Return the configuration of a stream as JSON, which is YAML too."""
    from tools.fuzz.targets import CONFIG

    return [json.dumps(yaml.safe_load(CONFIG)).encode()]


def load_config(data: bytes) -> None:
    """Make the stream that a YAML describes, and draw from it."""
    folder = _new_folder("config")
    path = folder / "mix.yaml"
    path.write_bytes(data.replace(b"DATASET", str(seeds.dataset()).encode()))
    try:
        load_stream_config(locate(path))
        list(islice(sk.Stream.from_config(path), 1))
    finally:
        shutil.rmtree(folder)


def verify_report(data: bytes) -> None:
    """Verify an adopted dataset with another report."""
    with _Copy() as folder:
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        manifest["options"]["adopted"] = True
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
        (folder / "report.jsonl").write_bytes(data)
        verify(locate(folder))


# Lists of recordings


@cache
def _recordings() -> Path:
    folder = seeds.scratch()
    (folder / "0.flac").write_bytes(seeds.audio("flac")[2])
    (folder / "1.wav").write_bytes(seeds.audio("wav")[0])
    (folder / "Yabcdefghijk.flac").write_bytes(seeds.audio("flac")[2])
    (folder / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/1,Dog\n1,/m/2,Bark\n")
    return folder


@cache
def parquets() -> Sequence[bytes]:
    """Return Parquet manifests."""
    found = []
    columns: dict[str, Any] = {"path": ["0.flac", "1.wav"], "label": [["a"], ["b"]], "n": [1, 2]}
    for compression in ("zstd", "snappy", "none"):
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink, compression=compression)
        found.append(sink.getvalue())
    return found


def list_of(name: str) -> Callable[[bytes], None]:
    """Return a reader of manifests of that name."""

    def read(data: bytes) -> None:
        path = _recordings() / f"{os.getpid()}-{name}"
        path.write_bytes(data)
        found = read_inputs(locate(path), InputOptions(label="label"))
        _check_inputs(found.inputs)

    return read


def import_of(kind: str, name: str) -> Callable[[bytes], None]:
    """Return a reader of files of that name of a known layout."""

    def read(data: bytes) -> None:
        path = _recordings() / f"{os.getpid()}-{name}"
        path.write_bytes(data)
        options = InputOptions(importer=kind, root=locate(_recordings()))
        found = read_imported(locate(path), options, hops_s={}, keep_going=True)
        _check_inputs(found.inputs)

    return read


def _check_inputs(inputs: Sequence[Any]) -> None:
    """Raise if a key would make a file that lies elsewhere, or could not be a file's name."""
    for item in inputs:
        assert ".." not in item.key.split("/") and not item.key.startswith("/") and "\0" not in item.key, item.key
        item.key.encode()


def names_of(option: str) -> Callable[[bytes], None]:
    """Return a reader of AudioSet's names of classes."""

    def read(data: bytes) -> None:
        path = _recordings() / f"{os.getpid()}-{option}"
        path.write_bytes(data)
        given: dict[str, Any] = {"classes": None, "names": None, "ontology": None, option: locate(path)}
        found = read_names("names", **given)
        assert isinstance(found.vocabulary, tuple)
        if option == "ontology":
            from shardkit.core.ontology import Ontology

            ontology = Ontology.from_json(json.loads(data))
            for name in ontology.names:
                ontology.descendants(name)

    return read
