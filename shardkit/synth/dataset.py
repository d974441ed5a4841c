"""``shardkit synth``: all the sources, into one folder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from shardkit.core.errors import InputError
from shardkit.synth.bursts import BurstsOptions, write_bursts
from shardkit.synth.checks import check_choices
from shardkit.synth.music import MusicOptions, write_music
from shardkit.synth.output import Written, check_empty
from shardkit.synth.tones import TonesOptions, write_tones

SOURCES = ("tones", "bursts", "music")
MAX_SCALE = 1000.0  # 60 GB; more is a typing error


def synthesise(
    folder: Path,
    *,
    seed: int = 0,
    scale: float = 1.0,
    sources: Sequence[str] = SOURCES,
    tones: TonesOptions | None = None,
    bursts: BurstsOptions | None = None,
    music: MusicOptions | None = None,
) -> list[Written]:
    """Write a small synthetic data set to try everything with.

    With the same arguments and the same versions of NumPy, SciPy and libsndfile, every byte is the same.

    Args:
        folder: Made if it isn't there; must be empty if it is. Each source has its own folder in it.
        seed: Of everything random; the tones have nothing random.
        scale: Times this many frequencies of tones, recordings of bursts and pieces of music; at least one of each.
        sources: Of ``tones``, ``bursts`` and ``music``.
        tones: Options of the tones; None takes the defaults.
        bursts: Options of the bursts; None takes the defaults.
        music: Options of the music; None takes the defaults.

    Returns:
        What each source wrote, in the order of ``sources``.

    Raises:
        InputError: An argument can't be done, or the folder holds something already.
        StorageError: The folder can't be written.
    """
    check_choices("sources", sources, SOURCES)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; it must be from 0 to 2^63 - 1")
    if not 0.0 < scale <= MAX_SCALE:
        raise InputError(f"scale is {scale:g}; choose above 0 and at most {MAX_SCALE:g}")
    planners: dict[str, Callable[[], Callable[[], Written]]] = {
        "tones": lambda: partial(write_tones, folder, (tones or TonesOptions()).scaled(scale)),
        "bursts": lambda: partial(write_bursts, folder, (bursts or BurstsOptions()).scaled(scale), seed=seed),
        "music": lambda: partial(write_music, folder, (music or MusicOptions()).scaled(scale), seed=seed),
    }
    # Options are scaled, and so checked, for every source before the first one is written.
    writers = [planners[source]() for source in sources]
    check_empty(folder)
    return [write() for write in writers]
