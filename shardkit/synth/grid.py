"""What the kinds of tones have in common: frequencies, waves, the form of the files, and what a writer asks of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from shardkit.core.errors import InputError
from shardkit.core.random import check_seed
from shardkit.synth.checks import MAX_DURATION_S, check_choices, check_count, check_rate
from shardkit.synth.clip import BITS, Clip
from shardkit.synth.modes import step_hz
from shardkit.synth.waves import WAVES

LOWEST_RATE = 1000
LOWEST_HZ = 10.0  # below hearing; the table of a wave grows as its frequency falls
MAX_STEPS = 100_000  # a hundredth of a cent over ten octaves; more is a typing error
MAX_VOLUME = 0.75  # times 4/π, what a band-limited square overshoots to, is 0.955: no sample of any depth is clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class GridOptions(ABC):
    """Frequencies, waves and the form of the files.

    Attributes:
        lo_hz: Lowest frequency.
        hi_hz: Highest frequency, and the only one when ``num_steps`` is 1.
        num_steps: Frequencies, in equal musical steps from ``hi_hz`` down to ``lo_hz``, both included.
        waves: Of ``sin``, ``square``, ``saw``, ``triangle``.
        duration_s: Of each recording; rounded to whole samples.
        sample_rate: In Hz.
        bit_depth: ``8``, ``16``, ``24``, ``32`` or ``float``.
        volume: Amplitude of a wave; voices that sound together share it.
        seed: Of everything random.
        zero_phase: All voices begin at the start of their wave, not anywhere in it.
    """

    lo_hz: float = 100.0
    hi_hz: float = 1000.0
    num_steps: int = 10
    waves: tuple[str, ...] = WAVES
    duration_s: float = 1.0
    sample_rate: int = 16_000
    bit_depth: str = "16"
    volume: float = 0.1
    seed: int = 0
    zero_phase: bool = False

    kind: ClassVar[str]
    manifest: ClassVar[str]  # the list's file

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of the list."""

    @property
    @abstractmethod
    def num_items(self) -> int:
        """How many items there are: what can be made apart from all else."""

    @abstractmethod
    def clips(self, item: int) -> Iterator[Clip]:
        """Yield the recordings of an item."""

    @abstractmethod
    def rows(self, item: int) -> Iterator[tuple[Any, ...]]:
        """Yield an item's lines of the list."""

    def tables(self, item: int) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of an item's other files, if it has any."""
        del item
        yield from ()

    def skipped(self) -> dict[str, int]:
        """Return how many rows were left out, by mode."""
        return {}

    @property
    def frames(self) -> int:
        """Samples of each recording."""
        return round(self.duration_s * self.sample_rate)

    def step_hz(self, step: int) -> float:
        """Return a frequency: step 0 is ``hi_hz``, the last ``lo_hz``."""
        return step_hz(step, lo_hz=self.lo_hz, hi_hz=self.hi_hz, num_steps=self.num_steps)

    def all_hz(self) -> list[float]:
        """Return all frequencies, from the highest down."""
        return [self.step_hz(step) for step in range(self.num_steps)]

    def check_grid(self) -> None:
        """Refuse what can't be made; each comparison is written so that a NaN fails it."""
        check_seed(self.seed)
        check_choices("waves", self.waves, WAVES)
        check_rate(self.sample_rate, lowest=LOWEST_RATE)
        if self.bit_depth not in BITS:
            raise InputError(f"bit_depth is {self.bit_depth!r}; choose from {', '.join(BITS)}")
        if not 1.0 / self.sample_rate <= self.duration_s <= MAX_DURATION_S:
            raise InputError(f"duration_s is {self.duration_s:g}; choose from one sample to {MAX_DURATION_S:g} s")
        if not 0.0 < self.volume <= MAX_VOLUME:
            raise InputError(f"volume is {self.volume:g}; choose above 0 and at most {MAX_VOLUME:g}, or squares clip")
        self._check_steps()

    def _check_steps(self) -> None:
        check_count("num_steps", self.num_steps)
        if self.num_steps > MAX_STEPS:
            raise InputError(f"num_steps is {self.num_steps:,}; ask for at most {MAX_STEPS:,}")
        if not LOWEST_HZ <= self.lo_hz <= self.hi_hz < float("inf"):
            raise InputError(
                f"frequencies go from {self.lo_hz:g} to {self.hi_hz:g} Hz; give {LOWEST_HZ:g} <= lo_hz <= hi_hz"
            )
        if len(set(self.all_hz())) < self.num_steps:
            raise InputError(
                f"{self.num_steps:,} steps from {self.lo_hz:g} to {self.hi_hz:g} Hz give the same frequency more than "
                "once; ask for fewer steps or a wider range"
            )
