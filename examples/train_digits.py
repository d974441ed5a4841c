"""Train a spoken-digit classifier, from a folder of recordings to accuracy on speakers it never heard.

    python examples/train_digits.py RECORDINGS --seconds 60

RECORDINGS holds the Free Spoken Digit Dataset (https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0):
3,000 files named {digit}_{speaker}_{take}.wav, 8 kHz. Without it, $SHARDKIT_TEST_DATA/digits is tried, then
../shared/data/digits beside this repository.

Each step of the way is one function: pack, stream with features, a net, train, evaluate.
"""

import argparse
import csv
import itertools
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

import shardkit as sk
from shardkit.nn import LogMel
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.train import Loader

SAMPLE_RATE, HOP, NUM_MELS = 8_000, 80, 40
CROP_S = 0.8  # 98 of 100 recordings are shorter, and so delivered whole
HELD_OUT = ("lucas", "theo")


def pack_digits(recordings: Path, folder: Path, takes: int | None) -> Path:
    """Write a manifest of what the files' names say, and pack it; held-out speakers make up the split ``test``."""
    manifest, dataset = folder / "digits.csv", folder / "digits"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "digit", "speaker", "take", "split"])
        for path in sorted(recordings.glob("*_*_*.wav")):
            digit, speaker, take = path.stem.split("_")
            if takes is None or int(take) < takes:
                writer.writerow([path.name, digit, speaker, take, "test" if speaker in HELD_OUT else "train"])
    summary = pack(
        locate(manifest),
        locate(dataset),
        inputs=InputOptions(root=locate(recordings), label="digit", split_column="split"),
        options=PackOptions(shard_bytes=4_000_000),
    )
    print(f"packed {summary.totals.samples:,} recordings, {summary.totals.duration_s / 60:.1f} min")
    return dataset


def open_loader(view: sk.View, *, train: bool) -> Loader:
    """Return batches with features: an endless shuffled stream to train on, one pass of centre crops to evaluate."""
    stream = sk.Stream(
        view,
        crop=sk.RandomCrop(CROP_S) if train else sk.CenterCrop(CROP_S),
        batch_size=64,
        passes=None if train else 1,
        metadata=["speaker"],
        seed=1,
    )
    return Loader(stream, transform=LogMel(sample_rate=SAMPLE_RATE, n_fft=256, hop_length=HOP, n_mels=NUM_MELS))


class DigitNet(nn.Module):
    """A small convolutional net on log-mel features; padding is nothing to it, and so is gain."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in itertools.pairwise((1, 24, 48, 96)):
            convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * 96 * (NUM_MELS // 8), num_classes))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits, (batch, class), of log-mel features, (batch, 1, mel, frame)."""
        heard = torch.arange(features.shape[-1], device=features.device) * HOP < lengths[:, None, None, None]
        total = (features * heard).sum(dim=(2, 3), keepdim=True)
        mean = total / (NUM_MELS * heard.sum(dim=3, keepdim=True)).clamp(min=1)
        normal = (features - mean) / 3.0 * heard
        found = self.body(warped(normal) if self.training else normal).flatten(1, 2)
        return self.head(torch.cat([found.amax(dim=-1), found.mean(dim=-1)], dim=1))


def warped(features: Tensor) -> Tensor:
    """Return features stretched a little in mel and time, each item its own way: other throats, other tempi.

    After vocal tract length perturbation, Jaitly and Hinton (2013).
    """
    num_items = len(features)
    scale = 1.0 + 0.30 * (torch.rand(num_items, 2, device=features.device) - 0.5)
    shift = 0.20 * (torch.rand(num_items, 2, device=features.device) - 0.5)
    affine = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)
    grid = nn.functional.affine_grid(affine, list(features.shape), align_corners=False)
    return nn.functional.grid_sample(features, grid, align_corners=False)


def train(net: DigitNet, batches: Loader, seconds: float) -> int:
    """Train for a number of seconds; return the number of steps."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    began, num_steps = time.monotonic(), 0
    for batch in batches:
        done = (time.monotonic() - began) / seconds
        if done >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (num_steps + 1) / 50) * (1.0 - done)
        loss = nn.functional.cross_entropy(net(batch.features, batch.lengths), batch.labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_steps += 1
    return num_steps


@torch.no_grad()
def accuracy(net: DigitNet, batches: Loader) -> dict[str, float]:
    """Return the accuracy for each speaker; rows that only pad the last batch are not ``valid`` and don't count."""
    net.eval()
    right, total = Counter[str](), Counter[str]()
    for batch in batches:
        hits = net(batch.features, batch.lengths).argmax(dim=1) == batch.labels.argmax(dim=1)
        for speaker, hit, valid in zip(batch.metadata["speaker"], hits.tolist(), batch.valid.tolist(), strict=True):
            right[speaker] += hit and valid
            total[speaker] += valid
    return {speaker: right[speaker] / total[speaker] for speaker in sorted(total, key=str) if total[speaker]}


def run(recordings: Path, folder: Path, *, seconds: float, takes: int | None) -> None:
    """Pack, train on the split ``train``, evaluate on ``test``, print what came of it."""
    dataset = pack_digits(recordings, folder, takes)
    torch.manual_seed(0)
    batches = open_loader(sk.open(dataset, split="train"), train=True)
    net = DigitNet(num_classes=len(batches.stream.labels)).to(batches.device)
    num_steps = train(net, batches, seconds)
    print(f"trained {num_steps} steps of {batches.stream.batch_size} on {batches.device} in {seconds:g} s")
    by_speaker = accuracy(net, open_loader(sk.open(dataset, split="test"), train=False))
    for speaker, share in by_speaker.items():
        print(f"  {speaker}, never heard before: {share:.1%}")
    print(f"accuracy on held-out speakers: {sum(by_speaker.values()) / len(by_speaker):.1%} (chance: 10%)")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    known = Path(os.environ.get("SHARDKIT_TEST_DATA") or beside) / "digits"
    parser.add_argument("recordings", type=Path, nargs="?", default=known, help="folder of the recordings")
    parser.add_argument("--seconds", type=float, default=60.0, help="time to train")
    parser.add_argument("--takes", type=int, help="use only the first takes of each speaker and digit")
    args = parser.parse_args()
    if not args.recordings.is_dir():
        parser.error(f"no folder {args.recordings}; name the one with the recordings")
    with tempfile.TemporaryDirectory() as folder:
        run(args.recordings, Path(folder), seconds=args.seconds, takes=args.takes)


if __name__ == "__main__":
    main()
