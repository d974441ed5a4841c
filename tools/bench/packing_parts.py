"""Where the processor time of packing goes: its parts by themselves, and the whole of which they are."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from shardkit.audio.blocks import read_blocks
from shardkit.audio.encode import FlacEncoder
from shardkit.audio.loudness import LoudnessMeter
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.probe import inspect, read_file
from shardkit.audio.steps import run_together
from shardkit.core.errors import ShardkitError
from shardkit.format.hashing import FileHash
from shardkit.format.index import IndexRow, dump_index, index_schema
from shardkit.format.tar import TarWriter
from shardkit.pack.inputs import InputOptions, PackInput, read_inputs
from shardkit.pack.sample import Prepared, prepare, write_sample
from shardkit.storage.location import locate
from tools.bench.tables import Table

LEVEL = 5  # shardkit's default
RUN = 32  # short recordings that shardkit packs together


class _Clock:
    """Adds up the processor time of parts, each done for a few recordings at once, as packing does."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = work()
        self.spent[part] = self.spent.get(part, 0.0) + time.process_time() - began
        return result


def parts(source: Path, rounds: int) -> Table:
    """Return where the processor time goes: the parts by themselves, and the whole of which they are."""
    kinds = ("music", "digits")
    table = Table(
        f"Parts of packing, CPU ms a file; one thread, {RUN} short files at a time", ("part", *kinds, "share of all, %")
    )
    spent = {kind: _spent(source / kind, rounds) for kind in kinds}
    counts = {kind: sum(1 for _ in (source / kind).rglob("*.wav")) for kind in kinds}
    total = sum(spent[kind]["all"] for kind in kinds)
    for part in spent["music"]:
        cells = [f"{1e3 * spent[kind][part] / counts[kind]:.3f}" for kind in kinds]
        table.add(part, *cells, f"{100 * sum(spent[kind][part] for kind in kinds) / total:.1f}")
    return table


def _spent(folder: Path, rounds: int) -> dict[str, float]:
    found = []
    for _ in range(rounds):
        clock = _Clock()
        items = clock("list the inputs", lambda: read_inputs(locate(folder), InputOptions()).inputs)
        for first in range(0, len(items), RUN):
            _time_parts(items[first : first + RUN], clock)
        whole = _Clock()
        rows = whole("prepare", partial(_prepare, items, clock))
        clock("index", partial(_index, rows))
        found.append(
            {**clock.spent, "all": whole.spent["prepare"] + clock.spent["list the inputs"] + clock.spent["index"]}
        )
    return {part: median(spent[part] for spent in found) for part in found[0]}


def _time_parts(items: Sequence[PackInput], clock: _Clock) -> None:
    files = clock("read", lambda: [read_file(item.location.local_path) for item in items])
    members = clock("headers", lambda: [inspect(data, checks=False) for data in files])
    blocks = [list(read_blocks(member, data)) for member, data in zip(members, files, strict=True)]
    pairs = list(zip(members, blocks, strict=True))
    encoded = clock("encode", lambda: [_write_flac(member, some) for member, some in pairs])
    clock("loudness", lambda: [_measure(member, some) for member, some in pairs])
    clock("seek table", lambda: [_table(encoder, data) for encoder, data in encoded])


def _write_flac(member: Any, blocks: Sequence[Any]) -> tuple[FlacEncoder, bytes]:
    facts = member.facts
    encoder = FlacEncoder(sample_rate=facts.sample_rate, channels=facts.channels, bit_depth=16, level=LEVEL)
    for block in blocks:
        encoder.write(block)
    return encoder, encoder.finish()


def _measure(member: Any, blocks: Sequence[Any]) -> bytes:
    meter = LoudnessMeter(member.facts.sample_rate, member.facts.channels)
    for block in blocks:
        meter.feed(block)
    return meter.finish().track()


def _table(encoder: FlacEncoder, data: bytes) -> bytes:
    table = encoder.describe(data).seek_table
    assert table is not None
    return table.to_bytes()


class _Sink:
    def __init__(self) -> None:
        self.hash = FileHash()

    def write(self, data: bytes) -> None:
        self.hash.update(data)


def _prepare(items: Sequence[PackInput], clock: _Clock) -> list[IndexRow]:
    tar, rows = TarWriter(_Sink()), []
    for first in range(0, len(items), RUN):
        run = items[first : first + RUN]
        done = run_together([prepare(item, TranscodeOptions(), hops_s={}) for item in run])
        rows += clock("tar, hashes, rows", partial(_rows, run, done, tar))
    return rows


def _rows(items: Sequence[PackInput], done: Sequence[Prepared | ShardkitError], tar: TarWriter) -> list[IndexRow]:
    pairs = zip(items, done, strict=True)
    return [write_sample(item, made, tar, hops_s={}) for item, made in pairs if isinstance(made, Prepared)]


def _index(rows: Sequence[IndexRow]) -> bytes:
    return dump_index(rows, index_schema({"audio": "audio", "json": "json"}, {"path": pa.string()}), note={})
