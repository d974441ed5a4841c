"""What ``info`` says is what a plain loop over the rows counts, and fits a terminal."""

import io
import json
from collections import Counter

import numpy as np
import pytest
import soundfile
from rich.console import Console

from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.report.info import describe, render
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A dataset of several codecs, rates, depths and very many labels, two recordings without sound."""
    folder = tmp_path_factory.mktemp("mixed")
    chance = np.random.default_rng(0)
    files = {
        "a.ogg": (44_100, "VORBIS"),
        "b.mp3": (44_100, "MPEG_LAYER_III"),
        "c.wav": (16_000, "PCM_16"),
        "d.wav": (16_000, "PCM_24"),
        "e.flac": (8_000, "PCM_16"),
        "f.wav": (48_000, "FLOAT"),
        "silent.wav": (16_000, "PCM_16"),
        "whisper.wav": (16_000, "PCM_16"),
    }
    levels = {"silent.wav": 0.0, "whisper.wav": 5e-5}
    lines = []
    for number, (name, (rate, subtype)) in enumerate(files.items()):
        audio = chance.uniform(-0.5, 0.5, rate + 100 * number) * levels.get(name, 1.0)
        soundfile.write(folder / name, audio, rate, subtype=subtype)
        labels = [f"[bold]class {label}[/]" for label in range(number * 6, number * 6 + 8)] if number else []
        lines.append({"path": name, "label": labels, "a [red]column": number})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    inputs, options = InputOptions(label="label"), PackOptions(codec="keep", workers=1, shard_bytes=100_000)
    pack(locate(folder / "m.jsonl"), locate(folder / "dataset"), inputs=inputs, options=options)
    return open_dataset(folder / "dataset")


def text_of(description, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    render(description, console)
    return console.file.getvalue()


@pytest.mark.parametrize("condition", [None, "lang == 'en'", "take < 0"])
def test_numbers_are_those_of_a_plain_count(packed, condition):
    view = open_dataset(packed)
    view = view if condition is None else view.where(condition)
    rows = view.table().to_pylist()
    found = describe(view)
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["samples"] == len(rows)
    assert found["hours"] == pytest.approx(sum(row["duration_s"] for row in rows) / 3600, abs=1e-6)
    assert found["channels"] == Counter(str(row["channels"]) for row in rows)
    assert found["sample_rates"] == Counter(str(row["sample_rate"]) for row in rows)
    assert found["labels"]["counts"] == {
        name: sum(name in row["labels"] for row in rows) for name in ("cat", "dog", "emu", "loud")
    }
    spans = [(item["name"], item["stop"] - item["start"]) for row in rows for item in row["intervals"]]
    for name, entry in found["intervals"].items():
        assert entry["count"] == sum(other == name for other, _ in spans)
        hours = sum(frames for other, frames in spans if other == name) / 8_000 / 3600
        assert entry["hours"] == pytest.approx(hours, abs=1e-6)
    for name, entry in found["fields"].items():
        members = [row["fields"][name] for row in rows if row["fields"][name] is not None]
        assert (entry["samples"], entry["bytes"]) == (len(members), sum(member["size"] for member in members))
    assert sum(split["samples"] for split in found["splits"].values()) == len(rows)


def test_statistics_are_numpys(packed):
    view = open_dataset(packed)
    found = describe(view)
    seconds = np.array([row["duration_s"] for row in view.table().to_pylist()])
    expected = {"min": seconds.min(), "median": np.median(seconds), "mean": seconds.mean(), "max": seconds.max()}
    assert found["duration_s"] == pytest.approx(expected, abs=1e-6)
    levels = [row["loudness_lufs"] for row in view.table().to_pylist()]
    assert found["loudness_lufs"]["p50"] == pytest.approx(np.percentile(levels, 50), abs=0.01)
    assert found["fields"]["f0"]["hop_s"] == 0.01
    assert found["fields"]["vocals"]["samples"] == 11
    assert found["splits"].keys() == {"train", "val"}
    assert found["dataset"] == view.manifest.totals.model_dump()


def test_codecs_tell_which_can_be_read_in_part(mixed):
    found = describe(mixed)
    assert found["fields"]["audio"]["codecs"] == {
        "flac": {"samples": 1, "range_reads": 1},
        "mp3": {"samples": 1, "range_reads": 0},
        "vorbis": {"samples": 1, "range_reads": 0},
        "wav": {"samples": 5, "range_reads": 5},
    }
    assert found["bit_depths"] == {"16": 4, "24": 1, "none": 3}
    assert (found["loudness_lufs"]["silent"], found["loudness_lufs"]["unknown"]) == (1, 1)
    assert found["labels"]["unlabelled"] == 1


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_text_fits_and_names_with_markup_stay_as_they_are(mixed, width):
    description = describe(mixed)
    text = text_of(description, width)
    location, *lines = text.splitlines()
    assert description["location"] in location
    assert max(map(len, lines)) <= min(width, 100)
    joined = " ".join(text.split())
    assert "[bold]class 6[/]: 1" in joined
    assert "class 49" not in joined
    assert f"… and {len(mixed.labels) - 20} more; 1 without a label" in joined
    assert "a [red]column (int64)" in joined
    assert "lossy or float: 3" in joined
    if width >= 100:
        assert "mp3: whole;" in joined


def test_the_text_of_a_part_says_of_how_many(packed):
    view = open_dataset(packed).where("lang == 'en'")
    assert "6 of 12 samples" in text_of(describe(view))
    assert "0 of 12 samples" in text_of(describe(view.take(0)))
