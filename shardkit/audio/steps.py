"""Work in steps, so that one step of many recordings is done before the next.

A short recording takes as long as it takes a processor to load the code of every step anew: reading, filtering and
encoding each fill its caches. One step of sixteen short recordings after another takes half of the time that all steps
of one after another take, and the code of each goes on reading from top to bottom: it says ``yield`` between steps.
"""

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

from shardkit.core.errors import ShardkitError

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]


def run(steps: Steps[Result]) -> Result:
    """Do all steps and return what they result in."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result


def run_together(many: Sequence[Steps[Result]]) -> list[Result | ShardkitError]:
    """Do the first step of each, then the second, and so on; return the results, or what went wrong, in their order."""
    results: dict[int, Result | ShardkitError] = {}
    pending = list(enumerate(many))
    while pending:
        left = []
        for index, steps in pending:
            try:
                next(steps)
                left.append((index, steps))
            except StopIteration as done:
                results[index] = done.value
            except ShardkitError as err:
                results[index] = err
        pending = left
    return [results[index] for index in range(len(many))]
