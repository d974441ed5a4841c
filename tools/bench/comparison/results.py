"""Results as JSON: saved after each measurement, so that nothing is lost when a run ends half-way."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench.comparison.plan import Row

Round = Mapping[str, Any]


class Results:
    """Rows with a round for each time they were measured.

    Args:
        path: The file; what it holds is kept, but for rows that are measured anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.rows: dict[str, dict[str, Any]] = values.get("rows", {})
        self.about: dict[str, Any] = values.get("about", {})

    def begin(self, row: Row, *, keep: bool) -> dict[str, Any]:
        """Return the entry of a row, empty unless what it has is to be kept; an error is never kept."""
        entry = self.rows.get(row.id)
        if entry is None or not keep or "error" in entry:
            entry = self.rows[row.id] = {**asdict(row), "rounds": {}}
        return entry

    def save(self) -> None:
        """Write all."""
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps({"about": self.about, "rows": self.rows}, indent=1))
        part.replace(self._path)

    def of(self, workload: str) -> list[Row]:
        """Return the rows of a workload."""
        return [Row.from_dict(entry) for entry in self.rows.values() if entry["workload"] == workload]

    def rounds(self, row: Row) -> dict[str, Round]:
        """Return what was measured of a row, by round."""
        return self.rows[row.id]["rounds"] if row.id in self.rows else {}

    def value(self, row: Row, measure: Callable[[Round], float]) -> float:
        """Return the median over a row's rounds; NaN where there are none."""
        values = [measure(item) for item in self.rounds(row).values()]
        return statistics.median(values) if values else float("nan")

    def ratio(self, row: Row, other: Row, measure: Callable[[Round], float]) -> float:
        """Return the median of the ratios within rounds: what slows the machine slows both of a round."""
        ours, theirs = self.rounds(row), self.rounds(other)
        ratios = [measure(ours[name]) / measure(theirs[name]) for name in ours if name in theirs]
        if ratios:
            return statistics.median(ratios)
        return self.value(row, measure) / self.value(other, measure)  # not measured together


def cpu_ms(found: Round) -> float:
    """Return milliseconds of processor time for a sample."""
    return 1e3 * found["cpu_s"] / found["samples"]


def per_s(found: Round) -> float:
    """Return samples a second by the clock."""
    return found["samples"] / found["wall_s"]


def peak_mb(found: Round) -> float:
    """Return the most memory of all processes."""
    return found["peak_bytes"] / 1e6


def private_mb(found: Round) -> float:
    """Return the most memory of all processes that is no file's."""
    return found["private_bytes"] / 1e6


def read_kb(found: Round) -> float:
    """Return what was read for a sample."""
    return found["read_bytes"] / 1e3 / found["samples"]


def reads(found: Round) -> float:
    """Return the calls or requests for a sample."""
    return found["reads"] / found["samples"]


def waiting(found: Round) -> float:
    """Return the share of time in which a batch was waited for."""
    return found["wait_s"] / found["wall_s"]
