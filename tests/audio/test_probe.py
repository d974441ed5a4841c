"""Files are what they hold, whatever they are called."""

import numpy as np
import pytest

from shardkit.audio.facts import AudioFacts, reads_ranges
from shardkit.audio.probe import probe
from shardkit.core.errors import AudioError, FormatError, StorageError

KINDS = [
    ("WAV", "PCM_U8", ("wav", "u8", 8)),
    ("WAV", "PCM_24", ("wav", "s24", 24)),
    ("WAV", "DOUBLE", ("wav", "f64", None)),
    ("WAV", "ULAW", ("wav", "", 16)),
    ("WAV", "IMA_ADPCM", ("wav", "", 16)),
    ("RF64", "PCM_16", ("wav", "s16", 16)),
    ("FLAC", "PCM_16", ("flac", "", 16)),
    ("FLAC", "PCM_24", ("flac", "", 24)),
    ("AIFF", "PCM_S8", ("aiff", "s8", 8)),
    ("AIFF", "FLOAT", ("aiff", "f32", None)),
    ("OGG", "VORBIS", ("vorbis", "", None)),
    ("OGG", "OPUS", ("opus", "", None)),
    ("MP3", "MPEG_LAYER_III", ("mp3", "", None)),
]


@pytest.mark.parametrize(("container", "subtype", "expected"), KINDS)
def test_facts_of_every_kind(tone, encode, tmp_path, container, subtype, expected):
    data = encode(tone(9000, 2), 16_000, container, subtype)
    facts = probe(data)
    assert (facts.codec, facts.sample_format, facts.bit_depth) == expected
    assert (facts.sample_rate, facts.channels, facts.frames) == (16_000, 2, pytest.approx(9000, abs=505))
    if subtype != "IMA_ADPCM":  # whole blocks of 505 samples
        assert facts.frames == 9000
    path = tmp_path / "not what it is called.txt"
    path.write_bytes(data)
    assert probe(path) == probe(memoryview(data)) == facts


def test_only_what_reads_ranges_says_so(tone, encode):
    for container, subtype, (codec, sample_format, _) in KINDS:
        facts = probe(encode(tone(9000), 16_000, container, subtype))
        by_arithmetic = codec == "wav" and sample_format != ""
        assert reads_ranges(facts, has_seek_table=True) is (by_arithmetic or codec in {"flac", "mp3", "vorbis"})
        assert reads_ranges(facts, has_seek_table=False) is by_arithmetic
        assert (facts.data_offset is not None) is (by_arithmetic or codec == "flac")


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7 etc", b"OggS" + bytes(100), b"RIFF\0\0\0\0AVI LIST", b"\xff\xfb\x90", b"ID3"]
)
def test_other_files_are_named_by_their_first_bytes(data):
    with pytest.raises(
        AudioError, match="not audio that shardkit reads: starts with .*; expected WAV, FLAC, Ogg Vorbis"
    ):
        probe(data)


def test_an_empty_file_and_a_missing_one(tmp_path):
    with pytest.raises(AudioError, match="empty file"):
        probe(b"")
    with pytest.raises(StorageError, match=r"gone\.wav: No such file"):
        probe(tmp_path / "gone.wav")


def test_random_bytes_are_never_audio():
    rng = np.random.default_rng(0)
    for magic in (
        b"",
        b"fLaC",
        b"RIFF\xff\0\0\0WAVE",
        b"OggS\0\2",
        b"FORM\0\0\1\0AIFF",
        b"\xff\xfb\x90\0",
        b"ID3\3\0\0\0\0\0\0",
    ):
        for _ in range(40):
            with pytest.raises(AudioError):
                probe(magic + rng.bytes(300))


@pytest.mark.parametrize("bad", [{"codec": "aac"}, {"sample_format": "s20"}, {"sample_rate": 0}, {"channels": 0}])
def test_impossible_facts_are_refused(bad):
    good = {"codec": "wav", "sample_format": "s16", "sample_rate": 8000, "channels": 1, "frames": 1}
    with pytest.raises(FormatError):
        AudioFacts(**{**good, **bad}, bit_depth=16, data_offset=44)
