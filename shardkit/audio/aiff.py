"""AIFF and AIFF-C: whether the file is whole. Its samples are libsndfile's business.

Source:
    Audio Interchange File Format 1.3 (Apple, 1989), and AIFF-C draft (1991): FORM, COMM, SSND; sizes are big-endian.
"""

import struct

from shardkit.core.errors import AudioError


def check(data: bytes | memoryview) -> None:
    """Raise if the file ends before its chunks do.

    Raises:
        AudioError: Says how many bytes are missing, or that there are no samples.
    """
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack(">4sI", bytes(data[position : position + 8]))
        present = len(data) - position - 8
        if name == b"SSND" and size > present:
            raise AudioError(f"truncated: AIFF header says {size} bytes of samples, {present} present")
        if name == b"SSND":
            return
        position += 8 + size + (size & 1)
    raise AudioError(f"truncated: AIFF of {len(data)} bytes without samples (SSND chunk)")
