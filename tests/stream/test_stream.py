"""The stream's laws: pure order, partition, resume, lock-step, mixture, one timebase."""

import json
import os
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk

Log = list[tuple[int, str, str, int]]
COMMON = {
    "crop": sk.RandomCrop(0.25),
    "sample_rate": 8000,
    "channels": 1,
    "weights": {"clips": 0.5, "tracks": 0.3, "few": 0.2},
}


def open_all(datasets: dict[str, Path]) -> dict[str, sk.View]:
    return {name: sk.open(path) for name, path in datasets.items()}


def log(batches: list[sk.Batch]) -> Log:
    return sorted(
        entry
        for batch in batches
        for entry in zip(batch.positions.tolist(), batch.sources, batch.keys, batch.starts.tolist(), strict=True)
    )


@given(
    ranks=st.sampled_from([1, 2, 3, 4]),
    threads=st.integers(1, 4),
    start=st.integers(0, 50),
    shuffle=st.sampled_from(["full", "block", "none"]),
    seed=st.integers(0, 3),
)
@settings(max_examples=15)
def test_ranks_and_threads_and_restarts_never_change_the_sequence(datasets, ranks, threads, start, shuffle, seed):
    """Laws L1, L2 and L3: 24 samples a step, divided among the ranks, from a step on."""
    views = open_all(datasets)
    options = COMMON | {"shuffle": shuffle, "seed": seed}
    whole = sk.Stream(views, batch_size=24, rank=0, world_size=1, threads=1, **options)
    expected = list(islice(whole.batches(start * 24), 3))
    found = []
    for rank in range(ranks):
        part = sk.Stream(views, batch_size=24 // ranks, rank=rank, world_size=ranks, threads=threads, **options)
        part.load_state_dict(whole.state_at(start * 24))
        found += list(islice(part, 3))
    assert log(found) == log(expected)
    audio = {int(g): x for batch in found for g, x in zip(batch.positions, batch.audio, strict=True)}
    for batch in expected:
        for position, samples in zip(batch.positions, batch.audio, strict=True):
            np.testing.assert_array_equal(audio[int(position)], samples)


def test_tail_after_resume_equals_uninterrupted_tail(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(open_all(datasets), batch_size=8, **COMMON)
    for _ in islice(stream, 5):
        pass
    state = json.loads(json.dumps(stream.state_dict()))
    assert len(json.dumps(state)) < 1024
    assert state["position"] == 40
    tail = list(islice(stream, 4))
    resumed = sk.Stream(open_all(datasets), batch_size=8, **COMMON)
    resumed.load_state_dict(state)
    again = list(islice(resumed, 4))
    assert log(again) == log(tail)
    for one, other in zip(tail, again, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"crop": sk.RandomCrop(0.26)}, "crop"),
        ({"weights": {"clips": 0.5, "tracks": 0.2, "few": 0.3}}, "weights"),
        ({"batch_size": 16}, "global_batch_size"),
        ({"sample_rate": 16000}, "audio"),
        ({"shuffle": "block"}, "shuffle"),
    ],
)
def test_the_state_of_another_stream_is_refused_naming_what_differs(datasets, change, named: str) -> None:
    state = sk.Stream(open_all(datasets), **({"batch_size": 8} | COMMON)).state_dict()
    other = sk.Stream(open_all(datasets), **({"batch_size": 8} | COMMON | change))
    with pytest.raises(sk.StateError, match=rf"another stream: {named} differ"):
        other.load_state_dict(state)
    with pytest.raises(sk.StateError, match="not the state of a stream"):
        other.load_state_dict({"epoch": 3})


def test_other_content_is_refused(datasets: dict[str, Path]) -> None:
    views = open_all(datasets)
    state = sk.Stream(views, **COMMON).state_dict()
    narrowed = views | {"clips": views["clips"].where("n < 100")}
    with pytest.raises(sk.StateError, match="another stream: rows differ"):
        sk.Stream(narrowed, **COMMON).load_state_dict(state)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_one_pass_delivers_each_sample_once_in_lock_step(datasets: dict[str, Path], ranks: int) -> None:
    """Laws L2 and L4, with a world size that does not divide the number of samples."""
    views = open_all(datasets)
    options = {"crop": None, "sample_rate": 8000, "channels": 1, "passes": 1, "batch_size": 4}
    streams = [sk.Stream(views, rank=rank, world_size=ranks, **options) for rank in range(ranks)]
    batches = [list(stream) for stream in streams]
    assert len({len(listed) for listed in batches}) == 1
    assert len(batches[0]) == len(streams[0])
    assert all(len(batch) == 4 for listed in batches for batch in listed)
    drawn = [
        (source, key)
        for listed in batches
        for batch in listed
        for source, key, valid in zip(batch.sources, batch.keys, batch.valid, strict=True)
        if valid
    ]
    assert sorted(drawn) == sorted((name, key) for name, view in views.items() for key in view.keys())
    padding = [batch for listed in batches for batch in listed if not batch.valid.all()]
    assert all(not batch.audio[~batch.valid].any() and not batch.lengths[~batch.valid].any() for batch in padding)


def test_a_one_pass_stream_begins_anew_after_its_end(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(sk.open(datasets["clips"]), crop=None, passes=1, batch_size=50)
    assert log(list(stream)) == log(list(stream))


def test_the_state_of_the_last_batch_has_nothing_left_to_deliver(datasets: dict[str, Path]) -> None:
    def stream() -> sk.Stream:
        return sk.Stream(sk.open(datasets["clips"]), crop=None, passes=1, batch_size=50)

    first = stream()
    states = [first.state_dict() for _ in first]
    resumed = stream()
    resumed.load_state_dict(states[-1])
    assert list(resumed) == []
    assert len(list(resumed)) == 3  # and then it begins anew


def test_an_error_keeps_its_place_in_the_sequence(datasets: dict[str, Path]) -> None:
    """However many batches are read ahead, those before the failing one are delivered."""
    delivered = []
    for memory in ("1GB", 1):
        crop = sk.SalientCrop(1.0, floor_lufs=-7.0, fallback="raise")
        stream = sk.Stream(
            {"tracks": sk.open(datasets["tracks"]), "few": sk.open(datasets["few"])},
            **(COMMON | {"crop": crop, "weights": {"tracks": 0.9, "few": 0.1}}),
            batch_size=1,
            memory=memory,
        )
        keys = []
        with pytest.raises(sk.AudioError, match=r"key '\d', member 'flac' at byte .*: no window of 1 s"):
            for batch in islice(stream, 100):
                keys += batch.keys
        delivered.append(keys)
    assert delivered[0] == delivered[1] != []


def test_masks_of_some_names_only(datasets: dict[str, Path]) -> None:
    clips = sk.open(datasets["clips"])
    both = next(iter(sk.Stream(clips, crop=None, mask_hop=80)))
    one = next(iter(sk.Stream(clips, crop=None, mask_hop=80, mask_names=["noise"])))
    assert list(one.masks) == ["noise"]
    np.testing.assert_array_equal(one.masks["noise"], both.masks["noise"])


def test_mixture_follows_the_weights(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(open_all(datasets), batch_size=64, **COMMON)
    for _ in islice(stream, 20):
        pass
    counts = {name: counts["samples"] for name, counts in stream.stats()["sources"].items()}
    assert all(abs(counts[name] - 20 * 64 * share) < 5 for name, share in stream.weights.items())
    assert sum(counts.values()) == stream.stats()["samples"] == 1280


def test_batches_hold_what_reading_by_key_gives(datasets: dict[str, Path]) -> None:
    views = open_all(datasets)
    stream = sk.Stream(
        {"clips": views["clips"]}, crop=sk.RandomCrop(0.4), mask_hop=80, metadata=["n", "speaker"], batch_size=32
    )
    batch = next(iter(stream))
    assert stream.labels == ("a", "b", "c")
    for i, key in enumerate(batch.keys):
        start, length = int(batch.starts[i]), int(batch.lengths[i])
        sample = views["clips"].read(key, start_s=start / 8000, duration_s=0.4)
        np.testing.assert_array_equal(batch.audio[i, :, :length], sample.audio)
        assert not batch.audio[i, :, length:].any()
        assert [stream.labels[c] for c in np.flatnonzero(batch.labels[i])] == list(sample.labels)
        assert (batch.metadata["n"][i], batch.metadata["speaker"][i]) == (
            sample.metadata["n"],
            sample.metadata["speaker"],
        )
        for name, mask in batch.masks.items():
            expected = np.zeros(40)
            for item in sample.intervals:
                if item.name == name:
                    expected[item.start // 80 : -(-item.stop // 80)] = 1
            np.testing.assert_array_equal(mask[i], expected)
    assert set(batch.masks) == {"noise", "speech"}


def test_whole_samples_are_padded_to_the_longest(datasets: dict[str, Path]) -> None:
    batch = next(iter(sk.Stream(sk.open(datasets["clips"]), crop=None, batch_size=16)))
    assert batch.audio.shape == (16, 1, batch.lengths.max())
    assert (batch.starts == 0).all()


def test_stems_are_cropped_at_the_same_instant_and_missing_ones_flagged(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(sk.open(datasets["tracks"]), crop=sk.RandomCrop(0.5), fields=["vocals", "json"], batch_size=20)
    batch = next(iter(stream))
    vocals = batch.fields["vocals"]
    for i, key in enumerate(batch.keys):
        assert batch.present["vocals"][i] == (key != "track 0")
        if key == "track 0":
            assert not vocals[i].any()
        else:
            np.testing.assert_allclose(vocals[i], batch.audio[i] / 2, atol=2 / 32768)
        assert batch.fields["json"][i]["path"] == f"{key}.wav"
    assert set(batch.keys) == {f"track {i}" for i in range(5)}


def test_salient_crops_are_where_the_sound_is(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(sk.open(datasets["tracks"]), crop=sk.SalientCrop(1.0, floor_lufs=-20.0), batch_size=64)
    starts = next(iter(stream)).starts
    assert (starts + 16000 > 3 * 16000).all()  # the loud half begins at 3 s; a gated window may reach 0.1 s into it
    assert len(set(starts.tolist())) > 10


def test_resampling_and_mixing_follow_the_request(datasets: dict[str, Path]) -> None:
    views = open_all(datasets)
    native = next(iter(sk.Stream(views["tracks"], crop=sk.CenterCrop(1.0), batch_size=8)))
    mixed = next(iter(sk.Stream(views["tracks"], crop=sk.CenterCrop(1.0), batch_size=8, sample_rate=8000, channels=1)))
    assert (native.audio.shape, mixed.audio.shape) == ((8, 2, 16000), (8, 1, 8000))
    assert (mixed.lengths == 8000).all()
    low = np.fft.rfft(native.audio.mean(axis=1))[:, :3000] / 2
    np.testing.assert_allclose(np.fft.rfft(mixed.audio[:, 0])[:, :3000], low, atol=0.35)


def test_memory_bounds_the_batches_ahead(datasets: dict[str, Path]) -> None:
    stream = sk.Stream(sk.open(datasets["tracks"]), crop=sk.RandomCrop(1.0), batch_size=4, memory=1, threads=1)
    iterator = iter(stream)
    next(iterator)
    assert stream.stats()["requests"] <= 4
    iterator.close()


def test_leaving_the_loop_ends_the_threads(datasets: dict[str, Path]) -> None:
    for _ in sk.Stream(sk.open(datasets["clips"]), crop=None, batch_size=4, threads=4):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardkit")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"clips": -1, "tracks": 1, "few": 1}}, "-1 of 'clips' is not a finite number of at least 0"),
        ({"weights": {"clips": 0, "tracks": 0, "few": 0}}, "all weights are zero"),
        ({"weights": {"clips": 1, "tracks": 1, "fwe": 1}}, "'fwe' names no source; did you mean 'few'"),
        ({"weights": {"clips": 1}}, "no weight for"),
        ({"weights": None, "sample_rate": None}, r"differ in sample_rate \(clips: 8000 Hz; tracks: 16000 Hz"),
        ({"weights": None, "channels": None}, "differ in channels"),
        (
            {"crop": sk.RandomCrop(10.0)},
            r"crop of 10 s is longer than every sample; the longest, of 'tracks', has 6\.000 s",
        ),
        ({"passes": 1}, "weights have no meaning"),
        ({"passes": 2, "weights": None}, "passes is 2; choose 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 of world size 2"),
        ({"rank": 1}, "give both, or neither"),
        ({"fields": ["vocal"]}, "no source has a field 'vocal'"),
        ({"metadata": ["lang"]}, "no source has a column 'lang'"),
        ({"mask_hop": 80, "mask_names": ["music"]}, "no interval is called 'music'; there is noise, speech"),
        ({"memory": "lots"}, "memory 'lots' is not a size"),
        ({"memory": -5}, "memory '-5' is not a size"),
        ({"mask_names": ["speech"]}, "mask_names without mask_hop"),
        ({"crop": sk.RandomCrop(1e-5)}, "shorter than a sample at 8000 Hz"),
        ({"channels": 3}, "source 'tracks': .*2 channels"),
    ],
)
def test_what_can_not_be_is_refused(datasets: dict[str, Path], options: dict[str, object], message: str) -> None:
    with pytest.raises(sk.InputError, match=message):
        sk.Stream(open_all(datasets), **(COMMON | options))


def test_an_empty_view_and_an_endless_length_are_errors(datasets: dict[str, Path]) -> None:
    clips = sk.open(datasets["clips"])
    with pytest.raises(sk.InputError, match="source 'clips': the view has no rows"):
        sk.Stream({"clips": clips.where("n > 1000")})
    with pytest.raises(TypeError, match="endless stream has no len"):
        len(sk.Stream(clips, crop=None))


def test_ranks_come_from_the_environment(datasets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RANK", "1")
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    stream = sk.Stream(sk.open(datasets["clips"]), crop=None, batch_size=3)
    assert (stream.rank, stream.world_size, stream.global_batch_size) == (1, 2, 6)
    assert next(iter(stream)).positions.tolist() == [1, 3, 5]


CONFIG = """
sources:
  clips: {{url: {clips}, split: train, where: n < 60, weight: 3}}
  tracks: {{url: ../{tracks}, weight: 1}}
crop: {{kind: salient, duration_s: 0.25, floor_lufs: -30}}
sample_rate: 8000
channels: 1
batch_size: 16
"""


def test_a_stream_from_yaml_is_the_stream_from_python(datasets: dict[str, Path]) -> None:
    folder = datasets["clips"].parent / "configs"
    folder.mkdir(exist_ok=True)
    (folder / "mix.yaml").write_text(CONFIG.format(clips=datasets["clips"], tracks=datasets["tracks"].name))
    written = sk.Stream.from_config(folder / "mix.yaml")
    made = sk.Stream(
        {"clips": sk.open(datasets["clips"], "train").where("n < 60"), "tracks": sk.open(datasets["tracks"])},
        weights={"clips": 3, "tracks": 1},
        crop=sk.SalientCrop(0.25, floor_lufs=-30),
        sample_rate=8000,
        channels=1,
        batch_size=16,
    )
    assert written.state_dict() == made.state_dict()
    assert log([next(iter(written))]) == log([next(iter(made))])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch_siez: 3", "unknown key 'batch_siez'"),
        ("batch_size: none", "batch_size: Input should be a valid integer.*found 'none'"),
        ("crop: {kind: loud, duration_s: 1}", "crop: Input tag 'loud'.*'random', 'center', 'salient'"),
        ("sources: {}", "sources: Dictionary should have at least 1 item"),
        ("sources: [", "not YAML"),
    ],
)
def test_a_bad_configuration_names_the_key(tmp_path: Path, line: str, message: str) -> None:
    base = "" if line.startswith("sources") else "sources: {a: {url: x}}\n"
    (tmp_path / "mix.yaml").write_text(base + line)
    with pytest.raises(sk.InputError, match=message):
        sk.Stream.from_config(tmp_path / "mix.yaml")
