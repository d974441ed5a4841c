"""``shardkit synth``."""

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shardkit.cli.options import AsJson, local
from shardkit.core.errors import InputError


class Kind(StrEnum):
    """Values of ``--kind``."""

    demo = "demo"
    pairs = "pairs"
    labels = "labels"
    framed = "framed"


class BitDepth(StrEnum):
    """Values of ``--bit-depth``."""

    lowest = "8"
    low = "16"
    high = "24"
    highest = "32"
    float = "float"


class TooHigh(StrEnum):
    """Values of ``--too-high``."""

    fail = "fail"
    skip = "skip"


def _option(help_text: str, default: str | bool, *names: str, metavar: str | None = None) -> Any:
    """Return an option whose default is None, so that one that does not belong to the kind can be told."""
    return typer.Option(*names, help=help_text, show_default=default, metavar=metavar)


def synth(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Local folder to write; new or empty.")],
    *,
    kind: Annotated[
        Kind,
        typer.Option(
            help="demo: three small data sets. pairs: tones and the same tones dilated. labels: tones with columns of "
            "0 and 1. framed: tones with a table of what sounds when."
        ),
    ] = Kind.demo,
    seed: Annotated[int, typer.Option(help="Another seed, other recordings.")] = 0,
    scale: Annotated[float | None, _option("demo: multiplies the number of recordings.", "1.0")] = None,
    source: Annotated[list[str] | None, _option("demo: tones, bursts or music. Repeatable.", "all three")] = None,
    lo_hz: Annotated[float | None, _option("Lowest frequency.", "100", metavar="HZ")] = None,
    hi_hz: Annotated[float | None, _option("Highest frequency.", "1000", metavar="HZ")] = None,
    steps: Annotated[
        int | None, _option("Frequencies, in equal musical steps from the highest to the lowest.", "10", metavar="N")
    ] = None,
    wave: Annotated[list[str] | None, _option("sin, square, saw or triangle. Repeatable.", "all four")] = None,
    mode: Annotated[list[str] | None, _option("pairs, labels: pure, oct, maj7 … Repeatable.", "all fifteen")] = None,
    dilation: Annotated[float | None, _option("pairs: frequency of y over that of x.", "2")] = None,
    too_high: Annotated[
        TooHigh | None, _option("pairs, labels: a voice at or above half the sample rate.", "fail")
    ] = None,
    files: Annotated[int | None, _option("framed: recordings.", "20", metavar="N")] = None,
    hop: Annotated[float | None, _option("framed: time from row to row.", "0.1", metavar="SECONDS")] = None,
    polyphony: Annotated[int | None, _option("framed: notes at a time, at most.", "2", metavar="N")] = None,
    duration: Annotated[float | None, _option("Of each recording.", "1", metavar="SECONDS")] = None,
    sample_rate: Annotated[int | None, _option("Of the recordings.", "16000", metavar="HZ")] = None,
    bit_depth: Annotated[BitDepth | None, _option("Of the recordings, which are WAV.", "16")] = None,
    volume: Annotated[float | None, _option("Amplitude; what sounds together shares it.", "0.1")] = None,
    zero_phase: Annotated[
        bool | None, _option("Waves begin at their start, not where the seed says.", default=False)
    ] = None,
    workers: Annotated[int | None, _option("Processes, at most.", "all cores", metavar="N")] = None,
    as_json: AsJson = False,
) -> None:
    """Write synthetic recordings with their list: a small data set to try everything with, or tones, many and exact.

    The lists of tones, pairs.csv, labels.csv and framed.csv, are in layouts that 'shardkit pack' takes.
    """
    options: dict[str, Any] = {
        "scale": scale,
        "sources": source and tuple(source),
        "lo_hz": lo_hz,
        "hi_hz": hi_hz,
        "num_steps": steps,
        "waves": wave and tuple(wave),
        "modes": mode and tuple(mode),
        "dilation": dilation,
        "too_high": too_high and too_high.value,
        "num_files": files,
        "hop_s": hop,
        "polyphony": polyphony,
        "duration_s": duration,
        "sample_rate": sample_rate,
        "bit_depth": bit_depth and bit_depth.value,
        "volume": volume,
        "zero_phase": zero_phase,
        "workers": workers,
    }
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(kind, given)
    if kind is Kind.demo:
        _demo(local(folder), seed=seed, as_json=as_json, **given)
    else:
        _tones(local(folder), kind, seed=seed, as_json=as_json, **given)


_FLAGS = {  # of options that are called otherwise in Python
    "sources": "source",
    "num_steps": "steps",
    "waves": "wave",
    "modes": "mode",
    "num_files": "files",
    "hop_s": "hop",
    "duration_s": "duration",
}


def _check_options(kind: Kind, given: Iterable[str]) -> None:
    """Raise if an option is of another kind: it would be given in vain."""
    from dataclasses import fields

    from shardkit.synth import KINDS

    known = {name: {field.name for field in fields(options)} | {"workers"} for name, options in KINDS.items()}
    known["demo"] = {"scale", "sources"}
    for option in given:
        if option not in known[kind.value]:
            flag = _FLAGS.get(option, option).replace("_", "-")
            right = " or ".join(name for name in known if option in known[name])
            raise InputError(f"--{flag} means nothing to --kind {kind.value}; leave it out, or take --kind {right}")


def _demo(folder: Path, *, seed: int, as_json: bool, **options: Any) -> None:
    import json
    from dataclasses import asdict

    from shardkit.core.sizes import format_duration, format_size
    from shardkit.synth import synthesise

    written = synthesise(folder, seed=seed, **options)
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in written], indent=1, default=str))
        return
    for item in written:
        typer.echo(
            f"{item.source}: {item.num_files} files, {format_duration(item.audio_s)}, {format_size(item.num_bytes)}; "
            f"manifest {item.manifest}"
        )


def _tones(folder: Path, kind: Kind, *, as_json: bool, workers: int | None = None, **options: Any) -> None:
    import json
    from dataclasses import asdict

    from shardkit.cli.progress import progress_bar
    from shardkit.core.sizes import count, format_duration, format_size
    from shardkit.synth import KINDS, write_kind

    plan = KINDS[kind.value](**options)
    with progress_bar("writing") as show:
        written = write_kind(folder, plan, workers=(os.cpu_count() or 1) if workers is None else workers, show=show)
    if as_json:
        typer.echo(json.dumps(asdict(written), indent=1, default=str))
        return
    typer.echo(
        f"{kind.value}: {count(written.num_files, 'file')}, {format_duration(written.audio_s)}, "
        f"{format_size(written.num_bytes)}; list {written.manifest}"
    )
    if written.skipped:
        modes = ", ".join(f"{mode} {number}" for mode, number in written.skipped.items())
        typer.echo(
            f"left out: {count(sum(written.skipped.values()), 'row')} with voices at or above "
            f"{written.sample_rate / 2:g} Hz, half the sample rate ({modes})"
        )
