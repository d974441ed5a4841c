"""A small packed dataset with every kind of field, and copies of it to damage."""

import io
import json
import shutil
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from shardkit.format.hashing import file_hash
from shardkit.format.index import load_index
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset

RATE = 8_000
NUM_SAMPLES = 12


def write_recordings(folder):
    """Write 12 recordings with a stem, an array, a text, labels, intervals and a manifest; return the manifest."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(NUM_SAMPLES):
        path = folder / ("win" if number % 2 else "los") / f"take_{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = 2 * RATE + 7 * number
        audio = rng.uniform(-0.5, 0.5, (frames, 1 + number % 2)) * np.linspace(0.1, 1.0, frames)[:, np.newaxis]
        soundfile.write(path, audio, RATE, subtype="PCM_16")
        soundfile.write(folder / f"stem_{number}.wav", audio[:, :1] / 2, RATE, subtype="PCM_16")
        np.save(folder / f"f0_{number}.npy", rng.uniform(80, 400, (frames // 80 + 1, 2)).astype(np.float32))
        (folder / f"words_{number}.txt").write_text(f"Ärger number {number}\n")
        line = {
            "path": path.relative_to(folder).as_posix(),
            "label": [("dog", "cat", "emu")[number % 3]] + (["loud"] if number == 5 else []),
            "lang": "en" if number % 2 else "de",
            "take": number,
            "snr_db": None if number == 3 else number / 3,
            "vocals_path": f"stem_{number}.wav" if number != 4 else None,
            "f0_path": f"f0_{number}.npy",
            "words_path": f"words_{number}.txt",
            "intervals": [["sung", 0.5, 1.0], ["breath", 1.25, 1.5]] if number % 2 else None,
        }
        lines.append(json.dumps(line))
    manifest = folder / "recordings.jsonl"
    manifest.write_text("\n".join(lines))
    return manifest


def pack_recordings(manifest, output, **options):
    members = {"vocals": "vocals_path", "f0": "f0_path", "words": "words_path"}
    settings = {"workers": 1, "shard_bytes": 200_000, "splits": {"train": 0.7, "val": 0.3}, "name": "takes", **options}
    return pack(
        locate(manifest),
        locate(output),
        inputs=InputOptions(label="label", members=members),
        options=PackOptions(**settings),
        hops_s={"f0": 0.01},
    )


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    pack_recordings(write_recordings(folder / "recordings"), folder / "dataset")
    return folder / "dataset"


@pytest.fixture
def dataset(packed, tmp_path):
    """A copy to damage."""
    return Damageable(shutil.copytree(packed, tmp_path / "dataset"))


class Damageable:
    """A dataset on this disk, with ways to damage it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @cached_property
    def _catalog(self):
        return open_dataset(self.folder).catalog

    @property
    def location(self):
        return locate(self.folder)

    @property
    def manifest(self):
        return json.loads((self.folder / MANIFEST_NAME).read_text())

    @property
    def shards(self):
        return [shard["path"] for shard in self.manifest["shards"]]

    def place(self, row, field):
        """Return shard, key, extension, offset and size of a member, as the dataset was when first asked."""
        catalog = self._catalog
        entry = catalog.fields[field].entry(row)
        return SimpleNamespace(
            shard=catalog.shards[catalog.shard_of_row[row]].path,
            key=catalog.key(row),
            member=entry["extension"],
            offset=entry["offset"],
            size=entry["size"],
            entry=entry,
        )

    def flip(self, name, offset, mask=0x01):
        path = self.folder / name
        data = bytearray(path.read_bytes())
        data[offset] ^= mask
        path.write_bytes(data)

    def edit_manifest(self, edit):
        manifest = self.manifest
        edit(manifest)
        (self.folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    def edit_index(self, number, edit):
        """Change the rows of an index and the manifest's hash of it, as somebody who knows the format would."""
        shard = self.manifest["shards"][number]
        path = self.folder / shard["index"]
        table, note = load_index(path.read_bytes(), where="index")
        rows = table.to_pylist()
        edit(rows)
        data = dump_rows(rows, table.schema, note)
        path.write_bytes(data)
        self.edit_manifest(lambda manifest: manifest["shards"][number].update(index_hash=file_hash(data)))

    def mend_tar(self, number):
        """Put the size and hash of a tar that was changed into its index and the manifest."""
        shard = self.manifest["shards"][number]
        data = (self.folder / shard["path"]).read_bytes()
        path = self.folder / shard["index"]
        table, note = load_index(path.read_bytes(), where="index")
        facts = {"bytes": len(data), "hash": file_hash(data)}
        index = dump_rows(table.to_pylist(), table.schema, note | facts)
        path.write_bytes(index)
        facts["index_hash"] = file_hash(index)
        self.edit_manifest(lambda manifest: manifest["shards"][number].update(facts))


def dump_rows(rows, schema, note):
    """Return an index with these rows as they are, however wrong."""
    built = pa.Table.from_pylist(rows, schema=schema.remove_metadata())
    built = built.replace_schema_metadata({b"shardkit": json.dumps(note)})
    sink = io.BytesIO()
    pq.write_table(built, sink)
    return sink.getvalue()
