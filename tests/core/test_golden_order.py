"""The order, frozen: what any stream delivers must not change from one version to the next.

If this test fails, the sequence of every running experiment has changed. Should that be intended, raise
``ORDER_VERSION``, write an entry headed ORDER in CHANGELOG.md, and regenerate the file from the repository's root:

    python -m tests.core.test_golden_order
"""

import json
from pathlib import Path

import numpy as np

from shardkit.core.order import ORDER_VERSION, MixedOrder, OnePassOrder
from shardkit.core.random import uniform
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import SourceRows, Stage

GOLDEN = Path(__file__).with_name("golden_order.json")

SEED = 20_240_229
SOURCES = (
    SourceRows(name="speech", num_rows=100_003, weight=0.7),
    SourceRows(name="music", num_rows=2_001, weight=0.25),
    SourceRows(name="noise", num_rows=40, weight=0.05),  # a small source: all lanes walk through its passes together
)
SHUFFLES = {
    "full": Shuffle(),
    "block": Shuffle(kind="block", block_rows=16, window_blocks=4),
    "none": Shuffle(kind="none"),
}
POSITIONS = np.concatenate([np.arange(100), 10**15 + np.arange(60), [2**62 - 1]])
STAGES = (Stage(0, (2867, 1024, 205)), Stage(50_001, (0, 4000, 96)), Stage(777_777, (2000, 1000, 1096)))
STAGE_POSITIONS = np.concatenate([start + np.arange(-20, 40) for start in (50_001, 777_777, 10**12)])
ONE_PASS_POSITIONS = np.concatenate([np.arange(60), np.arange(102_044 - 40, 102_044)])


def current():
    """Return the draws of today's code, one row [position, source, pass, row] each."""
    mixed = {
        f"mixed, {name}": _listed(MixedOrder(SOURCES, seed=SEED, shuffle=shuffle).draws(POSITIONS))
        for name, shuffle in SHUFFLES.items()
    }
    one_pass = {
        f"one pass, {name}": _listed(OnePassOrder(SOURCES, seed=SEED, shuffle=shuffle).draws(ONE_PASS_POSITIONS))
        for name, shuffle in SHUFFLES.items()
    }
    staged = MixedOrder(SOURCES, seed=SEED, shuffle=SHUFFLES["block"], stages=STAGES)
    mixed["mixed, three stages"] = _listed(staged.draws(STAGE_POSITIONS))
    chances = uniform(SEED, POSITIONS, "crop").tolist()
    return {"order_version": ORDER_VERSION, **mixed, **one_pass, "uniform, crop": chances}


def _listed(draws):
    return np.stack([draws.positions, draws.sources, draws.passes, draws.rows], axis=1).tolist()


def test_the_order_has_not_changed_or_the_changelog_has_an_entry_headed_order():
    golden, now = json.loads(GOLDEN.read_text()), current()
    assert golden.keys() == now.keys()
    changed = [name for name in golden if golden[name] != now[name]]
    assert not changed, f"{changed} differ from {GOLDEN.name}; see the head of {Path(__file__).name}"


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in current().items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n")
