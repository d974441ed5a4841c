"""A FLAC member out of a WAV file, as a peer's user writes it where the peer brings no encoder: libsndfile's."""

import io
from pathlib import Path

import soundfile


def encoded(path: Path) -> bytes:
    """Return the FLAC of a 16-bit WAV file at level 5, libsndfile's default; the samples stay integers on the way."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    member = io.BytesIO()
    soundfile.write(member, samples, rate, format="FLAC", subtype="PCM_16")
    return member.getvalue()
