"""The state's form, frozen."""

import json

import pytest

from shardkit.core.errors import StateError
from shardkit.stream.state import dump_state, fingerprint, load_state

PARTS = {"order": 1, "content": [["speech", ["xxh3_128:00"]]], "seed": 0, "global_batch_size": 32}


def test_the_state_of_a_stream_is_frozen() -> None:
    """A change here makes saved states unreadable: it needs an entry in the changelog headed STATE."""
    assert dump_state(96, fingerprint(PARTS)) == {
        "version": 1,
        "fingerprint": {
            "order": "fc942c07",
            "content": "3ff16cf0",
            "seed": "34069224",
            "global_batch_size": "e6e1355d",
        },
        "position": 96,
    }


def test_a_state_survives_json() -> None:
    state = json.loads(json.dumps(dump_state(96, fingerprint(PARTS))))
    assert load_state(state, fingerprint(PARTS), global_batch=32) == 96


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "state version 2, this shardkit reads 1"),
        ({"position": 33}, "33 is not a multiple of the global batch 32"),
        ({"position": -32}, "-32 is not a multiple"),
        ({"position": "96"}, "'96' is not a multiple"),
        ({"fingerprint": fingerprint(PARTS | {"seed": 1})}, "another stream: seed differ"),
        ({"fingerprint": fingerprint(PARTS | {"new": 1})}, "another stream: new differ"),
    ],
)
def test_other_states_are_refused(changes: dict[str, object], message: str) -> None:
    state = dump_state(96, fingerprint(PARTS)) | changes
    with pytest.raises(StateError, match=message):
        load_state(state, fingerprint(PARTS), global_batch=32)
