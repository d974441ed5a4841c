"""Crops through ``lhotse`` Shar, in an environment of its own that has no shardkit.

    LHOTSE/bin/python -m tools.bench.crop_lhotse build FLAC_FOLDER SHAR_FOLDER

writes recordings as Shar; ``tools.bench.crops`` runs the rest. Shar is read in order, member by member, each put whole
into the cut's memory; the cut is then truncated and loaded, for which the backend seeks in those bytes.
"""

import random
import sys
from pathlib import Path

from lhotse import CutSet, MonoCut, MultiCut, Recording
from lhotse.shar import SharWriter

from tools.bench.metering import Drawn, Reader, report

_KEYS = "keys.txt"
_SHARD_CUTS = 8


def build(source: Path, target: Path) -> None:
    """Write the FLAC files of a folder as Shar, with lhotse's own encoder."""
    target.mkdir(parents=True)
    paths = sorted(source.rglob("*.flac"))
    with SharWriter(str(target), fields={"recording": "flac"}, shard_size=_SHARD_CUTS) as writer:
        for number, path in enumerate(paths):
            recording = Recording.from_file(path, recording_id=f"{number:03d}")
            writer.write(recording.to_cut())
    (target / _KEYS).write_text("\n".join(path.relative_to(source).with_suffix("").as_posix() for path in paths))


def shar(*, where: str, keys: str, crop_s: float) -> Reader:
    """Return crops of the recordings of a Shar folder, at a path or an S3 URL."""
    names = (Path(keys) / _KEYS).read_text().splitlines()
    numbers = range(-(-len(names) // _SHARD_CUTS))
    fields = {
        "cuts": [f"{where}/cuts.{number:06d}.jsonl.gz" for number in numbers],
        "recording": [f"{where}/recording.{number:06d}.tar" for number in numbers],
    }
    cuts, draw = iter(CutSet.from_shar(fields=fields).repeat()), random.Random(0)  # noqa: S311  (where crops start)

    def read(number: int) -> list[Drawn]:
        return [_crop(next(cuts), names, crop_s, draw) for _ in range(number)]

    return read


def _crop(cut: MonoCut | MultiCut, names: list[str], crop_s: float, draw: random.Random) -> Drawn:
    length = round(crop_s * cut.sampling_rate)
    start = draw.randrange(cut.num_samples - length + 1)
    samples = cut.truncate(offset=start / cut.sampling_rate, duration=crop_s).load_audio()
    if samples.shape[1] != length:
        raise SystemExit(f"lhotse: {samples.shape[1]} samples where {length} were asked for")
    return Drawn(names[int(cut.recording_id)], start, start + length)


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        report({"lhotse": shar})
