"""Members decoded: against soundfile, against bytes that are not theirs, and against claims that are not true."""

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import soundfile as sf

from shardkit.audio.decode import AudioMember, byte_range, decode, decode_into, decode_pcm
from shardkit.audio.flac import scan
from shardkit.audio.flac_decode import _decode_and_copy, _decode_into, decode_stream
from shardkit.audio.pcm import to_float32
from shardkit.audio.probe import inspect, probe
from shardkit.audio.seektable import SeekTable
from shardkit.core.errors import AudioError, FormatError, InputError

EXACT = [  # what soundfile decodes to the very same floats
    ("FLAC", "PCM_S8", 8), ("FLAC", "PCM_16", 8), ("FLAC", "PCM_24", 8),
    ("WAV", "PCM_U8", 9), ("WAV", "PCM_16", 9), ("WAV", "PCM_24", 9), ("WAV", "PCM_32", 9),
    ("WAV", "FLOAT", 9), ("WAV", "DOUBLE", 9), ("WAV", "ULAW", 2), ("WAV", "ALAW", 2), ("WAV", "MS_ADPCM", 2),
    ("AIFF", "PCM_S8", 8), ("AIFF", "PCM_16", 8), ("AIFF", "PCM_24", 8), ("AIFF", "FLOAT", 8), ("AIFF", "IMA_ADPCM", 1),
    ("OGG", "VORBIS", 6), ("OGG", "OPUS", 2),
]  # fmt: skip


@lru_cache(maxsize=256)
def recording(container, subtype, channels, rate, frames):
    """Return the member, its bytes and its full decode."""
    rng = np.random.default_rng(frames)
    t = np.arange(frames)[:, None] / rate
    wave = 0.4 * np.sin(2 * np.pi * (150 + 40 * np.arange(channels) + 90 * t) * t) * (np.sin(9 * t) > 0)
    samples = (wave + 0.05 * rng.standard_normal((frames, channels))).astype(np.float32)
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format=container, subtype=subtype)
    data = buffer.getvalue()
    member = AudioMember(probe(data), len(data), inspect(data).seek_table)
    return member, data, decode(member, data, 0, 0, member.facts.frames)


@pytest.mark.parametrize(("container", "subtype", "most"), EXACT)
@pytest.mark.parametrize("frames", [1, 9001])
def test_the_full_decode_is_that_of_soundfile(container, subtype, most, frames):
    for channels in {1, most}:
        member, raw, full = recording(container, subtype, channels, 48_000, frames)
        expected = sf.read(io.BytesIO(raw), dtype="float32", always_2d=True)[0].T
        assert np.array_equal(full, expected)
        if member.facts.bit_depth is not None:
            dtype = "int16" if member.facts.bit_depth <= 16 else "int32"
            integers = decode_pcm(member, raw, 0, 0, member.facts.frames)
            unused_bits = 8 * integers.dtype.itemsize - member.facts.bit_depth
            expected = sf.read(io.BytesIO(raw), dtype=dtype, always_2d=True)[0].T
            assert integers.dtype == dtype
            assert integers.flags.owndata
            assert integers.flags.writeable
            assert np.array_equal(integers.astype(np.int64) << unused_bits, expected)


def test_mp3_is_that_of_soundfile_but_for_the_last_bit():
    _, raw, full = recording("MP3", "MPEG_LAYER_III", 2, 16_000, 30_000)
    assert np.abs(full - sf.read(io.BytesIO(raw), dtype="float32")[0].T).max() < 1e-6


@pytest.mark.parametrize("bit_depth", [4, 8, 12, 16, 17, 20, 24])
@pytest.mark.parametrize("variable", [False, True])
def test_flac_of_every_depth(flac_stream, bit_depth, variable):
    rng = np.random.default_rng(bit_depth)
    half = 1 << (bit_depth - 1)
    sizes = [64, 16, 300, 17, 64] if variable else [64, 64, 64, 9]
    blocks = [rng.integers(-half, half, (size, 2)) for size in sizes]
    data, values = flac_stream(blocks, bit_depth=bit_depth, variable=variable), np.concatenate(blocks)
    layout = scan(data)
    member = AudioMember(probe(data), len(data), SeekTable.of(layout, max_spacing_s=0.0))
    for start in range(0, len(values) - 1, 7):
        for stop in {start + 1, min(start + 60, len(values)), len(values)}:
            lo, hi = byte_range(member, start, stop)
            assert np.array_equal(decode_pcm(member, data[lo:hi], lo, start, stop), values[start:stop].T)
            floats = (values[start:stop] / half).astype(np.float32).T
            assert np.array_equal(decode(member, data[lo:hi], lo, start, stop), floats)


def test_flac_without_a_table_is_read_whole():
    member, raw, full = recording("FLAC", "PCM_16", 2, 16_000, 30_000)
    bare = AudioMember(member.facts, member.size)
    assert byte_range(bare, 100, 200) == (0, len(raw))
    assert not bare.reads_ranges
    assert np.array_equal(decode(bare, raw, 0, 20_000, 20_100), full[:, 20_000:20_100])


def test_a_crop_costs_about_its_own_bytes():
    member, raw, _ = recording("FLAC", "PCM_16", 1, 48_000, 480_000)
    lo, hi = byte_range(member, 200_000, 296_000)
    assert hi - lo < 1.25 * len(raw) * 96_000 / 480_000
    wav, _, _ = recording("WAV", "PCM_24", 2, 8000, 9001)
    offset, stretch = wav.facts.data_offset, 8000 // 4
    assert byte_range(wav, 5, 7) == (offset, offset + 6 * stretch)
    assert byte_range(wav, 2 * stretch, 3 * stretch + 1) == (offset + 12 * stretch, offset + 24 * stretch)
    assert byte_range(replace(wav, seek_table=None), 5, 7) == (offset + 30, offset + 42)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (6, 5), (-1, 5), (0, 9002), (9001, 9002)])
def test_ranges_that_are_not_there_are_refused(start, stop):
    member, raw, _ = recording("FLAC", "PCM_16", 1, 8000, 9001)
    with pytest.raises(InputError, match=f"samples {start} to {stop} of a recording of 9001"):
        byte_range(member, start, stop)
    with pytest.raises(InputError):
        decode(member, raw, 0, start, stop)


def test_too_few_bytes_are_refused():
    member, raw, _ = recording("WAV", "PCM_16", 1, 8000, 9001)
    with pytest.raises(AudioError, match="need bytes 44 to 18046, got 0 to 18045"):
        decode(member, raw[:-1], 0, 0, 9001)


def test_facts_that_contradict_the_member_are_refused():
    member, raw, _ = recording("WAV", "PCM_16", 1, 8000, 9001)
    with pytest.raises(FormatError, match="of a member of 100 bytes"):
        byte_range(AudioMember(member.facts, 100), 0, 9001)
    flac_member, raw, _ = recording("FLAC", "PCM_16", 1, 8000, 9001)
    other, _, _ = recording("FLAC", "PCM_16", 1, 8000, 4097)
    with pytest.raises(FormatError, match="with a seek table of 4097 samples"):
        decode(AudioMember(flac_member.facts, len(raw), other.seek_table), raw, 0, 0, 100)


def test_lossy_and_floats_have_no_integers():
    for kind in (("OGG", "VORBIS"), ("WAV", "FLOAT")):
        member, raw, _ = recording(*kind, 1, 8000, 4096)
        with pytest.raises(AudioError, match="holds no integer PCM"):
            decode_pcm(member, raw, 0, 0, 10)


def test_both_ways_into_dr_flac_agree(flac_stream):
    values = np.random.default_rng(0).integers(-500, 500, (300, 2))
    for bit_depth, dtype in ((16, np.int16), (24, np.int32)):
        data = flac_stream([values[:200], values[200:]], bit_depth=bit_depth)
        one = _decode_into(np.empty((300, 2), dtype), data)
        other = _decode_and_copy(data, 2, 300, dtype)
        assert one.dtype == other.dtype == dtype
        assert np.array_equal(one, other)


def test_doubles_beyond_float32_become_infinite_without_a_warning():
    assert np.isinf(to_float32(np.array([[1e300]]))).all()


def test_a_block_for_now_is_taken_by_the_next_and_others_are_not(encode, tone):
    first, second = (encode(tone(9000, 2, 8000, seed), 8000, "FLAC", "PCM_16") for seed in (1, 2))
    kept, for_now = decode_stream(first, 2, 9000, 16), decode_stream(first, 2, 9000, 16, for_now=True)
    np.testing.assert_array_equal(kept, for_now)
    again = decode_stream(second, 2, 9000, 16, for_now=True)
    assert np.shares_memory(for_now, again)
    assert not np.shares_memory(kept, again)
    np.testing.assert_array_equal(kept, decode_stream(first, 2, 9000, 16))
    samples = [decode(inspect(data), data, 0, 10, 8000) for data in (first, second)]
    assert not np.shares_memory(*samples)
    np.testing.assert_array_equal(samples[0][0] * 32768, kept[10:8000, 0])


@pytest.mark.parametrize("bit_depth", [16, 24])
@pytest.mark.parametrize("is_whole", [True, False])
def test_one_channel_is_decoded_right_into_its_place(encode, tone, bit_depth, is_whole):
    data = encode(tone(30_000, 1, 8000), 8000, "FLAC", f"PCM_{bit_depth}")
    member = inspect(data)
    start, stop = (0, 30_000) if is_whole else (5001, 14_999)
    if is_whole:
        member = replace(member, seek_table=None)
    place = np.full((3, 1, 15_000 if not is_whole else 30_001), 7.0, np.float32)
    length = stop - start
    decode_into(place[1][:, :length], member, data, 0, start, stop)
    expected = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T
    np.testing.assert_array_equal(place[1][:, :length], expected[:, start:stop])
    assert (place[[0, 2]] == 7.0).all()
    assert (place[1][:, length:] == 7.0).all()
    apart = np.empty((1, 2 * length), np.float32)[:, ::2]  # samples that do not touch
    decode_into(apart, member, data, 0, start, stop)
    np.testing.assert_array_equal(apart, expected[:, start:stop])


def test_damage_in_any_frame_shows_where_one_channel_is_decoded_in_place(encode, tone):
    data = encode(tone(30_000, 1, 8000), 8000, "FLAC", "PCM_16")
    member = inspect(data)
    bounds = scan(data).frame_bytes
    first, last = 5000 // 4096, 14_999 // 4096
    for frame in range(first, last + 1):  # those before it, in it and behind what is wanted of the last one too
        bad = bytearray(data)
        bad[int(bounds[frame + 1]) - 12] ^= 0x10
        for wanted in ((5001, 14_999), (first * 4096, (last + 1) * 4096), (last * 4096, last * 4096 + 1)):
            out = np.empty((1, wanted[1] - wanted[0]), np.float32)
            if wanted[0] // 4096 <= frame:
                with pytest.raises(AudioError):
                    decode_into(out, member, bytes(bad), 0, *wanted)
            else:
                decode_into(out, member, bytes(bad), 0, *wanted)
