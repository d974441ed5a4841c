"""Resampling of framed features, against the definition spelled out with fractions."""

import io
import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardkit.pack.importers.frames import Resampled

TIMES = st.lists(st.integers(0, 400), min_size=1, max_size=12, unique=True).map(sorted)


def resampled(times: list[int], values: list[float], hop_ms: int, frames: int, method: str) -> np.ndarray:
    text = "t,v\n" + "".join(f"{time},{value}\n" for time, value in zip(times, values, strict=True))
    recipe = Resampled(hop_s=hop_ms / 1000, method=method, unit_s=0.001, columns=("v",))
    data = recipe.make(text.encode(), duration_s=frames / 1000)
    return np.load(io.BytesIO(data), allow_pickle=False)[:, 0]


def expected(times: list[int], values: list[float], time: int, method: str) -> float:
    before = [i for i, at in enumerate(times) if at <= time]
    if method == "hold":
        return values[before[-1]] if before else values[0]
    if method == "nearest":
        return values[min(range(len(times)), key=lambda i: (abs(times[i] - time), i))]
    if not before or before[-1] == len(times) - 1:
        return values[-1] if before else values[0]
    i = before[-1]
    part = Fraction(time - times[i], times[i + 1] - times[i])
    return float(values[i] + part * Fraction(values[i + 1] - values[i]))


@given(TIMES, st.integers(1, 60), st.integers(400, 900), st.sampled_from(["hold", "nearest", "linear"]))
def test_each_row_is_what_the_definition_says(times: list[int], hop_ms: int, frames: int, method: str) -> None:
    values = [float((i * 37) % 11) for i in range(len(times))]
    rows = resampled(times, values, hop_ms, frames, method)
    assert len(rows) == math.ceil(frames / hop_ms)
    truth = [expected(times, values, i * hop_ms, method) for i in range(len(rows))]
    np.testing.assert_allclose(rows, truth, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 100), st.integers(1, 40), st.sampled_from(["hold", "nearest", "linear"]))
def test_a_table_on_its_own_hop_stays_what_it_is_and_gains_no_row(hop_ms: int, num_rows: int, method: str) -> None:
    """[B] Where the hop divided the length, a frame of zeros was added."""
    times = [i * hop_ms for i in range(num_rows)]
    values = [float(i) for i in range(num_rows)]
    np.testing.assert_allclose(resampled(times, values, hop_ms, num_rows * hop_ms, method), values, atol=1e-6)
