"""What is known of one recording."""

from dataclasses import dataclass

from shardkit.core.errors import FormatError

PCM_CODECS = frozenset({"wav", "flac", "aiff"})  # containers of integer or float PCM
LOSSY_CODECS = frozenset({"vorbis", "opus", "mp3"})
TABLED_CODECS = frozenset({"flac", "mp3", "vorbis"})  # may have a seek table
CODECS = PCM_CODECS | LOSSY_CODECS

# How PCM lies in a WAV or AIFF file; "" stands for anything compressed.
SAMPLE_FORMATS = frozenset({"u8", "s8", "s16", "s24", "s32", "f32", "f64", ""})
FLOAT_FORMATS = frozenset({"f32", "f64"})


@dataclass(slots=True, unsafe_hash=True)  # not frozen: that takes three times as long, and each crop makes one
class AudioFacts:
    """The facts of a recording that reading a part of it needs.

    Attributes:
        codec: One of ``CODECS``.
        sample_format: For WAV and AIFF how one sample is stored: "u8", "s8", "s16", "s24", "s32", "f32" or "f64".
            "" for everything compressed, µ-law and ADPCM in a WAV included.
        sample_rate: Samples per second.
        channels: Number of channels.
        frames: Exact number of samples per channel.
        bit_depth: Bits of the integers that decoding yields; None for lossy codecs and for floats.
        data_offset: Byte of the first PCM sample (uncompressed WAV) or of the first frame (FLAC); otherwise None.
    """

    codec: str
    sample_format: str
    sample_rate: int
    channels: int
    frames: int
    bit_depth: int | None
    data_offset: int | None

    def __post_init__(self) -> None:
        if self.codec not in CODECS or self.sample_format not in SAMPLE_FORMATS:
            raise FormatError(f"codec {self.codec!r} with sample format {self.sample_format!r} is not known")
        if self.sample_rate < 1 or self.channels < 1 or self.frames < 0:
            raise FormatError(
                f"{self.frames} frames of {self.channels} channels at {self.sample_rate} Hz: not a recording"
            )

    @property
    def is_float(self) -> bool:
        """Whether samples are stored as floats, which only WAV and AIFF do."""
        return self.sample_format in FLOAT_FORMATS

    @property
    def is_lossy(self) -> bool:
        """Whether decoding yields an approximation (MP3, Vorbis, Opus; an MP3 stream inside a WAV too)."""
        return self.bit_depth is None and not self.is_float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def reads_ranges(facts: AudioFacts, *, has_seek_table: bool) -> bool:
    """Return whether a part of the recording decodes, bit for bit, from the bytes of that part alone (law L6).

    Uncompressed WAV by arithmetic; FLAC, MP3 and Vorbis by a seek table; all else is read whole.
    """
    if facts.codec in TABLED_CODECS:
        return has_seek_table
    return facts.codec == "wav" and facts.sample_format != "" and facts.data_offset is not None
