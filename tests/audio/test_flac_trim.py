"""Of the frames that were read, those are decoded that hold something wanted, and no others."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio.flac import scan
from shardkit.audio.flac_trim import only_frames
from tests.audio.conftest import encode_with_soundfile, make_tone


@cache
def recordings():
    """Streams with frames of 4096 samples, more than 128 of them, so that numbers take one byte and two."""
    found = []
    for channels, frames in ((1, 4096 * 150 + 17), (2, 4096 * 131), (2, 9000)):
        data = encode_with_soundfile(make_tone(frames, channels, 44_100), 44_100, "FLAC", "PCM_16")
        found.append((data, scan(data)))
    return found


@given(st.integers(0, 2), st.integers(0, 150), st.integers(1, 4), st.integers(0), st.integers(0))
@settings(deadline=None)
def test_just_the_frames_that_are_needed_are_left(which, lo, count, start, length):
    raw, layout = recordings()[which]
    samples = [*layout.frame_samples.tolist(), layout.info.total_samples]
    offsets = [*layout.frame_bytes.tolist(), layout.end]
    lo %= len(samples) - 1
    hi = min(lo + count, len(samples) - 1)
    start = samples[lo] + start % (samples[hi] - samples[lo])
    stop = start + 1 + length % (samples[hi] - start)
    read = memoryview(raw)[offsets[lo] : offsets[hi]]
    left, first, after = only_frames(read, layout.info, (samples[lo], samples[hi]), (start, stop))
    begin = max(index for index in range(lo, hi) if samples[index] <= start)
    end = min(index for index in range(lo + 1, hi + 1) if samples[index] >= stop)
    assert (
        (first, after) == (samples[begin], samples[end])
        or (
            # The last frame of a stream may have a header of its own kind, and is then not found.
            end == len(samples) - 2 and (first, after) == (samples[begin], samples[-1])
        )
        or (begin == len(samples) - 2 and first in samples[lo:begin] and after == samples[-1])
    )
    assert bytes(left) == raw[offsets[samples.index(first)] : offsets[samples.index(after)]]


def test_a_frame_whose_header_is_damaged_is_not_trimmed_away():
    raw, layout = recordings()[0]
    damaged = bytearray(raw[layout.frame_bytes[3] : layout.frame_bytes[8]])
    damaged[layout.frame_bytes[5] - layout.frame_bytes[3] + 5] ^= 0x10
    read = memoryview(bytes(damaged))
    left, first, after = only_frames(read, layout.info, (3 * 4096, 8 * 4096), (5 * 4096 + 1, 8 * 4096))
    assert (bytes(left), first, after) == (bytes(read), 3 * 4096, 8 * 4096)
