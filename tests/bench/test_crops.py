"""What is measured of crops, on seconds of noise: the counted facts hold, and what counts them counts right."""

from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from tools.bench import floor
from tools.bench.crop_data import Places, layouts, overlapping_bytes
from tools.bench.crop_goals import DOCUMENTED, FLOOR, MOST_BYTES, OURS, PLAIN, TUNED, WAV, goal_table
from tools.bench.crops import Measured, System, cost_table, measure_s3, s3_systems, served
from tools.bench.datasets import make_dataset
from tools.bench.metering import Drawn, metered

RATE, CROP_S = 48_000, 2.0


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """As many recordings of about 8 s as a batch has samples, as FLAC."""
    made = Places(tmp_path_factory.mktemp("crops") / "data")
    make_dataset(made.flac, num_rows=32, duration_s=8.0, sample_rate_hz=RATE, shard_bytes=2_000_000)
    return made


def test_a_crop_costs_one_request_of_about_its_own_frames(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")  # so that it is as it was afterwards
    ours: System = s3_systems(places, "s3://data", CROP_S, lhotse=None)[0]
    with served(places.folder) as (s3, bucket):
        assert bucket == "s3://data"
        measured = measure_s3(s3, [ours], layouts(places.flac), seconds=0.1, rounds=1)
    entry = measured[ours.name]
    assert 0.5 < entry.requests <= 1.0  # crops of a batch that touch are read together
    assert 0.5 < entry.bytes / entry.overlapping <= MOST_BYTES
    assert len(cost_table("title", measured).rows) == 1


def test_a_crop_alone_is_one_read_of_about_its_own_frames(places: Places) -> None:
    view, found = sk.open(places.flac), layouts(places.flac)
    stream = sk.Stream(view, crop=sk.RandomCrop(CROP_S), batch_size=1, epoch_samples=40)
    drawn = [Drawn(batch.keys[0], int(batch.starts[0]), int(batch.starts[0] + batch.lengths[0])) for batch in stream]
    stats = stream.stats()
    assert stats["requests"] == len(drawn) == 40
    assert 1.0 <= stats["bytes_read"] / overlapping_bytes(drawn, found) <= MOST_BYTES


def test_frames_that_overlap_a_crop_are_those_that_hold_its_samples(places: Places) -> None:
    key, layout = next(iter(layouts(places.flac).items()))
    starts, offsets = layout.frame_samples, layout.frame_bytes
    whole = overlapping_bytes([Drawn(key, 0, layout.info.total_samples)], {key: layout})
    assert whole == layout.end - offsets[0]
    second = Drawn(key, int(starts[1]), int(starts[2]))
    assert overlapping_bytes([second], {key: layout}) == offsets[2] - offsets[1]
    around = Drawn(key, int(starts[1]) - 1, int(starts[2]) + 1)
    assert overlapping_bytes([around, second], {key: layout}) == offsets[3] - offsets[0] + offsets[2] - offsets[1]


def test_the_floor_delivers_what_a_dataset_does(places: Places) -> None:
    view, found = sk.open(places.flac), floor.recordings(places.flac)
    for row, key in enumerate(view.keys()):
        samples, num_bytes = floor.crop(found[row], 12_345, 12_345 + RATE)
        expected = view.read(key, start_s=12_345 / RATE, duration_s=1.0).audio
        assert np.array_equal(samples, expected)
        assert num_bytes > 0


def test_a_meter_reads_as_often_as_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))

    def read(number: int) -> list[Drawn]:
        return [Drawn("file", 0, len((tmp_path / "file").read_bytes())) for _ in range(number)]

    cost = metered(read, seconds=1.0, least=3, most=5, exactly=7)
    assert (len(cost.drawn), cost.warmed) == (7, 0)
    cost = metered(read, seconds=100.0, least=3, most=5)
    assert (len(cost.drawn), cost.warmed) == (5, 6)
    assert cost.read_bytes == 0 or cost.read_bytes >= 500_000  # 0 where the system does not say


def costs(*cpu_s: float) -> Measured:
    return Measured(
        per_s=[100.0] * len(cpu_s), cpu_s=list(cpu_s), server_cpu_s=[0.001] * len(cpu_s), bytes=13, overlapping=10
    )


def test_goals_compare_what_ran_in_the_same_round() -> None:
    disk = {OURS: costs(1, 2, 3), WAV: costs(0.2, 0.5, 0.9), DOCUMENTED: costs(200, 300, 300)}
    disk |= {TUNED[0]: costs(7, 14, 21), PLAIN: costs(1, 2, 3), FLOOR: costs(1, 1, 1)}
    table = goal_table(disk, {"crops": costs(1, 2, 3), "whole": costs(1, 2, 2)}, {})
    assert [row[2:] for row in table.rows] == [
        ["1.300", "yes"],
        ["150.00", "yes"],
        ["7.00", "yes"],
        ["1.00", ""],
        ["4.00", "yes"],
        ["2.00", ""],
        ["1.00", "yes"],
    ]
    remote = goal_table(disk, {"crops": costs(3), "whole": costs(2)}, {OURS: costs(0.009), DOCUMENTED: costs(0.9)})
    assert [row[2:] for row in remote.rows[6:]] == [["1.50", "NO"], ["1.300", "yes"], ["200", "NO"], ["100.00", ""]]
