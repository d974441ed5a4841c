"""``shardkit featurize``."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shardkit.cli.options import AsJson, OnError, Split, StorageOptions, pairs
from shardkit.core.errors import InputError

if TYPE_CHECKING:
    from shardkit.nn import Features
    from shardkit.storage.location import Location


def featurize(
    source: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a dataset of recordings.")],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of the dataset of features to write.")],
    *,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Features by name, such as whisper.", show_default=False)
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Features as YAML or JSON: kind, and options.", show_default=False),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="An option of these, such as n_mels=128. Repeatable.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="TYPE", help="float16 takes half the bytes.", show_default="float32")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(metavar="N", help="1 mixes recordings down first.", show_default="as is")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Resample recordings that are not at the features' rate.")
    ] = False,
    split: Split = None,
    field: Annotated[str, typer.Option(metavar="NAME", help="Name of the field that holds them.")] = "features",
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:1.")] = "cpu",
    workers: Annotated[
        int, typer.Option(metavar="N", help="Recordings worked on at once.", show_default="all cores")
    ] = 0,
    on_error: Annotated[OnError, typer.Option(help="A recording that can't be read.")] = OnError.fail,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features that OUTPUT holds.")] = False,
    name: Annotated[str | None, typer.Option(help="The dataset's name.", show_default="DATASET's")] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Compute features of a dataset's recordings once, into shards of their own, with all labels and intervals.

    A stream reads them as it reads recordings: the same crops, of which only the features' own bytes are read. Run
    again, it does nothing where the same features of the same recordings are there, and goes on where it was killed;
    where anything differs it says what. Needs torch: pip install 'shardkit[train]'.
    """
    from shardkit.cli.progress import PackProgress
    from shardkit.cli.summary import print_summary
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options
    from shardkit.stream.dataset import open_dataset

    try:
        from shardkit.features import FeaturizeOptions
        from shardkit.features import featurize as run_featurize
    except ImportError as err:
        raise InputError(str(err)) from err

    storage = parse_options(storage_option or [])
    module = _module(preset, None if config is None else locate(config, storage), setting, dtype)
    options = FeaturizeOptions(
        field=field,
        channels=channels,
        resample=resample,
        device=device,
        on_error=on_error.value,
        overwrite=overwrite,
        workers=workers or os.cpu_count() or 1,
        name=name,
    )
    dataset = open_dataset(source, split, storage_options=storage)
    with PackProgress("computing") as progress:
        summary = run_featurize(
            dataset, locate(output, storage), module, options=options, start=progress.start, report=progress.report
        )
    print_summary(summary, as_json=as_json)


def _module(preset: str | None, config: "Location | None", settings: list[str] | None, dtype: str | None) -> "Features":
    """Return the module that the options describe.

    Raises:
        InputError: They describe none, or two.
    """
    from shardkit.nn import from_config
    from shardkit.nn import preset as preset_named

    changes = {name: _value(text) for name, text in pairs(settings, option="--set").items()}
    if dtype is not None:
        if dtype not in ("float32", "float16"):
            raise InputError(f"--dtype {dtype}: choose float32 or float16")
        changes["out_dtype"] = None if dtype == "float32" else dtype
    if (preset is None) is (config is None):
        raise InputError("say which features: --preset NAME, such as whisper, or --config FILE, and not both")
    if config is None:
        return preset_named(str(preset), **changes)
    return from_config({**_described(config), **changes})


def _described(location: "Location") -> dict[str, Any]:
    """Return the features that a YAML or JSON file describes."""
    from shardkit.format.yamltext import parse_yaml
    from shardkit.storage.store import read_bytes

    try:
        found = parse_yaml(read_bytes(location))
    except InputError as err:
        raise InputError(f"{location}: {err}") from err
    if not isinstance(found, dict):
        raise InputError(f"{location}: no features: write kind: LogMel, sample_rate: 16000 and what else is to be said")
    return found


def _value(text: str) -> Any:
    """Return the value of a ``--set`` as YAML has it: a number, true, null, or text."""
    from shardkit.format.yamltext import parse_yaml

    try:
        return float(text) if "e" in text else int(text)  # 1e-8 is text to YAML
    except ValueError:
        pass
    try:
        return parse_yaml(text)
    except InputError as err:
        raise InputError(f"--set …={text}: not a value: {err}") from err
