"""Checksums of stretches of a WAV's samples, so that a part of it that is read is known to be what was packed.

A FLAC frame has a checksum of its own; uncompressed samples have none, and those of another recording look as sound. So
the index keeps two bytes for each quarter of a second, and a crop is read to the ends of the stretches it touches.

Coded form, version 3; numbers are LEB128 varints unless a width is given:

    version           1 byte, 3
    frames            samples of the member
    stretch           samples of each stretch but the last
    checks            2 bytes a stretch, little-endian: the lowest 16 bits of the xxh3 (64 bit, seed 0) of its bytes
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from shardkit.audio.facts import AudioFacts
from shardkit.audio.pcm import WIDTH
from shardkit.audio.varint import read_varint, write_varint
from shardkit.core.errors import AudioError, FormatError

VERSION = 3
STRETCH_S = 0.25  # as FLAC's points: a crop reads half of this too much at either end
_MAX_FRAMES = 1 << 48


@dataclass(frozen=True, slots=True)
class CheckTable:
    """Checksums of a WAV's samples.

    Attributes:
        frames: Number of samples of the member.
        stretch: Samples of each stretch but the last.
        checks: Of each stretch, (stretch,) uint16.
    """

    frames: int
    stretch: int
    checks: NDArray[np.uint16]

    @classmethod
    def of(cls, data: bytes | memoryview, facts: AudioFacts) -> Self:
        """Return the table of a whole member."""
        stretch = max(1, int(STRETCH_S * facts.sample_rate))
        size, offset = WIDTH[facts.sample_format] * facts.channels, facts.data_offset or 0
        view = memoryview(data)
        bounds = [(first, min(first + stretch, facts.frames)) for first in range(0, facts.frames, stretch)]
        checks = [checksum(view[offset + first * size : offset + last * size]) for first, last in bounds]
        return cls(facts.frames, stretch, np.array(checks, np.uint16))

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the samples [first, last) of the stretches that hold samples [start, stop)."""
        return start - start % self.stretch, min(-(-stop // self.stretch) * self.stretch, self.frames)

    def check(self, data: memoryview, first: int, frame_bytes: int) -> None:
        """Raise unless some whole stretches are what was packed.

        Args:
            data: Their bytes.
            first: Their first sample.
            frame_bytes: Bytes of a sample of all channels.

        Raises:
            AudioError: They are not; says which samples.
        """
        size = self.stretch * frame_bytes
        for index, begin in enumerate(range(0, len(data), size), start=first // self.stretch):
            if checksum(data[begin : begin + size]) != self.checks[index]:
                start = index * self.stretch
                raise AudioError(
                    f"damaged: samples {start} to {min(start + self.stretch, self.frames)} are not those that were "
                    "packed (checksum)"
                )

    def to_bytes(self) -> bytes:
        """Return the coded form."""
        head = bytes([VERSION]) + write_varint(self.frames) + write_varint(self.stretch)
        return head + self.checks.astype("<u2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the table of a coded form.

        Raises:
            FormatError: The bytes are no table that ``to_bytes`` could have written.
        """
        if data[:1] != bytes([VERSION]):
            raise FormatError(f"table of checksums begins with {data[:1].hex() or 'nothing'}: {VERSION:02x} expected")
        frames, position = read_varint(data, 1)
        stretch, position = read_varint(data, position)
        if stretch < 1 or not 1 <= frames <= _MAX_FRAMES or len(data) - position != 2 * -(-frames // stretch):
            raise FormatError(
                f"table of checksums of {len(data)} bytes for {frames} samples in stretches of {stretch}: not as many"
            )
        return cls(frames, stretch, np.frombuffer(data, "<u2", offset=position))


def checksum(data: memoryview) -> int:
    """Return 16 bits that nearly any change of the data changes."""
    return xxhash.xxh3_64_intdigest(data) & 0xFFFF
