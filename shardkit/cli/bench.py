"""``shardkit bench``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, DatasetUrl, Split, StorageOptions


def bench(
    dataset: DatasetUrl,
    *,
    split: Split = None,
    crop: Annotated[float, typer.Option(metavar="SECONDS", help="Length of the crops.")] = 2.0,
    sample_rate: Annotated[int | None, typer.Option(metavar="HZ", help="To deliver.", show_default="as stored")] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="To deliver.", show_default="as stored")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Samples of a batch.")] = 32,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="To read and decode.", show_default="the stream's own")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="For each of the three stages.")] = 3.0,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Measure what storage, processor and stream deliver, and say which of them limits."""
    import json

    from shardkit.cli.progress import progress_bar
    from shardkit.report.bench import BenchOptions
    from shardkit.report.bench import bench as run_bench
    from shardkit.report.bench_text import lines
    from shardkit.storage.options import parse_options
    from shardkit.stream.dataset import open_dataset

    options = BenchOptions(
        crop_s=crop,
        sample_rate=sample_rate,
        channels=channels,
        batch_size=batch_size,
        threads=threads,
        seconds=seconds,
    )
    view = open_dataset(dataset, split or "all", storage_options=parse_options(storage_option or []))
    with progress_bar("measuring") as progress:
        found = run_bench(view, options, progress=progress)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        for line in lines(found):
            typer.echo(line)
