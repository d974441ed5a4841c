"""Views of windows with a content ratio: what a stream delivers of them, and from YAML."""

import numpy as np
import pytest

import shardkit as sk


@pytest.fixture(scope="module")
def clips(datasets):
    return sk.open(datasets["clips"])  # 8 kHz; every other clip: speech from 0.1 to 0.2 s, noise from 0.15 to 0.3 s


def delivered(view, **options):
    """(key, start) of each row of a pass."""
    options = {"crop": None, "passes": 1, "batch_size": 16, "rank": 0, "world_size": 1} | options
    batches = sk.Stream(view, **options)
    return [(b.keys[i], int(b.starts[i])) for b in batches for i in np.flatnonzero(b.valid)]


def test_a_pass_has_each_window_that_holds_enough_and_no_other(clips):
    view = clips.windows(0.1, 0.05, content=sk.content("speech", ratio=0.5))
    labelled = clips.where("n in [" + ", ".join(map(str, range(1, 120, 2))) + "]")
    expected = [(key, start) for key in labelled.keys() for start in (400, 800, 1200)]
    assert sorted(delivered(view)) == sorted(expected)
    assert len(view) == len(expected)
    assert view.keys() == labelled.keys()


def test_masks_are_those_of_the_windows(clips):
    view = clips.windows(0.1, 0.05, content=sk.content("speech", ratio=0.5))
    for batch in sk.Stream(view, crop=None, passes=1, batch_size=16, mask_hop=80, mask_names=["speech"]):
        times = batch.starts[:, None] + 80 * np.arange(10)
        assert np.array_equal(batch.masks["speech"], (times >= 800) & (times < 1600))


def test_what_follows_narrows_it_further(clips):
    view = clips.windows(0.1, 0.05, content=sk.content(["speech", "noise"], ratio=1.0))
    assert {start for _, start in delivered(view)} == {800, 1200, 1600}  # of the union, 0.1 to 0.3 s
    part = view.where("speaker == 's1'").take(4)
    assert [start for _, start in delivered(part, shuffle="none")] == [800, 1200, 1600, 800]
    assert sorted(delivered(view.repeat(2))) == sorted(2 * delivered(view))


def test_values_that_take_turns_draw_only_such_windows(clips):
    view = clips.windows(0.1, 0.05, content=sk.content("speech", ratio=0.5))
    expected = set(delivered(view))
    found = sk.Stream(view.each("speaker"), crop=None, batch_size=70, metadata=["speaker"], rank=0, world_size=1)
    batches = [next(iter(found)) for _ in range(4)]
    assert {(b.keys[i], int(b.starts[i])) for b in batches for i in range(70)} <= expected
    assert all(sorted(b.metadata["speaker"]) == sorted(10 * [f"s{i}" for i in range(7)]) for b in batches)


def test_it_is_part_of_a_streams_identity(clips):
    views = [clips.windows(0.1, 0.05, content=sk.content(name, ratio=0.5)) for name in ("speech", "noise")]
    assert len({view.digest() for view in views}) == 2


def test_from_yaml(datasets, clips, tmp_path):
    config = tmp_path / "mix.yaml"
    config.write_text(
        f"""
sources:
  clips:
    url: {datasets["clips"]}
    windows: {{size_s: 0.1, hop_s: 0.05, content: {{of: speech, ratio: 0.5}}}}
passes: 1
"""
    )
    stream = sk.Stream.from_config(config, rank=0, world_size=1)
    expected = clips.windows(0.1, 0.05, content=sk.content("speech", ratio=0.5))
    keys = [(b.keys[i], int(b.starts[i])) for b in stream for i in np.flatnonzero(b.valid)]
    assert sorted(keys) == sorted(delivered(expected))


def test_names_that_are_not_there_and_other_mistakes_are_told(clips, datasets):
    with pytest.raises(sk.InputError, match="no interval is called 'speach'; there is noise, speech"):
        clips.windows(0.1, content=sk.content("speach"))
    with pytest.raises(sk.InputError, match="content is 0.5"):
        clips.windows(0.1, content=0.5)
    with pytest.raises(sk.InputError, match="the view has no rows"):
        sk.Stream(clips.windows(0.3, content=sk.content("speech")), crop=None)
    with pytest.raises(sk.InputError, match="there is none"):
        sk.open(datasets["few"]).windows(0.1, content=sk.content("speech"))
