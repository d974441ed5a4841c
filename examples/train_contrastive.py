r"""Learn to represent sounds without labels: two crops of one recording belong together, COLA's way or SimCLR's.

    python examples/train_contrastive.py DATASET --objective cola
    torchrun --nproc-per-node 2 examples/train_contrastive.py DATASET --objective simclr ...

DATASET has a split ``train``. If it has labels and a split ``test``, or the dataset given with ``--probe`` has, they
tell how good the encoder is before and after, by a linear probe of what comes out of it. ``docs/recipes.md`` shows how
to pack one, and what was reached in a minute on a CPU.

The other crops of the *global* batch are the negatives, whichever rank they are on, and gradients reach all of them:
with a backbone without batch norm, loss and gradients are the same on any number of ranks, up to rounding. Batch norms
look at a rank's share of the batch on CPUs, at all of it on GPUs. With ``--checkpoint FILE`` the same command goes on
where it was, on any number of ranks that makes the same global batch.
"""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.parallel import DistributedDataParallel

import shardkit as sk
from shardkit.nn import AddGaussianNoise, LogMel, SpecAugment
from shardkit.train import Loader, TorchBatch

NUM_EMBEDDED = 512
WARMUP = 0.1  # share of the steps in which the learning rate rises


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


class Gathered(torch.autograd.Function):
    """The rows of all ranks, rank after rank; a rank's rows get the sum of what all ranks' losses make of them."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        """Gather rows, of which each rank has equally many."""
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        """Add up gradients over ranks, and keep this rank's."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def cola_loss(anchors: Tensor, positives: Tensor, bilinear: Tensor, *, first: int = 0) -> Tensor:
    """Return the cross-entropy of finding each anchor's own positive among all, by anchor · W · positiveᵀ.

    Args:
        anchors: (anchor, embedded).
        positives: (clip, embedded), of all ranks.
        bilinear: W, (embedded, embedded).
        first: Row of ``positives`` that belongs to the first anchor.

    Source:
        Saeed, Grangier, Zeghidour (2021), "Contrastive learning of general-purpose audio representations", section 2.
    """
    logits = anchors @ bilinear @ positives.T
    return cross_entropy(logits, first + torch.arange(len(anchors), device=anchors.device))


def nt_xent(firsts: Tensor, seconds: Tensor, candidates: Tensor, *, temperature: float = 0.1, first: int = 0) -> Tensor:
    """Return the cross-entropy of finding each crop's other one among all crops but itself, by cosine similarity.

    Args:
        firsts: First crops, (clip, embedded).
        seconds: Second crops of the same clips.
        candidates: The first crops of all ranks, then their second crops, (2 · all clips, embedded).
        temperature: What similarities are divided by.
        first: Row of ``candidates`` that is the first of ``firsts``.

    Source:
        Chen, Kornblith, Norouzi, Hinton (2020), "A simple framework for contrastive learning", equation 1.
    """
    itself = first + torch.arange(len(firsts), device=firsts.device)
    itself = torch.cat([itself, itself + len(candidates) // 2])
    logits = normalize(torch.cat([firsts, seconds])) @ normalize(candidates).T / temperature
    logits = logits.scatter(1, itself[:, None], -math.inf)
    return cross_entropy(logits, itself.roll(len(firsts)))  # the other one of each


class Pairs(nn.Module):
    """Makes log-mels of pairs of crops: the first as it is, the second with noise and SpecAugment, as audax has it."""

    takes_batch = True

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.log_mel = log_mel(sample_rate)
        self.noise = AddGaussianNoise(min_snr_db=18.0, max_snr_db=26.0, p=1.0)  # 0.001 beside 1 s to 0.16 s of norm 1
        self.masks = SpecAugment(max_bands=10, max_frames=10)

    def forward(self, batch: TorchBatch) -> TorchBatch:
        """Return the batch with features; first and second crops alternate in it."""
        second = torch.arange(len(batch.audio), device=batch.audio.device)[:, None, None] % 2 == 1
        batch = replace(batch, audio=torch.where(second, self.noise(batch).audio, batch.audio))
        batch = replace(batch, features=self.log_mel(batch.audio))
        return replace(batch, features=torch.where(second[..., None], self.masks(batch).features, batch.features))


def log_mel(sample_rate: int) -> LogMel:
    """Return audax's log-mels at any rate, each clip of mean 0: 64 bands, windows of 25 ms each 10 ms, from 60 Hz.

    The level of a clip shifts its logarithms, but for those at the floor (padding), and is taken off with their mean.
    """
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


class Contrast(nn.Module):
    """An encoder, and the loss that it is trained with."""

    def __init__(self, backbone: str, objective: str) -> None:
        super().__init__()
        self.encoder = timm.create_model(backbone, in_chans=1, num_classes=0)
        project = nn.Linear(self.encoder.num_features, NUM_EMBEDDED, bias=False)
        cola = objective == "cola"
        self.head = nn.Sequential(project, nn.LayerNorm(NUM_EMBEDDED), nn.Tanh()) if cola else project
        self.bilinear = nn.Parameter(torch.randn(NUM_EMBEDDED, NUM_EMBEDDED) / NUM_EMBEDDED) if cola else None

    def forward(self, batch: TorchBatch) -> Tensor:
        """Return the mean loss of this rank's clips among those of all ranks."""
        embedded = self.head(self.encoder(batch.features))
        firsts, seconds = embedded[0::2], embedded[1::2]
        first = dist.get_rank() * len(firsts)
        if self.bilinear is not None:
            return cola_loss(firsts, Gathered.apply(seconds), self.bilinear, first=first)
        candidates = torch.cat([Gathered.apply(firsts), Gathered.apply(seconds)])
        return nt_xent(firsts, seconds, candidates, first=first)


def pairs_loader(args: argparse.Namespace, device: torch.device) -> Loader:
    """Return this rank's pairs of crops, without end."""
    stream = sk.Stream(
        sk.open(args.dataset, split="train"),
        crop=sk.RandomCrop(args.crop_s),
        views=2,
        view_distance_s=args.view_distance_s,
        sample_rate=args.sample_rate,
        channels=1,
        global_batch_size=args.global_batch,
        seed=1,
    )
    return Loader(stream, device=device, transform=Pairs(stream.sample_rate), workers=args.workers)


@torch.no_grad()
def embedded(encoder: nn.Module, args: argparse.Namespace, device: torch.device, split: str) -> tuple[Tensor, Tensor]:
    """Return what the encoder makes of each recording of a split, (clip, feature), and the labels, (clip, class)."""
    stream = sk.Stream(
        sk.open(args.probe or args.dataset, split=split).take(args.probe_clips),
        crop=sk.CenterCrop(args.probe_crop_s),
        sample_rate=args.sample_rate,
        channels=1,
        global_batch_size=args.global_batch,
        passes=1,
    )
    encoder.eval()
    parts = [
        (encoder(batch.features), batch.labels, batch.valid.float())
        for batch in Loader(stream, device=device, transform=log_mel(stream.sample_rate), workers=args.workers)
    ]
    features, labels, valid = (Gathered.apply(torch.cat(part)).cpu().double() for part in zip(*parts, strict=True))
    return features[valid > 0], labels[valid > 0]


def probe(encoder: nn.Module, args: argparse.Namespace, device: torch.device) -> str:
    """Return how often a linear map of what comes out of the encoder, fitted to ``train``, is right on ``test``."""
    if not sk.open(args.probe or args.dataset, split="train").labels:
        return "no labels to probe with"
    features, labels = embedded(encoder, args, device, "train")
    mean, deviation, prior = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6), labels.mean(dim=0)
    known = (features - mean) / deviation
    gram = known.T @ known + 0.01 * len(known) * torch.eye(known.shape[1], dtype=known.dtype)  # ridge regression
    weights = torch.linalg.solve(gram, known.T @ (labels - prior))
    features, labels = embedded(encoder, args, device, "test")
    best = ((features - mean) / deviation @ weights + prior).argmax(dim=1)
    return f"linear probe {labels[torch.arange(len(best)), best].mean():.1%}"


def share_of_peak(step: int, num_steps: int) -> float:
    """Return the learning rate of a step, 1 and up, as a share of its peak: a rise, then half a cosine."""
    done = (step - 1) / num_steps
    return min(step / (WARMUP * num_steps), 0.5 + 0.5 * math.cos(math.pi * done), 1.0)


class Checkpoint:
    """Model, optimizer and stream after the same step, in one file; nothing without a path."""

    def __init__(self, args: argparse.Namespace, **parts: Any) -> None:
        self._path, self._parts = args.checkpoint, parts
        self._options = {name: getattr(args, name) for name in ("backbone", "objective", "steps")}

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
        for group in optimizer.param_groups:
            group["lr"] = args.lr * args.global_batch / 256 * share_of_peak(step, args.steps)
        loss = net(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % args.every == 0 or step == args.steps:
            checkpoint.save(step)
            total = loss.detach().clone()
            dist.all_reduce(total)  # of means over equally many clips
            report(f"step {step}: loss {total.item() / dist.get_world_size():.4f}")


def report(text: str) -> None:
    """Print on rank 0."""
    if dist.get_rank() == 0:
        print(text, flush=True)


def run(args: argparse.Namespace) -> None:
    """Resume or begin, train, and probe before and after."""
    device = join_group()
    torch.manual_seed(0)
    loader = pairs_loader(args, device)  # after the group: the stream asks it for rank and world size
    net = Contrast(args.backbone, args.objective).to(device)
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net) if device.type == "cuda" else net
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    checkpoint = Checkpoint(args, model=net, optimizer=optimizer, stream=loader)
    first = checkpoint.load()
    report(f"{args.objective}, {args.backbone}: {args.global_batch} pairs a step, on {dist.get_world_size()} ranks")
    report(f"after step {first}: {probe(net.encoder, args, device)}")
    if first < args.steps:
        model = DistributedDataParallel(net) if dist.get_world_size() > 1 else net
        train(model, optimizer, loader, checkpoint, args, first=first)
        report(f"after step {args.steps}: {probe(net.encoder, args, device)}")
    dist.destroy_process_group()


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="folder or URL, with a split train")
    parser.add_argument(
        "--probe", metavar="DATASET", help="with labels and the splits train and test; if left out, the first"
    )
    parser.add_argument("--objective", choices=["cola", "simclr"], default="cola")
    parser.add_argument("--backbone", default="test_resnet", help="any of timm.list_models()")
    parser.add_argument("--crop-s", type=float, default=0.96, help="length of each of the two crops in seconds")
    parser.add_argument("--view-distance-s", type=float, help="greatest distance of the two crops' starts")
    parser.add_argument("--sample-rate", type=int, help="Hz, resampled to; the dataset's own if left out")
    parser.add_argument("--global-batch", type=int, default=64, help="clips of all ranks together in one step")
    parser.add_argument("--steps", type=int, default=200, help="steps of the whole run, restarts included")
    parser.add_argument("--lr", type=float, default=1.6e-2, help="greatest learning rate, for a global batch of 256")
    parser.add_argument("--probe-crop-s", type=float, default=1.0, help="length of the crops that the probe looks at")
    parser.add_argument("--probe-clips", type=int, default=5_000, help="recordings of each split for the probe")
    parser.add_argument("--checkpoint", type=Path, help="file to go on from and to save to")
    parser.add_argument(
        "--every", type=int, default=50, help="steps from report to report, and checkpoint to checkpoint"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes of each rank that read; 0: threads alone")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
