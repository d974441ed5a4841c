"""Sampling by labels: powers of frequency, rare ones together, each in turn, and what is covered."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk
from tests.stream.many_labels import NUM_ROWS, labels_of, pack_many_labels, row_labels

CROP = {"crop": sk.RandomCrop(0.02), "rank": 0, "world_size": 1}


@pytest.fixture(scope="session")
def view(tmp_path_factory):
    return pack_many_labels(tmp_path_factory.mktemp("many"))


def drawn_in_passes(view, num_passes):
    """How often each key comes in some passes."""
    rows = np.tile(np.arange(len(view)), num_passes)
    passes = np.repeat(np.arange(num_passes), len(view))
    keys = view.catalog.table.column("key").to_pylist()
    return Counter(keys[row] for row in view.sections(rows, passes=passes, key=5).rows.tolist())


def expected_factors(labels, power, rare, several):
    """The definition: a value first, in proportion to frequency ** (1 - power), then any of its rows."""

    def values(of_row):
        return {"(rare)" if frequency[label] < rare else label for label in of_row} or {None}

    frequency = Counter(label for of_row in labels.values() for label in of_row)
    counts = Counter(value for of_row in labels.values() for value in values(of_row))
    odds = {value: count ** (1 - power) for value, count in counts.items()}
    least = min(odd / counts[value] for value, odd in odds.items())
    combine = sum if several == "all" else max
    return {key: combine(odds[value] / counts[value] for value in values(row)) / least for key, row in labels.items()}


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1.5), st.sampled_from([None, 1, 3, 10, 1000]), st.sampled_from(["rarest", "all"]))
def test_rows_are_drawn_as_if_a_label_were_drawn_first(view, power, rare, several):
    balanced = view.balance("labels", power, rare=rare, several=several)
    expected = expected_factors(row_labels(view), power, rare or 0, several)
    found = drawn_in_passes(balanced, 40)
    assert sum(found.values()) / 40 == len(balanced) == pytest.approx(sum(expected.values()), abs=1.01)
    for key, factor in expected.items():
        assert found[key] / 40 == pytest.approx(factor, abs=1.1 / 40 + factor * 1e-3 + 0.5)
        assert found[key] >= 40  # each row in each pass


def test_labels_are_drawn_by_the_root_of_their_frequency(view):
    """Each label's draws, of rows that have only it, so that other labels do not add to them."""
    labels = row_labels(view)
    frequency = Counter(label for row in labels.values() for label in row)
    alone = Counter(row[0] for row in labels.values() if len(row) == 1)
    found = drawn_in_passes(view.balance("labels", 0.5, several="all"), 200)
    most = max([*frequency.values(), sum(not row for row in labels.values())])
    for label, count in alone.items():
        drawn = sum(found[key] for key, row in labels.items() if row == [label]) / 200
        assert drawn == pytest.approx(count * (most / frequency[label]) ** 0.5, rel=0.03, abs=0.3)


def test_each_label_comes_once_in_a_pass_and_all_its_rows_take_turns(view):
    labels = row_labels(view)
    frequency = Counter(label for row in labels.values() for label in row)
    turns = view.each("labels")
    assert len(turns) == len(frequency) == 30
    found = drawn_in_passes(turns, 1)
    assert {label for key in found for label in labels[key]} == set(frequency)
    often = drawn_in_passes(turns, int(np.lcm.reduce([*frequency.values()][:3])))
    assert set(often) <= {key for key, row in labels.items() if row}
    assert len(view.each("labels", rare=10)) == sum(count >= 10 for count in frequency.values()) + 1
    assert len(view.each("target")) == 2
    assert len(view.windows(0.02).each("labels")) == 30


def test_each_is_the_last_step_of_a_view(view):
    turns = view.each("labels")
    unlabelled = next(n for n in range(NUM_ROWS) if not labels_of(n))
    for change in (
        lambda: turns.where("n < 5"),
        lambda: turns.take(3),
        lambda: turns.repeat(2),
        lambda: turns.balance("labels"),
        lambda: turns.windows(0.01),
        lambda: turns.each("labels"),
    ):
        with pytest.raises(sk.InputError, match="after each: its rows are values; narrow first"):
            change()
    with pytest.raises(sk.InputError, match="each after repeat or balance"):
        view.repeat(2).each("labels")
    with pytest.raises(sk.InputError, match="each: no column 'lables'; did you mean 'labels'"):
        view.each("lables")
    with pytest.raises(sk.InputError, match="no row has a value in column 'labels'"):
        view.where(f"n == {unlabelled}").each("labels")
    with pytest.raises(sk.InputError, match="each rare is 0"):
        view.each("labels", rare=0)
    with pytest.raises(sk.InputError, match="several 'both' is unknown; choose rarest or all"):
        view.balance("labels", several="both")


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_coverage_is_what_all_ranks_deliver(view, world_size):
    sources = {"frequent": view.where("n >= 30").balance("labels"), "each": view.each("labels")}
    composition = {"frequent": 6, "each": 2}
    found = Counter()
    for rank in range(world_size):
        stream = sk.Stream(
            sources, composition=composition, crop=CROP["crop"], epoch_samples=120, rank=rank, world_size=world_size
        )
        before = stream.coverage()
        assert (before.start, before.stop, before.missing) == (0, 120, ())
        for batch in islice(stream, 9):
            for row in batch.labels:
                found.update(stream.labels[label] for label in row.nonzero()[0])
        coverage = stream.coverage()
        assert (coverage.start, coverage.stop) == (0, 72)
    assert +Counter(coverage.counts) == found
    assert stream.coverage(stop=8).missing
    assert "of 30 drawn from 0 to 8; not l" in str(stream.coverage(stop=8))
    assert coverage.by_source.keys() == sources.keys()


def test_coverage_of_a_pass_and_of_what_there_is_not(view):
    stream = sk.Stream(view, passes=1, batch_size=16, **CROP)
    labels = row_labels(view)
    assert stream.coverage().counts == Counter(label for row in labels.values() for label in row)
    with pytest.raises(sk.InputError, match="coverage: no column 'genre'"):
        stream.coverage("genre")
    endless = sk.Stream(view, batch_size=16, **CROP)
    with pytest.raises(sk.InputError, match="no position lies there; give start and stop"):
        endless.coverage()
    assert endless.coverage("target", stop=100).counts.keys() == {"False", "True"}


def test_an_epoch_too_short_for_all_values_is_told_when_the_stream_is_made(view):
    sources, composition = {"rest": view, "each": view.each("labels")}, {"rest": 12, "each": 4}
    with pytest.warns(UserWarning, match="'each': an epoch of 112 samples draws 28 of its 30 values; give it a larger"):
        sk.Stream(sources, composition=composition, epoch_samples=7 * 16, **CROP)
    stream = sk.Stream(sources, composition=composition, epoch_samples=8 * 16, **CROP)
    for start in range(0, 5 * 128, 16):
        assert not stream.coverage(start=start, stop=start + 128).missing
        assert all(stream.coverage(start=start, stop=start + 128).by_source["each"].values())


def test_a_file_describes_balance_and_turns(view, tmp_path):
    (tmp_path / "mix.yaml").write_text(
        f"sources:\n  all: {{url: '{view.catalog.location}', balance: {{column: labels, rare: 3, several: all}}}}\n"
        f"  each: {{url: '{view.catalog.location}', each: {{column: labels, rare: 3}}}}\n"
        "composition: {all: 6, each: 2}\ncrop: {kind: random, duration_s: 0.02}\n"
    )
    written = sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)
    sources = {"all": view.balance("labels", rare=3, several="all"), "each": view.each("labels", rare=3)}
    made = sk.Stream(sources, composition={"all": 6, "each": 2}, **CROP)
    assert written.state_dict() == made.state_dict()
    assert (
        written.state_dict()
        != sk.Stream(sources | {"each": view}, composition={"all": 6, "each": 2}, **CROP).state_dict()
    )
