"""The same targets under atheris, which keeps inputs that reach new code: for parsers in Python."""

import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from tools.fuzz.readers import told
from tools.fuzz.targets import Target


def run_guided(name: str, target: Target, *, seconds: float, folder: Path | None) -> None:
    """Run a target until the time is over or something is found; does not return.

    Args:
        name: Of the target.
        target: What to run.
        seconds: How long.
        folder: Where an input that fails is written.
    """
    import atheris

    corpus = Path(tempfile.mkdtemp(prefix="shardkit-fuzz-"))
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
        told(target.read, data)
    atheris.instrument_all()
    seeds = list(target.seeds())

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return atheris.Mutate(data, max_size)
        return target.change([data, *seeds], Random(seed))[:max_size]  # noqa: S311

    place = "" if folder is None else f"{folder}/"
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={seconds:.0f}", "-timeout=10", "-rss_limit_mb=3000",
                 "-max_len=1048576", f"-artifact_prefix={place}{name}-"]  # fmt: skip
    atheris.Setup(arguments, lambda data: told(target.read, data) and None, custom_mutator=change)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(corpus, ignore_errors=True)
