"""Where a source's recordings and its manifest become files: the one seam to the file system."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from shardkit.core.errors import StorageError

PCM16_FULL_SCALE = 2**15 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one source wrote.

    Attributes:
        source: ``tones``, ``bursts`` or ``music``.
        folder: Where its recordings lie.
        manifest: The list of them, to be packed or read.
        num_files: Recordings; the manifest is not counted.
        audio_s: Their durations added up.
        num_bytes: Bytes of the recordings and the manifest.
    """

    source: str
    folder: Path
    manifest: Path
    num_files: int
    audio_s: float
    num_bytes: int


class SourceFolder:
    """A source's folder while it is being filled; the manifest is written last, by ``csv`` or ``jsonl``."""

    def __init__(self, root: Path, source: str) -> None:
        self._folder = root / source
        self._source = source
        self._num_files = 0
        self._audio_s = 0.0
        self._num_bytes = 0

    def audio(self, path: str, samples: NDArray[np.float64] | NDArray[np.float32], sample_rate: int) -> None:
        """Write samples in [-1, 1], (time) or (time, channel), as PCM16 in the container that ``path`` ends with."""
        pcm = np.rint(np.asarray(samples) * PCM16_FULL_SCALE).astype(np.int16)
        buffer = io.BytesIO()
        container = path.rpartition(".")[2].upper()
        soundfile.write(buffer, pcm, sample_rate, format=container, subtype="PCM_16")
        self._write(path, buffer.getvalue())
        self._num_files += 1
        self._audio_s += pcm.shape[0] / sample_rate

    def csv(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Written:
        """Write ``manifest.csv`` and return what this source wrote."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return self._finish("manifest.csv", text.getvalue())

    def jsonl(self, rows: Iterable[Mapping[str, Any]]) -> Written:
        """Write ``manifest.jsonl`` and return what this source wrote."""
        return self._finish("manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def _finish(self, name: str, text: str) -> Written:
        self._write(name, text.encode())
        return Written(
            source=self._source,
            folder=self._folder,
            manifest=self._folder / name,
            num_files=self._num_files,
            audio_s=self._audio_s,
            num_bytes=self._num_bytes,
        )

    def _write(self, path: str, data: bytes) -> None:
        target = self._folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as err:
            raise StorageError(
                f"{target}: can't be written: {err.strerror}; make room or choose another folder"
            ) from err
        self._num_bytes += len(data)
