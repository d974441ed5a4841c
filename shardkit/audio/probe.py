"""What a file is, by its content; never by its name."""

import errno
from dataclasses import replace
from pathlib import Path

from shardkit.audio import aiff, flac, mp3, ogg, wav, whole
from shardkit.audio.checks import CheckTable
from shardkit.audio.decode import AudioMember, decode
from shardkit.audio.facts import AudioFacts
from shardkit.audio.id3 import skip_id3v2
from shardkit.audio.pcm import WIDTH
from shardkit.audio.seektable import SeekTable
from shardkit.core.errors import AudioError, NotFoundError, StorageError

_COUNT_FRAMES = 1 << 18
_KNOWN = "WAV, FLAC, Ogg Vorbis, Opus, MP3 or AIFF"
_SHOWN_BYTES = 12
_MAX_FLAC_BITS = 24  # beyond, dr_flac decodes only the simplest frames and libsndfile none

# libsndfile's names of sample formats: how they are stored, and the bits of the integers they decode to.
# What decodes to exactly 16 bits (µ-law, ADPCM …) counts as PCM of 16 bits.
_SUBTYPES: dict[str, tuple[str, int | None]] = {
    "PCM_U8": ("u8", 8),
    "PCM_S8": ("s8", 8),
    "PCM_16": ("s16", 16),
    "PCM_24": ("s24", 24),
    "PCM_32": ("s32", 32),
    "FLOAT": ("f32", None),
    "DOUBLE": ("f64", None),
    "ULAW": ("", 16),
    "ALAW": ("", 16),
    "IMA_ADPCM": ("", 16),
    "MS_ADPCM": ("", 16),
    "GSM610": ("", 16),
    "G721_32": ("", 16),
    "NMS_ADPCM_16": ("", 16),
    "NMS_ADPCM_24": ("", 16),
    "NMS_ADPCM_32": ("", 16),
    "DWVW_12": ("", 16),
    "DWVW_16": ("", 16),
    "DWVW_24": ("", 24),
}


def probe(source: bytes | memoryview | Path) -> AudioFacts:
    """Return the facts of a recording, with the exact number of frames.

    Reads all of it: FLAC frames are scanned, and lossy codecs, whose headers do not say, decoded.

    Raises:
        AudioError: Not audio that shardkit reads, or truncated or damaged.
        StorageError: The file can't be read.
    """
    data = read_file(source) if isinstance(source, Path) else source
    member = inspect(data)
    facts = member.facts
    check_not_empty(facts.frames)
    if facts.codec == "flac":
        # The scan sees frame headers; a cut within the last frame shows when that is decoded.
        decode(member, data, 0, facts.frames - 1, facts.frames)
    if facts.codec in {"flac", "aiff"} or member.reads_ranges:
        return facts
    frames = sum(len(block) for block in whole.read_blocks(data, facts, _COUNT_FRAMES))
    check_count(facts, frames, data)
    return replace(facts, frames=frames)


def inspect(data: bytes | memoryview, *, checks: bool = True) -> AudioMember:
    """Return what headers, and a scan of FLAC frames, say of a recording.

    The ``frames`` of a lossy one are what its header claims, until it is decoded.

    Args:
        data: The recording.
        checks: Whether the samples of a WAV are read for their checksums, which only stored ones need.

    Raises:
        AudioError: Not audio that shardkit reads, or truncated or damaged.
    """
    magic = bytes(data[:_SHOWN_BYTES])
    if magic[:4] in {b"RIFF", b"RF64"} and magic[8:] == b"WAVE":
        member = _inspect_wav(data)
        return with_checks(member, data) if checks else member
    if magic[:4] == ogg.CAPTURE and (codec := ogg.codec_of(data)) is not None:
        ogg.check(data)
        return AudioMember(_facts_by_libsndfile(data, codec), len(data))
    if magic[:4] == b"FORM" and magic[8:] in {b"AIFF", b"AIFC"}:
        aiff.check(data)
        return AudioMember(_facts_by_libsndfile(data, "aiff"), len(data))
    if magic[:4] == b"fLaC" or (magic[:3] == b"ID3" and bytes(data[skip_id3v2(data) :][:4]) == b"fLaC"):
        return flac_member(flac.scan(data))
    if mp3.first_frame(data) is not None:
        mp3.check(data)
        return AudioMember(_facts_by_libsndfile(data, "mp3"), len(data))
    found = f"starts with {magic!r}" if magic else "empty file"
    raise AudioError(f"not audio that shardkit reads: {found}; expected {_KNOWN}")


def with_checks(member: AudioMember, data: bytes | memoryview) -> AudioMember:
    """Return a member with the checksums of its samples where it is a WAV, which has none of its own."""
    if member.facts.sample_format == "" or member.facts.codec != "wav" or not member.facts.frames:
        return member
    return replace(member, seek_table=CheckTable.of(data, member.facts))


def read_file(path: Path) -> bytes:
    """Return the bytes of a local file.

    Raises:
        NotFoundError: It is not there, or is a link to nothing.
        StorageError: It can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ELOOP):
            raise StorageError(f"{path}: {err.strerror}") from err
        found = "a link that leads to no file; mend it or take it away" if path.is_symlink() else err.strerror
        raise NotFoundError(f"{path}: {found}") from err


def check_not_empty(frames: int) -> None:
    """Raise if a recording has no samples.

    Raises:
        AudioError: It has none.
    """
    if not frames:
        raise AudioError("it holds no samples; record it anew, or leave it out")


def check_count(facts: AudioFacts, frames: int, data: bytes | memoryview) -> None:
    """Raise if a full decode yielded other than the header claims.

    Raises:
        AudioError: Says how many were claimed and decoded.
    """
    start = mp3.first_frame(data) if facts.codec == "mp3" else None
    unclaimed = start is not None and mp3.claimed_frames(data, start) is None
    if frames != facts.frames and not unclaimed:
        raise AudioError(f"truncated or damaged: header says {facts.frames} samples, {frames} decoded")
    check_not_empty(frames)


def flac_member(layout: flac.FlacLayout) -> AudioMember:
    """Return what the frames of a FLAC say of it."""
    info = layout.info
    if info.bit_depth > _MAX_FLAC_BITS:
        raise AudioError(f"FLAC of {info.bit_depth} bits: no decoder here reads it; convert it to 24 bits, or to WAV")
    facts = AudioFacts(
        codec="flac",
        sample_format="",
        sample_rate=info.sample_rate,
        channels=info.channels,
        frames=info.total_samples,
        bit_depth=info.bit_depth,
        data_offset=int(layout.frame_bytes[0]),
    )
    return AudioMember(facts, layout.end, SeekTable.of(layout))


def _inspect_wav(data: bytes | memoryview) -> AudioMember:
    layout = wav.read_layout(data)
    if not layout.sample_format:
        return AudioMember(_facts_by_libsndfile(data, "wav"), len(data))
    is_float = layout.sample_format[0] == "f"
    facts = AudioFacts(
        codec="wav",
        sample_format=layout.sample_format,
        sample_rate=layout.sample_rate,
        channels=layout.channels,
        frames=layout.frames,
        bit_depth=None if is_float else 8 * WIDTH[layout.sample_format],
        data_offset=layout.data_offset,
    )
    return AudioMember(facts, len(data))


def _facts_by_libsndfile(data: bytes | memoryview, codec: str) -> AudioFacts:
    with whole.open_whole(data, codec) as file:
        sample_format, bit_depth = _SUBTYPES.get(file.subtype, ("", None))
        # PCM that only libsndfile finds in a WAV is read as it reads it, through ``whole``.
        return AudioFacts(
            codec=codec,
            sample_format=sample_format if codec == "aiff" else "",
            sample_rate=file.samplerate,
            channels=file.channels,
            frames=file.frames,
            bit_depth=bit_depth,
            data_offset=None,
        )
