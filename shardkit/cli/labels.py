"""``shardkit labels``."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shardkit.cli.options import AsJson, DatasetUrl, Split, StorageOptions, local

if TYPE_CHECKING:
    from shardkit.report.labels import LabelStatistics

_SHOWN = 20  # labels; then "… and N more"


class Counted(StrEnum):
    """Values of ``--count``."""

    recordings = "recordings"
    events = "events"


def labels(
    dataset: DatasetUrl,
    *,
    split: Split = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Only such recordings: duration_s >= 2 and lang == 'en'.")
    ] = None,
    ontology: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="An ontology.json: count what is below each label.", show_default="its own"),
    ] = None,
    count: Annotated[
        Counted | None, typer.Option(help="What frequency is.", show_default="recordings, if they have labels")
    ] = None,
    power: Annotated[float, typer.Option(help="Of the frequency, with which labels would be drawn.")] = 0.5,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the table: .csv or .parquet.")
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw it into a local .png.")] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Count labels and events: recordings, seconds, shares, and the probability of drawing each by its frequency."""
    import json

    from shardkit.report.labels import check_format, dump_statistics, label_statistics
    from shardkit.report.labels_plot import check_matplotlib, draw_labels
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options
    from shardkit.storage.store import write_bytes
    from shardkit.stream.dataset import open_dataset

    storage = parse_options(storage_option or [])
    target = None if output is None else locate(output, storage)
    if target is not None:
        check_format(target.name)
    picture = None if plot is None else local(plot)
    if picture is not None:
        check_matplotlib()
    view = open_dataset(dataset, split, storage_options=storage)
    chosen = view if where is None else view.where(where)
    statistics = label_statistics(
        chosen,
        power=power,
        counted=None if count is None else count.value,
        ontology=None if ontology is None else locate(ontology, storage),
    )
    facts = facts_of(statistics) | {"name": view.manifest.name, "location": str(view.catalog.location)}
    if target is not None:
        write_bytes(target, dump_statistics(statistics.table, target.name))
        facts["written"] = str(target)
    if picture is not None:
        title = f"{view.manifest.name}: {_amounts(statistics)}"
        draw_labels(statistics, picture, title=title)
        facts["plot"] = str(picture)
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        _print(facts, statistics)


def facts_of(statistics: "LabelStatistics") -> dict[str, Any]:
    """Return statistics as plain values."""
    return {
        "recordings": statistics.recordings,
        "events": statistics.events,
        "counted": statistics.counted,
        "power": statistics.power,
        "labels": statistics.table.to_pylist(),
    }


def _amounts(statistics: "LabelStatistics") -> str:
    from shardkit.core.sizes import count

    found = [count(len(statistics.table), "label"), count(statistics.recordings, "recording")]
    return ", ".join([*found, count(statistics.events, "event")] if statistics.events else found)


def _print(facts: dict[str, Any], statistics: "LabelStatistics") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text.assemble((facts["name"], "bold"), "  ", _amounts(statistics)), soft_wrap=True)
    table = Table("label", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("recordings", "events", "seconds", "share", "probability"):
        table.add_column(name, justify="right")
    for row in facts["labels"][:_SHOWN]:
        numbers = (f"{row['recordings']:,}", f"{row['events']:,}", f"{row['event_s']:,.1f}")
        table.add_row(Text(row["label"]), *numbers, f"{row['share']:.2%}", f"{row['probability']:.3%}")
    console.print(table)
    if len(facts["labels"]) > _SHOWN:
        console.print(f"… and {len(facts['labels']) - _SHOWN:,} more; -o stats.csv has all", highlight=False)
    for name in ("written", "plot"):
        if name in facts:
            console.print(Text(f"{name}: {facts[name]}"), soft_wrap=True)
