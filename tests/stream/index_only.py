"""A dataset that is an index alone: what is drawn of it can be planned, nothing of it can be read."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

import shardkit as sk
from shardkit.format.hashing import file_hash
from shardkit.format.index import AudioEntry, IndexRow, MemberEntry, dump_index, index_schema
from shardkit.format.manifest import FieldInfo, Manifest, ShardInfo, dump_manifest, totals

RATE, SECONDS = 8000, 10
_AUDIO = AudioEntry(
    codec="wav", sample_format="PCM_16", sample_rate=RATE, channels=1, frames=RATE * SECONDS, bit_depth=16,
    data_offset=44, peak=0.5, loudness_lufs=None, seek_table=None, loudness_track=None,
)  # fmt: skip


def write_index_only(folder: Path, rows: Sequence[tuple[str, Sequence[str], bool]]) -> sk.Dataset:
    """Write the index of clips of ten seconds and open it.

    Args:
        folder: The dataset's.
        rows: Key, labels, and the value of the column ``strong``, of each.
    """
    size, tar = 44 + 2 * RATE * SECONDS, file_hash(b"")
    index = dump_index(
        [
            IndexRow(
                key=key,
                members={
                    "audio": MemberEntry(extension="wav", offset=n * (size + 1024), size=size, xxh3=0, audio=_AUDIO)
                },
                labels=labels,
                metadata={"strong": strong},
            )
            for n, (key, labels, strong) in enumerate(rows)
        ],
        index_schema({"audio": "audio"}, {"strong": pa.bool_()}),
        note={"hash": tar},
    )
    shard = ShardInfo(
        split="train", path="train/000000.tar", bytes=len(rows) * (size + 1024), hash=tar,
        index="train/000000.parquet", index_hash=file_hash(index), samples=len(rows), duration_s=len(rows) * SECONDS,
    )  # fmt: skip
    (folder / "train").mkdir(parents=True)
    (folder / shard.index).write_bytes(index)
    manifest = Manifest(
        name=folder.name,
        splits={"train": totals([shard])},
        shards=(shard,),
        labels=tuple(sorted({label for _, labels, _ in rows for label in labels})),
        interval_names=(),
        fields={"audio": FieldInfo(kind="audio", extensions=("wav",))},
        columns={"strong": "bool"},
        options={},
        totals=totals([shard]),
    )
    (folder / "shardkit.json").write_bytes(dump_manifest(manifest))
    return sk.open(folder)
