"""Crops that know intervals, recordings that are skipped, and several crops of one sample, in whole streams."""

import shutil
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from tests.stream import scenes

LABELLED = {str(i) for i in range(scenes.NUM_SCENES) if i % 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return scenes.pack_scenes(tmp_path_factory.mktemp("placed"), noisy=True)


def stream_of(dataset, crop, **options):
    return sk.Stream(sk.open(dataset), crop=crop, **({"batch_size": 16, "channels": 1} | options))


def speech_of(key):
    return (0.5 + 0.1 * int(key), 1.5 + 0.1 * int(key)) if key in LABELLED else None


def overlap(start_s, stop_s, event):
    return max(0.0, min(stop_s, event[1]) - max(start_s, event[0]))


@pytest.mark.parametrize("make", [sk.RandomCrop, sk.SalientCrop])
def test_crops_with_content_hold_it(dataset, make):
    crop = make(0.8, content=sk.content(of=["speech"], ratio=0.75), fallback="skip")
    seen = set()
    for batch in islice(stream_of(dataset, crop), 12):
        for key, start in zip(batch.keys, batch.starts / scenes.RATE, strict=True):
            assert key in LABELLED
            assert overlap(start, start + 0.8, speech_of(key)) >= 0.6 - 1e-4
            seen.add((key, start))
    assert {key for key, _ in seen} == LABELLED
    assert len(seen) > 50


def test_content_of_an_event(dataset):
    crop = sk.RandomCrop(0.35, content=sk.content(of="bark", ratio=0.9, part="event"), fallback="skip")
    for batch in islice(stream_of(dataset, crop), 6):
        for start in batch.starts / scenes.RATE:
            held = [
                overlap(start, start + 0.35, event) / need for event, need in (((3.0, 3.2), 0.18), ((3.5, 3.9), 0.35))
            ]
            assert max(held) >= 1 - 1e-3


def test_events(dataset):
    for batch in islice(stream_of(dataset, sk.EventCrop(of="speech", at="exact", fallback="skip")), 4):
        for key, start, length in zip(batch.keys, batch.starts, batch.lengths, strict=True):
            first, last = speech_of(key)
            assert (start, start + length) == (round(first * scenes.RATE), round(last * scenes.RATE))
    for batch in islice(stream_of(dataset, sk.EventCrop(0.5, of="speech", at="center", fallback="skip")), 4):
        for key, start in zip(batch.keys, batch.starts, strict=True):
            first, last = speech_of(key)
            assert start == round((first + last) / 2 * scenes.RATE) - 4_000


def test_a_recording_without_a_place_is_kept_skipped_or_an_error(dataset):
    crop = sk.EventCrop(0.5, of="bark", fallback="keep")
    assert {key for batch in islice(stream_of(dataset, crop), 8) for key in batch.keys} > LABELLED
    with pytest.raises(sk.AudioError, match=r"key '\d+', .*no interval of 'bark'"):
        for _ in islice(stream_of(dataset, sk.EventCrop(0.5, of="bark", fallback="raise")), 8):
            pass


def test_a_skipped_draw_is_another_of_the_same_source_at_the_same_position(dataset):
    """What is not skipped stands where it stood, whatever the ranks."""
    sources = {"scenes": sk.open(dataset), "others": sk.open(dataset).where("n >= 6")}
    plain = sk.Stream(sources, crop=sk.EventCrop(0.5, of="bark"), batch_size=12)
    expected = list(islice(plain, 6))
    skipping = {"crop": sk.EventCrop(0.5, of="bark", fallback="skip"), "channels": 2}
    found = list(islice(sk.Stream(sources, batch_size=12, **skipping), 6))
    for one, other in zip(expected, found, strict=True):
        assert list(one.sources) == list(other.sources)
        for i, key in enumerate(one.keys):
            if key in LABELLED:
                assert (other.keys[i], other.starts[i]) == (key, one.starts[i])
    ranks = [list(islice(sk.Stream(sources, batch_size=4, rank=r, world_size=3, **skipping), 6)) for r in range(3)]
    for batch, parts in zip(found, zip(*ranks, strict=True), strict=True):
        keys = {position: key for part in parts for position, key in zip(part.positions, part.keys, strict=True)}
        assert [keys[position] for position in batch.positions] == list(batch.keys)


def test_in_one_pass_a_skipped_row_is_not_valid(dataset):
    stream = stream_of(dataset, sk.EventCrop(0.5, of="bark", fallback="skip"), passes=1)
    (batch,) = stream
    assert {key for key, valid in zip(batch.keys, batch.valid, strict=True) if valid} == LABELLED
    assert batch.valid.sum() == len(LABELLED)
    assert not batch.audio[~batch.valid].any()


def test_a_source_in_which_every_row_is_skipped_is_an_error(dataset):
    view = sk.open(dataset).where("n in [0, 4, 8]")
    stream = sk.Stream(view, crop=sk.EventCrop(0.5, of="bark", fallback="skip"), batch_size=2)
    with pytest.raises(sk.AudioError, match=r"1000 recordings in turn have no place for EventCrop.*where\(\)"):
        next(iter(stream))


def test_names_that_no_source_has_are_refused(dataset, datasets):
    with pytest.raises(sk.InputError, match="no interval is called 'meow'; there is bark, speech"):
        stream_of(dataset, sk.EventCrop(0.5, of="meow"))
    with pytest.raises(sk.InputError, match="no interval is called 'song'"):
        stream_of(dataset, sk.RandomCrop(0.5, content=sk.content(of=["bark", "song"])))
    with pytest.raises(sk.InputError, match="no source has intervals"):
        sk.Stream(sk.open(datasets["few"]), crop=sk.EventCrop(0.1))


# Views


def test_views_of_a_sample_stand_side_by_side(dataset):
    one = stream_of(dataset, sk.RandomCrop(0.3), batch_size=6)
    three = stream_of(dataset, sk.RandomCrop(0.3), batch_size=6, views=3, fields=["frames"], metadata=["n"])
    for single, batch in zip(islice(one, 5), islice(three, 5), strict=True):
        assert batch.views == 3
        assert batch.audio.shape == (18, 1, 4_800)
        assert list(batch.keys[::3]) == list(batch.keys[1::3]) == list(batch.keys[2::3]) == list(single.keys)
        np.testing.assert_array_equal(batch.audio[::3], single.audio)  # the first one is as without views
        assert len(set(batch.starts.tolist())) > 12
        assert batch.positions.tolist() == np.repeat(single.positions, 3).tolist()
        assert batch.position == single.position
        for i, start in enumerate(batch.starts / scenes.RATE):
            assert batch.fields["frames"][i, 0, 0] == int(start / scenes.FRAME_HOP_S + 1e-6)


@pytest.mark.parametrize("crop", [sk.RandomCrop(0.3), sk.SalientCrop(0.3), sk.EventCrop(0.3, of="speech")])
def test_views_stay_within_their_distance(dataset, crop):
    stream = stream_of(dataset, crop, views=2, view_distance_s=0.25)
    apart = np.concatenate([np.diff(batch.starts.reshape(-1, 2), axis=1)[:, 0] for batch in islice(stream, 10)])
    assert np.abs(apart).max() <= 0.25 * scenes.RATE
    assert (apart < 0).any()
    assert (apart > 0).any()


def test_views_that_lie_close_are_one_read(dataset):
    near = stream_of(dataset, sk.RandomCrop(0.3), views=4, view_distance_s=0.2, passes=1, batch_size=12)
    (_,) = near
    assert near.stats()["requests"] <= 12
    apart = stream_of(dataset, sk.RandomCrop(0.1), views=4, passes=1, batch_size=12)
    (_,) = apart
    assert apart.stats()["bytes_read"] < 2 * apart.stats()["bytes_used"]


@pytest.mark.parametrize("shuffle", ["full", sk.Shuffle(kind="block", block_rows=2, window_blocks=2), "none"])
def test_views_are_the_same_on_any_ranks_and_however_read(dataset, shuffle):
    options = {"views": 2, "view_distance_s": 1.0, "shuffle": shuffle, "passes": 1}
    (whole,) = stream_of(dataset, sk.SalientCrop(0.3), batch_size=12, **options)
    found = {}
    for rank in range(3):
        part = stream_of(dataset, sk.SalientCrop(0.3), batch_size=2, rank=rank, world_size=3, **options)
        for batch in part:
            for i, at in enumerate(batch.positions.tolist()):
                found[at, i % 2] = (batch.keys[i], int(batch.starts[i]), batch.audio[i])
    for i, at in enumerate(whole.positions.tolist()):
        key, start, audio = found[at, i % 2]
        assert (key, start) == (whole.keys[i], whole.starts[i])
        np.testing.assert_array_equal(audio, whole.audio[i])


def test_when_one_view_fails_all_of_its_sample_are_replaced(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "scenes")
    view = sk.open(tmp_path / "scenes")
    row = view.catalog.row_of("7")
    offset, size = int(view.catalog.fields["audio"].offset[row]), int(view.catalog.fields["audio"].size[row])
    with view.catalog.tar(row).local_path.open("r+b") as file:
        file.seek(offset + size * 3 // 4)
        file.write(b"\xa5" * (size // 8))  # half of a quarter, so that most crops are whole
    stream = stream_of(tmp_path / "scenes", sk.RandomCrop(0.3), views=2, batch_size=8)
    for batch in islice(stream, 20):
        assert list(batch.keys[::2]) == list(batch.keys[1::2])
        assert batch.valid.all()
        assert (np.abs(batch.audio).max(axis=(1, 2)) > 0).all()
    assert stream.failures
    assert {failure.error.split("key '")[1][0] for failure in stream.failures} == {"7"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "views is 0"),
        ({"views": 2, "crop": None}, "views=2 without a crop"),
        ({"view_distance_s": 1.0}, "view_distance_s without views"),
        ({"views": 2, "view_distance_s": -1.0}, "view_distance_s -1.0 is not a positive number"),
    ],
)
def test_views_are_checked(dataset, options, message):
    with pytest.raises(sk.InputError, match=message):
        sk.Stream(sk.open(dataset), **({"crop": sk.RandomCrop(0.2)} | options))


def test_a_state_of_other_views_is_refused(dataset):
    state = stream_of(dataset, sk.RandomCrop(0.2), views=2).state_dict()
    with pytest.raises(sk.StateError, match="crop"):
        stream_of(dataset, sk.RandomCrop(0.2)).load_state_dict(state)


def test_all_of_it_in_yaml(dataset, tmp_path):
    config = tmp_path / "mix.yaml"
    config.write_text(f"""
sources: {{scenes: {{url: {dataset}}}}}
crop:
  kind: salient
  duration_s: 0.5
  content: {{of: [speech], ratio: 0.25}}
  fallback: skip
views: 2
view_distance_s: 0.5
batch_size: 8
""")
    crop = sk.SalientCrop(0.5, content=sk.content(of=["speech"], ratio=0.25), fallback="skip")
    same = sk.Stream(sk.open(dataset), crop=crop, views=2, view_distance_s=0.5, batch_size=8)
    for one, other in zip(islice(sk.Stream.from_config(config), 3), islice(same, 3), strict=True):
        assert list(one.keys) == list(other.keys)
        np.testing.assert_array_equal(one.audio, other.audio)
    config.write_text(
        config.read_text()
        .replace("kind: salient", "kind: event")
        .replace("content: {of: [speech], ratio: 0.25}", "of: bark")
    )
    assert sk.Stream.from_config(config).crop == sk.EventCrop(0.5, of="bark", fallback="skip")
