"""What LEAF and SincNet cost on a CPU, beside the same frontends by direct convolution.

    OMP_NUM_THREADS=1 python -m tools.bench.frontends [--batches 1 32] [--seconds 1 10] [--markdown FILE]

Each case runs in a process of its own, on one thread: processor time of an item, the least of some rounds, and by how
much the process grew at most. Direct are torch's convolutions over the whole batch, whose results are kept for the
gradients, as published implementations do it.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from shardkit.nn import LEAF, SincNet
from shardkit.nn.frontends.frontend import Frontend
from tools.bench.tables import Table, show, versions

_RATE = 16_000


def direct(frontend: Frontend) -> Frontend:
    """Return a frontend that filters by convolution, everything at once."""

    def pooled(rows: Tensor, kernels: Tensor, pool: Callable[..., Tensor], *, window: int, hop: int) -> Tensor:
        num_filters, num_parts, num_taps = kernels.shape
        responses = nn.functional.conv1d(rows.unsqueeze(1), kernels.flatten(0, 1).unsqueeze(1), padding=num_taps // 2)
        left = (window - hop) // 2
        right = (-(-rows.shape[-1] // hop) - 1) * hop - left + window - rows.shape[-1]
        return pool(responses.unflatten(1, (num_filters, num_parts)), left, right)

    sys.modules[type(frontend).__module__].pooled_filters = pooled  # of this process, which measures nothing else
    return frontend


def measure(kind: type[Frontend], is_direct: bool, batch: int, seconds: float, rounds: int) -> tuple[float, ...]:
    """Return milliseconds an item of the features alone and of a training step, and the MB that each took at most."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # of which filters' tails are full: they cost direct convolutions half their time
    module = direct(kind()) if is_direct else kind()
    warm = 0.1 * torch.randn(1, 1, _RATE)
    module(warm).square().mean().backward()
    audio = 0.1 * torch.randn(batch, 1, round(seconds * _RATE))

    def features() -> None:
        with torch.no_grad():
            module(audio)

    def step() -> None:
        module(audio).square().mean().backward()

    before, found = _peak_mb(), list[float]()
    for run in (features, step):
        times = []
        for _ in range(rounds):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
        found += [1e3 * min(times) / batch, _peak_mb() - before]
    return tuple(found)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def cost_table(batches: list[int], seconds: list[float], rounds: int) -> Table:
    """Return the costs of each frontend, batch and length, by FFT in pieces and direct."""
    columns = ["frontend", "batch", "s", "filters", "features, ms", "training, ms", "features, MB", "training, MB"]
    table = Table("Frontends, 40 filters of 401 taps at 16 kHz, for each item; MB for the batch", columns)
    context = multiprocessing.get_context("spawn")
    for kind in (LEAF, SincNet):
        for batch, length in ((batch, length) for batch in batches for length in seconds):
            for is_direct in (False, True):
                with context.Pool(1) as pool:
                    ms, mb, train_ms, train_mb = pool.apply(measure, (kind, is_direct, batch, length, rounds))
                name = "direct" if is_direct else "FFT in pieces"
                cells = (f"{ms:.1f}", f"{train_ms:.1f}", f"{mb:,.0f}", f"{train_mb:,.0f}")
                table.add(kind.__name__, batch, f"{length:g}", name, *cells)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What LEAF and SincNet cost on one thread of a CPU.")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    table = cost_table(arguments.batches, arguments.seconds, arguments.rounds)
    show([table], arguments.markdown, used=versions("torch"))


if __name__ == "__main__":
    main()
