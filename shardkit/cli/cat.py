"""``shardkit cat``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shardkit.cli.options import AsJson, DatasetUrl, Split, StorageOptions, local
from shardkit.core.errors import InputError

if TYPE_CHECKING:
    from shardkit.stream.sample import Sample

_MAX_SECONDS = 1e9  # 30 years: beyond it, and for a NaN, there is no sample to count to


def cat(
    dataset: DatasetUrl,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The sample's key.", show_default=False)],
    *,
    start: Annotated[float, typer.Option(metavar="SECONDS", help="Start of the crop.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Length of the crop.", show_default="to the end")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the audio to a local .wav or .flac.")
    ] = None,
    split: Split = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Show one sample, or a crop of it, reading only the bytes that it needs; -o writes its audio."""
    import json

    from shardkit.storage.options import parse_options
    from shardkit.stream.dataset import open_dataset

    for option, seconds in (("--start", start), ("--duration", duration)):
        if seconds is not None and not 0 <= seconds <= _MAX_SECONDS:
            raise InputError(f"{option} {seconds:g}: not a time in a recording; give seconds, 0 or more")
    target = None if output is None else local(output)
    view = open_dataset(dataset, split, storage_options=parse_options(storage_option or []))
    sample = view.read(key, start_s=start, duration_s=duration)
    facts = sample_facts(sample)
    if target is not None:
        from shardkit.report.export import write_audio

        if not view.manifest.has_audio:
            raise InputError(f"{view.catalog.location}: holds features and no audio; name the dataset they are of")
        facts["written"] = str(write_audio(sample.audio, sample.sample_rate, target))
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False, default=str))
    else:
        for name, value in facts.items():
            typer.echo(
                f"{name:12} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
            )


def sample_facts(sample: "Sample") -> dict[str, Any]:
    """Return what there is to say of a sample, as plain values."""
    from shardkit.stream.sample import Audio

    rate = sample.sample_rate
    fields = {}
    for name, value in sample.fields.items():
        if isinstance(value, Audio):
            fields[name] = f"audio {value.samples.shape} at {value.sample_rate} Hz"
        elif hasattr(value, "shape"):
            fields[name] = f"array {value.dtype} {value.shape}"
        else:
            fields[name] = value if not isinstance(value, bytes) else f"{len(value)} bytes"
    return {
        "key": sample.key,
        "start_s": sample.start / rate,
        "duration_s": (sample.stop - sample.start) / rate,
        "sample_rate": rate,
        "channels": sample.audio.shape[0],
        "labels": list(sample.labels),
        "intervals": [[item.name, item.start / rate, item.stop / rate] for item in sample.intervals],
        "metadata": dict(sample.metadata),
        "fields": fields,
    }
