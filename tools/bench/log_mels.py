"""Log-mels: what they take beside torchaudio's, eager and compiled, and beside a copy of the same bytes.

    python -m tools.bench.log_mels --device cuda --write tools/bench/log_mels.md

Each row: a batch of 5 s of noise in the device's memory, float32, one channel, 80 bands, a hop of 10 ms or a quarter of
n_fft. The systems take turns; a figure is the median of the turns. The bytes are those that no implementation can do
without, samples in and features out; the copy moves as many by ``Tensor.copy_``.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio
import triton

from shardkit.nn import LogMel

SECONDS = 5
SHAPES = ((16_000, 400, 160), (16_000, 512, 160), (44_100, 1024, 256), (44_100, 2048, 512))
N_MELS = 80
_WARM_UP = 3


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512, 1024])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*mel.*")
    lines = [_about(options.device), "", *_heading()]
    print("\n".join(lines), flush=True)
    for sample_rate, n_fft, hop_length in SHAPES:
        for num_batch in options.batches:
            line = _row(options, sample_rate, n_fft, hop_length, num_batch)
            lines.append(line)
            print(line, flush=True)
    if options.write:
        command = f"python -m tools.bench.log_mels --device {options.device}"
        options.write.write_text("\n".join(["# Log-mels", "", f"Written by `{command}`.", "", *lines]) + "\n")


def _row(options: argparse.Namespace, sample_rate: int, n_fft: int, hop_length: int, num_batch: int) -> str:
    audio = torch.randn(num_batch, 1, SECONDS * sample_rate, device=options.device) * 0.1
    sizes = {"sample_rate": sample_rate, "n_fft": n_fft, "hop_length": hop_length, "n_mels": N_MELS}
    ours = LogMel(**sizes).to(options.device)
    mel = torchaudio.transforms.MelSpectrogram(**sizes).to(options.device)

    def eager(audio: torch.Tensor) -> torch.Tensor:
        return mel(audio).clamp(min=1e-10).log()

    systems: dict[str, Callable[[], object]] = {"shardkit": lambda: ours(audio), "torchaudio": lambda: eager(audio)}
    if not options.no_compile:
        compiled = torch.compile(eager)
        systems["compiled"] = lambda: compiled(audio)
    features = ours(audio)
    worst = (features - eager(audio)[..., : features.shape[-1]]).abs().max().item()
    num_bytes = 4 * (audio.numel() + features.numel())
    source, target = (torch.empty(num_bytes // 2, dtype=torch.uint8, device=options.device) for _ in range(2))
    systems["copy"] = lambda: target.copy_(source)  # reads as much as it writes
    times = _medians(systems, options)
    compiled_ms = (
        f"{times['compiled']:.2f} | {times['compiled'] / times['shardkit']:.1f}" if "compiled" in times else "| "
    )
    cells = [
        f"{sample_rate / 1000:g}",
        f"{n_fft} / {hop_length}",
        f"{num_batch}",
        f"{times['shardkit']:.2f}",
        f"{times['torchaudio']:.2f} | {times['torchaudio'] / times['shardkit']:.1f}",
        compiled_ms,
        f"{num_bytes / times['shardkit'] / 1e6:.0f}",
        f"{num_bytes / times['copy'] / 1e6:.0f}",
        f"{times['copy'] / times['shardkit']:.2f}",
        f"{worst:.0e}",
    ]
    return f"| {' | '.join(cells)} |"


def _heading() -> list[str]:
    names = ["rate, kHz", "n_fft / hop", "batch", "shardkit, ms", "torchaudio, ms", "ratio", "compiled, ms", "ratio"]
    names += ["shardkit, GB/s", "copy, GB/s", "share of the copy", "largest difference"]
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def _medians(systems: dict[str, Callable[[], object]], options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds, each the median of turns that the systems take one after the other."""
    for _ in range(_WARM_UP):
        for system in systems.values():
            system()
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.turns):
        for name, system in systems.items():
            times[name].append(_milliseconds(system, options.device))
    return {name: statistics.median(found) for name, found in times.items()}


def _milliseconds(system: Callable[[], object], device: str) -> float:
    if torch.device(device).type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        system()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)
    began = time.perf_counter()
    system()
    return (time.perf_counter() - began) * 1000.0


def _about(device: str) -> str:
    if torch.device(device).type == "cuda":
        name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    else:
        name = f"no GPU, {platform.machine()}, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, Triton {triton.__version__}"
    return f"{time.strftime('%Y-%m-%d')}: {name}; {versions}"


if __name__ == "__main__":
    with torch.no_grad():
        main()
