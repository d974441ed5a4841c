"""Damage inside FLAC frames, which dr_flac passes over in silence, is always found."""

import numpy as np
import pytest

from shardkit.audio.decode import AudioMember, byte_range, decode
from shardkit.audio.flac import scan
from shardkit.audio.flac_decode import _decode_and_copy, decode_frames
from shardkit.audio.probe import inspect
from shardkit.audio.transcode import analyse
from shardkit.core.errors import AudioError


def range_member(data):
    return AudioMember(inspect(data).facts, len(data), inspect(data).seek_table)


@pytest.fixture(scope="module")
def stream(tone, encode):
    return encode(tone(60_000, 2), 16_000, "FLAC", "PCM_16")


def flip_bit(rng, data, byte):
    data[byte] ^= 1 << int(rng.integers(8))


def blank(rng, data, byte):
    data[byte : byte + 16] = bytes(b ^ 0xFF for b in data[byte : byte + 16])


def cut(rng, data, byte):
    del data[byte:]


@pytest.mark.parametrize("damage", [flip_bit, blank, cut])
def test_damage_to_any_byte_of_a_range_is_found(stream, damage):
    member = range_member(stream)
    rng = np.random.default_rng(0)
    for _ in range(150):
        start = int(rng.integers(0, 50_000))
        stop = start + int(rng.integers(1, 10_000))
        lo, hi = byte_range(member, start, stop)
        data = bytearray(stream[lo:hi])
        damage(rng, data, int(rng.integers(len(data))))
        with pytest.raises(AudioError):
            decode(member, bytes(data), lo, start, stop)


@pytest.mark.parametrize("variable", [False, True])
def test_other_frames_than_the_index_says_are_not_taken_for_them(flac_stream, variable):
    values = np.random.default_rng(0).integers(-500, 500, (4 * 4096, 1))
    data = flac_stream(np.split(values, 4), variable=variable)
    member, starts = range_member(data), scan(data).frame_bytes
    lo, hi = byte_range(member, 4096, 8192)
    assert (lo, hi) == (starts[1], starts[2])
    assert np.array_equal(decode(member, data[lo:hi], lo, 4096, 8192)[0] * 32768, values[4096:8192, 0])
    shifted = data[starts[2] : starts[3]]  # as many samples, and undamaged
    with pytest.raises(AudioError, match=f"no FLAC frame of sample 4096 at byte {lo}"):
        decode(member, shifted.ljust(hi - lo, b"\0"), lo, 4096, 8192)


def test_damage_is_found_by_the_other_way_into_dr_flac(stream):
    layout, rng = scan(stream), np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(stream)
        flip_bit(rng, data, int(rng.integers(layout.frame_bytes[0], len(data))))
        try:
            decoded = _decode_and_copy(bytes(data), 2, 60_000, np.int16)
        except AudioError:
            continue
        assert len(decoded) < 60_000


def test_analysis_finds_damage_and_says_where(stream):
    rng, layout = np.random.default_rng(2), scan(stream)
    for byte in map(int, rng.integers(layout.frame_bytes[0], len(stream), 40)):
        data = bytearray(stream)
        flip_bit(rng, data, byte)
        with pytest.raises(AudioError, match="take 7: ") as caught:
            analyse(bytes(data), name="take 7")
        assert "byte" in str(caught.value)


def test_analysis_names_the_stretch_that_is_damaged(stream):
    member, layout = inspect(stream), scan(stream)
    data = bytearray(stream)
    data[int(layout.frame_bytes[9]) + 900] ^= 4
    lo, hi, first, after = member.seek_table.span(9 * 4096, 10 * 4096)
    with pytest.raises(AudioError, match=f"samples {first} to {after} at bytes {lo} to {hi}: damaged FLAC frame"):
        analyse(bytes(data), name="x")


def test_a_wrong_md5_is_found(stream):
    data = bytearray(stream)
    data[30] ^= 1  # STREAMINFO's last 16 bytes, from byte 26 on
    with pytest.raises(AudioError, match="60000 samples have MD5 .*, the FLAC header says"):
        analyse(bytes(data), name="x")


@pytest.mark.parametrize("bit_depth", [8, 12, 16, 20, 24])
def test_the_md5_of_every_depth_is_checked(flac_stream, bit_depth):
    half = 1 << (bit_depth - 1)
    blocks = [np.random.default_rng(0).integers(-half, half, (600, 3))]
    data = flac_stream(blocks, bit_depth=bit_depth)
    assert analyse(data, name="x").facts.bit_depth == bit_depth
    wrong = data[:26] + bytes(15) + b"\1" + data[42:]
    with pytest.raises(AudioError, match="MD5"):
        analyse(wrong, name="x")
    assert analyse(data[:26] + bytes(16) + data[42:], name="x").facts.frames == 600  # zeros: none was computed


def test_a_table_can_not_make_a_decoder_allocate_without_bound(stream):
    info = scan(stream).info
    with pytest.raises(AudioError, match="100 bytes of FLAC can't hold 1099511627776 samples"):
        decode_frames(bytes(100), info, 1 << 40)
