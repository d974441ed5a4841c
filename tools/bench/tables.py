"""Tables of measurements: printed for reading, written as Markdown for the docs."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import shardkit


@dataclass(slots=True)
class Table:
    """A titled table; the first column is text, the others are numbers that are written as given."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)
    quiet: bool = False

    def add(self, *cells: Any) -> None:
        """Add a row and, unless ``quiet``, print it, so that a long run shows how far it is."""
        if not self.rows and not self.quiet:
            print(f"\n{self.title}\n  {' | '.join(self.columns)}")
        self.rows.append([str(cell) for cell in cells])
        if not self.quiet:
            print("  " + " | ".join(self.rows[-1]), flush=True)

    def text(self) -> str:
        """Return the table in aligned columns."""
        lines = [list(self.columns), *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        aligned = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in lines
        ]
        return "\n".join([self.title, *aligned])

    def markdown(self) -> str:
        """Return the table in Markdown."""
        rules = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(line)} |" for line in (self.columns, rules, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines])


def show(tables: Sequence[Table], markdown: Path | None, *, used: Sequence[str] = (), heading: str = "") -> None:
    """Print the tables and what they were measured with, and write them to a file if one is named.

    Args:
        tables: What was found.
        markdown: The file.
        used: Further packages with their versions; see ``versions``.
        heading: What the file begins with.
    """
    note = ", ".join([f"{date.today()}: {machine()}", *used])
    for table in tables:
        print(f"\n{table.text()}")
    print(f"\n{note}")
    if markdown is not None:
        begin = [heading] if heading else []
        markdown.write_text("\n\n".join([*begin, *(table.markdown() for table in tables), note]) + "\n")


def versions(*packages: str) -> list[str]:
    """Return packages of this environment with their versions."""
    return [f"{name} {version(name)}" for name in packages]


def machine() -> str:
    """Return what the numbers were measured with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"shardkit {shardkit.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"PyArrow {pa.__version__}, {cores} cores"
    )


def megabytes(num_bytes: float) -> str:
    """Return bytes as MB, with a digit where it matters."""
    return f"{num_bytes / 1e6:,.1f}" if num_bytes < 1e7 else f"{num_bytes / 1e6:,.0f}"
