"""How large recordings will be once encoded, from ten seconds of a few of them.

The answer only places the cuts between shards, so a guess that is off costs shards of another size, nothing else.
"""

import io
from collections.abc import Sequence
from typing import BinaryIO

import soundfile

from shardkit.core.errors import NotFoundError, StorageError
from shardkit.pack.inputs import PackInput
from shardkit.pack.options import PackOptions
from shardkit.pack.places import placed
from shardkit.storage.store import open_reader, size

_RECORDINGS = 6
_EXCERPT_S = 10
_LOSSY = {"MP3", "OGG"}


def bytes_ratios(inputs: Sequence[PackInput], options: PackOptions) -> dict[str, float]:
    """Return encoded bytes for each byte of input, by lower-case extension of the inputs."""
    if options.codec == "keep":
        return {}
    by_extension: dict[str, list[PackInput]] = {}
    for item in sorted(inputs, key=lambda item: item.key):
        by_extension.setdefault(item.path.rpartition(".")[2].lower(), []).append(item)
    ratios = {}
    for extension, items in by_extension.items():
        step = max(1, len(items) // _RECORDINGS)
        found = [ratio for item in items[::step][:_RECORDINGS] if (ratio := _ratio(item, options)) is not None]
        if found:
            ratios[extension] = sum(found) / len(found)
    return ratios


class _Reader:
    """A file for libsndfile that keeps a failure of storage: an exception in its callbacks would be printed and lost.

    Then the estimate, and with it the assignment to shards, would depend on a passing outage.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: StorageError | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, num_bytes: int = -1) -> bytes:
        try:
            return self._file.read(num_bytes)
        except StorageError as err:
            self.error = err
            return b""


def _ratio(item: PackInput, options: PackOptions) -> float | None:
    """Return encoded over stored size of one recording; None if it can't be read (packing will say why).

    Raises:
        StorageError: Its storage fails.
    """
    try:
        with placed(item.where), open_reader(item.location) as file:
            reader = _Reader(file)
            ratio = _measured(reader, item, options)
            if reader.error is not None:
                raise reader.error
            return ratio
    except NotFoundError:
        return None


def _measured(file: _Reader, item: PackInput, options: PackOptions) -> float | None:
    try:
        with soundfile.SoundFile(file) as audio:
            rate = options.sample_rate or audio.samplerate
            channels = options.channels or audio.channels
            changed = rate != audio.samplerate or channels != audio.channels
            if options.codec == "auto" and not changed and audio.format in _LOSSY | {"FLAC"}:
                return 1.0
            excerpt = min(audio.frames, _EXCERPT_S * audio.samplerate)
            audio.seek((audio.frames - excerpt) // 2)
            samples = audio.read(excerpt, dtype="int16")
            scale = rate * channels / (audio.samplerate * audio.channels)
            if options.codec == "wav":
                encoded = samples.nbytes
            else:
                sink = io.BytesIO()
                soundfile.write(sink, samples, audio.samplerate, format="FLAC", subtype="PCM_16")
                encoded = len(sink.getvalue())
            depth = 1.5 if audio.subtype == "PCM_24" else 1.0
            return float(scale * depth * encoded * audio.frames / max(1, excerpt) / max(1, size(item.location)))
    except (RuntimeError, TypeError):  # what soundfile raises on what is not audio
        return None
