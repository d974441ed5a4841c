"""Law L6: a cropped read is bit-identical to slicing a full decode, for every codec, at every offset and length."""

import io
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio.decode import AudioMember, byte_range, decode, read_table
from shardkit.audio.transcode import analyse
from shardkit.core.errors import InputError
from tests.audio.conftest import build_flac, make_tone

PCM_RATES = [8000, 44_100, 192_000]
MP3_RATES = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
VORBIS_RATES = [8000, 22_050, 48_000]
OPUS_RATES = [8000, 16_000, 48_000]


@dataclass(frozen=True)
class Kind:
    """A way to write recordings: what soundfile is told, how many channels it takes at most, and at what rates."""

    container: str
    subtype: str
    most: int
    rates: tuple[int, ...] = tuple(PCM_RATES)
    quality: tuple = ()
    shortest_s: float = 0.0

    def __str__(self):
        return "-".join(map(str, (self.container, self.subtype, *self.quality)))


PCM = [Kind(container, subtype, 9) for container in ("WAV", "WAVEX", "RF64")
       for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")]  # fmt: skip
FLAC = [Kind("FLAC", subtype, 8) for subtype in ("PCM_S8", "PCM_16", "PCM_24")]
MP3 = [Kind("MP3", "MPEG_LAYER_III", 2, tuple(MP3_RATES), (mode, level), 5.2)
       for mode, level in (("CONSTANT", 0.9), ("CONSTANT", 0.0), ("VARIABLE", 0.5), ("AVERAGE", 0.7))]  # fmt: skip
VORBIS = [Kind("OGG", "VORBIS", 6, tuple(VORBIS_RATES), (None, level), 5.2) for level in (0.0, 0.6, 1.0)]
WHOLE = [Kind("OGG", "OPUS", 2, tuple(OPUS_RATES)), Kind("AIFF", "PCM_16", 8), Kind("AIFF", "FLOAT", 8),
         Kind("AIFF", "IMA_ADPCM", 1), Kind("WAV", "ULAW", 2), Kind("WAV", "MS_ADPCM", 2)]  # fmt: skip
KINDS = [*PCM, *FLAC, *MP3, *VORBIS, *WHOLE]
TABLED = [*FLAC, *MP3, *VORBIS]
LENGTHS = [1, 2, 100, 4095, 4096, 4097, 9001, 30_000]


@lru_cache(maxsize=128)
def recording(kind, channels, rate, frames):
    """Return the member as a catalog knows it, its bytes and its full decode."""
    buffer = io.BytesIO()
    quality = {}
    if kind.quality:
        mode, level = kind.quality
        quality = {"compression_level": level} | ({} if mode is None else {"bitrate_mode": mode})
    samples = make_tone(frames, channels, rate, seed=frames)
    sf.write(buffer, samples, rate, format=kind.container, subtype=kind.subtype, **quality)
    return indexed(buffer.getvalue())


def indexed(data):
    encoded = analyse(data, name="x")
    table = None if encoded.seek_table is None else read_table(encoded.seek_table, encoded.facts.codec)
    member = AudioMember(encoded.facts, len(data), table, encoded.setup)
    # The full decode knows no table: from the first byte to the last, in one go.
    full = decode(replace(member, seek_table=None), data, 0, 0, member.facts.frames)
    return member, data, full


def check_crop(member, data, full, start, stop):
    lo, hi = byte_range(member, start, stop)
    cropped = decode(member, data[lo:hi], lo, start, stop)
    assert cropped.dtype == np.float32
    assert cropped.flags.c_contiguous
    assert cropped.shape == (member.facts.channels, stop - start)
    assert cropped.tobytes() == np.ascontiguousarray(full[:, start:stop]).tobytes(), (start, stop)
    return lo, hi


def edges(frames):
    """Return the crops where codecs' blocks begin or end short: first and last sample, all but one, the whole."""
    return {(0, 1), (frames - 1, frames), (0, frames), (0, max(1, frames - 1)), (min(1, frames - 1), frames),
            (frames // 2, frames // 2 + 1)}  # fmt: skip


@given(st.data())
@settings(max_examples=400)
def test_a_crop_is_a_slice_of_the_full_decode(data):
    kind = data.draw(st.sampled_from(KINDS))
    channels, rate = data.draw(st.integers(1, kind.most)), data.draw(st.sampled_from(kind.rates))
    frames = data.draw(st.sampled_from(LENGTHS)) + round(data.draw(st.sampled_from([0.0, kind.shortest_s])) * rate)
    member, raw, full = recording(kind, channels, rate, frames)
    frames = member.facts.frames
    start = data.draw(st.integers(0, frames - 1) | st.sampled_from(sorted({0, frames - 1})))
    stop = data.draw(st.integers(start + 1, frames) | st.sampled_from(sorted({start + 1, frames})))
    lo, hi = check_crop(member, raw, full, start, stop)
    # More bytes than were asked for, from anywhere before them, change nothing.
    early = data.draw(st.integers(0, lo))
    again = decode(member, memoryview(raw)[early : hi + 7], early, start, stop)
    assert again.tobytes() == np.ascontiguousarray(full[:, start:stop]).tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("frames", [1, 4097, None])
def test_the_edges_are_slices_too(kind, frames):
    rate = kind.rates[-1]
    member, raw, full = recording(kind, min(2, kind.most), rate, frames or 4097 + round(kind.shortest_s * rate))
    assert full.shape[1] == member.facts.frames
    for start, stop in edges(member.facts.frames):
        check_crop(member, raw, full, start, stop)
    for start, stop in ((0, 0), (1, 1), (1, 0), (-1, 1), (0, full.shape[1] + 1), (full.shape[1], full.shape[1] + 1)):
        with pytest.raises(InputError, match=f"samples {start} to {stop} of a recording of {full.shape[1]}"):
            byte_range(member, start, stop)
        with pytest.raises(InputError):
            decode(member, raw, 0, start, stop)


@pytest.mark.parametrize("kind", [*MP3, *VORBIS], ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_crops_are_slices_around_every_point(kind, channels):
    for rate in kind.rates:
        member, raw, full = recording(kind, channels, rate, round(8.3 * rate))
        assert member.reads_ranges
        starts = member.seek_table.exact_from().tolist()
        for start in starts:
            for first in {max(0, start - 1), start, start + 1}:
                check_crop(member, raw, full, first, first + 1)
                check_crop(member, raw, full, first, min(first + rate, full.shape[1]))
        check_crop(member, raw, full, starts[1], full.shape[1])
        lo, hi = byte_range(member, 3 * rate, 4 * rate)
        assert hi - lo < 0.5 * len(raw)


@given(st.data())
@settings(max_examples=60)
def test_flac_of_every_depth_and_blocking(data):
    depth, channels = data.draw(st.integers(4, 24)), data.draw(st.integers(1, 8))
    variable = data.draw(st.booleans())
    sizes = data.draw(st.lists(st.integers(16, 200), min_size=1, max_size=6))
    if not variable:
        sizes = [sizes[0]] * (len(sizes) - 1) + [min(sizes[0], sizes[-1])]
    chance, half = np.random.default_rng(depth), 1 << (depth - 1)
    blocks = [chance.integers(-half, half, (size, channels)) for size in sizes]
    front = data.draw(st.sampled_from([b"", b"ID3\x04\x00\x00\x00\x00\x01\x48" + bytes(200)]))
    metadata = data.draw(st.sampled_from([(), [(1, bytes(999))], [(4, b"vorbis comment"), (1, bytes(5))]]))
    # At 400 Hz, the least that loudness is measured at, points are one frame apart.
    raw = front + build_flac(blocks, bit_depth=depth, variable=variable, metadata=metadata, sample_rate=400)
    member, raw, full = indexed(raw)
    values = np.concatenate(blocks)
    assert np.array_equal(full, (values / half).astype(np.float32).T)
    for start, stop in edges(len(values)):
        check_crop(member, raw, full, start, stop)
    start = data.draw(st.integers(0, len(values) - 1))
    check_crop(member, raw, full, start, data.draw(st.integers(start + 1, len(values))))


def crops_at_random(member, raw, full, number, seed=1):
    chance = np.random.default_rng(seed)
    frames = full.shape[1]
    for start, stop in edges(frames):
        check_crop(member, raw, full, start, stop)
    for _ in range(number):
        start = int(chance.integers(0, frames - 1))
        check_crop(member, raw, full, start, int(chance.integers(start + 1, min(frames, start + 200_000) + 1)))


def test_crops_of_real_music(music):
    for path in music[:2]:
        member, raw, full = indexed(path.read_bytes())
        assert member.reads_ranges
        crops_at_random(member, raw, full, 25)
        lo, hi = byte_range(member, 4_800_000, 4_896_000)
        assert hi - lo < 0.02 * len(raw)


@pytest.mark.parametrize("kind", [*MP3, WHOLE[0]], ids=str)
def test_crops_of_real_music_in_other_codecs(music, kind):
    samples = sf.read(music[1], frames=480_000, start=960_000, dtype="float32")[0]  # 10 s
    for rate in {kind.rates[0], kind.rates[-1]}:
        buffer = io.BytesIO()
        quality = dict(zip(("bitrate_mode", "compression_level"), kind.quality, strict=False))
        sf.write(buffer, samples, rate, format=kind.container, subtype=kind.subtype, **quality)
        crops_at_random(*indexed(buffer.getvalue()), 8)


def test_crops_of_real_speech(digits):
    speech = np.concatenate([sf.read(path, dtype="int16")[0] for path in digits[::100]])
    for container, subtype in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16"), ("WAV", "PCM_16")):
        buffer = io.BytesIO()
        sf.write(buffer, speech, 8000, format=container, subtype=subtype)
        member, raw, full = indexed(buffer.getvalue())
        assert member.reads_ranges
        crops_at_random(member, raw, full, 20)
    for path in digits[::300]:
        crops_at_random(*indexed(path.read_bytes()), 5)
