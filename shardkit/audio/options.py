"""How recordings are to be stored, and what that means for one of them."""

from dataclasses import dataclass
from typing import Literal, get_args

from shardkit.audio.encode import MAX_FLAC_LEVEL
from shardkit.audio.facts import AudioFacts
from shardkit.audio.resample import check_mix
from shardkit.core.errors import AudioError, InputError

Codec = Literal["auto", "flac", "wav", "keep"]

_CANT_HOLD = (
    "FLAC can't hold it: choose --codec wav (keeps it as it is), --codec keep, or --bit-depth 16|24 (quantises)"
)
_MAX_FLAC_BITS = 24
MAX_DECODED_BYTES = 256_000_000_000  # 185 hours of stereo at 48 kHz
_MAX_SAMPLE_RATE = 768_000  # the fastest that converters have; beyond it a typing error is likelier


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodeOptions:
    """How recordings are to be stored.

    Attributes:
        codec: "auto" makes FLAC of PCM and keeps FLAC and lossy files byte for byte; "flac" and "wav" make that of
            everything; "keep" keeps everything byte for byte.
        sample_rate: Rate wanted; None: each recording's own.
        channels: Number of channels wanted: 1 mixes, more copy a mono recording; None: each recording's own.
        bit_depth: 16 or 24 for whatever is written anew; None: the recording's own, 16 for lossy ones.
        flac_level: 0 (fast) to 8 (small).
        loudness: Measure loudness; else the peak alone.
        max_decoded_bytes: Most that a recording may decode to, at 4 bytes a sample: a few KB can claim, and be, years.

    Raises:
        InputError: A value is out of range, or two exclude each other.
    """

    codec: Codec = "auto"
    sample_rate: int | None = None
    channels: int | None = None
    bit_depth: Literal[16, 24] | None = None
    flac_level: int = 5
    loudness: bool = True
    max_decoded_bytes: int = MAX_DECODED_BYTES

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise InputError(f"codec {self.codec!r} is none of {', '.join(get_args(Codec))}")
        if self.sample_rate is not None and not 1 <= self.sample_rate <= _MAX_SAMPLE_RATE:
            raise InputError(f"sample rate {self.sample_rate} Hz: 1 to {_MAX_SAMPLE_RATE} expected")
        if self.channels is not None and self.channels < 1:
            raise InputError(f"{self.channels} channels: 1 or more expected")
        if self.bit_depth not in {None, 16, 24}:
            raise InputError(f"bit depth {self.bit_depth}: 16 or 24 expected")
        if not 0 <= self.flac_level <= MAX_FLAC_LEVEL:
            raise InputError(f"FLAC level {self.flac_level}: 0 to {MAX_FLAC_LEVEL} expected")
        if self.codec == "keep" and self.bit_depth is not None:
            raise InputError("--bit-depth can't be had with --codec keep, which changes nothing: choose flac or wav")


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one recording.

    Attributes:
        keep: Its bytes are stored as they are; the rest says what they hold.
        codec: "flac" or "wav" if written anew.
        sample_format: Of the samples written: "u8", "s16", "s24", "s32", "f32" or "f64".
        sample_rate: Rate stored.
        channels: Number of channels stored.
    """

    keep: bool
    codec: str
    sample_format: str
    sample_rate: int
    channels: int


def plan(facts: AudioFacts, options: TranscodeOptions) -> Plan:
    """Return what becomes of a recording.

    Raises:
        AudioError: The recording can't be had as asked; says what can.
        InputError: The options contradict each other for this recording.
    """
    rate = options.sample_rate or facts.sample_rate
    channels = options.channels or facts.channels
    changes = (rate, channels) != (facts.sample_rate, facts.channels)
    if options.codec == "keep" and changes:
        raise InputError(
            f"--codec keep can't turn {facts.channels} channels at {facts.sample_rate} Hz into {channels} at {rate} Hz:"
            f" choose --codec auto, flac or wav, or ask for no change"
        )
    check_mix(facts.channels, channels)
    if _stays(facts, options, changes=changes):
        return Plan(True, facts.codec, facts.sample_format, rate, channels)
    if options.codec == "wav":
        return Plan(False, "wav", _wav_format(facts, options, changes=changes), rate, channels)
    return Plan(False, "flac", _flac_format(facts, options), rate, channels)


def _stays(facts: AudioFacts, options: TranscodeOptions, *, changes: bool) -> bool:
    """Return whether the recording is kept byte for byte."""
    if options.codec == "keep":
        return True
    if changes or options.codec == "wav":
        return False
    if facts.codec == "flac":
        return options.bit_depth in {None, facts.bit_depth}
    return facts.is_lossy and options.codec == "auto"


def _flac_format(facts: AudioFacts, options: TranscodeOptions) -> str:
    if options.bit_depth is not None:
        return f"s{options.bit_depth}"
    if facts.is_float:
        raise AudioError(f"it holds floats; {_CANT_HOLD}")
    bits = facts.bit_depth or 16
    if bits > _MAX_FLAC_BITS:
        raise AudioError(f"it holds PCM of {bits} bits; {_CANT_HOLD}")
    return "s16" if bits <= 16 else "s24"


def _wav_format(facts: AudioFacts, options: TranscodeOptions, *, changes: bool) -> str:
    if options.bit_depth is not None:
        return f"s{options.bit_depth}"
    if facts.is_float:
        return facts.sample_format
    if facts.bit_depth == 8 and facts.sample_format in {"u8", "s8"} and not changes:
        return "u8"
    bits = facts.bit_depth or 16
    # What is computed anew from 8 bits gets 16: rounding to 8 again would double the noise.
    return "s16" if bits <= 16 else "s24" if bits <= 24 else "s32"
