"""Encoders: native blocks in, the bytes of a file out; equal samples make equal bytes.

FLAC is libFLAC's by way of libsndfile, so its bytes are a function of the samples, the level and that library's
version. WAV is our own, since libsndfile puts a PEAK chunk with the time of day into float files.
"""

import io
from typing import Protocol

import numpy as np
import soundfile

from shardkit.audio import probe
from shardkit.audio.decode import AudioMember
from shardkit.audio.flac import layout_of
from shardkit.audio.pcm import Native, to_wav
from shardkit.audio.wav import pad, write_header
from shardkit.audio.whole import SequentialFile
from shardkit.core.errors import AudioError

MAX_FLAC_CHANNELS = 8  # RFC 9639, 9.1.3
MAX_FLAC_RATE = 655_350  # what a frame header can hold: 16 bits in units of 10 Hz (RFC 9639, 9.1.2)
MAX_FLAC_LEVEL = 8


class Encoder(Protocol):
    """Takes the samples of one recording in order, then gives the file."""

    def write(self, block: Native) -> None:
        """Take the next samples, (time, channel)."""

    def finish(self) -> bytes:
        """Return the file."""

    def describe(self, data: bytes) -> AudioMember:
        """Return what a reader must know of the finished file."""


class FlacEncoder:
    """Writes FLAC of 16 or 24 bits.

    Args:
        sample_rate: Samples per second.
        channels: Number of channels.
        bit_depth: 16 or 24.
        level: libFLAC's compression level, 0 (fast) to 8 (small).

    Raises:
        AudioError: FLAC can't hold so many channels or such a rate.
    """

    def __init__(self, *, sample_rate: int, channels: int, bit_depth: int, level: int) -> None:
        if channels > MAX_FLAC_CHANNELS or sample_rate > MAX_FLAC_RATE:
            raise AudioError(
                f"FLAC can't hold {channels} channels at {sample_rate} Hz (at most {MAX_FLAC_CHANNELS}, "
                f"{MAX_FLAC_RATE} Hz): choose --codec wav, or --codec keep"
            )
        self._buffer = _Written()
        try:
            self._file = SequentialFile(
                self._buffer,
                "w",
                sample_rate,
                channels,
                subtype=f"PCM_{bit_depth}",
                format="FLAC",
                compression_level=level / MAX_FLAC_LEVEL,  # libsndfile takes 0 to 1 and multiplies by 8
            )
        except soundfile.LibsndfileError as err:
            raise AudioError(f"FLAC of {channels} channels at {sample_rate} Hz: {err.error_string}") from err

    def write(self, block: Native) -> None:
        """Take the next samples: int16 or int32, (time, channel).

        Raises:
            AudioError: libFLAC does not take the recording; it says so at the first write only.
        """
        try:
            self._file.write(np.ascontiguousarray(block))
        except soundfile.LibsndfileError as err:
            raise AudioError(
                f"FLAC of {self._file.channels} channels at {self._file.samplerate} Hz: {err.error_string} "
                f"choose --codec wav, or --codec keep"
            ) from err

    def finish(self) -> bytes:
        """Return the file; libFLAC fills in STREAMINFO, the MD5 included, on closing."""
        self._file.close()
        return self._buffer.getvalue()

    def describe(self, data: bytes) -> AudioMember:
        """Return what a reader must know of the finished file."""
        return probe.flac_member(layout_of(data, self._buffer.offsets))


class _Written:
    """A file in memory that knows where each write began: libFLAC writes frame by frame."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self.offsets: list[int] = []
        self.tell, self.seek, self.getvalue = self._buffer.tell, self._buffer.seek, self._buffer.getvalue

    def write(self, data: bytes) -> int:
        self.offsets.append(self.tell())
        return self._buffer.write(data)


class WavEncoder:
    """Writes WAV of any format that ``pcm.WIDTH`` names but "s8", which WAV has not.

    Args:
        sample_format: How samples are stored.
        sample_rate: Samples per second.
        channels: Number of channels.
    """

    def __init__(self, *, sample_format: str, sample_rate: int, channels: int) -> None:
        self._sample_format = sample_format
        self._rate, self._channels = sample_rate, channels
        self._parts: list[bytes] = []

    def write(self, block: Native) -> None:
        """Take the next samples, (time, channel), in the native dtype of the format."""
        self._parts.append(to_wav(block, self._sample_format))

    def finish(self) -> bytes:
        """Return the file."""
        data_bytes = sum(map(len, self._parts))
        header = write_header(self._sample_format, self._rate, self._channels, data_bytes)
        return b"".join([header, *self._parts, pad(data_bytes)])

    def describe(self, data: bytes) -> AudioMember:
        """Return what a reader must know of the finished file."""
        return probe.inspect(data)
