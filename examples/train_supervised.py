r"""Train a classifier of sounds: a backbone from timm, log-mels or a learned frontend before it, mixup, SpecAugment.

    python examples/train_supervised.py DATASET --backbone resnet18 --frontend logmel --targets multiclass
    torchrun --nproc-per-node 2 examples/train_supervised.py DATASET ...

DATASET has labels and the splits ``train`` and ``test``; ``docs/recipes.md`` shows how to pack one, and what came of it
in a minute on a CPU. ``--targets multilabel`` takes any number of labels a recording, and binary cross-entropy.

With ``--checkpoint FILE`` the same command goes on where it was, on any number of ranks that makes the same global
batch. Batch norms look at a rank's share of it on CPUs, at all of it on GPUs.
"""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.distributed as dist
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.parallel import DistributedDataParallel

import shardkit as sk
from shardkit.nn import LEAF, Compose, LogMel, MixUp, SincNet, SpecAugment
from shardkit.train import Loader, TorchBatch

WARMUP = 0.1  # share of the steps in which the learning rate rises
LOSSES = {"multiclass": cross_entropy, "multilabel": binary_cross_entropy_with_logits}


def join_group() -> torch.device:
    """Join torchrun's process group, or make one of this process alone; return this rank's device."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if dist.is_torchelastic_launched():
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return device


def log_mel(sample_rate: int) -> LogMel:
    """Return audax's log-mels at any rate, each clip of mean 0: 64 bands, windows of 25 ms each 10 ms, from 60 Hz."""
    window = sample_rate // 40
    return LogMel(
        sample_rate=sample_rate,
        n_fft=1 << (2 * window - 1).bit_length(),  # 1,024 at 16 kHz
        win_length=window,
        hop_length=sample_rate // 100,
        n_mels=64,
        f_min=60.0,
        f_max=min(7_800.0, sample_rate / 2),
        floor=1e-8,
        normalize=True,
    )


def open_loader(args: argparse.Namespace, device: torch.device, *, train: bool) -> Loader:
    """Return this rank's batches: augmented and without end to train on, or one pass of centre crops to evaluate."""
    view = sk.open(args.dataset, split="train" if train else "test")
    check_labels(view, args.targets)
    stream = sk.Stream(
        view,
        crop=sk.RandomCrop(args.crop_s) if train else sk.CenterCrop(args.crop_s),
        sample_rate=args.sample_rate,
        channels=1,
        global_batch_size=args.global_batch,
        passes=None if train else 1,
        seed=1,
    )
    steps: list[Any] = [MixUp(alpha=args.mixup)] if train and args.mixup else []
    if args.frontend == "logmel":
        steps += [log_mel(stream.sample_rate), spec_augment()] if train else [log_mel(stream.sample_rate)]
    return Loader(stream, device=device, transform=Compose(steps, seed=1), workers=args.workers)


def check_labels(view: sk.View, targets: str) -> None:
    """End the program if recordings have not the labels that the targets need."""
    if not view.labels:
        raise SystemExit(f"{view.info['url']}: no labels; pack it with --label COLUMN")
    keys, labels = view.keys(), view.table().column("labels").to_pylist()
    odd = [(key, found) for key, found in zip(keys, labels, strict=True) if len(found) != 1]
    if targets == "multiclass" and odd:
        key, found = odd[0]
        raise SystemExit(
            f"{len(odd)} of {len(keys)} recordings have not one label, the first is {key!r} with {found}; "
            "give --targets multilabel, or pack with a column of single labels"
        )


def spec_augment() -> SpecAugment:
    """Return two masks of up to 8 bands and two of up to a tenth of the frames; 0 is each clip's mean."""
    return SpecAugment(max_bands=8, max_frames=50, max_frames_share=0.1)


class Net(nn.Module):
    """A backbone on ``batch.features``, or on those of a frontend that is learned with it."""

    def __init__(self, args: argparse.Namespace, *, sample_rate: int, num_classes: int) -> None:
        super().__init__()
        learned = {"leaf": LEAF, "sincnet": SincNet}.get(args.frontend)
        self.frontend = None if learned is None else learned(sample_rate=sample_rate)
        self.spec_augment = spec_augment()  # what is learned is not there before the model, so neither are its masks
        self.backbone = timm.create_model(
            args.backbone, in_chans=1, num_classes=num_classes, drop_path_rate=args.drop_path or None
        )

    def forward(self, batch: TorchBatch) -> Tensor:
        """Return logits, (batch, class)."""
        if self.frontend is not None:
            batch = replace(batch, features=self.frontend(batch.audio))
            batch = self.spec_augment(batch) if self.training else batch
        return self.backbone(batch.features)


def optimizer_of(net: Net, *, rate: float) -> torch.optim.Optimizer:
    """Return AdamW; SincNet's parameters are in Hz, so their steps are a thousand times as large."""
    in_hz = list(net.frontend.parameters()) if isinstance(net.frontend, SincNet) else []
    rest = [parameter for parameter in net.parameters() if not any(parameter is other for other in in_hz)]
    groups = [{"params": rest, "peak": rate}] + (
        [{"params": in_hz, "peak": 1e3 * rate, "weight_decay": 0.0}] * bool(in_hz)
    )
    return torch.optim.AdamW(groups, lr=rate, weight_decay=0.05)


def share_of_peak(step: int, num_steps: int) -> float:
    """Return the learning rate of a step, 1 and up, as a share of its peak: a rise, then half a cosine."""
    done = (step - 1) / num_steps
    return min(step / (WARMUP * num_steps), 0.5 + 0.5 * math.cos(math.pi * done), 1.0)


class Checkpoint:
    """Model, optimizer and stream after the same step, in one file; nothing without a path."""

    def __init__(self, args: argparse.Namespace, **parts: Any) -> None:
        self._path, self._parts = args.checkpoint, parts
        self._options = {name: getattr(args, name) for name in ("backbone", "frontend", "targets", "steps")}

    def load(self) -> int:
        """Return the step to go on after: 0, or that of the file."""
        if self._path is None or not self._path.exists():
            return 0
        saved = torch.load(self._path, map_location="cpu", weights_only=True)
        if saved["options"] != self._options:
            raise SystemExit(f"{self._path} is of {saved['options']}, not {self._options}; name another --checkpoint")
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])
        return saved["step"]

    def save(self, step: int) -> None:
        """Write it, on rank 0; whoever looks finds the whole of this one or of the last."""
        if self._path is not None and dist.get_rank() == 0:
            states = {name: part.state_dict() for name, part in self._parts.items()}
            unfinished = self._path.with_name(f"{self._path.name}.unfinished")
            torch.save({"step": step, "options": self._options, **states}, unfinished)
            unfinished.replace(self._path)


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    checkpoint: Checkpoint,
    args: argparse.Namespace,
    *,
    first: int,
) -> None:
    """Train from the step after ``first`` to the last."""
    net.train()
    # The range comes first: zip would take a batch too many from the loader, and the state would count it.
    for step, batch in zip(range(first + 1, args.steps + 1), loader, strict=False):
        torch.manual_seed(step * dist.get_world_size() + dist.get_rank())  # of dropped paths: nothing to save
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share_of_peak(step, args.steps)
        loss = LOSSES[args.targets](net(batch), batch.labels)  # mixed labels are probabilities
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % args.every == 0 or step == args.steps:
            checkpoint.save(step)
            report(f"step {step}: loss on rank 0 {loss.item():.3f}")


@torch.no_grad()
def evaluate(net: nn.Module, loader: Loader) -> dict[str, float]:
    """Return the metrics of one pass over all ranks' rows, each exactly once and in the order of the stream."""
    net.eval()
    parts = [(net(batch).double(), batch.labels, batch.positions, batch.valid) for batch in loader]
    scores, labels, positions, valid = (of_all_ranks(torch.cat(part)).cpu() for part in zip(*parts, strict=True))
    order = positions.argsort()[: int(valid.sum())]  # rows that only pad the last batch have the last positions
    return metrics(scores[order].numpy(), labels[order].numpy() > 0)


def of_all_ranks(rows: Tensor) -> Tensor:
    """Return the rows of all ranks, of which each has equally many."""
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def metrics(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return macro mAP, AUC and d′ = √2 Φ⁻¹(AUC), and how often the highest score is one of the labels.

    Args:
        scores: (clip, class).
        targets: (clip, class) bool. A class that all clips or none have has no AUC, and is left out of the means.
    """
    told = targets.any(axis=0) & ~targets.all(axis=0)
    pairs = list(zip(scores.T[told], targets.T[told], strict=True))
    auc = float(np.mean([area_under_curve(*pair) for pair in pairs]))
    return {
        "top-1": float(targets[np.arange(len(scores)), scores.argmax(axis=1)].mean()),
        "mAP": float(np.mean([average_precision(*pair) for pair in pairs])),
        "AUC": auc,
        "d′": float(np.sqrt(2.0) * ndtri(auc)),
        "clips": len(scores),
        "classes": len(pairs),
    }


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean precision at each hit; equal scores are one threshold."""
    order = np.argsort(-scores)
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each run of equal scores
    hits = np.cumsum(targets[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / hits[-1])


def area_under_curve(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return how likely a clip of the class scores above one that is not; equal scores are half."""
    num_hits = int(targets.sum())
    rank_sum = rankdata(scores)[targets].sum()  # Mann and Whitney (1947)
    return float((rank_sum - num_hits * (num_hits + 1) / 2) / (num_hits * (len(targets) - num_hits)))


def report(text: str) -> None:
    """Print on rank 0."""
    if dist.get_rank() == 0:
        print(text, flush=True)


def run(args: argparse.Namespace) -> dict[str, float]:
    """Resume or begin, train, evaluate; return the metrics."""
    device = join_group()
    torch.manual_seed(0)
    loader = open_loader(args, device, train=True)  # after the group: the stream asks it for rank and world size
    net = Net(args, sample_rate=loader.stream.sample_rate, num_classes=len(loader.stream.labels)).to(device)
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net) if device.type == "cuda" else net
    optimizer = optimizer_of(net, rate=args.lr * args.global_batch / 256)
    checkpoint = Checkpoint(args, model=net, optimizer=optimizer, stream=loader)
    first = checkpoint.load()
    size = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    report(f"{args.frontend}, {args.backbone}: {size:.1f} M parameters, {len(loader.stream.labels)} classes")
    report(f"step {first} of {args.steps}, {args.global_batch} clips each, on {dist.get_world_size()} ranks")
    model = DistributedDataParallel(net) if dist.get_world_size() > 1 else net
    train(model, optimizer, loader, checkpoint, args, first=first)
    found = evaluate(net, open_loader(args, device, train=False))
    report("test: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    dist.destroy_process_group()
    return found


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="folder or URL, with labels and the splits train and test")
    parser.add_argument("--backbone", default="test_resnet", help="any of timm.list_models()")
    parser.add_argument("--frontend", choices=["logmel", "leaf", "sincnet"], default="logmel")
    parser.add_argument("--targets", choices=list(LOSSES), default="multiclass")
    parser.add_argument("--mixup", type=float, default=0.2, metavar="ALPHA", help="0: none")
    parser.add_argument("--drop-path", type=float, default=0.0, help="stochastic depth: share dropped of the last path")
    parser.add_argument("--crop-s", type=float, default=1.0, help="length of a crop in seconds")
    parser.add_argument("--sample-rate", type=int, help="Hz, resampled to; the dataset's own if left out")
    parser.add_argument("--global-batch", type=int, default=64, help="clips of all ranks together in one step")
    parser.add_argument("--steps", type=int, default=200, help="steps of the whole run, restarts included")
    parser.add_argument("--lr", type=float, default=1.6e-2, help="greatest learning rate, for a global batch of 256")
    parser.add_argument("--checkpoint", type=Path, help="file to go on from and to save to")
    parser.add_argument("--every", type=int, default=50, help="steps from checkpoint to checkpoint")
    parser.add_argument("--workers", type=int, default=0, help="processes of each rank that read; 0: threads alone")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
