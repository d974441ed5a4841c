"""What is measured of scale, at sizes that take no time: the measurements run and say what they should."""

from pathlib import Path

import shardkit as sk
from tests.bench.conftest import ROWS, TIMES
from tools.bench.datasets import multiply
from tools.bench.scale import allocated, manifests, opened, order_table, views


def test_the_order_takes_the_same_memory_at_any_number_of_rows() -> None:
    rows = {row[0]: row[1:] for row in order_table([10**6, 10**9], num_draws=1_000, num_stages=3).rows}
    small, large = rows["memory of a mixed order"]
    assert small == large


def test_what_is_allocated_is_what_is_left_and_the_peak() -> None:
    left, peak = allocated(lambda: bytes(len(bytes(3_000_000)) // 3))
    assert 1_000_000 <= left < 1_100_000
    assert 4_000_000 > peak >= 3_000_000


def test_a_dataset_is_measured_from_opening_to_a_state_far_away(served: Path) -> None:
    found = opened(served / "many", crop_s=0.1)
    assert found["rows"] == ROWS * TIMES
    assert found["state, bytes"] < 1024
    assert 0 < found["table, bytes"] < found["pickle, bytes"]


def test_views_and_manifests_are_measured(served: Path) -> None:
    assert views(served / "few")["windows(1.0)"].kept > 0
    assert manifests(100, served / "few")["shards"] == 100


def test_copies_of_a_dataset_stream_like_one(served: Path, tmp_path: Path) -> None:
    copies = sk.open(multiply(served / "few", tmp_path / "copies", 3))
    assert len(copies) == 3 * len(sk.open(served / "few"))
    stream = sk.Stream(copies, batch_size=64, passes=1)
    assert sum(int(batch.valid.sum()) for batch in stream) == len(copies)
