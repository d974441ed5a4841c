"""megatron-energon: WebDataset tars that ``energon prepare`` has indexed, and a ``TaskEncoder`` that decodes."""

import json
import multiprocessing
import os
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import multistorageclient
import webdataset
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_loader,
    get_savable_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.epathlib import EPath
from megatron.energon.flavors import BaseWebdatasetFactory

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, sample
from tools.bench.systems.flac_member import encoded

REQUIREMENTS = ("megatron-energon[s3]==7.4.1", "torch==2.13.0", "numpy", "soundfile")
SETTINGS = (
    "webdataset's ShardWriter (64 MB), prepare_dataset (as `energon prepare`), CrudeWebdataset with a cooker, "
    "TaskEncoder, get_loader; shuffle_buffer_size=max_samples_per_sequence=100 as in its quickstart, 16 for tracks, "
    "which it keeps whole; F: MetadatasetV2 blend. documented draws under @stateless(restore_seeds=True), which "
    "keeps and seeds all generators for each sample; tuned seeds one. S3: its Multi-Storage Client with that one's "
    "cache on (lines of 64 MB, its default): without it each tar is kept in memory whole; its connections are "
    "closed before workers are forked, as sharing them stores wrong bytes. E: get_savable_loader, repeat=False."
)
VARIANTS = {
    "documented": {"A": (0, 2), "B": (0,)},
    "tuned": {
        "A": (0, 2),
        "B": (0, 2),
        "B-wav": (0,),
        "E": (0,),
        "F": (0, 2),
        "G": (0, 2),
        "G-paced": (2,),
    },
    "tuned, cached": {"C-A": (0, 2), "C-B": (0, 2)},
    "ShardWriter": {"D": (0,)},
}
CACHES = ("tuned, cached",)

_SHARD_BYTES = 64 * 2**20
_SHARD_SAMPLES = 128
_BUFFER = 100  # samples, as in the docs; of tracks fewer, as whole recordings lie in it
_BUFFER_TRACKS = 16
_DATASET = """__module__: megatron.energon
__class__: CrudeWebdataset
"""
_MIX = """__module__: megatron.energon
__class__: MetadatasetV2
splits:
  train:
    blend:
"""


@edataclass
class Member(Sample):
    """What a tar holds of a recording."""

    key: str
    audio: bytes


@edataclass
class Cut(Sample):
    """A crop, as ``collated`` takes it."""

    values: dict


@stateless
def cook(item: dict) -> Member:
    """Take the member as it is."""
    extension = next(name for name in ("flac", "wav") if name in item)
    return Member(**basic_sample_keys(item), key=item["__key__"].rpartition("/")[2], audio=item[extension])


class Crops(DefaultTaskEncoder):
    """Decodes and batches."""

    decoder = None
    cookers = (Cooker(cook),)

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    @stateless
    def batch(self, samples: list[Cut]) -> Batch:
        """Return a batch."""
        return collated([item.values for item in samples])

    @stateless
    def encode_batch(self, batch: Batch) -> Batch:
        """Return it as it is."""
        return batch


class DocumentedCrops(Crops):
    """Draws as the docs have it: energon keeps, seeds and puts back every generator of the process for each sample."""

    @stateless(restore_seeds=True)
    def encode_sample(self, item: Member) -> Cut:
        """Return a crop."""
        return Cut.derive_from(item, values=sample(item.key, item.audio, self.job))


class TunedCrops(Crops):
    """Draws from one generator, seeded by the sample's number: all that makes a crop come back on resume."""

    @stateless
    def encode_sample(self, item: Member) -> Cut:
        """Return a crop."""
        worker = WorkerConfig.active_worker_config.rank_worker_id()
        random.seed((self.job.seed << 48) + (worker << 40) + self.current_sample_index)
        return Cut.derive_from(item, values=sample(item.key, item.audio, self.job))


def build(source: Path, target: Path, dataset: str) -> None:
    """Write tars with webdataset's writer, prepare them, and mix the sources in a metadataset."""
    for folder in [source / name for name in SOURCES] if dataset == "digits" else [source]:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        _write(target / folder.relative_to(source), paths)
        _prepare(target / folder.relative_to(source))
    if dataset == "digits":
        parts = [f"      - weight: {share}\n        path: {name}\n" for name, share in SOURCES.items()]
        (target / "mix.yaml").write_text(_MIX + "".join(parts))


def batches(job: Job) -> Iterator[Batch]:
    """Give batches without end, as energon does by itself."""
    loader = get_loader(_dataset(job))
    if job.cache is not None:
        # Else forked workers share the connections by which the index came, get each other's bytes, and store them.
        multistorageclient.resolve_storage_client("msc://bench")[0]._delegate._storage_provider._s3_client.close()
    yield from loader


def epoch(job: Job, state: bytes | None) -> tuple[Iterator[Batch], Callable[[], bytes]]:
    """Give one pass; the state is the loader's own, pickled."""
    loader = get_savable_loader(_dataset(job, repeat=False))
    if state is not None:
        loader.restore_state_rank(pickle.loads(state))  # noqa: S301  (what this file wrote)
    return iter(loader), lambda: pickle.dumps(loader.save_state_rank())


def pack(job: PackJob) -> None:
    """Write tars with each process, as it has no writer of its own, then prepare them."""
    paths = sorted(job.source.rglob("*.wav"))
    job.target.mkdir(parents=True)
    with multiprocessing.Pool(job.processes) as pool:
        pool.starmap(_write, [(job.target, paths[part :: job.processes], part, True) for part in range(job.processes)])
    _prepare(job.target, workers=job.processes)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give what ``pack`` wrote."""
    for item in webdataset.WebDataset(sorted(map(str, target.glob("*.tar"))), shardshuffle=False):
        yield item["__key__"], item["flac"]


def _write(target: Path, paths: Sequence[Path], part: int = 0, encode: bool = False) -> None:
    target.mkdir(parents=True, exist_ok=True)
    pattern = f"{target}/part-{part:02d}-%06d.tar"
    with webdataset.ShardWriter(pattern, maxcount=_SHARD_SAMPLES, maxsize=_SHARD_BYTES, verbose=0) as writer:
        for path in paths:
            extension, data = ("flac", encoded(path)) if encode else (path.suffix[1:], path.read_bytes())
            writer.write({"__key__": path.stem, extension: data})


def _prepare(target: Path, workers: int = 1) -> None:
    """Do what ``energon prepare`` does."""
    shards = sorted(path.name for path in target.glob("*.tar"))
    BaseWebdatasetFactory.prepare_dataset(
        EPath(target), shards, split_parts_ratio=[("train", 1.0)], shuffle_seed=None, workers=workers
    )
    (target / ".nv-meta" / "dataset.yaml").write_text(_DATASET)


def _dataset(job: Job, *, repeat: bool = True) -> Any:
    buffer = _BUFFER_TRACKS if job.dataset.startswith("tracks") else _BUFFER
    return get_train_dataset(
        _where(job),
        batch_size=job.batch,
        shuffle_buffer_size=buffer,
        max_samples_per_sequence=buffer,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=job.workers, seed_offset=job.seed),
        task_encoder=DocumentedCrops(job) if job.variant == "documented" else TunedCrops(job),
        repeat=repeat,
    )


def _where(job: Job) -> str:
    path = f"{job.where}/mix.yaml" if job.workload == "F" else job.where
    if job.cache is None:
        return path
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    provider = {"base_path": bucket, "endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": "us-east-1"}
    keys = {"access_key": os.environ["AWS_ACCESS_KEY_ID"], "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
    config = {
        "profiles": {
            "bench": {
                "storage_provider": {"type": "s3", "options": provider},
                "credentials_provider": {"type": "S3Credentials", "options": keys},
                "caching_enabled": True,
            }
        },
        "cache": {"location": str(job.cache / "msc"), "size": "20G", "check_source_version": False},
    }
    file = job.cache / "msc.json"
    file.write_text(json.dumps(config))
    os.environ["MSC_CONFIG"] = str(file)
    os.environ["ENERGON_LOCAL_COPY_TMP_DIR"] = str(job.cache / "index")
    return f"msc://bench/{prefix}"
