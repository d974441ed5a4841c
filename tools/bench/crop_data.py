"""The recordings that ``tools.bench.crops`` reads, in every form that its systems want, and where their frames lie.

Minutes of music as 48 kHz stereo FLAC in shards, the same as WAV and as plain files, perhaps as lhotse Shar; and the
short clips of a folder of spoken digits. 1.7 GB for an hour of music.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shardkit.audio.flac import FlacLayout, scan
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset
from shardkit.stream.fetch import read_member
from tools.bench.metering import Drawn

RATE = 48_000


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies in the folder of this benchmark."""

    folder: Path

    @property
    def flac(self) -> Path:
        """Music in shards, FLAC."""
        return self.folder / "flac"

    @property
    def wav(self) -> Path:
        """Music in shards, WAV."""
        return self.folder / "wav"

    @property
    def short(self) -> Path:
        """Short clips in shards, FLAC."""
        return self.folder / "short"

    @property
    def files(self) -> Path:
        """Music as plain FLAC files, byte for byte those of the shards."""
        return self.folder / "files"

    @property
    def shar(self) -> Path:
        """Music as lhotse Shar."""
        return self.folder / "shar"


def prepare(places: Places, *, music: Path, digits: Path | None, lhotse: Path | None, rate: int = RATE) -> None:
    """Make what is not there yet.

    Args:
        places: Where.
        music: Folder of long recordings.
        digits: Folder of short ones; None: no short clips.
        lhotse: Python that has lhotse; None: no Shar.
        rate: Music is resampled to it.
    """
    places.folder.mkdir(parents=True, exist_ok=True)
    _packed(music, places.flac, PackOptions(codec="flac", sample_rate=rate, name="flac"))
    _packed(music, places.wav, PackOptions(codec="wav", sample_rate=rate, name="wav"))
    if digits is not None:
        _packed(digits, places.short, PackOptions(codec="flac", name="short"))
    if not places.files.exists():
        for key, data in members(places.flac).items():
            path = places.files / f"{key}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    if lhotse is not None and not places.shar.exists():
        command = [str(lhotse), "-m", "tools.bench.crop_lhotse", "build", str(places.files), str(places.shar)]
        subprocess.run(command, check=True)


def _packed(source: Path, target: Path, options: PackOptions) -> None:
    if not (target / MANIFEST_NAME).exists():
        pack(locate(source), locate(target), inputs=InputOptions(), options=options)


def members(folder: Path) -> dict[str, bytes]:
    """Return the primary audio members of a dataset by key."""
    view = open_dataset(folder)
    return {key: read_member(view.catalog, PRIMARY, row) for row, key in enumerate(view.keys())}


def layouts(folder: Path) -> dict[str, FlacLayout]:
    """Return where each frame of the recordings lies: from their bytes, not from the index."""
    return {key: scan(data) for key, data in members(folder).items()}


def overlapping_bytes(drawn: Sequence[Drawn], found: Mapping[str, FlacLayout]) -> int:
    """Return the bytes of the FLAC frames that hold a sample of the crops, each crop for itself."""
    return sum(_overlapping(crop, found[crop.key]) for crop in drawn)


def _overlapping(crop: Drawn, layout: FlacLayout) -> int:
    first = int(np.searchsorted(layout.frame_samples, crop.start, side="right")) - 1
    after = int(np.searchsorted(layout.frame_samples, crop.stop, side="left"))
    end = layout.end if after == len(layout.frame_bytes) else int(layout.frame_bytes[after])
    return end - int(layout.frame_bytes[first])
