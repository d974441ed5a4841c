"""Samples that fail: their place is taken, nothing else moves, all is told, and too many are an error."""

import logging
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from tests.stream.test_stream import log

OPTIONS = {"crop": sk.RandomCrop(0.2), "sample_rate": 8000, "channels": 1, "batch_size": 20}
BROKEN = 9  # rows of clips


@pytest.fixture
def broken(datasets, tmp_path):
    """The clips with some members overwritten, and their keys."""
    folder = tmp_path / "clips"
    shutil.copytree(datasets["clips"], folder)
    view = sk.open(folder)
    audio = view.catalog.fields["audio"]
    keys = []
    for row in range(0, 120, 120 // BROKEN)[:BROKEN]:
        tar = view.catalog.tars[view.catalog.shard_of_row[row]]
        with Path(str(tar)).open("r+b") as file:
            file.seek(int(audio.offset[row]))
            file.write(b"\xa5" * int(audio.size[row]))
        keys.append(view.catalog.key(row))
    return folder, set(keys)


def streams(datasets, folder, **options):
    """The undamaged stream and the damaged one."""
    options = {"rank": 0, "world_size": 1} | OPTIONS | options
    for clips in (datasets["clips"], folder):
        yield sk.Stream({"clips": sk.open(clips), "tracks": sk.open(datasets["tracks"])}, **options)


def test_a_failing_sample_never_shifts_the_sequence(datasets, broken):
    folder, keys = broken
    whole, damaged = streams(datasets, folder)
    expected, found = list(islice(whole, 12)), list(islice(damaged, 12))
    assert damaged.stats()["failures"] == len(damaged.failures) > 5
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        assert list(one.sources) == list(other.sources)  # of the same source, so that the mix stays
        assert other.valid.all()
        for i, key in enumerate(one.keys):
            assert other.keys[i] not in keys or one.sources[i] == "tracks"
            if key not in keys:
                assert other.keys[i] == key
                np.testing.assert_array_equal(one.audio[i], other.audio[i])
            else:
                assert other.audio[i].any()
                assert other.lengths[i] > 0


@pytest.mark.parametrize("world_size", [2, 5])
def test_the_substitutes_are_the_same_on_any_ranks_and_after_a_restart(datasets, broken, world_size):
    folder, _ = broken
    _, alone = streams(datasets, folder)
    expected = list(islice(alone, 8))
    assert alone.failures
    found = []
    for rank in range(world_size):
        _, part = streams(datasets, folder, rank=rank, world_size=world_size, batch_size=20 // world_size)
        part.load_state_dict(alone.state_at(40))
        found += list(islice(part, 6))
    assert log(found) == log(expected[2:])


def test_each_failure_is_told_with_its_place(datasets, broken, caplog):
    folder, keys = broken
    _, stream = streams(datasets, folder)
    with caplog.at_level(logging.WARNING, logger="shardkit"):
        batches = list(islice(stream, 8))
    assert len(caplog.records) == len(stream.failures)
    positions = {int(g) for batch in batches for g in batch.positions}
    for fault, record in zip(stream.failures, caplog.records, strict=True):
        assert fault.position in positions
        assert fault.source == "clips"
        assert any(repr(key) in fault.error for key in keys)
        assert "000" in fault.error
        assert "byte" in fault.error
        assert fault.error in record.getMessage()
        assert "\n" not in record.getMessage()


@pytest.mark.parametrize("allowed", [0, 2])
def test_more_than_an_allowed_number_raises_in_its_place(datasets, broken, allowed):
    folder, _ = broken
    whole, damaged = streams(datasets, folder, max_failures=allowed)
    batches = []
    with pytest.raises((sk.AudioError, sk.CorruptDataError), match=f"max_failures={allowed}" if allowed else "member"):
        for batch in islice(damaged, 50):
            batches.append(batch)
    assert len(damaged.failures) == allowed
    assert damaged.position == 20 * len(batches)
    if not allowed:
        assert log(list(islice(whole, len(batches)))) == log(batches)


def test_in_one_pass_a_failing_sample_is_not_valid_and_nothing_takes_its_place(datasets, broken):
    folder, keys = broken
    view = sk.open(folder)
    for world_size in (1, 3):
        batches = [
            batch
            for rank in range(world_size)
            for batch in sk.Stream(view, passes=1, batch_size=7, rank=rank, world_size=world_size)
        ]
        valid = [key for batch in batches for key, valid in zip(batch.keys, batch.valid, strict=True) if valid]
        assert sorted(valid) == sorted(set(view.keys()) - keys)
        failed = {key for batch in batches for key, valid in zip(batch.keys, batch.valid, strict=True) if not valid}
        assert failed - {""} == keys
        assert not any(batch.audio[~batch.valid].any() or batch.lengths[~batch.valid].any() for batch in batches)


def test_a_missing_shard_is_replaced_up_to_the_allowed_number(datasets, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(datasets["clips"], folder)
    tars = sorted(folder.rglob("*.tar"))
    assert len(tars) > 2
    tars[1].unlink()
    _, stream = streams(datasets, folder)
    batches = list(islice(stream, 4))
    assert stream.failures
    assert all(batch.valid.all() for batch in batches)
    assert all(tars[1].name in fault.error and "key" in fault.error for fault in stream.failures)
    _, strict = streams(datasets, folder, max_failures=0)
    with pytest.raises(sk.NotFoundError, match=tars[1].name):
        list(islice(strict, 4))


def test_whole_samples_make_room_for_longer_substitutes(datasets, broken):
    folder, keys = broken
    view = sk.open(folder)
    stream = sk.Stream(view, crop=None, batch_size=4, seed=3)
    for batch in islice(stream, 30):
        for key, length, audio in zip(batch.keys, batch.lengths, batch.audio, strict=True):
            assert key not in keys
            np.testing.assert_array_equal(audio[:, :length], view[key].audio)
            assert not audio[:, length:].any()
    assert stream.failures


def test_a_field_that_fails_fails_its_sample(datasets, tmp_path):
    folder = tmp_path / "tracks"
    shutil.copytree(datasets["tracks"], folder)
    view = sk.open(folder)
    vocals = view.catalog.fields["vocals"]
    row = int(np.flatnonzero(vocals.present)[0])
    with Path(str(view.catalog.tar(row))).open("r+b") as file:
        file.seek(int(vocals.offset[row]))
        file.write(b"\x00" * int(vocals.size[row]))
    stream = sk.Stream(view, crop=sk.RandomCrop(0.5), fields=["vocals"], batch_size=10)
    batches = list(islice(stream, 3))
    assert stream.failures
    assert all("'vocals" in fault.error or "vocals" in fault.error for fault in stream.failures)
    assert view.catalog.key(row) not in {key for batch in batches for key in batch.keys}


@pytest.mark.parametrize("shuffle", ["block", "none"])
def test_reads_that_are_shared_fail_one_by_one(datasets, broken, shuffle):
    folder, keys = broken
    whole, damaged = streams(datasets, folder, shuffle=shuffle)
    expected, found = list(islice(whole, 10)), list(islice(damaged, 10))
    for one, other in zip(expected, found, strict=True):
        for i, key in enumerate(one.keys):
            assert (other.keys[i] == key) == (key not in keys or one.sources[i] == "tracks")
    assert damaged.failures


def test_when_everything_fails_it_ends(datasets, tmp_path):
    folder = tmp_path / "few"
    shutil.copytree(datasets["few"], folder)
    for tar in folder.rglob("*.tar"):
        tar.write_bytes(b"\x00" * tar.stat().st_size)
    stream = sk.Stream(sk.open(folder), crop=sk.RandomCrop(0.2), batch_size=2, max_failures=10**6)
    with pytest.raises((sk.AudioError, sk.CorruptDataError)):
        next(iter(stream))
