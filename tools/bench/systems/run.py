"""One measurement, in a process of its own and in the system's own environment.

    PYTHON -m tools.bench.systems.run REQUEST RESULT

takes a task and its arguments as JSON and writes what it found as JSON to a file: a system may print what it likes.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import random
import re
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from tools.bench.systems.contract import MODULES, RATE, WORKLOADS, Batch, Job, PackJob
from tools.bench.systems.processes import peak_bytes, used


def facts(*, requirements: list[str]) -> dict[str, Any]:
    """Return the versions of what a system names and of what all use."""
    names = [re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements]
    found = {}
    for name in dict.fromkeys([*names, "numpy", "torch", "soundfile"]):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "versions": found}


def build(*, system: str, source: str, target: str, dataset: str) -> dict[str, Any]:
    """Write a dataset in the system's format."""
    began = time.perf_counter()
    _module(system).build(Path(source), Path(target), dataset)
    return {"wall_s": time.perf_counter() - began}


def check(*, system: str, job: dict[str, Any], source: str, num_samples: int) -> dict[str, Any]:
    """Compare what is delivered with its files."""
    from tools.bench.systems import checks  # noqa: PLC0415  (imports NumPy, whose time is the system's in E)

    module, made = _module(system), _job(job)
    return checks.check_batches(module.batches(made), made, Path(source), num_samples=num_samples)


def measure(
    *,
    system: str,
    job: dict[str, Any],
    seconds: float,
    samples: int | None = None,
    step_s: float = 0.0,
    counts_url: str | None = None,
) -> dict[str, Any]:
    """Return what batches cost: after a warm-up, or with ``samples`` the first ones from a cold start.

    Args:
        system: Which.
        job: As ``Job``.
        seconds: To measure; the warm-up takes half as long.
        samples: Measure so many, from the first one on.
        step_s: Time that each batch is used for before the next is asked for.
        counts_url: Where the counts of a proxy are.
    """
    module, made = _module(system), _job(job)
    turns = max(1, made.workers)
    begin, before, asked = time.perf_counter(), used(), _counts(counts_url)
    source = iter(module.batches(made))
    batches = _with_features(source, made)
    if samples is None:
        _taken(batches, step_s, least=turns, turns=1, seconds=seconds / 2)
        begin, before, asked = time.perf_counter(), used(), _counts(counts_url)
        number, num_batches, wait_s = _taken(batches, step_s, least=turns, turns=turns, seconds=seconds)
    else:
        number, num_batches, wait_s = _taken(batches, step_s, least=1, turns=1, seconds=0.0, samples=samples)
    spent, wall_s, counts = used() - before, time.perf_counter() - begin, _counts(counts_url)
    getattr(source, "close", lambda: None)()  # a generator may have something to put away
    return {
        "samples": number,
        "batches": num_batches,
        "wall_s": wall_s,
        "cpu_s": spent.cpu_s,
        "wait_s": wait_s,
        "read_bytes": spent.read_bytes if counts is None or asked is None else counts[1] - asked[1],
        "reads": spent.reads if counts is None or asked is None else counts[0] - asked[0],
        "main_peak_bytes": peak_bytes(),
    }


def first(*, system: str, job: dict[str, Any]) -> dict[str, Any]:
    """Return how long the import takes, and then the first batch."""
    began = time.perf_counter()
    module = _module(system)
    imported = time.perf_counter()
    batches = iter(module.batches(_job(job)))  # kept: giving it up means waiting for what it reads ahead
    next(batches)
    return {"import_s": imported - began, "first_s": time.perf_counter() - imported}


def interrupt(*, system: str, job: dict[str, Any], after: int, state: str) -> dict[str, Any]:
    """Read a whole pass; write the state after some batches to a file."""
    module = _module(system)
    if not hasattr(module, "epoch"):
        return {"can": False}
    iterator, get_state = module.epoch(_job(job), None)
    iterator = iter(iterator)
    before = [crop for batch in islice(iterator, after) for crop in _crops(batch)]
    value = get_state()
    Path(state).write_bytes(value)
    return {"can": True, "before": before, "rest": [crop for batch in iterator for crop in _crops(batch)]}


def resume(*, system: str, job: dict[str, Any], state: str) -> dict[str, Any]:
    """Go on with a pass from a state; return how long its first batch takes, and all that comes."""
    began = time.perf_counter()
    module = _module(system)
    value = Path(state).read_bytes()
    imported = time.perf_counter()
    iterator = iter(module.epoch(_job(job), value)[0])
    resumed = _crops(next(iterator))
    first_s = time.perf_counter() - imported
    resumed += [crop for batch in iterator for crop in _crops(batch)]
    return {"import_s": imported - began, "first_s": first_s, "state_bytes": len(value), "resumed": resumed}


def pack(*, system: str, variant: str, source: str, target: str, processes: int) -> dict[str, Any]:
    """Return what packing costs; what a system does in ``prepare_pack`` is not counted."""
    module = _module(system)
    made = PackJob(variant=variant, source=Path(source), target=Path(target), processes=processes)
    getattr(module, "prepare_pack", lambda _: None)(made)
    begin, before = time.perf_counter(), used()
    module.pack(made)
    wall_s, spent = time.perf_counter() - begin, used() - before
    written = sum(path.stat().st_size for path in Path(target).rglob("*") if path.is_file())
    return {"wall_s": wall_s, "cpu_s": spent.cpu_s, "written_bytes": written, "main_peak_bytes": peak_bytes()}


def check_pack(*, system: str, source: str, target: str) -> dict[str, Any]:
    """Compare what was packed with its files."""
    from tools.bench.systems import checks  # noqa: PLC0415  (as above)

    return checks.check_packed(_module(system).packed(Path(target)), Path(source))


def _taken(
    batches: Iterator[Batch], step_s: float, *, least: int, turns: int, seconds: float, samples: int = 0
) -> tuple[int, int, float]:
    """Take batches until all is reached: seconds, samples, and a number of batches that is a multiple of ``turns``."""
    number, num_batches, wait_s, began = 0, 0, 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(batches)
        wait_s += time.perf_counter() - asked
        number, num_batches = number + len(batch.keys), num_batches + 1
        if step_s:
            time.sleep(step_s)
        done = number >= samples and time.perf_counter() - began >= seconds
        if done and num_batches >= least and num_batches % turns == 0:
            return number, num_batches, wait_s


def _with_features(batches: Iterator[Batch], job: Job) -> Iterator[Batch]:
    if job.workload != "G":
        return batches
    from tools.bench.systems.log_mel import log_mel  # noqa: PLC0415  (imports torch)

    features = log_mel(RATE)
    return (
        batch if batch.features is not None else batch._replace(features=features(batch.audio)) for batch in batches
    )


def _crops(batch: Batch) -> list[list[Any]]:
    bounds = zip(batch.keys, batch.starts, batch.lengths, strict=True)
    return [[str(key), int(start), int(length)] for key, start, length in bounds]


def _counts(url: str | None) -> tuple[int, int] | None:
    """Return requests and bytes that a proxy has seen."""
    if url is None:
        return None
    with urllib.request.urlopen(url) as answer:  # noqa: S310  (the runner's own, on this machine)
        requests, num_bytes = json.load(answer)
    return requests, num_bytes


def _module(system: str) -> ModuleType:
    module = importlib.import_module(f"tools.bench.systems.{MODULES[system]}")
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    return module


def _job(values: dict[str, Any]) -> Job:
    assert values["workload"] in WORKLOADS
    cache = values.get("cache")
    return Job(**values | {"local": Path(values["local"]), "cache": None if cache is None else Path(cache)})


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (facts, build, check, measure, first, interrupt, resume, pack, check_pack)
}


def main() -> None:
    """Do what is asked and leave at once: threads and processes that a system keeps are ended by the runner."""
    status = 0
    try:
        request = json.loads(sys.argv[1])
        Path(sys.argv[2]).write_text(json.dumps(TASKS[request.pop("task")](**request)))
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
