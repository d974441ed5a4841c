"""What audiotree, audiotools and DAC-JAX got wrong, one by one, and that it is not so here."""

import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE = 8000
ALONE = {"rank": 0, "world_size": 1}


def noise(seed: int, seconds: float, level: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, round(seconds * RATE))


def packed(folder: Path, groups: str, output: str = "shards") -> sk.Dataset:
    (folder / "groups.yaml").write_text(groups)
    inputs = InputOptions(importer="groups")
    pack(locate(folder / "groups.yaml"), locate(folder / output), inputs=inputs, options=PackOptions(workers=1))
    return sk.open(folder / output)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """100 recordings of 6 s that are quiet in their first half, and 10 silent ones."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(110):
        place = folder / ("loud" if number < 100 else "silent") / f"{number}.wav"
        place.parent.mkdir(exist_ok=True)
        loud = noise(number, 6.0) * np.repeat([0.001, 1.0], 3 * RATE)
        soundfile.write(place, loud if number < 100 else np.zeros(6 * RATE), RATE)
    return packed(folder, "loud: loud\nsilent: silent")


def drawn(stream: sk.Stream, num_batches: int) -> list[tuple[str, int, int]]:
    """(key, pass, start) of each draw."""
    return [
        (batch.keys[i], int(batch.passes[i]), int(batch.starts[i]))
        for batch in islice(stream, num_batches)
        for i in range(len(batch))
    ]


def test_excerpts_without_a_cutoff_are_drawn(dataset):
    """audiotree: a TypeError (`attempts=` for `attempt=`) where loudness_cutoff is None."""
    assert len(drawn(sk.Stream(dataset, crop=sk.RandomCrop(1.0), batch_size=10, **ALONE), 2)) == 20
    for cutoff in (None, float("nan")):
        with pytest.raises(sk.InputError, match="floor_lufs"):
            sk.SalientCrop(1.0, floor_lufs=cutoff)


def test_the_order_does_not_depend_on_the_file_system(tmp_path):
    """audiotree: the order of scandir, which is that in which files were made."""
    names = [f"{number}.wav" for number in range(12)]
    for folder, order in (("one", names), ("two", names[::-1])):
        for name in order:
            (tmp_path / folder / "in").mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / folder / "in" / name, noise(int(name[:-4]), 0.1), RATE)
    one, two = (packed(tmp_path / folder, "g: in") for folder in ("one", "two"))
    assert one.keys() == two.keys()
    assert drawn(sk.Stream(one, batch_size=8, **ALONE), 4) == drawn(sk.Stream(two, batch_size=8, **ALONE), 4)


def test_a_glob_takes_nothing_from_the_folders_before_it(tmp_path):
    """audiotree: a glob overwrites the folders of its group that stand before it."""
    for name in ("a/x.wav", "b/y.wav", "c/z.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, noise(0, 0.1), RATE)
    assert sorted(packed(tmp_path, "g: [a, b/*.wav, c/*.wav]").keys()) == ["g/a/x", "g/b/y", "g/c/z"]


def test_each_pass_draws_other_crops(dataset):
    """audiotree: crops are seeded by the record's number alone, and so repeat every epoch."""
    stream = sk.Stream(dataset, crop=sk.RandomCrop(1.0), batch_size=110, **ALONE)
    starts = {}
    for key, number, start in drawn(stream, 4):
        starts.setdefault(key, {})[number] = start
    assert all(len(set(found.values())) == len(found) for found in starts.values())
    assert Counter(map(len, starts.values())) == {4: 110}


def test_paths_may_be_of_any_length(tmp_path):
    """audiotree: a path of more than 256 characters breaks the shape of a batch's metadata."""
    place = tmp_path / "/".join(["in", *["x" * 200] * 3, "ü.wav"])
    place.parent.mkdir(parents=True)
    soundfile.write(place, noise(0, 0.5), RATE)
    soundfile.write(tmp_path / "in/short.wav", noise(0, 0.5), RATE)
    stream = sk.Stream(packed(tmp_path, "g: in"), metadata=["path"], batch_size=2, passes=1, **ALONE)
    (batch,) = stream
    assert set(batch.metadata["path"]) == {str(place), str(tmp_path / "in/short.wav")}
    assert len(max(batch.keys, key=len)) > 600


def test_without_a_sample_rate_it_is_the_recordings_own(dataset):
    """audiotree: an assertion where sample_rate is None."""
    assert sk.Stream(dataset, **ALONE).sample_rate == RATE


def test_nothing_that_makes_batches_imports_jax_or_torch(dataset):
    """audiotree: loudness is computed with JAX, in the workers."""
    code = (
        "import sys, shardkit as sk\n"
        f"stream = sk.Stream(sk.open({str(dataset.catalog.location)!r}), crop=sk.SalientCrop(1.0), loudness=True)\n"
        "assert next(iter(stream)).loudness.shape == (32,)\n"
        "assert not {'jax', 'torch', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=120)


def test_a_salient_crop_is_one_read_and_no_try(dataset):
    """audiotree: each try decodes and resamples again; here, half of all windows are too quiet."""
    view = dataset.where("group == 'loud'")
    stream = sk.Stream(view, crop=sk.SalientCrop(1.0, floor_lufs=-30), passes=1, batch_size=10, **ALONE)
    for batch in stream:
        assert (batch.starts >= 2.0 * RATE).all()  # the windows that reach into what is loud
    stats = stream.stats()
    assert stats["requests"] == stats["samples"] == 100
    assert stats["bytes_used"] <= stats["bytes_read"] <= 1.6 * stats["bytes_used"]


def test_silence_ends_no_search_in_a_loop(dataset):
    """audiotree: num_tries=None tries for ever where nothing is loud enough."""
    view = dataset.where("group == 'silent'")
    kept = sk.Stream(view, crop=sk.SalientCrop(1.0, search="bias_early"), batch_size=10, passes=1, **ALONE)
    assert sum(batch.valid.sum() for batch in kept) == 10
    skipping = sk.Stream(view, crop=sk.SalientCrop(1.0, fallback="skip"), batch_size=1, **ALONE)
    with pytest.raises(sk.AudioError, match="1000 recordings in turn have no place"):
        next(iter(skipping))


def test_the_fallback_is_the_loudest_window(dataset):
    """audiotools: the last try, whatever it is; audiotree: the loudest of eight."""
    view = dataset.where("group == 'loud'")
    stream = sk.Stream(view, crop=sk.SalientCrop(3.0, floor_lufs=0.0), batch_size=50, passes=1, **ALONE)
    assert {int(start) for batch in stream for start in batch.starts} == {3 * RATE}


@pytest.mark.parametrize("world_size", [2, 5])
def test_processes_share_the_draws_between_them(dataset, world_size):
    """DAC-JAX: NoSharding; every process reads the same."""
    options = {"crop": sk.SalientCrop(1.0), "global_batch_size": 20}
    alone = drawn(sk.Stream(dataset, **options, **ALONE), 6)
    ranks = [
        drawn(sk.Stream(dataset, **options, rank=r, world_size=world_size, check_ranks=False), 6)
        for r in range(world_size)
    ]
    together = [draw for draws in zip(*ranks, strict=True) for draw in draws]
    assert together == alone


def test_weights_hold_while_each_row_comes_once_a_pass(dataset):
    """audiotools: weights are ignored where rows are drawn without replacement, which is its default."""
    sources = {name: dataset.where(f"group == {name!r}") for name in ("loud", "silent")}
    stream = sk.Stream(sources, weights={"loud": 0.8, "silent": 0.2}, batch_size=100, **ALONE)
    found = drawn(stream, 10)
    silent = [draw for draw in found if "silent" in draw[0]]
    assert abs(len(silent) - 200) <= 64
    times = Counter((key, number) for key, number, _ in found)
    assert set(times.values()) == {1}


def test_without_saliency_crops_are_not_all_of_the_first_second(dataset):
    """audiotree before 1.0: the first seconds only, where saliency is off."""
    starts = [start for _, _, start in drawn(sk.Stream(dataset, crop=sk.RandomCrop(1.0), batch_size=100, **ALONE), 5)]
    assert len(set(starts)) > 400
    assert np.histogram(starts, bins=5, range=(0, 5 * RATE))[0].min() > 60


def test_short_recordings_are_as_loud_as_long_ones(tmp_path):
    """audiotree before 1.0: less than 400 ms is padded with silence, and so measured too low."""
    (tmp_path / "in").mkdir()
    for seconds in (0.1, 0.2, 0.3, 2.0):
        soundfile.write(tmp_path / f"in/{seconds}.wav", noise(7, seconds), RATE)
    stream = sk.Stream(packed(tmp_path, "g: in"), loudness=True, passes=1, batch_size=4, **ALONE)
    (batch,) = stream
    assert np.ptp(batch.loudness) < 1.0
