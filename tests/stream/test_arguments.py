"""What Python callers get wrong: one line of shardkit's own, never another library's exception."""

import pytest

import shardkit as sk


@pytest.fixture(scope="session")
def clips(datasets):
    return sk.open(datasets["clips"])


@pytest.mark.parametrize("url", [None, 5, [], b"x", ""])
def test_what_is_no_place(url):
    for take in (sk.open, sk.Stream.from_config):
        with pytest.raises(sk.InputError, match="no path and no URL|names no file or folder"):
            take(url)


@pytest.mark.parametrize("split", [["train"], 5])
def test_what_is_no_split(datasets, split):
    with pytest.raises(sk.InputError, match="split is"):
        sk.open(datasets["clips"], split=split)


@pytest.mark.parametrize("key", [5, None, b"0/clip000"])
def test_what_is_no_key(clips, key):
    with pytest.raises(sk.InputError, match="is no key; keys are text"):
        clips[key]
    assert key not in clips


@pytest.mark.parametrize("value", ["1", float("nan"), float("inf"), 1e308])
@pytest.mark.parametrize("name", ["start_s", "duration_s"])
def test_what_is_no_time(clips, name, value):
    with pytest.raises(sk.InputError, match=f"{name} is .*; give a number of seconds"):
        clips.read(clips.keys()[0], **{name: value})


@pytest.mark.parametrize("condition", [None, 5, ["n"]])
def test_what_is_no_condition(clips, condition):
    with pytest.raises(sk.InputError, match="give the condition as text"):
        clips.where(condition)


@pytest.mark.parametrize("state", [None, 5, {}, {"epoch": 1}, {"version": 2, "fingerprint": 3, "position": 0}])
def test_what_is_no_state(clips, state):
    with pytest.raises(sk.StateError, match="not the state of a stream"):
        sk.Stream(clips).load_state_dict(state)


@pytest.mark.parametrize("position", [10**30, True, 1.5, -1, None])
def test_what_is_no_position(clips, position):
    stream = sk.Stream(clips)
    with pytest.raises(sk.StateError, match="position .* is not a whole number"):
        stream.load_state_dict(stream.state_dict() | {"position": position})
