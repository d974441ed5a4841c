"""What is stored of a recording: exact where it can be, counted where it can't, refused where it would be silent."""

import io

import numpy as np
import pytest
import soundfile as sf

from shardkit.audio.decode import AudioMember, byte_range, decode, read_table
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.probe import inspect, probe
from shardkit.audio.resample import num_resampled
from shardkit.audio.transcode import analyse, transcode
from shardkit.core.errors import AudioError, InputError, StorageError
from shardkit.core.loudness import num_hops

PCM = [("WAV", "PCM_U8", 16), ("WAV", "PCM_16", 16), ("WAV", "PCM_24", 24), ("WAV", "ULAW", 16), ("WAV", "ALAW", 16),
       ("WAV", "IMA_ADPCM", 16), ("AIFF", "PCM_S8", 16), ("AIFF", "PCM_16", 16), ("AIFF", "PCM_24", 24)]  # fmt: skip
LOSSY = [("OGG", "VORBIS", "ogg"), ("OGG", "OPUS", "opus"), ("MP3", "MPEG_LAYER_III", "mp3")]
WIDE = [("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "PCM_32"), ("AIFF", "FLOAT"), ("AIFF", "PCM_32")]


def options(codec="auto", **others):
    return TranscodeOptions(codec=codec, **others)


def read(data, dtype="int32"):
    return sf.read(io.BytesIO(data), dtype=dtype, always_2d=True)[0]


def check_consistent(encoded):
    """The facts, table and track of a result are those of its bytes."""
    facts = encoded.facts
    assert facts == probe(encoded.data)
    assert len(encoded.loudness) == num_hops(facts.frames, facts.sample_rate)
    table = None if encoded.seek_table is None else read_table(encoded.seek_table, facts.codec)
    assert table is not None or facts.codec not in {"flac", "wav"} or not facts.sample_format
    assert table is None or facts.codec in {"flac", "mp3", "vorbis", "wav"}
    full = decode(AudioMember(facts, len(encoded.data)), encoded.data, 0, 0, facts.frames)
    assert encoded.peak == np.abs(full).max()
    member = AudioMember(facts, len(encoded.data), table, encoded.setup)
    for start in range(0, facts.frames, 1 + facts.frames // 9):
        stop = min(facts.frames, start + 5000)
        lo, hi = byte_range(member, start, stop)
        assert np.array_equal(decode(member, encoded.data[lo:hi], lo, start, stop), full[:, start:stop])


@pytest.mark.parametrize(("container", "subtype", "bit_depth"), PCM)
@pytest.mark.parametrize("codec", ["auto", "flac", "wav", "keep"])
@pytest.mark.parametrize("channels", [1, 2])
def test_pcm_survives_every_codec_bit_for_bit(tone, encode, container, subtype, bit_depth, codec, channels):
    source = encode(tone(9000, channels), 16_000, container, subtype)
    encoded = transcode(source, options(codec), name="x")
    assert np.array_equal(read(encoded.data), read(source))
    expected = {"auto": "flac", "flac": "flac", "wav": "wav", "keep": container.lower()}[codec]
    assert encoded.facts.codec == encoded.extension == expected
    if expected == "flac":
        assert encoded.facts.bit_depth == bit_depth
    if codec == "keep":
        assert encoded.data == source
    assert encoded.num_clipped == 0
    assert encoded.source_frames == encoded.facts.frames == len(read(source))
    check_consistent(encoded)


@pytest.mark.parametrize("codec", ["auto", "flac", "keep"])
@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_flac_stays_byte_for_byte(tone, encode, codec, subtype):
    source = encode(tone(9000, 2), 16_000, "FLAC", subtype)
    encoded = transcode(source, options(codec), name="x")
    assert encoded.data == source
    check_consistent(encoded)
    assert np.array_equal(read(transcode(source, options("wav"), name="x").data), read(source))


@pytest.mark.parametrize(("container", "subtype", "extension"), LOSSY)
def test_lossy_files_stay_byte_for_byte_unless_asked(tone, encode, container, subtype, extension):
    source = encode(tone(9000, 2), 16_000, container, subtype)
    for codec in ("auto", "keep"):
        encoded = transcode(source, options(codec), name="x")
        assert (encoded.data, encoded.extension) == (source, extension)
        assert encoded == transcode(source, options(codec, sample_rate=16_000, channels=2), name="x")
        check_consistent(encoded)
    member = inspect(source)
    decoded = decode(member, source, 0, 0, 9000).T
    for codec in ("flac", "wav"):
        encoded = transcode(source, options(codec), name="x")
        assert (encoded.facts.bit_depth, encoded.facts.frames) == (16, 9000)
        assert np.array_equal(read(encoded.data, "int16"), np.clip(np.rint(decoded * 32768), -32768, 32767))
        check_consistent(encoded)


@pytest.mark.parametrize(("container", "subtype"), WIDE)
def test_what_flac_can_t_hold_is_refused_and_told_what_can(tone, encode, container, subtype):
    source = encode(tone(900), 16_000, container, subtype)
    for codec in ("auto", "flac"):
        with pytest.raises(
            AudioError,
            match=r"^rec: it holds (floats|PCM of 32 bits); FLAC can't hold it: "
            r"choose --codec wav \(keeps it as it is\), --codec keep, or --bit-depth 16\|24 \(quantises\)$",
        ):
            transcode(source, options(codec), name="rec")
    assert transcode(source, options("keep"), name="rec").data == source
    wide = "float64" if subtype == "DOUBLE" else "float32" if subtype == "FLOAT" else "int32"
    assert np.array_equal(read(transcode(source, options("wav"), name="rec").data, wide), read(source, wide))
    for bit_depth in (16, 24):
        encoded = transcode(source, options(bit_depth=bit_depth), name="rec")
        assert (encoded.facts.codec, encoded.facts.bit_depth) == ("flac", bit_depth)
        full_scale = 2.0 ** (bit_depth - 1)
        values = np.rint(read(source, "float64") * full_scale)
        assert np.array_equal(read(encoded.data, "float64") * full_scale, values)


def test_clipped_samples_are_counted():
    samples = np.array([0.5, 1.0, -1.0, 1.5, -2.0, 32767 / 32768, 32767.6 / 32768], np.float32)
    buffer = io.BytesIO()
    sf.write(buffer, samples, 8000, format="WAV", subtype="FLOAT")
    encoded = transcode(buffer.getvalue(), options(bit_depth=16), name="x")
    assert encoded.num_clipped == 4
    assert read(encoded.data, "int16")[:, 0].tolist() == [16384, 32767, -32768, 32767, -32768, 32767, 32767]
    assert analyse(buffer.getvalue(), name="x").peak == 2.0


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_bit_depths_change_only_when_asked(tone, encode, bit_depth):
    for subtype, own in (("PCM_16", 16), ("PCM_24", 24)):
        for container in ("WAV", "FLAC"):
            source = encode(tone(2000), 8000, container, subtype)
            for codec in ("auto", "wav"):
                encoded = transcode(source, options(codec, bit_depth=bit_depth), name="x")
                assert encoded.facts.bit_depth == bit_depth
                full_scale = 2.0 ** (min(own, bit_depth) - 1)
                expected = np.clip(np.rint(read(source, "float64") * full_scale), -full_scale, full_scale - 1)
                assert np.array_equal(read(encoded.data, "float64") * full_scale, expected)


@pytest.mark.parametrize(
    ("container", "subtype", "depth"),
    [
        ("WAV", "PCM_16", 16),
        ("WAV", "PCM_24", 24),
        ("WAV", "PCM_U8", 16),
        ("FLAC", "PCM_24", 24),
        ("OGG", "VORBIS", 16),
    ],
)
def test_resampling_makes_flac_of_the_own_depth_and_stated_length(tone, encode, container, subtype, depth):
    source = encode(tone(9001, 2, 16_000), 16_000, container, subtype)
    encoded = transcode(source, options(sample_rate=44_100, channels=1), name="x")
    facts = encoded.facts
    assert (facts.codec, facts.bit_depth, facts.sample_rate, facts.channels) == ("flac", depth, 44_100, 1)
    assert facts.frames == num_resampled(9001, 16_000, 44_100)
    assert encoded.source_frames == 9001
    check_consistent(encoded)
    as_wav = transcode(source, options("wav", sample_rate=44_100, channels=1), name="x")
    assert np.array_equal(read(as_wav.data), read(encoded.data))


def test_floats_resample_to_floats(tone, encode):
    for subtype, sample_format in (("FLOAT", "f32"), ("DOUBLE", "f64")):
        encoded = transcode(encode(tone(900), 8000, "WAV", subtype), options("wav", sample_rate=16_000), name="x")
        assert (encoded.facts.sample_format, encoded.facts.frames) == (sample_format, 1800)


def test_channels_are_averaged_or_copied_and_nothing_else(tone, encode):
    stereo, mono = encode(tone(900, 2), 8000, "WAV", "PCM_16"), encode(tone(900), 8000, "WAV", "PCM_24")
    mean = np.rint(read(stereo, "int16").astype(float).mean(axis=1))
    assert np.array_equal(read(transcode(stereo, options(channels=1), name="x").data, "int16")[:, 0], mean)
    copies = read(transcode(mono, options(channels=3), name="x").data)
    assert np.array_equal(copies, np.repeat(read(mono), 3, axis=1))
    with pytest.raises(AudioError, match="x: 2 channels can't become 3: keep 2, or mix to 1"):
        transcode(stereo, options(channels=3), name="x")


def test_keep_refuses_to_change_anything(tone, encode):
    source = encode(tone(900, 2), 8000, "WAV", "PCM_16")
    assert transcode(source, options("keep", sample_rate=8000, channels=2), name="x").data == source
    for change in ({"sample_rate": 16_000}, {"channels": 1}):
        with pytest.raises(InputError, match="x: --codec keep can't turn 2 channels at 8000 Hz into"):
            transcode(source, options("keep", **change), name="x")


@pytest.mark.parametrize("codec", ["auto", "flac", "wav"])
def test_equal_sources_make_equal_bytes(tone, encode, tmp_path, codec):
    source = encode(tone(300_000, 2), 44_100, "WAV", "PCM_16")
    path = tmp_path / "a recording.wav"
    path.write_bytes(source)
    for others in ({}, {"sample_rate": 22_050}, {"flac_level": 8}):
        chosen = options(codec, **others)
        first = transcode(source, chosen, name="x")
        assert first == transcode(path, chosen, name="y") == transcode(io.BytesIO(source), chosen, name="z")
        assert first == transcode(memoryview(source), chosen, name="x")


def test_levels_trade_bytes(tone, encode):
    source = encode(tone(80_000, 2), 44_100, "WAV", "PCM_16")
    sizes = [len(transcode(source, options(flac_level=level), name="x").data) for level in (0, 5, 8)]
    assert sizes[0] > sizes[1] >= sizes[2]


def test_blocks_leave_no_seam(tone, encode):
    samples = tone(2 * (1 << 18) + 77, 1, 44_100)  # two and a bit blocks
    source = encode(samples, 44_100, "WAV", "PCM_16")
    flac = transcode(source, options(), name="x")
    assert np.array_equal(read(flac.data), read(source))
    assert analyse(flac.data, name="x").loudness == flac.loudness
    assert np.array_equal(read(transcode(flac.data, options("wav"), name="x").data), read(source))


def test_a_bad_sample_is_named(tone, encode):
    samples = tone(5000, 2)
    samples[4321, 1] = np.nan
    for subtype in ("FLOAT", "DOUBLE"):
        source = encode(samples, 8000, "WAV", subtype)
        for chosen in (options("keep"), options("wav"), options(bit_depth=16), options("wav", sample_rate=16_000)):
            with pytest.raises(AudioError, match="x: sample 4321 of channel 1 is nan"):
                transcode(source, chosen, name="x")


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC"])
@pytest.mark.parametrize("codec", ["auto", "keep", "wav"])
def test_nothing_recorded_is_refused(encode, container, codec):
    source = encode(np.zeros((0, 1), np.int16), 8000, container, "PCM_16")
    with pytest.raises(AudioError, match="^x: "):
        transcode(source, options(codec), name="x")


def test_truncated_sources_are_refused(tone, encode):
    for container, subtype in [("WAV", "PCM_16"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
                               ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]:  # fmt: skip
        source = encode(tone(40_000), 16_000, container, subtype)
        for length in (len(source) * 2 // 3, len(source) // 2, 100, 20):
            for codec in ("auto", "wav", "keep"):
                with pytest.raises(AudioError, match="^x: "):
                    transcode(source[:length], options(codec), name="x")


def test_more_channels_than_flac_holds(tone, encode):
    source = encode(tone(900, 9), 8000, "WAV", "PCM_16")
    with pytest.raises(AudioError, match="FLAC can't hold 9 channels at 8000 Hz .* choose --codec wav"):
        transcode(source, options(), name="x")
    assert transcode(source, options("wav"), name="x").facts.channels == 9


@pytest.mark.parametrize("samples", [-3000, 3000])
def test_a_vorbis_stream_that_does_not_begin_at_its_start_is_read_right(tone, encode, samples):
    data = shift_pages(encode(tone(300_000, 2), 16_000, "OGG", "VORBIS"), samples)
    check_consistent(analyse(data, name="x"))


def shift_pages(data, samples):
    """Number the samples of all audio pages anew, as a program does that trims the start of a stream."""
    out, position = b"", 0
    while position < len(data):
        count = data[position + 26]
        end = position + 27 + count + sum(data[position + 27 : position + 27 + count])
        page = bytearray(data[position:end])
        granule = int.from_bytes(page[6:14], "little", signed=True)
        if granule > 0:
            page[6:14] = (granule + samples).to_bytes(8, "little", signed=True)
        page[22:26] = bytes(4)
        page[22:26] = ogg_crc(page).to_bytes(4, "little")
        out, position = out + bytes(page), end
    return out


def ogg_crc(page):
    crc = 0
    for octet in page:
        crc ^= octet << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc >> 31 else crc << 1
    return crc


def test_real_recordings_survive(digits, music):
    for path in digits[::500]:
        encoded = transcode(path, options(), name=path.name)
        assert np.array_equal(read(encoded.data, "int16"), sf.read(path, dtype="int16", always_2d=True)[0])
        check_consistent(encoded)
    encoded = transcode(music[3], options(), name=music[3].name)
    assert encoded.data == music[3].read_bytes()
    assert (encoded.extension, encoded.facts.codec, encoded.facts.sample_rate) == ("ogg", "vorbis", 48_000)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"gone\.wav"):
        transcode(tmp_path / "gone.wav", options(), name="x")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"codec": "mp3"}, "codec 'mp3' is none of auto, flac, wav, keep"),
        ({"sample_rate": 0}, "sample rate 0 Hz"),
        ({"channels": 0}, "0 channels"),
        ({"bit_depth": 20}, "bit depth 20: 16 or 24"),
        ({"flac_level": 9}, "FLAC level 9: 0 to 8"),
        ({"codec": "keep", "bit_depth": 16}, "--bit-depth can't be had with --codec keep"),
    ],
)
def test_impossible_options_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        TranscodeOptions(**bad)
