"""Ogg, MP3 and AIFF: what their decoders would pass over in silence."""

import io

import numpy as np
import pytest
import soundfile as sf

from shardkit.audio import aiff, mp3, ogg
from shardkit.audio.id3 import skip_id3v2
from shardkit.audio.probe import probe
from shardkit.core.errors import AudioError


@pytest.fixture(scope="module")
def vorbis(tone, encode):
    return encode(tone(60_000, 2), 16_000, "OGG", "VORBIS")


@pytest.fixture(scope="module")
def opus(tone, encode):
    return encode(tone(60_000), 16_000, "OGG", "OPUS")


@pytest.fixture(scope="module")
def with_xing(tone, encode):
    return encode(tone(60_000), 16_000, "MP3", "MPEG_LAYER_III")


def page_starts(data):
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        count = data[position + 26]
        position += 27 + count + sum(data[position + 27 : position + 27 + count])
    return starts


@pytest.mark.parametrize("codec", ["vorbis", "opus"])
def test_whole_streams_pass(request, codec):
    data = request.getfixturevalue(codec)
    ogg.check(data)
    assert ogg.codec_of(memoryview(data)) == codec
    assert probe(data).frames == 60_000


def test_any_changed_byte_of_a_page_is_found(vorbis):
    rng = np.random.default_rng(0)
    for byte in rng.integers(0, len(vorbis), 200):
        damaged = bytearray(vorbis)
        damaged[byte] ^= 1 << int(rng.integers(8))
        with pytest.raises(AudioError, match="Ogg"):
            ogg.check(bytes(damaged))


def test_damage_is_located(vorbis):
    start = page_starts(vorbis)[4]
    damaged = bytearray(vorbis)
    damaged[start + 500] ^= 1
    with pytest.raises(AudioError, match=f"page at byte {start} does not match its checksum"):
        probe(bytes(damaged))


def test_truncation_between_and_within_pages_is_found(vorbis):
    starts = page_starts(vorbis)
    with pytest.raises(AudioError, match="isn't marked as the end of the stream"):
        probe(vorbis[: starts[-1]])
    with pytest.raises(AudioError, match=f"page at byte {starts[-1]} ends at {len(vorbis)}"):
        probe(vorbis[:-1])
    with pytest.raises(AudioError, match="isn't marked"):
        ogg.check(vorbis[: starts[3]])


def test_a_missing_page_is_found(vorbis):
    starts = page_starts(vorbis)
    with pytest.raises(AudioError, match="Ogg page 5 at byte .*, page 4 expected"):
        ogg.check(vorbis[: starts[4]] + vorbis[starts[5] :])


def test_chained_streams_are_refused(vorbis):
    with pytest.raises(AudioError, match=f"second Ogg stream begins at byte {len(vorbis)}"):
        probe(vorbis + vorbis)


def strip_xing(data):
    start = mp3.first_frame(data)
    assert mp3.claimed_frames(data, start) is not None
    sync = data[start : start + 2]
    return next(
        data[i:] for i in range(start + 4, len(data)) if data[i : i + 2] == sync and mp3.first_frame(data[i:]) == 0
    )


def test_mp3_without_a_count_is_decoded_to_its_end(with_xing):
    bare = strip_xing(with_xing)
    assert mp3.claimed_frames(bare, 0) is None
    # An encoder's delay and padding, which only the header states, stay in: up to three frames of 576 samples more.
    assert 60_000 <= probe(bare).frames <= 60_000 + 3 * 576
    assert mp3.with_count(with_xing) is with_xing


@pytest.mark.parametrize(("channels", "rate"), [(1, 8000), (2, 22_050), (1, 44_100), (2, 48_000)])
def test_the_count_frame_fits_every_kind_of_mp3(tone, encode, channels, rate):
    bare = strip_xing(encode(tone(rate * 2, channels), rate, "MP3", "MPEG_LAYER_III"))
    with sf.SoundFile(io.BytesIO(mp3.with_count(bare))) as file:
        assert (file.samplerate, file.channels) == (rate, channels)
    assert probe(bare).frames >= rate * 2


def test_mp3_shorter_than_its_count_is_truncated(with_xing):
    with pytest.raises(AudioError, match="header says 60000 samples"):
        probe(with_xing[: len(with_xing) // 2])


def test_mp3s_joined_end_to_end_are_refused(with_xing):
    for joint in (b"", b"ID3\x04\x00\x00\x00\x00\x00\x05hello"):
        with pytest.raises(AudioError, match="joined end to end"):
            probe(with_xing + joint + with_xing)


def test_tags_around_an_mp3_are_passed_over(with_xing):
    tagged = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + with_xing + b"TAG" + bytes(125)
    assert probe(tagged) == probe(with_xing)


def test_id3_with_footer_and_without():
    tag = b"ID3\x04\x00\x10\x00\x00\x01\x00" + bytes(128) + b"3DI" + bytes(7)
    assert skip_id3v2(tag + b"fLaC") == len(tag)
    assert skip_id3v2(b"fLaC") == 0
    assert skip_id3v2(b"ID3\x04\x00\x00\xff\x00\x01\x00") == 0


def test_truncated_aiff_is_found(tone, encode):
    data = encode(tone(100), 8000, "AIFF", "PCM_16")
    aiff.check(data)
    for length in (len(data) - 1, len(data) - 150, 30, 12):
        with pytest.raises(AudioError, match="truncated"):
            probe(data[:length])
