"""The bench of ended packs, on a few recordings."""

from pathlib import Path

import numpy as np
import soundfile

from tools.bench.kills import BEGIN, COLUMNS, END, Bench, write
from tools.bench.tables import Table


def test_packs_that_are_killed_and_finished_are_counted_and_written_down(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(8):
        samples = np.random.default_rng(i).integers(-9000, 9000, 200_000).astype(np.int16)
        soundfile.write(source / f"{i}.wav", samples, 16_000)
    scratch, page = tmp_path / "scratch", tmp_path / "page.md"
    scratch.mkdir()
    table = Table("Packs", COLUMNS)
    bench = Bench(source, scratch, times=1)
    bench.measure(table, "SIGKILL of all processes")
    bench.measure_append(table)
    assert [row[:5] for row in table.rows] == [
        ["SIGKILL of all processes", "1", "0", "0", "0"],
        ["SIGKILL of all processes of an append", "1", "0", "0", "0"],
    ]
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, table)
    assert page.read_text().startswith("before")
    assert "| SIGKILL of all processes | 1 | 0 | 0 | 0 |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.read_text().endswith("after\n")
