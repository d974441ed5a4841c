"""Refuses arguments that can't be, in one line, where they are given rather than where they first hurt."""

from typing import Any

from shardkit.core.errors import InputError
from shardkit.stream.stream import Stream


def check_stream(stream: Any) -> None:
    """Refuse what is no stream.

    Raises:
        InputError: The message says what was given.
    """
    if not isinstance(stream, Stream):
        raise InputError(f"stream is a {type(stream).__name__}; give a shardkit.Stream")


def check_transform(transform: Any, *, sample_rate: int, has_audio: bool) -> None:
    """Refuse a transform that can't be called, that says it is made for another rate, or of audio where there is none.

    Raises:
        InputError: The message says what was given and what the loader delivers.
    """
    if not callable(transform):
        raise InputError(
            f"transform is a {type(transform).__name__}; give a module or a function of batch.audio, or of batches"
        )
    if not has_audio and not getattr(transform, "takes_batch", False):
        raise InputError(
            f"transform is a {type(transform).__name__}, of audio, but the stream reads features in its place; give "
            "shardkit.features.StoredFeatures(), which makes batch.features of them, or read the recordings"
        )
    made_for = getattr(transform, "sample_rate", sample_rate)
    if made_for != sample_rate:
        raise InputError(
            f"transform is a {type(transform).__name__} for {made_for} Hz, but the loader delivers {sample_rate} Hz; "
            f"make the two the same, or give the loader sample_rate={made_for}"
        )
