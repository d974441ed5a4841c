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

from shardkit.core.errors import InputError, StorageError

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
        return self._finish("manifest.csv", csv_text([columns, *rows]))

    def jsonl(self, rows: Iterable[Mapping[str, Any]]) -> Written:
        """Write ``manifest.jsonl`` and return what this source wrote."""
        return self._finish("manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _finish(self, name: str, data: bytes) -> Written:
        self._write(name, data)
        return Written(
            source=self._source,
            folder=self._folder,
            manifest=self._folder / name,
            num_files=self._num_files,
            audio_s=self._audio_s,
            num_bytes=self._num_bytes,
        )

    def _write(self, path: str, data: bytes) -> None:
        self._num_bytes += save(self._folder / path, [data])


def csv_text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the lines of a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def save(target: Path, parts: Iterable[bytes]) -> int:
    """Write a file of these parts, one after the other, and its folders; return how many bytes they are.

    Raises:
        StorageError: It can't be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            return sum(file.write(part) for part in parts)
    except OSError as err:
        raise StorageError(f"{target}: can't be written: {err.strerror}; make room or choose another folder") from err


def check_empty(folder: Path) -> None:
    """Raise if anything is there: a data set of two mixed runs would be neither."""
    try:
        found = next(folder.iterdir(), None)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file; name a new or an empty folder") from None
    except OSError as err:
        raise StorageError(f"{folder}: can't be listed: {err.strerror}; choose a folder you may write to") from err
    if found is not None:
        raise InputError(f"{folder}: holds {found.name!r} already; name a new or an empty folder, or empty it first")
