"""The state's form, frozen."""

import json

import pytest

from shardkit.core.errors import StateError
from shardkit.stream.state import SavedState, dump_state, fingerprint, load_state

PARTS = {"order": 1, "content": [["speech", ["xxh3_128:00"]]], "seed": 0, "global_batch_size": 32}


def test_the_state_of_a_stream_is_frozen() -> None:
    """A change here makes saved states unreadable: it needs an entry in the changelog headed STATE."""
    assert dump_state(96, [[0, [4096]]], fingerprint(PARTS)) == {
        "version": 2,
        "fingerprint": {
            "order": "fc942c07",
            "content": "3ff16cf0",
            "seed": "34069224",
            "global_batch_size": "e6e1355d",
        },
        "position": 96,
        "history": [[0, [4096]]],
    }


def test_a_state_survives_json() -> None:
    state = json.loads(json.dumps(dump_state(96, [[0, [4096]]], fingerprint(PARTS))))
    assert load_state(state, fingerprint(PARTS), may_differ=()) == SavedState(96, [[0, [4096]]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "state version 1, this shardkit reads 2"),
        ({"position": -32}, "-32 is not a whole number"),
        ({"position": "96"}, "'96' is not a whole number"),
        ({"position": 2**62}, "not a whole number from 0 to 2\\^62"),
        ({"fingerprint": fingerprint(PARTS | {"seed": 1})}, "another stream: seed differ"),
        ({"fingerprint": fingerprint(PARTS | {"new": 1})}, "another stream: new differ"),
    ],
)
def test_other_states_are_refused(changes: dict[str, object], message: str) -> None:
    state = dump_state(96, [[0, [4096]]], fingerprint(PARTS)) | changes
    with pytest.raises(StateError, match=message):
        load_state(state, fingerprint(PARTS), may_differ=())


def test_parts_that_may_differ_need_not_be_equal() -> None:
    state = dump_state(96, [], fingerprint(PARTS))
    other = fingerprint(PARTS | {"global_batch_size": 64})
    assert load_state(state, other, may_differ=["global_batch_size"]).position == 96
    with pytest.raises(StateError, match='if meant, load_state_dict\\(state, global_batch_size="new"\\)'):
        load_state(state, other, may_differ=["weights"])
