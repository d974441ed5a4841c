"""The share of a training step that the model waits for data, with a small real model.

    shardkit pack RECORDINGS FOLDER --sample-rate 16000 --channels 1
    python -m tools.bench.step_waits FOLDER --crop 2 --batch 32 --markdown FILE

trains a CNN on log-mels of crops, each way for some seconds, in turns:

    no data            the step alone, on one batch again and again: what no loader can be faster than
    features in step   Loader(stream), log-mels computed by the training loop
    Loader(transform)  log-mels computed ahead, in the loader's thread
    ... workers=N      the same, read by processes
    ... int16          the same, int16 until it is on the device
    ... sample_rate    the same, resampled on the device; where --resample says so

On CUDA the same command measures the GPU: its waiting is told by events (``Loader.stats``), never by synchronising.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import shardkit as sk
from shardkit.nn import LogMel
from shardkit.train import Loader, TorchBatch
from tools.bench.tables import Table, show, versions

N_MELS = 64
_WARM_UP = 5  # steps


class Found(NamedTuple):
    """What one way of training took, for a step."""

    wall_ms: float
    cpu_ms: float
    stats: dict[str, Any]


class Way(NamedTuple):
    """One way to feed the model: a name, batches, and what makes features of one, None where the loader did."""

    name: str
    batches: Callable[[], Loader | Iterator[TorchBatch]]
    features: nn.Module | None


class Model(nn.Module):
    """A CNN of four blocks on log-mels, 0.4 million parameters; it learns labels, or where there are none the level."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        blocks = []
        for before, after in pairwise(channels):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(8 * width, max(1, num_classes))
        self.num_classes = num_classes

    def forward(self, features: Tensor) -> Tensor:
        """Return one number for each class, (batch, class)."""
        mono = features.mean(dim=1, keepdim=True)
        return self.head(self.body((mono + 6.0) / 5.0).mean(dim=(-2, -1)))

    def loss(self, features: Tensor, batch: TorchBatch) -> Tensor:
        """Return how far the model is from the labels of a batch."""
        found = self(features)
        if self.num_classes:
            return nn.functional.binary_cross_entropy_with_logits(found, batch.labels)
        return nn.functional.mse_loss(found[:, 0], batch.audio.square().mean(dim=(1, 2)).add(1e-6).log())


def measure(way: Way, model: Model, device: torch.device, *, seconds: float) -> Found:
    """Train for some seconds, the first steps not counted."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    source = way.batches()
    batches = iter(source)

    def step(batch: TorchBatch) -> None:
        features = batch.features if way.features is None else way.features(batch.audio)
        optimizer.zero_grad()
        model.loss(features, batch).backward()
        optimizer.step()

    for batch in islice(batches, _WARM_UP):
        step(batch)
    _settle(device)
    steps, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        step(next(batches))
        steps += 1
    _settle(device)  # what was queued belongs to the time
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    stats = source.stats() if isinstance(source, Loader) else {}
    if isinstance(source, Loader):
        batches.close()  # type: ignore[attr-defined]  # it is a generator
    return Found(1e3 * wall / steps, 1e3 * cpu / steps, stats)


def ways(dataset: sk.View, options: argparse.Namespace, device: torch.device) -> list[Way]:
    """Return the ways that the options ask for."""

    def stream(**more: Any) -> sk.Stream:
        crop = None if options.crop is None else sk.RandomCrop(options.crop)
        return sk.Stream(dataset, crop=crop, batch_size=options.batch, threads=options.threads, **more)

    rate = stream().sample_rate
    log_mel = _log_mel(rate).to(device)

    def ahead(workers: int = 0, **more: Any) -> Loader:
        return Loader(stream(**more), device=device, transform=log_mel, workers=workers)

    found = [
        Way("no data", lambda: repeat(next(iter(ahead()))), None),
        Way("features in step", lambda: Loader(stream(), device=device), log_mel),
        Way("Loader(transform)", ahead, None),
        *(Way(f"... workers={workers}", lambda workers=workers: ahead(workers), None) for workers in options.workers),
    ]
    if options.int16:
        found.append(Way("... int16", lambda: ahead(dtype="int16"), None))
    if options.resample is not None:
        resampled = _log_mel(options.resample).to(device)
        found.append(
            Way(
                "... sample_rate",
                lambda: Loader(stream(), device=device, sample_rate=options.resample, transform=resampled),
                None,
            )
        )
    return found


def _log_mel(rate: int) -> LogMel:
    return LogMel(sample_rate=rate, n_fft=rate // 40, hop_length=rate // 100, n_mels=N_MELS)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(dataset: sk.View, options: argparse.Namespace, device: torch.device) -> Table:
    """Measure all ways, in turns, and return the medians."""
    title = f"Steps of {options.batch} crops of {options.crop} s on {_named(device)}"
    columns = ["", "ms a step", "CPU ms a step", "waiting %", "GPU waiting %", "ready", "waits for"]
    found: dict[str, list[Found]] = {}
    labels = len(sk.Stream(dataset, batch_size=1).labels)
    for _ in range(options.rounds):
        for way in ways(dataset, options, device):
            torch.manual_seed(0)
            model = Model(labels, options.width).to(device)
            found.setdefault(way.name, []).append(measure(way, model, device, seconds=options.seconds))
    result = Table(title, columns)
    for name, runs in found.items():
        stats = [run.stats for run in runs]
        result.add(
            name,
            f"{statistics.median(run.wall_ms for run in runs):.1f}",
            f"{statistics.median(run.cpu_ms for run in runs):.1f}",
            _median(stats, "waiting_share", 100),
            _median(stats, "device_waiting_share", 100),
            _median(stats, "ready", 1),
            " ".join(dict.fromkeys(str(one.get("waits_for", "")) for one in stats)),
        )
    return result


def _median(stats: list[dict[str, Any]], name: str, scale: float) -> str:
    values = [one[name] for one in stats if one.get(name) is not None]
    return f"{scale * statistics.median(values):.1f}" if values else ""


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"a CPU, {torch.get_num_threads()} threads"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", help="where it has several")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: the GPU if there is one")
    parser.add_argument("--crop", type=float, help="seconds; default: whole recordings, padded")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=32, help="channels of the model's first block")
    parser.add_argument("--threads", type=int, help="of the stream")
    parser.add_argument("--workers", type=int, nargs="*", default=[2])
    parser.add_argument("--resample", type=int, help="rate to resample to on the device, in Hz")
    parser.add_argument("--int16", action="store_true", help="also with dtype='int16'")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataset = sk.open(options.dataset, split=options.split)
    show([table(dataset, options, device)], options.markdown, used=versions("torch"))


if __name__ == "__main__":
    main()
