"""The same targets under atheris, which keeps inputs that reach new code: for parsers in Python."""

import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.fuzz.targets import Target


def instrument() -> None:
    """Import shardkit so that atheris sees which code runs; before anything else imports it."""
    import atheris

    with atheris.instrument_imports(include=["shardkit"]):
        import tools.fuzz.targets  # noqa: F401


def run_guided(name: str, target: "Target", *, seconds: float, folder: Path | None) -> None:
    """Run a target until the time is over or something is found; does not return.

    Args:
        name: Of the target.
        target: What to run.
        seconds: How long.
        folder: Where an input that fails is written.
    """
    import atheris

    from tools.fuzz.readers import told

    corpus = Path(tempfile.mkdtemp(prefix="shardkit-fuzz-"))
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
        told(target.read, data)
    seeds = list(target.seeds())

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return atheris.Mutate(data, max_size)
        return target.change([data, *seeds], Random(seed))[:max_size]  # noqa: S311

    place = "" if folder is None else f"{folder}/"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={seconds:.0f}", "-timeout=10", "-rss_limit_mb=3000",
                 "-max_len=1048576", f"-artifact_prefix={place}{name}-"]  # fmt: skip
    atheris.Setup(arguments, lambda data: told(target.read, data) and None, custom_mutator=change)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(corpus, ignore_errors=True)
