"""Tables of what was measured: one for each workload, each with its ratios to shardkit."""

from collections.abc import Callable, Sequence

from tools.bench.comparison.plan import Row
from tools.bench.comparison.results import Results, cpu_ms, peak_mb, per_s, private_mb, read_kb, reads, waiting
from tools.bench.systems.contract import WORKLOADS, System
from tools.bench.tables import Table

# The row that the others of a workload are compared with.
OURS = {workload: Row(workload=workload, system="shardkit", variant="default", workers=0) for workload in WORKLOADS} | {
    "C-A": Row(workload="C-A", system="shardkit", variant="default", workers=0, visit="first"),
    "C-B": Row(workload="C-B", system="shardkit", variant="default", workers=0, visit="first"),
    "G": Row(workload="G", system="shardkit", variant="Loader", workers=0),
}


def tables(results: Results) -> list[Table]:
    """Return a table for each workload that has rows."""
    special: dict[str, Callable[[Results, str, Sequence[Row]], Table]] = {
        "D": _packing,
        "E": _starting,
        "G-paced": _paced,
    }
    found = ((workload, results.of(workload)) for workload in WORKLOADS)
    return [special.get(workload, _costs)(results, workload, rows) for workload, rows in found if rows]


def settings(results: Results, systems: Sequence[System]) -> str:
    """Return how each system is set up, and its versions, in Markdown."""
    lines = ["**Settings and versions**", "", "| system | settings | versions |", "| --- | --- | --- |"]
    for system in systems:
        about = results.about.get("systems", {}).get(system.name)
        if about is None:
            continue
        versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
        where = f"Python {about['python']}, {versions}" if versions else about.get("error", "")
        lines.append(f"| {system.name} | {system.settings.replace('|', '/')} | {where} |")
    return "\n".join(lines)


def _costs(results: Results, workload: str, rows: Sequence[Row]) -> Table:
    remote = WORKLOADS[workload].remote
    columns = ["system", "CPU ms / sample", "× shardkit", "samples/s", "× shardkit", "peak MB", "private MB"]
    columns += ["KB / sample", "requests / sample" if remote else "reads / sample", *["server CPU ms"] * remote]
    table = Table(f"{workload}: {WORKLOADS[workload].title}", columns, quiet=True)
    ours = OURS[workload]
    for row in rows:
        if _failed(results, table, row):
            continue
        entry = results.rows[row.id]
        cells = [f"{results.value(row, cpu_ms):.3g}", f"{results.ratio(row, ours, cpu_ms):.2f}"]
        cells += [f"{results.value(row, per_s):,.0f}", f"{results.ratio(row, ours, per_s):.2f}"]
        cells += [f"{results.value(row, peak_mb):,.0f}", f"{results.value(row, private_mb):,.0f}"]
        if remote:
            counted = entry.get("counted")
            cells += ["", ""] if counted is None else [f"{read_kb(counted):,.1f}", f"{reads(counted):.2f}"]
            cells.append(f"{results.value(row, lambda one: 1e3 * one['server_cpu_s'] / one['samples']):.3g}")
        else:
            cells += [f"{results.value(row, read_kb):,.1f}", f"{results.value(row, reads):.1f}"]
        table.add(row.title, *cells)
    return table


def _packing(results: Results, workload: str, rows: Sequence[Row]) -> Table:
    columns = ["system", "files/s", "× shardkit", "CPU ms / file", "× shardkit", "peak MB", "private MB", "MB written"]
    table, ours = Table(f"{workload}: {WORKLOADS[workload].title}", columns, quiet=True), OURS[workload]
    for row in rows:
        if _failed(results, table, row):
            continue
        cells = [f"{results.value(row, per_s):,.0f}", f"{results.ratio(row, ours, per_s):.2f}"]
        cells += [f"{results.value(row, cpu_ms):.3g}", f"{results.ratio(row, ours, cpu_ms):.2f}"]
        cells += [f"{results.value(row, peak_mb):,.0f}", f"{results.value(row, private_mb):,.0f}"]
        table.add(row.title, *cells, f"{results.value(row, lambda one: one['written_bytes'] / 1e6):,.0f}")
    return table


def _starting(results: Results, workload: str, rows: Sequence[Row]) -> Table:
    columns = ["system", "import s", "first batch s", "resume half-way, first batch s", "state bytes", "the rest is"]
    table = Table(f"{workload}: {WORKLOADS[workload].title}", columns, quiet=True)
    for row in rows:
        if _failed(results, table, row):
            continue
        cells = [f"{results.value(row, lambda one, name=name: one[name]):.2f}" for name in ("import_s", "first_s")]
        resume = results.rows[row.id].get("resume", {"can": False})
        if resume["can"]:
            cells += [f"{results.value(row, lambda one: one['resumed_s']):.2f}", f"{resume['state_bytes']:,}"]
            lost = (
                f"; {resume['missed']} missed, {resume['twice']} twice" if resume["missed"] or resume["twice"] else ""
            )
            cells.append(resume["same"] + lost)
        else:
            cells += ["cannot", "", ""]
        table.add(row.title, *cells)
    return table


def _paced(results: Results, workload: str, rows: Sequence[Row]) -> Table:
    columns = ["system", "share of time waiting", "step ms", "samples/s", "CPU ms / sample"]
    table = Table(f"{workload}: {WORKLOADS[workload].title}", columns, quiet=True)
    for row in rows:
        if _failed(results, table, row) or not row.pace:
            continue
        cells = [f"{results.value(row, waiting):.1%}", f"{results.value(row, lambda one: 1e3 * one['step_s']):.1f}"]
        table.add(row.title, *cells, f"{results.value(row, per_s):,.0f}", f"{results.value(row, cpu_ms):.3g}")
    return table


def _failed(results: Results, table: Table, row: Row) -> bool:
    """Add the row of one that failed."""
    entry = results.rows[row.id]
    if "error" not in entry and entry["rounds"]:
        return False
    error = entry.get("error", "not measured").replace("|", "/")
    table.add(row.title, f"failed: {error}", *[""] * (len(table.columns) - 2))
    return True
