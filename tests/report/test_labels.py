"""Statistics of labels against counts over the metadata, as files that other programs read, and as a picture."""

import csv
import itertools
import json
import math
import struct
import subprocess
import sys
from collections import Counter

import duckdb
import numpy as np
import polars as pl
import pytest
import soundfile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from typer.testing import CliRunner

import shardkit as sk
from shardkit.cli.main import app
from shardkit.report import labels_plot
from shardkit.report.labels import label_statistics
from tests.stream.events_dataset import NUM_ROWS, ONTOLOGY, RATE, all_events, events_of, labels_of, pack_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics")
    (folder / "o.json").write_text(json.dumps(ONTOLOGY.dump()))
    return pack_events(folder)


def by_label(statistics):
    return {row["label"]: row for row in statistics.table.to_pylist()}


def shardkit(*arguments):
    result = CliRunner().invoke(app, ["labels", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def below(name):
    found = {name}
    while (
        more := {
            ONTOLOGY.names[child]
            for each, children in ONTOLOGY.children.items()
            if ONTOLOGY.names[each] in found
            for child in children
        }
        - found
    ):
        found |= more
    return found


def test_counts_are_those_over_the_metadata(folder) -> None:
    view = sk.open(folder)
    found = label_statistics(view, ontology=ONTOLOGY)
    assert (found.recordings, found.events, found.counted) == (NUM_ROWS, len(all_events()), "recordings")
    recordings = Counter(name for row in range(NUM_ROWS) for name in labels_of(row))
    events = Counter(event[1] for event in all_events())
    rows = by_label(found)
    assert set(rows) == set(recordings) | set(events)
    roots = sum(math.sqrt(count) for count in recordings.values())
    for name, row in rows.items():
        assert row["number"] == view.labels.index(name)
        assert (row["recordings"], row["events"]) == (recordings[name], events[name])
        assert row["event_recordings"] == len({event[0] for event in all_events() if event[1] == name})
        samples = sum(stop - start for _, called, start, stop in all_events() if called == name)
        assert row["event_s"] == pytest.approx(samples / RATE)
        assert row["share"] == pytest.approx(recordings[name] / NUM_ROWS)
        assert row["probability"] == pytest.approx(math.sqrt(recordings[name]) / roots)
        if name == "Hum":
            assert (row["ancestors"], row["descendants"], row["recordings_below"]) == (None, None, None)
            continue
        assert row["descendants"] == len(below(name)) - 1
        assert row["ancestors"] == sum(name in below(other) for other in ONTOLOGY.names.values()) - 1
        assert row["recordings_below"] == sum(bool(below(name) & set(labels_of(row))) for row in range(NUM_ROWS))
        assert row["events_below"] == sum(events[each] for each in below(name))
    counts = [row["recordings"] for row in found.table.to_pylist()]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("power", [0, 0.3, 1, 2])
def test_a_power_of_the_frequency_of_events(folder, power) -> None:
    view = sk.open(folder).where("n < 40")
    found = label_statistics(view, power=power, counted="events")
    events = Counter(name for row in range(40) for name, _, _ in events_of(row))
    assert "ancestors" not in found.table.column_names
    for name, row in by_label(found).items():
        assert row["probability"] == pytest.approx(
            events[name] ** power / sum(count**power for count in events.values()) if events[name] else 0
        )
    assert sum(row["share"] for row in by_label(found).values()) == pytest.approx(1)


def test_balance_draws_labels_with_these_probabilities(folder) -> None:
    """The number that a person plans with is the one that a stream delivers."""
    view = sk.open(folder).events()
    balanced = view.balance("labels", 0.5)
    drawn = Counter(sample.labels[0] for sample in balanced)
    for name, row in by_label(label_statistics(sk.open(folder), counted="events")).items():
        assert drawn[name] / len(balanced) == pytest.approx(row["probability"], abs=0.01)


def test_files_are_read_by_other_programs(folder, tmp_path) -> None:
    options = ("--ontology", folder.parent / "o.json", "--power", 0.5)
    facts = json.loads(shardkit(folder, *options, "-o", tmp_path / "s.csv", "--json"))
    text = shardkit(folder, *options, "-o", tmp_path / "s.parquet")
    assert "90 recordings" in text
    assert "s.parquet" in text
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [row["label"] for row in facts["labels"]]
    assert [int(row["events"]) for row in rows] == [row["events"] for row in facts["labels"]]
    table = duckdb.read_parquet(str(tmp_path / "s.parquet"))
    expected = [
        (row["label"], row["recordings"], row["probability"], row["recordings_below"]) for row in facts["labels"]
    ]
    assert table.select("label", "recordings", "probability", "recordings_below").fetchall() == expected
    assert pl.read_parquet(tmp_path / "s.parquet").select("label", "recordings")["recordings"].sum() == sum(
        row["recordings"] for row in facts["labels"]
    )


def test_a_picture_of_any_number_of_labels(folder, tmp_path) -> None:
    shardkit(folder, "--plot", tmp_path / "labels.png")
    data = (tmp_path / "labels.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", data[16:24])
    assert 250 < height < width < 2000


@pytest.mark.parametrize("num_labels", [1, 61, 527])
def test_all_labels_of_a_picture_are_there_and_none_lie_on_each_other(folder, num_labels) -> None:
    found = label_statistics(sk.open(folder))
    row = found.table.to_pylist()[0]
    rows = [
        row | {"label": f"$label {i} of a name that goes on and on", "recordings": 5 * i} for i in range(num_labels)
    ]
    many = type(found)(recordings=9, events=3, counted="recordings", power=0.5, table=found.table.from_pylist(rows))
    figure = labels_plot._draw(labels_plot.check_matplotlib(), many, "title")
    names = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert len(names) == num_labels
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [
        text.get_window_extent(renderer) for axes in figure.axes for text in [*axes.get_yticklabels(), *axes.texts]
    ]
    edges = np.array([box.extents for box in boxes])
    assert (edges[:, 0] >= 0).all()
    assert (edges[:, 2] <= figure.bbox.width).all()
    for one, other in itertools.pairwise(boxes):
        assert not (one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "s.txt"), r"s\.txt: statistics are written as \.csv or \.parquet"),
        (("--power", "-1"), "power -1.0 is not a number of at least 0"),
        (("--power", "nan"), "power nan is not"),
        (("--ontology", "bad.json"), r"bad\.json: not JSON"),
        (("--split", "test"), "no split 'test'"),
        (("--where", "nope > 1"), "no column 'nope'"),
        (("--plot", "s3://bucket/x.png"), "only a local file"),
    ],
)
def test_what_can_not_be_is_told(folder, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(sk.InputError, match=message):
        shardkit(folder, *arguments)


def test_without_matplotlib_it_says_what_to_install(folder, tmp_path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = sys.modules['matplotlib.figure'] = None; "
        "from shardkit.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "labels", str(folder), "--plot", str(tmp_path / "x.png")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == "shardkit: error: a plot needs matplotlib: pip install 'shardkit[demo]'"


def test_a_dataset_without_labels(tmp_path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800, np.int16), 8000)
    few = tmp_path / "few"
    (tmp_path / "list.csv").write_text("path\na.wav\n")
    assert CliRunner().invoke(app, ["pack", str(tmp_path / "list.csv"), str(few)]).exit_code == 0
    assert "0 labels" in shardkit(few, "-o", tmp_path / "s.parquet")
    assert pl.read_parquet(tmp_path / "s.parquet").shape == (0, 8)
    with pytest.raises(sk.InputError, match="no labels to draw"):
        shardkit(few, "--plot", tmp_path / "x.png")
