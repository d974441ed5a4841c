"""FLAC scanning against streams built bit by bit and against libFLAC's."""

import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio import flac
from shardkit.audio.encode import FlacEncoder
from shardkit.audio.flac_header import coded_number, crc8, read_frame_header
from shardkit.audio.probe import inspect, probe
from shardkit.core.errors import AudioError

FIXED = [192, 192, 192, 192, 77]
VARIABLE = [100, 300, 17, 4000, 16, 5]


def make_blocks(sizes, bit_depth=16, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    half = 1 << (bit_depth - 1)
    return [rng.integers(-half, half, (size, channels)) for size in sizes]


def test_crc8_gives_the_check_value_of_its_polynomial():
    assert crc8(b"123456789") == 0xF4  # CRC-8/SMBUS in the catalogue of parametrised CRCs


@given(st.integers(0, 0x10FFFF).filter(lambda n: not 0xD800 <= n <= 0xDFFF))
def test_coded_numbers_are_utf8_where_utf8_has_them(number):
    assert coded_number(number) == chr(number).encode()


@given(st.integers(0, (1 << 36) - 1))
def test_coded_numbers_of_36_bits_read_back_from_a_header(number):
    header = bytes([0xFF, 0xF9, 0x10, 0x08]) + coded_number(number)
    found = read_frame_header(header + bytes([crc8(header)]), 0, 8000, 1, 16)
    assert found is not None
    assert (found.number, found.block_size, found.variable, found.num_bytes) == (number, 192, True, len(header) + 1)


@pytest.mark.parametrize("bit_depth", [4, 8, 12, 16, 20, 24, 32])
@pytest.mark.parametrize(("sizes", "variable"), [(FIXED, False), (VARIABLE, True)])
def test_scan_finds_every_frame_of_a_built_stream(flac_stream, bit_depth, sizes, variable):
    blocks = make_blocks(sizes, bit_depth, channels=3)
    data = flac_stream(blocks, bit_depth=bit_depth, variable=variable)
    layout = flac.scan(data)
    assert layout.frame_samples.tolist() == [0, *np.cumsum(sizes)[:-1]]
    assert (layout.variable, layout.end, layout.info.total_samples) == (variable, len(data), sum(sizes))
    assert (layout.info.min_block, layout.info.max_block) == (min(sizes), max(sizes))
    assert (layout.info.bit_depth, layout.info.channels, layout.info.sample_rate) == (bit_depth, 3, 8000)
    frame_sizes = np.diff(layout.frame_bytes, append=layout.end)
    pcm_bytes = [-(-(3 * (size * bit_depth + 8)) // 8) for size in sizes]
    assert (frame_sizes - pcm_bytes - 2 - 4 - 2 - 1 <= 7).all()  # CRC-16, fixed header, size, CRC-8; then the number
    assert (frame_sizes - pcm_bytes - 2 - 4 - 2 - 1 >= 1).all()


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_16", 2), ("PCM_24", 2), ("PCM_16", 8)])
def test_scan_of_libflac_agrees_with_soundfile(tone, encode, subtype, channels):
    data = encode(tone(50_000, channels), 44_100, "FLAC", subtype)
    layout = flac.scan(memoryview(data))
    with sf.SoundFile(io.BytesIO(data)) as file:
        assert (layout.info.total_samples, layout.info.channels) == (file.frames, file.channels)
    assert layout.frame_samples.tolist() == list(range(0, 50_000, 4096))


@pytest.mark.parametrize("count", [127, 128, 2048, 2100])
def test_scan_follows_numbers_across_their_lengths(flac_stream, count):
    blocks = make_blocks([16] * count)
    assert flac.scan(flac_stream(blocks)).frame_samples.size == count
    assert flac.scan(flac_stream(blocks, variable=True)).frame_samples.size == count


def test_tags_padding_and_pictures_in_front_are_skipped(flac_stream):
    blocks = make_blocks(FIXED)
    metadata = [(4, b"vorbis comment"), (6, b"fLaC\xff\xf8" * 99), (3, bytes(18)), (1, bytes(5000)), (2, b"appl")]
    plain, tagged = flac.scan(flac_stream(blocks)), flac_stream(blocks, metadata=metadata)
    id3 = b"ID3\x04\x00\x00\x00\x00\x01\x48" + bytes(200)
    for data in (tagged, id3 + tagged, id3 + id3 + tagged):
        layout = flac.scan(data)
        assert layout.frame_samples.tolist() == plain.frame_samples.tolist()
        assert (layout.end - layout.frame_bytes).tolist() == (plain.end - plain.frame_bytes).tolist()


def test_a_stream_of_unknown_length_is_counted(flac_stream):
    data = flac_stream(make_blocks(FIXED), total_samples=0, with_md5=False)
    assert flac.scan(data).info.total_samples == sum(FIXED)
    assert probe(data).frames == sum(FIXED)


def test_a_header_inside_a_frame_is_not_a_frame(flac_stream):
    blocks = make_blocks(FIXED, bit_depth=8)
    data = flac_stream(blocks, bit_depth=8)
    starts = flac.scan(data).frame_bytes
    for number in (0, 2, 3):  # whole headers, but none of them the next one of frame 0
        header = data[starts[number] : starts[number] + 8]
        signed = np.frombuffer(header, np.int8)
        blocks[0][50 : 50 + len(header), 0] = signed
        assert header in flac_stream(blocks, bit_depth=8)[starts[0] + 20 : starts[1]]
        assert flac.scan(flac_stream(blocks, bit_depth=8)).frame_bytes.tolist() == starts.tolist()


def test_every_truncation_is_found(flac_stream):
    data = flac_stream(make_blocks([64, 64, 64, 30]), metadata=[(1, bytes(20))])
    for length in range(len(data)):
        with pytest.raises(AudioError):
            probe(data[:length])


def test_a_missing_frame_is_located(flac_stream):
    data = flac_stream(make_blocks(FIXED))
    starts = flac.scan(data).frame_bytes
    with pytest.raises(AudioError, match=rf"frame at byte {starts[1]} none goes on with sample 384"):
        flac.scan(data[: starts[2]] + data[starts[3] :])


@pytest.mark.parametrize("bit_depth", [25, 32])
def test_depths_that_no_decoder_reads_are_refused(flac_stream, bit_depth):
    with pytest.raises(AudioError, match=f"FLAC of {bit_depth} bits: no decoder here reads it; convert"):
        probe(flac_stream(make_blocks(FIXED), bit_depth=bit_depth))


def test_a_stream_cut_at_its_start_is_refused(flac_stream):
    with pytest.raises(AudioError, match=r"frame 0 \(sample 0\) expected at byte 42, number 7 found"):
        flac.scan(flac_stream(make_blocks(FIXED), first_number=7))


def test_a_header_that_counts_wrong_is_refused(flac_stream):
    with pytest.raises(AudioError, match="header says 999 samples, frames hold"):
        flac.scan(flac_stream(make_blocks(FIXED), total_samples=999))


def test_slice_header_is_what_soundfile_reads(flac_stream):
    data = flac_stream(make_blocks([256, 256, 256]))
    layout = flac.scan(data)
    piece = flac.slice_header(layout.info, 256) + data[layout.frame_bytes[0] : layout.frame_bytes[1]]
    with sf.SoundFile(io.BytesIO(piece)) as file:
        assert (file.frames, file.samplerate, file.subtype) == (256, 8000, "PCM_16")


@pytest.mark.parametrize("bit_depth", [16, 24])
@given(
    frames=st.sampled_from([1, 15, 4095, 4096, 4097, 8192, 70_000]) | st.integers(1, 20_000),
    channels=st.integers(1, 8),
    level=st.integers(0, 8),
    sample_rate=st.sampled_from([8000, 44_100, 96_000]),
)
@settings(max_examples=40, deadline=None)
def test_frames_lie_where_the_encoder_wrote_them(bit_depth, frames, channels, level, sample_rate):
    encoder = FlacEncoder(sample_rate=sample_rate, channels=channels, bit_depth=bit_depth, level=level)
    top = 2 ** (bit_depth - 1)
    samples = np.random.default_rng(frames).integers(-top, top, (frames, channels))
    block = samples.astype(np.int16) if bit_depth == 16 else (samples << 8).astype(np.int32)
    encoder.write(block[: frames // 3])
    encoder.write(block[frames // 3 :])
    data = encoder.finish()
    told, scanned = encoder.describe(data), inspect(data)
    assert told.facts == scanned.facts
    assert (told.size, told.seek_table.to_bytes()) == (scanned.size, scanned.seek_table.to_bytes())


@pytest.mark.parametrize("change", [lambda starts: starts[1:], lambda starts: [*starts[:-1], starts[-1] + 1]])
def test_writes_that_are_no_frames_are_not_believed(tone, encode, change):
    data = encode(tone(50_000, 1), 8000, "FLAC", "PCM_16")
    layout = flac.scan(data)
    found = flac.layout_of(data, change([0, *layout.frame_bytes.tolist()]))
    assert found.frame_bytes.tolist() == layout.frame_bytes.tolist()
    assert (found.info, found.end) == (layout.info, layout.end)
