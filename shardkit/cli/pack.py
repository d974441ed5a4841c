"""``shardkit pack``."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Literal

import typer

from shardkit.cli.options import AsJson, Hops, OnError, StorageOptions, pairs, seconds


class Codec(StrEnum):
    """Values of ``--codec``."""

    auto = "auto"
    flac = "flac"
    wav = "wav"
    keep = "keep"


class Engine(StrEnum):
    """Values of ``--engine``."""

    local = "local"
    ray = "ray"


class BitDepth(StrEnum):
    """Values of ``--bit-depth``."""

    low = "16"
    high = "24"

    def bits(self) -> Literal[16, 24]:
        """Return the number."""
        return 16 if self is BitDepth.low else 24


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM, by which schedulers announce that they will kill, end this process as an error would."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def pack(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Folder, or manifest: .csv, .tsv, .jsonl, .parquet; see --from.")
    ],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of the dataset to write.")],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="KIND",
            help="Known layout: labels, pairs, framed, spg, audioset, groups, stems, or your package.module:function.",
            show_default="a folder or manifest",
        ),
    ] = None,
    kind_option: Annotated[
        list[str] | None,
        typer.Option("--from-option", metavar="NAME=VALUE", help="Option of that layout. Repeatable."),
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="What the manifest's paths are relative to.", show_default="its folder")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Manifest column with the recording's path.", show_default="path"),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the sample's key.", show_default="from the path")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the label, or 'folder': the parent folder's name.")
    ] = None,
    label_separator: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Splits a label cell into several labels.")
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with [[name, start_s, stop_s], ...].",
            show_default="intervals, if there is one",
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="A further member: a stem, a target, an array. Repeatable."),
    ] = None,
    ontology: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="How labels are related, as AudioSet's ontology.json says it; it is kept."),
    ] = None,
    hop: Hops = None,
    codec: Annotated[
        Codec, typer.Option(help="auto: PCM becomes FLAC, FLAC and lossy files stay; keep: every byte stays.")
    ] = Codec.auto,
    sample_rate: Annotated[int | None, typer.Option(metavar="HZ", help="Resample.", show_default="as is")] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="1 mixes down.", show_default="as is")] = None,
    bit_depth: Annotated[
        BitDepth | None, typer.Option(help="Quantise, float or 32-bit PCM too.", show_default="as is")
    ] = None,
    flac_level: Annotated[int, typer.Option(metavar="0-8", help="0 is faster to decode, 8 smaller.")] = 5,
    loudness: Annotated[
        bool, typer.Option(help="Measure loudness, or leave it out: salient crops then do not work.")
    ] = True,
    max_decoded: Annotated[
        str, typer.Option(metavar="SIZE", help="Refuse recordings that decode to more, at 4 bytes a sample.")
    ] = "256GB",
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Aim for the size of a tar.")] = "256MB",
    split: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="train=0.9,val=0.1, or the column that names it.", show_default="train=1"),
    ] = None,
    split_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Never spread a value of it over two splits.")
    ] = None,
    shuffle: Annotated[bool, typer.Option(help="Pack in seeded random order, or sorted by key.")] = True,
    seed: Annotated[int, typer.Option(help="Of the order and the split.")] = 0,
    workers: Annotated[
        int,
        typer.Option(metavar="N", help="Recordings packed at once; with ray, shards.", show_default="all cores"),
    ] = 0,
    engine: Annotated[
        Engine, typer.Option(help="This machine, or an existing Ray cluster, which writes the same bytes.")
    ] = Engine.local,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of the cluster.", show_default="RAY_ADDRESS, or one on this machine"),
    ] = None,
    on_error: Annotated[OnError, typer.Option(help="An input that can't be packed.")] = OnError.fail,
    name: Annotated[str | None, typer.Option(help="The dataset's name.", show_default="OUTPUT's")] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add the inputs that OUTPUT, a dataset, does not have yet.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Pack a part of the shards, I from 1 to N; then 'shardkit commit'."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Replace what an interrupted run of another command left in OUTPUT.")
    ] = False,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Pack a folder or a manifest of recordings into shards with an index.

    The other columns of a manifest become typed metadata columns. Everything that is not packed is listed with its
    reason in OUTPUT/report.jsonl. docs/import.md shows each layout of --from; what its metadata names and is not there
    is listed in OUTPUT/missing.jsonl.

    Killed at any time, the same command finishes it. docs/pack-at-scale.md says how many machines pack one dataset.
    """
    from shardkit.cli.progress import PackProgress
    from shardkit.cli.summary import print_summary
    from shardkit.core.errors import InputError
    from shardkit.core.sizes import parse_size
    from shardkit.pack.inputs import InputOptions
    from shardkit.pack.on_ray import Cluster
    from shardkit.pack.options import PackOptions, parse_shard_size, parse_split
    from shardkit.pack.parts import WHOLE, parse_part
    from shardkit.pack.run import pack as run_pack
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options

    if ray_address is not None and engine is not Engine.ray:
        raise InputError("--ray-address is for --engine ray; give both, or neither")
    fractions, split_column = ({}, None) if split is None else parse_split(split)
    storage = parse_options(storage_option or [])
    with ended_by_sigterm(), PackProgress() as progress:
        summary = run_pack(
            locate(source, storage),
            locate(output, storage),
            inputs=InputOptions(
                root=None if root is None else locate(root, storage),
                path_column=path,
                key_column=key,
                label=label,
                label_separator=label_separator,
                intervals_column=intervals,
                members=pairs(field, option="--field"),
                split_column=split_column,
                importer=kind,
                importer_options=pairs(kind_option, option="--from-option"),
                ontology=None if ontology is None else locate(ontology, storage),
            ),
            options=PackOptions(
                codec=codec.value,
                sample_rate=sample_rate,
                channels=channels,
                bit_depth=None if bit_depth is None else bit_depth.bits(),
                flac_level=flac_level,
                loudness=loudness,
                max_decoded_bytes=parse_size(max_decoded, what="--max-decoded"),
                shard_bytes=parse_shard_size(shard_size),
                splits=fractions,
                split_by=split_by,
                shuffle=shuffle,
                seed=seed,
                on_error=on_error.value,
                workers=workers or os.cpu_count() or 1,
                name=name,
            ),
            hops_s=seconds(hop),
            part=WHOLE if part is None else parse_part(part),
            cluster=Cluster(address=ray_address, tasks=workers) if engine is Engine.ray else None,
            restart=restart,
            append=append,
            start=progress.start,
            report=progress.report,
        )
    print_summary(summary, as_json=as_json)
