"""A seek table that lies is found out, told, and passed by: all of the member is read, and nothing else changes."""

import logging
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.audio.columns import Column
from shardkit.audio.seektable import SeekTable
from tests.report.conftest import Damageable
from tests.stream.scenes import pack_scenes

OPTIONS = {"crop": sk.RandomCrop(0.3), "batch_size": 10, "threads": 2}


@pytest.fixture
def tracks(datasets, tmp_path):
    return Damageable(shutil.copytree(datasets["tracks"], tmp_path / "tracks"))


def change_tables(dataset, change):
    """Have another seek table in each row of each index, with all hashes mended."""

    def edit(rows):
        for row in rows:
            audio = row["fields"]["audio"]
            audio["seek_table"] = change(audio["seek_table"])

    for number in range(len(dataset.shards)):
        dataset.edit_index(number, edit)


def recoded(**changes):
    """Return what writes a table anew with some of its points changed, each by a function of the table."""

    def change(data):
        table = SeekTable.from_bytes(data)
        offsets, end, stride = table.offsets, table.end, table.stride
        offsets = changes.get("offsets", lambda _: offsets)(table)
        end = changes.get("end", lambda _: end)(table)
        return replace(
            table,
            offset=int(offsets[0]),
            sizes=Column(len(offsets), 0, np.diff(offsets, append=end).astype(np.uint64)),
            stride=changes.get("stride", lambda _: stride)(table),
            max_block=changes.get("max_block", lambda table: table.max_block)(table),
            frames=changes.get("frames", lambda table: table.frames)(table),
        ).to_bytes()

    return change


LIES = {
    "no table": lambda _data: b"\7\7\7",
    "cut short": lambda data: data[: len(data) // 2],
    "wrong offsets": recoded(offsets=lambda table: table.offsets + 100, end=lambda table: table.end + 100),
    "past the end": recoded(offsets=lambda table: table.offsets * 3, end=lambda table: table.end * 3),
    "one frame on": recoded(offsets=lambda table: np.append(table.offsets[1:], table.end - 1)),
    "other samples": recoded(stride=lambda table: table.stride * 2 // 3),
    "other blocks": recoded(max_block=lambda table: table.max_block * 2),
    "other length": recoded(frames=lambda table: table.frames + 4096),
    "fewer points": recoded(offsets=lambda table: table.offsets[:2]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_seek_table_that_lies_is_passed_by(datasets, tracks, caplog, lie):
    honest = list(islice(sk.Stream(sk.open(datasets["tracks"]), **OPTIONS), 4))
    change_tables(tracks, LIES[lie])
    stream = sk.Stream(sk.open(tracks.folder), **OPTIONS)
    with caplog.at_level(logging.WARNING, logger="shardkit"):
        found = list(islice(stream, 4))
    for one, other in zip(honest, found, strict=True):
        assert list(one.keys) == list(other.keys)
        np.testing.assert_array_equal(one.audio, other.audio)
    assert not stream.failures
    if lie != "fewer points":  # fewer points are no lie: the last stretch is only longer
        text = caplog.text
        assert "seek table is wrong" in text
        assert str(tracks.folder / "train/000000.tar") in text
        assert "key 'track" in text
        assert "at byte" in text


def test_by_key_too(datasets, tracks):
    change_tables(tracks, LIES["wrong offsets"])
    for key in ("track 0", "track 3"):
        one = sk.open(datasets["tracks"]).read(key, start_s=2.5, duration_s=0.7)
        other = sk.open(tracks.folder).read(key, start_s=2.5, duration_s=0.7)
        np.testing.assert_array_equal(one.audio, other.audio)


def test_a_member_that_was_replaced_is_reported_where_it_lies(tracks):
    """Its frames are sound, but they are those of another recording."""
    first, second = tracks.place(1, "audio"), tracks.place(2, "audio")
    data = (tracks.folder / second.shard).read_bytes()[second.offset : second.offset + second.size]
    with (tracks.folder / first.shard).open("r+b") as file:
        file.seek(first.offset)
        file.write(data[: first.size].ljust(first.size, b"\0"))
    found = sk.open(tracks.folder)
    message = rf"{first.shard}: key '{first.key}', member 'flac' at byte {first.offset:,}: .*shardkit verify"
    for start_s in (1.0, 3.0, 5.0):
        with pytest.raises((sk.AudioError, sk.CorruptDataError), match=message):
            found.read(first.key, start_s=start_s, duration_s=0.5)


def test_rows_past_the_end_of_an_array_are_an_error_with_its_place(tmp_path):
    dataset = Damageable(pack_scenes(tmp_path))
    dataset.edit_index(0, lambda rows: rows[0]["fields"]["frames"].update(data_offset=10**9))
    with pytest.raises(sk.FormatError, match=r"key '\d+', member 'frames\.npy' at byte .*rows .* of \d+"):
        sk.open(dataset.folder).read(dataset.place(0, "frames").key, start_s=1.0, duration_s=0.5)
