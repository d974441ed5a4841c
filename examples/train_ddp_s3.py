r"""Train on several nodes from datasets on S3: killed at any moment, resumed on any number of ranks.

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-id run1 --rdzv-backend c10d --rdzv-endpoint NODE0:29500 \
        examples/train_ddp_s3.py --source speech 0.7 s3://corpus/speech --source music 0.3 s3://corpus/music \
        --checkpoints /shared/run1 --steps 100000

The same on each node, and the same again to go on: the latest checkpoint is found and resumed. Every source is a
dataset with labels and the splits ``train`` and ``val``, as ``shardkit pack --label … --split train=0.9,val=0.1`` makes
them; a folder does as well as a URL. ``docs/cluster.md`` has the whole recipe: Slurm, credentials, changes on the way.

A checkpoint holds model, optimizer and stream after the same step. Nothing in the model depends on which rank a sample
came to, so the number of ranks changes nothing but rounding: no batch norm, no dropout.
"""

import argparse
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel

import shardkit as sk
from shardkit.nn import LogMel
from shardkit.train import Loader, TorchBatch

NUM_MELS = 40
LEARNING_RATE, WARMUP_STEPS = 1e-3, 50
KEPT_CHECKPOINTS = 3
GROUP_TIMEOUT = timedelta(minutes=10)  # how long a rank waits for others: at most as long as one step may take


def join_group() -> torch.device:
    """Join the process group that torchrun describes; return this rank's device.

    On GPUs, gloo stays beside NCCL for tensors on the CPU: what ranks agree on each step must not wait for the GPU.
    """
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=GROUP_TIMEOUT)
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl", timeout=GROUP_TIMEOUT)
    return device


def open_loader(args: argparse.Namespace, device: torch.device, *, train: bool) -> Loader:
    """Return this rank's batches: the endless mix of the sources to train on, or one pass over all to evaluate."""
    views = {name: sk.open(url, split="train" if train else "val") for name, _, url in args.source}
    stream = sk.Stream(
        views,
        weights={name: float(weight) for name, weight, _ in args.source} if train else None,
        crop=sk.SalientCrop(args.crop_s, floor_lufs=-40.0) if train else sk.CenterCrop(args.crop_s),
        sample_rate=args.sample_rate,
        channels=1,
        global_batch_size=args.global_batch,
        passes=None if train else 1,
        seed=1,
    )
    log_mel = LogMel(sample_rate=args.sample_rate, n_mels=NUM_MELS)
    return Loader(stream, device=device, transform=log_mel, workers=args.workers)


class ClipNet(nn.Module):
    """A small convolutional net on log-mel features; its norms look at one sample each, not at a rank's batch."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in ((1, 16), (16, 32), (32, 64)):
            convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(4, channels_out), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, (batch, class), of log-mel features, (batch, 1, mel, frame)."""
        found: Tensor = self.head(self.body((features + 10.0) / 5.0).mean(dim=(2, 3)))
        return found


class Checkpoints:
    """Model, optimizer and stream in one file a checkpoint, in a folder that all nodes see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def latest(self) -> dict[str, Any] | None:
        """Return the latest checkpoint, None before the first: the same on all ranks, as rank 0 says which it is."""
        names = [max((path.name for path in self._folder.glob("step-*.pt")), default=None)]
        dist.broadcast_object_list(names)
        if names[0] is None:
            return None
        found: dict[str, Any] = torch.load(self._folder / names[0], map_location="cpu", weights_only=True)
        return found

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, on rank 0: whoever looks finds the whole of it or nothing, also after a power failure."""
        if dist.get_rank() != 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / "unfinished"  # a killed run leaves it; the next one writes over it
        with unfinished.open("wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._folder / f"step-{step:09d}.pt")
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)  # of the new name
        os.close(folder)
        for path in sorted(self._folder.glob("step-*.pt"))[:-KEPT_CHECKPOINTS]:
            path.unlink()


class Stop:
    """Whether to end, agreed on by all ranks: a SIGTERM may reach one node alone, or each at another step."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True

    def agreed(self) -> bool:
        """Return whether any rank was asked to end; to be called by all ranks after the same step."""
        asked = torch.tensor([int(self._asked)])
        dist.all_reduce(asked, op=dist.ReduceOp.MAX)
        return bool(asked)


def record(path: Path, batch: TorchBatch) -> None:
    """Write position, source, key and start of every sample that this rank is given to FILE.RANK, a line each.

    A line says the same whoever wrote it, so ``sort -nu FILE.*`` is the sequence of the run: a sample that is read
    again after a restart gives the same line again, and a position with two different lines would be a fault.
    """
    facts = zip(batch.positions.tolist(), batch.sources, batch.keys, batch.starts.tolist(), strict=True)
    with path.with_name(f"{path.name}.{dist.get_rank()}").open("a") as file:  # closed each time: a kill loses nothing
        file.write("".join("\t".join(map(str, fact)) + "\n" for fact in facts))


def train(
    net: DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    args: argparse.Namespace,
    *,
    first: int,
) -> int:
    """Train from step ``first`` on; return the step after which it ended: ``args.steps``, or sooner after a SIGTERM."""
    stop, checkpoints = Stop(), Checkpoints(args.checkpoints)
    net.train()
    # The range comes first: zip would take a batch too many from the loader, and the state would count it.
    for step, batch in zip(range(first + 1, args.steps + 1), loader, strict=False):
        if args.record is not None:
            record(args.record, batch)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, step / WARMUP_STEPS)  # of the step alone: nothing to save
        loss = binary_cross_entropy_with_logits(net(batch.features), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        stopping = stop.agreed()
        if stopping or step % args.every == 0 or step == args.steps:
            parts = {"model": net.module, "optimizer": optimizer, "stream": loader}
            checkpoints.save(step, {name: part.state_dict() for name, part in parts.items()})
            report(f"step {step}: saved; loss on rank 0 {loss.item():.4f}")
        if stopping:
            return step
    return args.steps


@torch.no_grad()
def evaluate(net: nn.Module, loader: Loader) -> dict[str, float]:
    """Return the share of clips whose highest logit is one of their labels, and the mean loss, over one pass.

    The sums are over the rows of all ranks; those that only pad the last batch are not ``valid`` and don't count. So
    they are what one rank alone would find, but for rounding.
    """
    net.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=loader.device)
    for batch in loader:
        logits = net(batch.features)
        hits = batch.labels.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0]
        losses = binary_cross_entropy_with_logits(logits, batch.labels, reduction="none").mean(dim=1)
        sums += torch.stack([hits, losses, torch.ones_like(hits)])[:, batch.valid].sum(dim=1)
    sums = sums.cpu()
    dist.all_reduce(sums)
    num_hits, loss_sum, num_clips = sums.tolist()
    return {"accuracy": num_hits / num_clips, "loss": loss_sum / num_clips, "clips": num_clips}


def report(text: str) -> None:
    """Print on rank 0."""
    if dist.get_rank() == 0:
        print(text, flush=True)


def run(args: argparse.Namespace) -> None:
    """Resume or begin, train, and evaluate unless asked to end."""
    device = join_group()
    torch.manual_seed(0)
    loader = open_loader(args, device, train=True)  # after the group: the stream asks it for rank and world size
    net = ClipNet(num_classes=len(loader.stream.labels)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    first, saved = 0, Checkpoints(args.checkpoints).latest()
    if saved is not None:
        first = saved["step"]
        net.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["stream"], **dict.fromkeys(args.new, "new"))
    position = loader.stream.position
    report(f"step {first}: {'begun' if saved is None else 'resumed'} at {position=} on {dist.get_world_size()} ranks")
    # Gradients are means over the rank's samples, then over ranks with equally many: the mean over the global batch.
    last = train(DistributedDataParallel(net), optimizer, loader, args, first=first)
    if last < args.steps:
        report(f"step {last}: ended by SIGTERM; the same command goes on from here")
    else:
        found = evaluate(net, open_loader(args, device, train=False))
        report(f"step {last}: " + ", ".join(f"{name} {value:.6g}" for name, value in found.items()))
    dist.all_reduce(torch.zeros(1))  # no rank ends, and with it perhaps its launcher's job, before rank 0 has saved
    dist.destroy_process_group()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source",
        nargs=3,
        metavar=("NAME", "WEIGHT", "URL"),
        action="append",
        required=True,
        help="a dataset and its share of the samples; repeat for each",
    )
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder that all nodes see; resumed from")
    parser.add_argument("--steps", type=int, default=1000, help="steps of the whole run, restarts included")
    parser.add_argument("--every", type=int, default=100, help="steps from checkpoint to checkpoint")
    parser.add_argument("--global-batch", type=int, default=64, help="samples of all ranks together in one step")
    parser.add_argument("--sample-rate", type=int, default=16_000, help="Hz; other rates are resampled")
    parser.add_argument("--crop-s", type=float, default=2.0, help="length of a crop in seconds")
    parser.add_argument("--workers", type=int, default=0, help="processes of each rank that read; 0: threads alone")
    parser.add_argument(
        "--new",
        nargs="+",
        choices=["weights", "global_batch_size"],
        default=[],
        help="what differs from the checkpoint on purpose",
    )
    # Not --log: torchrun in Python 3.11 takes that for a short form of its own options.
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write what was delivered to FILE.RANK, to check it"
    )
    run(parser.parse_args())


if __name__ == "__main__":
    main()
