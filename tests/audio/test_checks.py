"""Checksums of WAV: every sample that is read is known to be what was packed."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio.checks import CheckTable
from shardkit.audio.decode import byte_range, decode
from shardkit.audio.probe import inspect
from shardkit.core.errors import AudioError, FormatError

RATE = 8_000


def wav(frames, channels=1, subtype="PCM_16", seed=0):
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, (frames, channels))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


@settings(max_examples=60)
@given(
    st.integers(1, 3 * RATE),
    st.integers(1, 3),
    st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
    st.data(),
)
def test_a_flipped_bit_in_what_is_read_never_goes_unnoticed(frames, channels, subtype, data):
    recording = wav(frames, channels, subtype)
    member = inspect(recording)
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    lo, hi = byte_range(member, start, stop)
    whole = decode(member, recording, 0, 0, frames)
    np.testing.assert_array_equal(decode(member, recording[lo:hi], lo, start, stop), whole[:, start:stop])
    damaged = bytearray(recording[lo:hi])
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AudioError, match=r"damaged: samples \d+ to \d+ are not those that were packed"):
        decode(member, bytes(damaged), lo, start, stop)


def test_no_more_than_a_stretch_too_much_is_read():
    recording = wav(10 * RATE)
    member = inspect(recording)
    for start in range(0, 8 * RATE, 777):
        lo, hi = byte_range(member, start, start + 2 * RATE)
        assert hi - lo <= 2 * (2 * RATE + RATE // 2)


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(0, 2**32))
def test_the_coded_form_is_read_back(frames, stretch, seed):
    checks = np.random.default_rng(seed).integers(0, 2**16, -(-frames // stretch)).astype(np.uint16)
    table = CheckTable.from_bytes(CheckTable(frames, stretch, checks).to_bytes())
    assert (table.frames, table.stretch) == (frames, stretch)
    np.testing.assert_array_equal(table.checks, checks)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x03" + tail))
def test_anything_else_is_an_error_and_allocates_nothing(data):
    try:
        table = CheckTable.from_bytes(data)
    except FormatError:
        return
    assert 2 * len(table.checks) < len(data)


def test_other_samples_in_the_same_place_are_found_out():
    """A recording that was replaced by another of the same length and format."""
    one, other = wav(RATE * 2), wav(RATE * 2, seed=1)
    member = inspect(one)
    lo, hi = byte_range(member, 5_000, 6_000)
    with pytest.raises(AudioError, match="are not those that were packed"):
        decode(member, other[lo:hi], lo, 5_000, 6_000)
