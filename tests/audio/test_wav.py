"""RIFF/WAVE against soundfile and the standard library."""

import io
import struct
import wave

import numpy as np
import pytest
import soundfile as sf

from shardkit.audio import wav
from shardkit.audio.encode import WavEncoder
from shardkit.audio.probe import probe
from shardkit.core.errors import AudioError

SUBTYPES = {"PCM_U8": "u8", "PCM_16": "s16", "PCM_24": "s24", "PCM_32": "s32", "FLOAT": "f32", "DOUBLE": "f64"}
NATIVE = {"u8": "int16", "s16": "int16", "s24": "int32", "s32": "int32", "f32": "float32", "f64": "float64"}


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def riff(*chunks, size=None, form=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body) if size is None else size) + body


FMT = struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_layout_agrees_with_soundfile(tone, encode, container, subtype, channels):
    data = encode(tone(333, channels), 22_050, container, subtype)
    layout = wav.read_layout(data)
    assert (layout.sample_format, layout.frames) == (SUBTYPES[subtype], 333)
    assert (layout.channels, layout.sample_rate) == (channels, 22_050)


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_what_is_written_soundfile_reads(tone, subtype, channels):
    sample_format = SUBTYPES[subtype]
    buffer = io.BytesIO()
    sf.write(buffer, tone(101, channels), 11_025, format="WAV", subtype=subtype)
    buffer.seek(0)
    block = sf.read(buffer, dtype=NATIVE[sample_format], always_2d=True)[0]
    encoder = WavEncoder(sample_format=sample_format, sample_rate=11_025, channels=channels)
    encoder.write(block[:50])
    encoder.write(block[50:])
    data = encoder.finish()
    member = encoder.describe(data)
    assert (member.size, member.facts.frames) == (len(data), 101)
    with sf.SoundFile(io.BytesIO(data)) as file:
        assert (file.subtype, file.samplerate, file.channels, file.frames) == (subtype, 11_025, channels, 101)
        assert np.array_equal(file.read(dtype=NATIVE[sample_format], always_2d=True), block)
    assert len(data) % 2 == 0
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


def test_the_standard_library_reads_plain_pcm():
    encoder = WavEncoder(sample_format="s16", sample_rate=8000, channels=1)
    encoder.write(np.arange(9, dtype=np.int16)[:, None])
    with wave.open(io.BytesIO(encoder.finish())) as file:
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == list(range(9))


def test_more_than_4_gib_is_rf64():
    data_bytes = 5 << 30
    header = wav.write_header("s16", 48_000, 2, data_bytes)
    assert header[:4] == b"RF64"
    with pytest.raises(AudioError, match=f"header says {data_bytes} bytes of samples, 0 present"):
        wav.read_layout(header)
    assert wav.write_header("s16", 48_000, 2, 1 << 30)[:4] == b"RIFF"


def test_chunks_around_the_samples_are_passed_over():
    pcm = np.arange(5, dtype="<i2").tobytes()
    data = riff(
        chunk(b"LIST", b"odd"),
        chunk(b"fmt ", FMT),
        chunk(b"bext", bytes(601)),
        chunk(b"data", pcm),
        chunk(b"id3 ", b"x"),
    )
    layout = wav.read_layout(data)
    assert layout.frames == 5
    assert data[layout.data_offset : layout.data_offset + 10] == pcm


@pytest.mark.parametrize("missing", [1, 2, 7, 99])
def test_truncated_samples_are_counted(missing):
    data = riff(chunk(b"fmt ", FMT), chunk(b"data", bytes(100)))
    with pytest.raises(AudioError, match=f"header says 100 bytes of samples, {100 - missing} present"):
        wav.read_layout(data[:-missing])


def test_every_truncation_of_the_header_is_found():
    data = riff(chunk(b"fmt ", FMT), chunk(b"data", bytes(100)))
    for length in range(len(data)):
        with pytest.raises(AudioError):
            probe(data[:length])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_sizes_written_to_a_pipe_mean_to_the_end(size):
    data = riff(chunk(b"fmt ", FMT), b"data" + struct.pack("<I", size), bytes(101), size=0xFFFFFFFF)
    assert wav.read_layout(data).frames == 50


def test_a_long_file_cut_short_is_truncated_all_the_same():
    data = riff(chunk(b"fmt ", FMT), b"data" + struct.pack("<I", 3 << 30), bytes(100), size=(3 << 30) + 36)
    with pytest.raises(AudioError, match="header says 3221225472 bytes of samples, 100 present"):
        wav.read_layout(data)


def test_a_header_never_completed_means_to_the_end():
    data = riff(chunk(b"fmt ", FMT), b"data" + bytes(4), bytes(100), size=0)
    assert wav.read_layout(data).frames == 50


def test_no_samples_are_no_recording():
    with pytest.raises(AudioError, match="holds no samples"):
        probe(riff(chunk(b"fmt ", FMT), chunk(b"data", b""), chunk(b"LIST", bytes(100))))


def test_20_bits_lie_in_three_bytes():
    fmt = struct.pack("<HHIIHH", 1, 2, 8000, 48_000, 6, 20)
    layout = wav.read_layout(riff(chunk(b"fmt ", fmt), chunk(b"data", bytes(60))))
    assert (layout.sample_format, layout.frames) == ("s24", 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (riff(chunk(b"data", bytes(8))), "without a fmt chunk"),
        (riff(chunk(b"fmt ", FMT[:10]), chunk(b"data", bytes(8))), "16 needed"),
        (riff(chunk(b"fmt ", FMT)), "without a data chunk"),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, 0, 0, 0, 16)), chunk(b"data", bytes(8))), "0 channels"),
    ],
)
def test_damage_is_named(data, message):
    with pytest.raises(AudioError, match=message):
        wav.read_layout(data)
