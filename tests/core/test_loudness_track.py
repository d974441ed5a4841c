"""Laws of the stored loudness track: one byte a hop, off by at most half a step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.loudness import FLOOR_LUFS, STEP_DB, dequantise, hop_bounds, num_hops, quantise, to_energy, to_lufs


@given(st.lists(st.floats(FLOOR_LUFS, 1.6), min_size=1, max_size=50))
def test_a_level_in_range_is_stored_within_half_a_step(levels):
    stored = to_lufs(dequantise(quantise(to_energy(np.array(levels)))))
    assert np.abs(stored - levels).max() <= STEP_DB / 2 + 1e-6


def test_every_code_is_stored_as_itself_and_bytes_are_read_as_codes():
    codes = np.arange(256, dtype=np.uint8)
    assert quantise(dequantise(codes)).tolist() == codes.tolist()
    assert dequantise(codes.tobytes()).tolist() == dequantise(codes).tolist()


def test_levels_out_of_range_are_silence_or_the_largest_code():
    assert quantise(to_energy(np.array([-np.inf, FLOOR_LUFS - 1.0, 30.0]))).tolist() == [0, 0, 255]


@given(st.integers(1, 10**7), st.integers(1_000, 192_000))
def test_hops_cover_a_recording_and_only_the_last_is_partial(frames, sample_rate):
    bounds = hop_bounds(num_hops(frames, sample_rate), sample_rate)
    assert bounds[0] == 0
    assert bounds[-2] < frames <= bounds[-1] + 1
