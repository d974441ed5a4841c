"""Measures rows in turn, round after round, and puts what it finds into the results."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench.comparison import watched
from tools.bench.comparison.plan import Row
from tools.bench.comparison.results import Results
from tools.bench.comparison.served import Served
from tools.bench.comparison.watched import RunError
from tools.bench.systems.checks import compared
from tools.bench.systems.contract import WORKLOADS, System

BUILD_LIMIT_S = 900.0
CHECKED, CHECKED_MIX = 32, 1_200  # samples that are compared with their files; more where weights are looked at
UNCHECKED = ("G", "G-paced")  # they deliver what A does
COUNTED_S = 0.5  # of a run that counts; it is not timed
FIRST_VISIT = 512  # samples of a first visit at most: over S3, of systems that keep what they fetch


@dataclass(slots=True, kw_only=True)
class Bench:
    """What is measured, and where.

    Attributes:
        folder: Of data, what was built, and caches.
        pythons: Of each system's environment.
        systems: By name.
        results: Where findings go.
        seconds: Of each measurement.
        keep: Whether rounds that the results have already are left as they are.
        server: Of what was built, while there is one.
    """

    folder: Path
    pythons: Mapping[str, Path]
    systems: Mapping[str, System]
    results: Results
    seconds: float
    keep: bool = False
    server: Served | None = None

    def built(self, row: Row) -> Path:
        """Return where a row's dataset lies in its system's format."""
        return self.folder / "built" / self.systems[row.system].reads / WORKLOADS[row.workload].dataset

    def build(self, row: Row) -> None:
        """Write a row's dataset in its system's format, if it is not there yet.

        Raises:
            RunError: The system can't.
        """
        target, reads = self.built(row), self.systems[row.system].reads
        if target.exists() or row.workload == "D":
            return
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        dataset = WORKLOADS[row.workload].dataset
        print(f"building {target} ...", flush=True)
        source = self.folder / "data" / dataset
        request = {"task": "build", "source": str(source), "target": str(part), "dataset": dataset}
        self._run(row, request, system=reads, limit_s=BUILD_LIMIT_S)
        part.rename(target)

    def measure(self, workload: str, rows: Sequence[Row], rounds: int) -> None:
        """Measure the rows of a workload; a row that fails says why and is left out from then on."""
        for row in rows:
            self.results.begin(row, keep=self.keep)
            self._tried(row, lambda row=row: self._prepare(row))
        for number in range(rounds):
            step = 0.0
            for row in rows:
                entry = self.results.rows[row.id]
                name = f"{self.results.about['session']}.{number}"  # ratios are of rounds that have one name
                if "error" not in entry and name not in entry["rounds"]:
                    self._tried(row, lambda row=row, name=name, step=step: self._round(row, name, step))
                if workload == "G-paced" and row.system == "floor" and name in entry["rounds"]:
                    step = entry["rounds"][name]["wall_s"] / entry["rounds"][name]["batches"]
                self.results.save()
        for row in rows:
            shutil.rmtree(self._cache(row), ignore_errors=True)

    def _tried(self, row: Row, work: Callable[[], None]) -> None:
        entry = self.results.rows[row.id]
        if "error" in entry:
            return
        try:
            work()
        except (RunError, OSError) as err:
            entry["error"] = str(err)[-300:]
            print(f"  {row.workload} {row.title}: {err}", flush=True)
        self.results.save()

    def _prepare(self, row: Row) -> None:
        """Build, check, count, and fill a cache: all that is done once."""
        entry = self.results.rows[row.id]
        self.build(row)
        if WORKLOADS[row.workload].remote and self.server is not None and not entry["rounds"]:
            self.server.touch(self.folder / "built", self._prefix(row))
        if row.workload == "D" or row.variant == "tars alone" or entry["rounds"] or row.workload in UNCHECKED:
            return
        if row.workload == "E":
            entry["resume"] = self._resume(row)
            return
        if row.visit == "cached":
            self._emptied(row)
            number = 2 * self._recordings(row)
            self._run(row, {"task": "measure", "job": self._job(row), "seconds": 0.0, "samples": number}, counted=True)
        samples = CHECKED_MIX if row.workload == "F" else CHECKED
        source = str(self.folder / "data" / WORKLOADS[row.workload].dataset)
        request = {"task": "check", "job": self._job(row), "source": source, "num_samples": samples}
        entry["checked"] = self._run(row, request)
        if self.server is not None and WORKLOADS[row.workload].remote:
            entry["counted"] = self._measured(row, counted=True)

    def _round(self, row: Row, name: str, step: float) -> None:
        """Measure a row once."""
        found = self._pack(row) if row.workload == "D" else self._first(row) if row.workload == "E" else None
        if found is None:
            found = self._measured(row, step=step)
        self.results.rows[row.id]["rounds"][name] = found
        cost = f"{1e3 * found['cpu_s'] / found['samples']:.3f} ms of CPU" if "cpu_s" in found else ""
        print(f"  {row.workload} {row.title}: {cost or found}", flush=True)

    def _measured(self, row: Row, *, step: float = 0.0, counted: bool = False) -> dict[str, Any]:
        request = {"task": "measure", "job": self._job(row), "step_s": row.pace * step}
        request["seconds"] = min(COUNTED_S, self.seconds) if counted else self.seconds
        if row.pace and not step:
            raise RunError("no floor was measured that says how long a step is; add the system floor")
        if row.visit == "first" and row.variant in self.systems[row.system].caches:
            self._emptied(row)
            request["samples"] = min(FIRST_VISIT, self._recordings(row))
            self.results.rows[row.id]["samples"] = request["samples"]  # from a cold start
        if counted and self.server is not None:
            request["counts_url"] = self.server.counts_url
        before = 0.0 if self.server is None else self.server.cpu_s()
        found = self._run(row, request, counted=counted)
        server_cpu_s = 0.0 if self.server is None else self.server.cpu_s() - before
        return {**found, "step_s": row.pace * step, "server_cpu_s": server_cpu_s}

    def _first(self, row: Row) -> dict[str, Any]:
        found = self._run(row, {"task": "first", "job": self._job(row)})
        resume = self.results.rows[row.id]["resume"]
        if resume["can"]:
            state = {"state": str(self._state(row))}
            again = self._run(row, {"task": "resume", "job": self._job(row), **state})
            found["resumed_s"] = again["first_s"]
        return found

    def _resume(self, row: Row) -> dict[str, Any]:
        """Return whether a pass goes on as it would have without the interruption."""
        state, recordings = self._state(row), self._recordings(row)
        state.parent.mkdir(parents=True, exist_ok=True)
        after = recordings // WORKLOADS["E"].batch // 2
        job = {"job": self._job(row), "state": str(state)}
        whole = self._run(row, {"task": "interrupt", "after": after, **job})
        if not whole["can"]:
            return {"can": False}
        again = self._run(row, {"task": "resume", **job})
        found = compared(whole["rest"], again["resumed"], before=whole["before"], recordings=recordings)
        return {"can": True, "state_bytes": again["state_bytes"], **found}

    def _pack(self, row: Row) -> dict[str, Any]:
        source, target = self.folder / "data/to-pack", self.folder / "packed" / row.system
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        entry, places = self.results.rows[row.id], {"source": str(source), "target": str(target)}
        found = self._run(row, {"task": "pack", "variant": row.variant, "processes": 2, **places})
        if row.system != "floor" and "checked" not in entry:
            entry["checked"] = self._run(row, {"task": "check_pack", **places})
        shutil.rmtree(target, ignore_errors=True)
        return {**found, "samples": self._recordings(row)}

    def _run(
        self, row: Row, request: Mapping[str, Any], *, system: str | None = None, counted: bool = False, **more: Any
    ) -> dict[str, Any]:
        system = system or row.system
        environment = {} if self.server is None else self.server.environment(counted=counted)
        if system not in self.pythons:
            missing = f"{row.system} reads what {system} wrote; add the system {system}"
            raise RunError(self.results.about["systems"].get(system, {}).get("error", missing))
        return watched.run(self.pythons[system], {"system": system, **request}, environment=environment, **more)

    def _job(self, row: Row) -> dict[str, Any]:
        built = self.built(row)
        where = f"s3://built/{self._prefix(row)}" if WORKLOADS[row.workload].remote else str(built)
        cache = str(self._cached(row)) if row.variant in self.systems[row.system].caches and row.visit else None
        names = {"workload": row.workload, "variant": row.variant, "workers": row.workers}
        return {**names, "where": where, "local": str(built), "cache": cache}

    def _prefix(self, row: Row) -> str:
        return self.built(row).relative_to(self.folder / "built").as_posix()

    def _recordings(self, row: Row) -> int:
        source = self.folder / "data" / WORKLOADS[row.workload].dataset
        return sum(path.is_file() for path in source.rglob("*"))

    def _cache(self, row: Row) -> Path:
        return self.folder / "cache" / f"{row.workload}-{row.system}-{row.variant}-{row.workers}-{row.visit}"

    def _emptied(self, row: Row) -> Path:
        shutil.rmtree(self._cache(row), ignore_errors=True)
        return self._cached(row)

    def _cached(self, row: Row) -> Path:
        self._cache(row).mkdir(parents=True, exist_ok=True)
        return self._cache(row)

    def _state(self, row: Row) -> Path:
        return self.folder / "states" / row.system / row.variant
