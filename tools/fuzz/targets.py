"""What is fuzzed: for each kind of input, real ones, and a function that reads one as shardkit would.

A target returns, or raises one of ``core/errors.py``; anything else is a defect.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tools.fuzz import mend, readers, seeds
from tools.fuzz.mutate import mutated, mutated_json, nested


@dataclass(frozen=True, slots=True)
class Target:
    """A reader and what to feed it.

    Attributes:
        seeds: Real inputs.
        read: Reads one.
        change: Returns another input, by the choices of a ``Random``.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    change: Callable[[Sequence[bytes], Random], bytes]


def _by_bytes(
    found: Callable[[], Sequence[bytes]],
    read: Callable[[bytes], object],
    mended: Callable[[bytes, Random], bytes] = lambda data, _random: data,
) -> Target:
    def change(files: Sequence[bytes], random: Random) -> bytes:
        return mended(mutated(random.choice(files), files, random), random)

    return Target(found, read, change)


def _by_json(found: Callable[[], Sequence[bytes]], read: Callable[[bytes], object]) -> Target:
    """Change values more often than bytes: most changes of bytes only end the JSON."""

    def change(files: Sequence[bytes], random: Random) -> bytes:
        kind, data = random.random(), random.choice(files)
        if kind < 0.03:
            return nested(random.choice([20, 200, 5000, 200_000])).encode()
        if kind < 0.25:
            return mutated(data, files, random)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):  # atheris has changed it before
            return mutated(data, files, random)
        return json.dumps(mutated_json(value, random)).encode("utf-8", "surrogatepass")

    return Target(found, read, change)


def _by_edits(read: Callable[[bytes], object]) -> Target:
    """For readers that make the hostile input themselves, by a ``Random`` of the bytes."""

    def change(_files: Sequence[bytes], random: Random) -> bytes:
        return random.randbytes(8)

    return Target(lambda: [b"", b"1"], read, change)


def _text(*texts: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [text.encode() for text in texts]


CONFIG = """
sources:
  speech: {url: DATASET, where: "take >= 0", weight: 0.7, windows: {size_s: 0.05, partial: true}}
  music: {url: DATASET, split: train, balance: {column: who, rare: 2}, weight: 0.3, take: 3}
crop: {kind: salient, duration_s: 0.05, content: {of: x, ratio: 0.1}}
schedule: [{from_sample: 8, weights: {speech: 1, music: 1}}]
shuffle: {kind: block, block_rows: 2}
memory: 10MB
batch_size: 2
channels: 1
sample_rate: 8000
"""
_SPG = '{"0.flac": {"length": 11200, "intervals": {"s": [[1600, 8000]]}, "metadata": {"a": 1}}, "1.wav": {}}'
_ONTOLOGY = '[{"id": "/m/1", "name": "Dog", "child_ids": ["/m/2"]}, {"id": "/m/2", "name": "Bark", "child_ids": []}]'
_ROWS = (
    '{"path": "0.flac", "label": ["a"], "intervals": [["x", 0.0, 0.1]], "n": 1, "o": {"p": [1]}}\n'
    '{"path": "1.wav", "label": ["b"], "n": 2.5, "intervals": [{"name": "y", "start_s": 0, "stop_s": 1}]}\n'
)
_CSV = 'path,label,n,intervals\n0.flac,a,1,"[[""x"", 0.0, 0.1]]"\n1.wav,b,2.5,\n'
_TSV = 'path\tlabel\tn\tintervals\n0.flac\ta\t1\t[["x", 0.0, 0.1]]\n1.wav\tb\t2.5\t\n'
_WEAK = ("# Segments\n# num_ytids=2, num_segs=2, num_unique_labels=2\n# YTID, start_seconds, end_seconds, labels\n"
         'abcdefghijk, 30.000, 40.000, "/m/1,/m/2"\n_bcdefghijk, 0.000, 10.000, "/m/1"\n')  # fmt: skip
_STRONG = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nabcdefghijk_30000\t0.0\t9.533\t/m/1\n"
_CLASSES = "index,mid,display_name\n0,/m/1,Dog\n1,/m/2,Bark\n"
_GROUPS = "train/X.sources:\n  speech: &all [.]\n  music:\n    - ./*.wav\n  both: *all\n"

TARGETS: dict[str, Target] = {
    **{
        kind: _by_bytes(
            lambda kind=kind: seeds.audio(kind),  # type: ignore[misc]
            readers.read_recording,
            {"vorbis": mend.mend_ogg, "opus": mend.mend_ogg, "flac": mend.mend_flac}.get(kind, lambda data, _: data),
        )
        for kind in seeds.AUDIO
    },
    "tables": Target(readers.coded_tables, readers.read_coded_table, readers.change_table),
    "tar": _by_bytes(seeds.tars, readers.read_tar, mend.mend_tar),
    "adopt": _by_bytes(seeds.tars, readers.adopt_tar, mend.mend_tar),
    "npy": _by_bytes(seeds.arrays, readers.read_npy),
    "manifest": _by_json(lambda: [seeds.manifest()], readers.open_manifest),
    "index": _by_bytes(readers.indices, readers.open_index),
    "rows": _by_edits(readers.open_edited_rows),
    "features": _by_edits(readers.open_edited_columns),
    "state": _by_json(readers.states, readers.load_state),
    "config": _by_bytes(_text(CONFIG), readers.load_config),
    "config-values": _by_json(readers.configs, readers.load_config),
    "report": _by_bytes(_text('{"path": "a.tar/b", "where": "x", "reason": "y"}\n'), readers.verify_report),
    "csv": _by_bytes(_text(_CSV), readers.list_of("list.csv")),
    "tsv": _by_bytes(_text(_TSV), readers.list_of("list.tsv")),
    "jsonl": _by_bytes(_text(_ROWS), readers.list_of("list.jsonl")),
    "json-values": _by_json(_text(*_ROWS.splitlines()), readers.list_of("list.jsonl")),
    "parquet": _by_bytes(readers.parquets, readers.list_of("list.parquet")),
    "spg": _by_json(_text(_SPG), readers.import_of("spg", "meta.json")),
    "groups": _by_bytes(_text(_GROUPS), readers.import_of("groups", "groups.yaml")),
    "pairs": _by_bytes(_text("0.flac,1.wav\n1.wav,0.flac\n"), readers.import_of("pairs", "pairs.csv")),
    "labels": _by_bytes(_text("path,dog,cat\n0.flac,1,0\n1.wav,0,1\n"), readers.import_of("labels", "labels.csv")),
    "audioset": _by_bytes(_text(_WEAK), readers.import_of("audioset", "eval_segments.csv")),
    "audioset-strong": _by_bytes(_text(_STRONG), readers.import_of("audioset", "eval_strong.tsv")),
    "classes": _by_bytes(_text(_CLASSES), readers.names_of("classes")),
    "ontology": _by_json(_text(_ONTOLOGY), readers.names_of("ontology")),
}
