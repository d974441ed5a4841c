"""``shardkit synth``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, local


def synth(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Local folder to write; new or empty.")],
    *,
    seed: Annotated[int, typer.Option(help="Another seed, other recordings.")] = 0,
    scale: Annotated[float, typer.Option(help="Multiplies the number of recordings.")] = 1.0,
    source: Annotated[
        list[str] | None, typer.Option(help="tones, bursts or music. Repeatable.", show_default="all three")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a small synthetic data set to try everything with: tone pairs, noisy bursts, long music."""
    import json
    from dataclasses import asdict

    from shardkit.core.sizes import format_duration, format_size
    from shardkit.synth import SOURCES, synthesise

    written = synthesise(local(folder), seed=seed, scale=scale, sources=tuple(source) if source else SOURCES)
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in written], indent=1, default=str))
        return
    for item in written:
        typer.echo(
            f"{item.source}: {item.num_files} files, {format_duration(item.audio_s)}, {format_size(item.num_bytes)}; "
            f"manifest {item.manifest}"
        )
