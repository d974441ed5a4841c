"""The node's cache under streams: it changes what is fetched and nothing else, whoever shares it or is killed."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

OPTIONS = {"crop": sk.RandomCrop(0.5), "fields": ["vocals"], "batch_size": 4, "threads": 3}
SIZE = "32MB"

# What a rank of a training job does, in a process of its own: says what it got, and how much it fetched for that.
RANK = """
import json, sys, zlib
from itertools import islice
import shardkit as sk
url, cache, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
stream = sk.Stream(sk.open(url), crop=sk.RandomCrop(0.5), global_batch_size=12, rank=rank, world_size=3, cache=cache,
                   cache_size="32MB", check_ranks=False)
print("begun", flush=True)
found = [[int(p), k, int(s), zlib.crc32(a.tobytes())] for b in islice(stream, 20)
         for p, k, s, a in zip(b.positions, b.keys, b.starts, b.audio)]
print(json.dumps({"found": found, "stats": stream.stats()}))
"""


@pytest.fixture(scope="module")
def on_s3(datasets, s3):
    manifest = datasets["tracks"].with_name("tracks-in") / "manifest.jsonl"
    inputs = InputOptions(label="label", members={"vocals": "vocals"})
    options = PackOptions(shard_bytes=400_000, workers=1)
    pack(locate(manifest), locate(f"{s3.url}/cached"), inputs=inputs, options=options)
    return f"{s3.url}/cached"


def test_what_is_cached_is_not_fetched_again_and_is_the_same(on_s3, tmp_path):
    plain = list(islice(sk.Stream(sk.open(on_s3), **OPTIONS), 6))
    fetched = []
    for _ in range(2):
        stream = sk.Stream(sk.open(on_s3), cache=tmp_path / "cache", cache_size=SIZE, **OPTIONS)
        for one, other in zip(plain, islice(stream.batches(0, end=24), 6), strict=True):
            assert list(one.keys) == list(other.keys)
            np.testing.assert_array_equal(one.audio, other.audio)
            np.testing.assert_array_equal(one.fields["vocals"], other.fields["vocals"])
        fetched.append(stream.stats())
    assert fetched[0]["requests"] > 0
    assert fetched[1]["requests"] == fetched[1]["bytes_read"] == fetched[1]["cache"]["misses"] == 0
    assert fetched[1]["cache"]["bytes_served"] >= fetched[1]["bytes_used"] > 0


def start(on_s3, cache, rank):
    command = [sys.executable, "-c", RANK, on_s3, str(cache), str(rank)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )


def disk_bytes(folder: Path):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_ranks_share_it_and_one_that_is_killed_leaves_it_sound(on_s3, tmp_path):
    cache = tmp_path / "cache"
    killed = start(on_s3, cache, 1)
    assert killed.stdout.readline() == "begun\n"
    time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    ranks = [start(on_s3, cache, rank) for rank in range(3)]
    told = [json.loads(rank.communicate(timeout=120)[0].splitlines()[-1]) for rank in ranks]
    assert disk_bytes(cache) <= 32_000_000
    found = sorted(sample for rank in told for sample in rank["found"])
    whole = sk.Stream(sk.open(on_s3), crop=sk.RandomCrop(0.5), batch_size=12)
    expected = [
        [int(position), key, int(first), zlib.crc32(audio.tobytes())]
        for batch in islice(whole, 20)
        for position, key, first, audio in zip(batch.positions, batch.keys, batch.starts, batch.audio, strict=True)
    ]
    assert found == expected
    tars = sum(shard.bytes for shard in sk.open(on_s3).manifest.shards)
    assert sum(rank["stats"]["cache"]["bytes_served"] for rank in told) > 0
    assert sum(rank["stats"]["bytes_read"] for rank in told) <= 3 * tars  # all ranks may miss at once, but only once


def test_files_of_this_node_are_not_copied_on_it(datasets, tmp_path):
    stream = sk.Stream(sk.open(datasets["tracks"]), cache=tmp_path / "cache", cache_size=SIZE, **OPTIONS)
    next(iter(stream))
    assert stream.stats()["cache"] == {"hits": 0, "misses": 0, "bytes_served": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_size": "1GB"}, "cache_size without cache"),
        ({"cache": "somewhere"}, "cache='somewhere' without cache_size"),
        ({"cache": "s3://bucket/cache", "cache_size": "1GB"}, "no folder of this node"),
        ({"cache": "somewhere", "cache_size": "much"}, "cache_size"),
    ],
)
def test_what_is_no_cache(datasets, options, message):
    with pytest.raises(sk.InputError, match=message):
        sk.Stream(sk.open(datasets["few"]), crop=sk.RandomCrop(0.1), **options)


def test_another_size_than_the_cache_was_made_with_is_refused(datasets, tmp_path):
    sk.Stream(sk.open(datasets["few"]), crop=sk.RandomCrop(0.1), cache=tmp_path / "cache", cache_size="64MB")
    with pytest.raises(sk.InputError, match=str(tmp_path / "cache")):
        sk.Stream(sk.open(datasets["few"]), crop=sk.RandomCrop(0.1), cache=tmp_path / "cache", cache_size="128MB")


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_once_and_the_stream_reads_on(on_s3, small_disk, caplog):
    plain = list(islice(sk.Stream(sk.open(on_s3), **OPTIONS), 8))
    stream = sk.Stream(sk.open(on_s3), cache=small_disk / "cache", cache_size=SIZE, **OPTIONS)
    with caplog.at_level(logging.WARNING, "shardkit"):
        for one, other in zip(plain, stream, strict=False):
            np.testing.assert_array_equal(one.audio, other.audio)
    (told,) = [record for record in caplog.records if record.event == "cache_off"]
    assert "No space left" in told.reason
    assert "reads go on without it" in told.getMessage()
    assert disk_bytes(small_disk) <= 2**20
    assert stream.stats()["cache"]["misses"] > 0
