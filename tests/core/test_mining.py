"""Laws of hard examples: bounded, each once, the hardest first, and the same in whatever order they are told."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import InputError, StateError
from shardkit.core.mining import Examples, HardExamples, Mining
from shardkit.core.order import MixedOrder
from shardkit.core.stages import SourceRows, Stage

TOLD = st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 2), st.sampled_from([0.1, 0.5, 0.9])), max_size=30)


def examples(told):
    columns = np.array([(row, start, origin, score) for origin, (row, start, score) in enumerate(told)]).reshape(-1, 4)
    return Examples(*columns[:, :3].T.astype(np.int64), columns[:, 3])


def identities(found):
    return list(zip(found.rows.tolist(), found.starts.tolist(), strict=True))


@given(TOLD, st.integers(1, 12))
def test_each_is_kept_once_with_its_best_score_and_of_all_the_hardest(told, size):
    best = {}
    for origin, (row, start, score) in enumerate(told):
        if (row, start) not in best or score > best[row, start][0]:
            best[row, start] = score, -origin
    expected = sorted(best, key=lambda item: best[item], reverse=True)[:size]
    found = examples(told).hardest(size)
    assert identities(found) == expected
    assert found.scores.tolist() == [best[item][0] for item in expected]


@given(TOLD, st.randoms(use_true_random=False), st.integers(1, 12), st.integers(0, 30))
def test_it_does_not_matter_in_which_order_or_how_many_at_once_they_are_told(told, random, size, cut):
    one = HardExamples().fed(examples(told), size=size)
    shuffled = np.arange(len(told))
    random.shuffle(shuffled)
    parts = examples(told).at(shuffled[:cut]), examples(told).at(shuffled[cut:])
    two = HardExamples().fed(parts[0], size=size).fed(parts[1], size=size)
    assert one.digest() == two.digest()


@given(TOLD, TOLD, st.integers(1, 12), st.integers(0, 12))
def test_an_epoch_drops_what_was_used_and_takes_the_newest_word(first, second, size, num_used):
    before = HardExamples().fed(examples(first), size=size).begun(64, num_used=0, size=size)
    num_used = min(num_used, len(before.kept))
    after = before.fed(examples(second), size=size).begun(128, num_used=num_used, size=size)
    assert len(after.kept) <= size
    assert not len(after.pending)
    newest = dict(zip(identities(examples(second).hardest(size)), examples(second).hardest(size).scores, strict=True))
    used = set(identities(before.kept)[:num_used])
    for item, score in zip(identities(after.kept), after.kept.scores, strict=True):
        assert score == newest[item] if item in newest else item not in used
    assert set(identities(after.kept)) <= set(newest) | set(identities(before.kept))


@given(TOLD, TOLD)
def test_they_survive_json(first, second):
    hard = HardExamples().fed(examples(first), size=9).begun(8, num_used=0, size=9).fed(examples(second), size=9)
    again = HardExamples.load(json.loads(json.dumps(hard.dump())))
    assert again.digest() == hard.digest()
    assert again.dump() == hard.dump()


@given(st.integers(0, 2000), st.booleans())
def test_draws_are_counted_without_drawing(position, later):
    sources = [SourceRows(name=name, num_rows=rows) for name, rows in (("a", 7000), ("b", 5))]
    stages = [Stage(0, (24, 8)), *([Stage(320, (8, 24))] if later else [])]
    order = MixedOrder(sources, seed=0, stages=stages, batch=32)
    drawn = order.draws(np.arange(position)).sources
    for source in (0, 1):
        assert order.num_drawn(source, np.array([position])).tolist() == [(drawn == source).sum()]


@pytest.mark.parametrize("state", [None, {}, [], {"since": 0, "kept": [[1, 2]], "pending": []}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(StateError, match="feedback_state"):
        HardExamples.load(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 3}, "mining source 3"),
        ({"source": "a", "size": 0}, "mining size is 0"),
        ({"source": "a", "above": float("nan")}, "above nan"),
    ],
)
def test_options_are_checked_when_made(options, message):
    with pytest.raises(InputError, match=message):
        Mining(**options)
