"""What a system's file gives, and what it is given: the contract between ``tools.bench.compare`` and its systems.

Each system has one file in this folder, which runs in that system's own environment, where there is no shardkit: it
imports the standard library, NumPy, soundfile, torch, its own library and this package's ``contract`` and ``cutting``.

**Literals at the top** (the runner reads them without importing the file):

    REQUIREMENTS = ("webdataset==1.0.2", "torch==2.13.0", "numpy", "soundfile")    pip's; () is the runner's own
    SETTINGS = "One or two sentences: how it is set up, and why, as its documentation says."
    VARIANTS = {"documented": {"A": (0, 2), "B": (0,)},        variant: {workload: numbers of worker processes}
                "tuned": {"A": (0, 2), "B": (0,), "C-B": (0, 2), "E": (0,)}}
    CACHES = ("tuned",)                                        variants that keep what came from S3 in ``job.cache``

``documented`` decodes whole members, as the peer's own docs do, then slices. ``tuned`` is what an expert would write:
soundfile opens the member's bytes, seeks, and decodes the crop only. Other variants may have other names; then the
name says what is different, and SETTINGS explains.

    READS = "shardkit"                                         whose ``build`` it reads; default: its own

**Functions**:

    build(source, target, dataset)      from a folder of files to the system's own format, not timed
    batches(job)                        an iterator of ``Batch`` without end: A, B, C, F, G
    epoch(job, state)                   for E; optional: see below
    pack(job), packed(target)           for D; optional: see below

``build(source: Path, target: Path, dataset: str)``: ``source`` holds the files of one of DATASETS and ``target`` does
not exist yet. The target holds each FLAC file byte for byte, unless the format can't. It is moved afterwards, and
served from S3 as it is, so no absolute paths in it. Key of a recording: the stem of its file (unique, no dots).
``digits`` has three sub-folders, its sources, SOURCES by name, which are mixed in F; keys are unique over all.

``batches(job)``: shuffled passes over all recordings, one after the other; of each recording a crop of ``job.crop_s``
at a uniformly random sample, or if that is None all of it, padded with zeros at its end to the longest of the batch.
The crop is a new one at each visit. Batches of ``job.batch``, (batch, channel, time) float32 in [-1, 1), a NumPy array
or a torch tensor, in one piece. All that a training loop has is to be there; nothing is left for it to do. Seed:
``job.seed`` where the system takes one; the modules ``random`` and NumPy are seeded before. With ``job.workers`` 0 all
is read in the calling process; else that many worker processes, as a DataLoader has them. G takes what ``batches``
gives and computes log-mels of it (``log_mel.py``), unless ``Batch.features`` is given.

Over S3 ``job.where`` is ``s3://bucket/prefix``; what was built there is the same as on disk. AWS_ENDPOINT_URL (also as
S3_ENDPOINT_URL), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION say how to reach it. ``job.local`` is
the same folder on disk: for names and lists that a real job would have from elsewhere, never for audio. ``job.cache``
is a folder that is empty at the first visit and filled by a pass at the second. (``CACHES = True``: all variants.)

``epoch(job, state)`` returns ``(iterator, get_state)``: the batches of one pass (the last may be short), shuffled with
``job.seed``, and a function that gives, as bytes, the state after the last batch that the iterator gave. With
``state``, what ``get_state`` gave in another process, the pass goes on there. A system that can't has no such
function.

``pack(job: PackJob)``: WAV files to shards with FLAC members (level 5, 16 bits, that of libsndfile or the system's
own) by ``job.processes`` processes. ``packed(target)`` yields (key, FLAC bytes) of all that ``pack`` wrote, for the
check.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

DATASETS = ("clips", "tracks", "tracks-wav", "digits")  # 10 s mono, minutes of stereo, the same as WAV, spoken digits
RATE = 48_000  # of clips and tracks, in Hz; the digits have 8 kHz
SOURCES = {"one": 0.5, "two": 0.3, "three": 0.2}  # sub-folders of the digits, and their weights in the mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is to be delivered.

    Attributes:
        title: What it is, for the tables.
        dataset: One of DATASETS.
        crop_s: Seconds of a crop; None: all of each recording.
        batch: Samples in a batch.
        remote: Whether it is read from S3.
    """

    title: str
    dataset: str
    crop_s: float | None
    batch: int = 32
    remote: bool = False


WORKLOADS = {
    "A": Workload(title="5 s crops of 10 s mono clips, FLAC", dataset="clips", crop_s=5.0),
    "B": Workload(title="2 s crops of minutes-long stereo tracks, FLAC", dataset="tracks", crop_s=2.0),
    "B-wav": Workload(title="2 s crops of minutes-long stereo tracks, WAV", dataset="tracks-wav", crop_s=2.0),
    "C-A": Workload(title="5 s crops of 10 s mono clips, from S3", dataset="clips", crop_s=5.0, remote=True),
    "C-B": Workload(title="2 s crops of tracks, from S3", dataset="tracks", crop_s=2.0, batch=16, remote=True),
    "D": Workload(title="pack WAV to FLAC shards, 2 processes", dataset="to-pack", crop_s=None),
    "E": Workload(title="import, first batch, resume", dataset="clips", crop_s=5.0),
    "F": Workload(title="mix of three sources of short clips, whole", dataset="digits", crop_s=None),
    "G": Workload(title="log-mel of 5 s crops, CPU", dataset="clips", crop_s=5.0),
    "G-paced": Workload(title="5 s crops, a step of fixed length", dataset="clips", crop_s=5.0),
}


class Batch(NamedTuple):
    """One batch as a training loop gets it: row i is samples [starts[i], starts[i] + lengths[i]) of keys[i]."""

    audio: Any
    keys: Sequence[str]
    starts: Sequence[int]
    lengths: Sequence[int]
    features: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be read.

    Attributes:
        workload: One of WORKLOADS.
        variant: One of the system's VARIANTS.
        workers: Worker processes; 0: none.
        where: Folder that ``build`` wrote, or ``s3://bucket/prefix``.
        local: The same folder on disk.
        seed: Of order and crops.
        cache: Folder for what came from S3; empty, or as the visit before left it. None: read from disk.
    """

    workload: str
    variant: str
    workers: int
    where: str
    local: Path
    seed: int = 0
    cache: Path | None = None

    @property
    def crop_s(self) -> float | None:
        """Seconds of a crop; None: all of each recording."""
        return WORKLOADS[self.workload].crop_s

    @property
    def batch(self) -> int:
        """Samples in a batch."""
        return WORKLOADS[self.workload].batch

    @property
    def dataset(self) -> str:
        """What ``where`` was built from."""
        return WORKLOADS[self.workload].dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class PackJob:
    """What is to be packed.

    Attributes:
        variant: One of the system's VARIANTS.
        source: Folder with WAV files.
        target: Folder that does not exist yet.
        processes: That work at once.
    """

    variant: str
    source: Path
    target: Path
    processes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The literals of a system's file."""

    name: str
    requirements: tuple[str, ...]
    settings: str
    variants: Mapping[str, Mapping[str, tuple[int, ...]]]
    caches: tuple[str, ...]
    reads: str


# By the name that is shown: the file in this folder.
MODULES = {
    "shardkit": "ours",
    "webdataset": "wds",
    "mosaicml": "mosaicml",
    "litdata": "litdata_",
    "lhotse": "lhotse_shar",
    "energon": "energon",
    "datasets": "hf_datasets",
    "files": "files",
    "floor": "floors",
}


def described(name: str) -> System:
    """Return what the file of a system says of itself, without running it."""
    path = Path(__file__).with_name(f"{MODULES[name]}.py")
    found: dict[str, Any] = {"CACHES": (), "READS": name}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            literal = node.targets[0].id in ("REQUIREMENTS", "SETTINGS", "VARIANTS", "CACHES", "READS")
            if literal:
                found[node.targets[0].id] = ast.literal_eval(node.value)
    caches = found["CACHES"]
    return System(
        name=name,
        requirements=tuple(found["REQUIREMENTS"]),
        settings=found["SETTINGS"],
        variants=found["VARIANTS"],
        caches=tuple(found["VARIANTS"]) if caches is True else tuple(caches or ()),
        reads=found["READS"],
    )
