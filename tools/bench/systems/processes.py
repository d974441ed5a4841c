"""What a process and all those it started have used, as Linux counts it. Standard library only.

A process that has ended is counted with its parent once that has waited for it; one that lives is looked up.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Used:
    """Totals so far; the difference of two is what was used in between.

    Attributes:
        cpu_s: User and system time.
        read_bytes: What system calls that read have returned, from files: sockets and mapped files are not in it.
        reads: Those calls.
    """

    cpu_s: float
    read_bytes: int
    reads: int

    def __sub__(self, before: "Used") -> "Used":
        return Used(self.cpu_s - before.cpu_s, self.read_bytes - before.read_bytes, self.reads - before.reads)


def used() -> Used:
    """Return what this process and all those that it started have used."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in own)
    totals = [_io("self")]
    for process in descendants(os.getpid()):
        fields = _stat(process)
        if fields is not None:  # has not ended meanwhile
            cpu_s += sum(int(value) for value in fields[11:15]) / _TICKS  # utime, stime, cutime, cstime of proc(5)
            totals.append(_io(str(process)))
    return Used(cpu_s, sum(read_bytes for read_bytes, _ in totals), sum(reads for _, reads in totals))


def descendants(process: int) -> Iterator[int]:
    """Give the processes that one has started, theirs too, as far as they live."""
    children: dict[int, list[int]] = {}
    for other, fields in _all():
        children.setdefault(int(fields[1]), []).append(other)
    left = list(children.get(process, []))
    while left:
        found = left.pop()
        yield found
        left += children.get(found, [])


def session(leader: int) -> list[int]:
    """Return the processes of the session that a process leads."""
    return [process for process, fields in _all() if int(fields[3]) == leader]


def cpu_of(name: str, *, grandparent: int) -> float:
    """Return the processor time of the processes of a name whose parent's parent is a given one."""
    total = 0.0
    for process, fields in _all():
        parent = _stat(int(fields[1])) if _name(process) == name else None
        if parent is not None and int(parent[1]) == grandparent:
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def memory(process: int) -> tuple[int, int]:
    """Return the memory of a process in bytes, what it shares counted in proportion: all, and what is in no file."""
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:  # has ended
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return values.get("Pss", 0), values.get("Pss_Anon", 0) + values.get("Pss_Shmem", 0)


def peak_bytes() -> int:
    """Return the most memory that this process has had, without those it started."""
    return next(
        int(line.split()[1]) * 1024
        for line in (_PROC / "self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )


def _all() -> Iterator[tuple[int, list[str]]]:
    for path in _PROC.glob("[0-9]*"):
        fields = _stat(int(path.name))
        if fields is not None:
            yield int(path.name), fields


def _stat(process: int) -> list[str] | None:
    """Return the fields of proc(5)'s ``stat`` from the third on: state, parent, group, session, ..."""
    try:
        return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _name(process: int) -> str:
    try:
        return (_PROC / str(process) / "comm").read_text().strip()
    except OSError:
        return ""


def _io(process: str) -> tuple[int, int]:
    try:
        lines = (_PROC / process / "io").read_text().splitlines()
    except OSError:
        return 0, 0
    values = dict(line.split(": ") for line in lines)
    return int(values["rchar"]), int(values["syscr"])
