"""What is measured: the rows of each workload, from what the systems' files say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tools.bench.systems.contract import WORKLOADS, System

# Rounds at most, of what takes long and is not measured to the percent.
FEWER_ROUNDS = {"C-A": 2, "C-B": 2, "E": 2, "G": 2, "G-paced": 2}
PACES = (1.25, 2.0)  # lengths of a step, relative to the floor's time for a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that is measured.

    Attributes:
        workload: One of WORKLOADS.
        system: Name of the system.
        variant: One of its variants.
        workers: Worker processes.
        visit: Over S3, ``first`` or ``cached``; else empty.
        pace: Length of a step relative to the floor's time for a batch; 0: none.
    """

    workload: str
    system: str
    variant: str
    workers: int
    visit: str = ""
    pace: float = 0.0

    @property
    def id(self) -> str:
        """What it is called in the results."""
        return "|".join(str(value) for value in asdict(self).values())

    @property
    def title(self) -> str:
        """What it is called in tables and plots, within its workload."""
        parts = [self.system, self.variant]
        if self.workers:
            parts.append(f"{self.workers} workers")
        if self.visit == "cached" and "cached" not in self.variant:
            parts.append("cached")
        elif self.visit == "first" and "cached" in self.variant:
            parts.append("filling")
        if self.pace:
            parts.append(f"step {self.pace:g} × the floor's time")
        return ", ".join(parts)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Row":
        """Return the row of a result."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def planned(systems: Sequence[System], workload: str) -> list[Row]:
    """Return the rows of a workload as they are measured: by system, but first the floor that tells a step's length."""
    ordered = sorted(systems, key=lambda system: system.name != "floor") if workload == "G-paced" else systems
    return [row for system in ordered for row in _of(system, workload)]


def _of(system: System, workload: str) -> Iterator[Row]:
    for variant, workloads in system.variants.items():
        for workers in workloads.get(workload, ()):
            row = {"workload": workload, "system": system.name, "variant": variant, "workers": workers}
            if WORKLOADS[workload].remote:
                visits = ("first", "cached") if variant in system.caches else ("first",)
                yield from (Row(**row, visit=visit) for visit in visits)
            elif workload == "G-paced" and system.name != "floor":
                yield from (Row(**row, pace=pace) for pace in PACES)
            else:
                yield Row(**row)
