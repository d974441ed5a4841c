"""``python -m tools.fuzz TARGET … --seconds N``: fuzz for a while, or repeat one input.

Linux only: memory is bounded by RLIMIT_AS, crashes are told by the process that ends.
"""

import argparse
import sys
from pathlib import Path

from tools.fuzz import guided

if "--atheris" in sys.argv:
    guided.instrument()

from tools.fuzz.campaign import input_of, run_campaign
from tools.fuzz.readers import told
from tools.fuzz.targets import TARGETS


def main() -> int:
    """Run the command; return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help=f"all, or some of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--inputs", type=int, default=1 << 62, help="for each target, if the time suffices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, help="repeat this input of the seed, without bounds")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where inputs that failed are written")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; needs the package atheris")
    options = parser.parse_args()
    names = list(TARGETS) if options.targets == ["all"] else options.targets
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; choose from {', '.join(TARGETS)}")
    if options.atheris:
        guided.run_guided(names[0], TARGETS[names[0]], seconds=options.seconds, folder=options.keep)
    failed = False
    for name in names:
        if options.number is not None:
            target = TARGETS[name]
            error = told(target.read, input_of(target, list(target.seeds()), options.seed, options.number))
            print(f"{name}: {'read' if error is None else f'{type(error).__name__}: {error}'}")
            continue
        found = run_campaign(
            name, TARGETS[name], seconds=options.seconds, seed=options.seed, folder=options.keep, inputs=options.inputs
        )
        print(f"{name}: {found.inputs} inputs in {found.seconds:.0f} s, {found.refused} refused, "
              f"{len(found.findings)} defects", flush=True)  # fmt: skip
        for what, number in found.findings.items():
            print(f"  {found.times[what]} × {what}; --seed {options.seed} --number {number}")
        failed = failed or bool(found.findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
