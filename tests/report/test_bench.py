"""What ``bench`` measures is counted right and what it concludes follows from the figures; no test looks at times."""

import json
import warnings
from itertools import islice

import numpy as np
import pytest

from shardkit.core.crops import RandomCrop
from shardkit.core.errors import AudioError, InputError
from shardkit.format.index import PRIMARY
from shardkit.report.bench import BenchOptions, bench
from shardkit.report.bench_crops import Fetched, random_crops
from shardkit.report.bench_stages import decode_crops, read_crops
from shardkit.report.bench_text import lines
from shardkit.report.bench_verdict import verdict
from shardkit.storage.store import read_range
from shardkit.stream.dataset import open_dataset

QUICK = {"seconds": 0.02, "batch_size": 4, "threads": 2, "channels": 1}


def test_all_stages_are_measured_and_told(packed):
    seen = []
    view = open_dataset(packed, "all")
    found = bench(view, BenchOptions(crop_s=0.5, **QUICK), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(6)]
    assert json.loads(json.dumps(found)) == found
    assert [entry["in_flight"] for entry in found["storage"]] == [1, 2]
    assert [entry["threads"] for entry in found["decoding"]] == [1, 2]
    assert all(entry["requests"] >= entry["in_flight"] for entry in found["storage"])
    assert all(entry["crops"] >= entry["threads"] for entry in found["decoding"])
    stream = found["stream"]
    assert stream["samples"] % 4 == 0
    assert stream["stats"]["samples"] == stream["samples"]
    assert 0 < stream["requests_per_sample"] <= 1
    text = "\n".join(lines(found))
    for word in ("storage   1 in flight", "storage   2 in flight", "decoding  1 thread", "stream    2 threads", "try "):
        assert word in text
    assert all(len(line) <= 400 for line in lines(found))


def test_crops_are_those_that_the_dataset_reads(packed):
    view = open_dataset(packed, "all")
    crops = random_crops(view, RandomCrop(0.5), 20)
    again = random_crops(view, RandomCrop(0.5), 20)
    assert [(crop.row, crop.start, crop.lo) for crop in crops] == [(crop.row, crop.start, crop.lo) for crop in again]
    for crop in crops:
        whole = view.read(view.catalog.key(crop.row)).audio
        ready = Fetched(crop, read_range(view.catalog.tars[crop.shard], crop.lo, crop.hi))
        rate = int(view.catalog.fields[PRIMARY].sample_rate[crop.row])
        assert np.array_equal(ready.decode(sample_rate=rate, channels=len(whole)), whole[:, crop.start : crop.stop])
    assert len({crop.row for crop in random_crops(view, RandomCrop(0.5), 200)}) == len(view)


def test_few_crops_are_read_again_and_few_bytes_kept(packed):
    view = open_dataset(packed, "all")
    reading, kept = read_crops(random_crops(view, RandomCrop(0.1), 3), in_flight=4, seconds=0.01)
    assert reading.requests >= 4
    assert reading.bytes >= sum(len(item.data) for item in kept) > 0
    assert decode_crops(kept, sample_rate=8_000, channels=1, threads=3, seconds=0.01).crops >= 3


def test_another_rate_and_windows_of_recordings(packed):
    view = open_dataset(packed, "all").windows(1.0)
    found = bench(view, BenchOptions(crop_s=0.5, sample_rate=4_000, **QUICK))
    assert found["resamples"]
    assert found["samples"] == len(view)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_s": 0.0}, "crop 0.0 is not a positive number of seconds"),
        ({"seconds": float("nan")}, "seconds nan is not a positive number"),
        ({"seconds": 1e6}, "a stage takes 600 s at most"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"crop_s": 1e3}, "longer than every sample"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"channels": 3}, "3"),
        ({"channels": None}, "the sources differ in channels"),
    ],
)
def test_what_can_not_be_is_told_before_anything_is_read(packed, options, message):
    with pytest.raises(InputError, match=message):
        bench(open_dataset(packed, "all"), BenchOptions(**{"crop_s": 0.5, **QUICK, **options}))


def test_damage_is_located(dataset):
    for row in range(len(open_dataset(dataset.folder, "all"))):
        place = dataset.place(row, PRIMARY)
        for at in range(200, place.size, 100):
            dataset.flip(place.shard, place.offset + at)
    with pytest.raises(AudioError, match=r"member '.*flac' at byte"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bench(open_dataset(dataset.folder, "all"), BenchOptions(crop_s=0.5, **QUICK))


def figures(*, storage, decoding, stream, cores=0.5, own_ms=0.1, **more):
    """Return what ``bench`` would have measured: rates with one and with many at once."""
    reads = [{"in_flight": number, "requests_per_s": rate} for number, rate in zip((1, 8), storage, strict=True)]
    decodes = [{"threads": number, "crops_per_s": rate} for number, rate in zip((1, 8), decoding, strict=True)]
    return {
        "storage": [
            {**entry, "bytes_per_request": 170_000, "cores": cores, "cpu_ms_per_request": 0.25} for entry in reads
        ],
        "decoding": [{**entry, "cpu_ms_per_crop": 0.5} for entry in decodes],
        "stream": {"samples_per_s": stream, "cpu_ms_per_sample": 0.75 + own_ms},
        **{"threads": 8, "batch_size": 32, "codec": "flac", "reads_ranges": True, "resamples": False},
        **{"local": False, "sample_rate": 48_000, "cores": 4, "whole": False, **more},
    }


def test_the_slowest_stage_limits_by_its_factor():
    slow = verdict(figures(storage=(50, 390), decoding=(600, 1200), stream=300))
    assert (slow["limit"], slow["factor"]) == ("storage", 3.08)
    assert "--threads 16" in slow["text"]
    assert "shuffle" not in slow["text"]
    short = verdict(figures(storage=(50, 390), decoding=(600, 1200), stream=300, cores=3.9, whole=True))
    assert "more cores" in short["text"]
    assert 'shuffle="block"' in short["text"]
    busy = verdict(figures(storage=(5000, 9000), decoding=(600, 1200), stream=900, resamples=True))
    assert (busy["limit"], busy["factor"]) == ("decoding", 7.5)
    assert "WAV shards" in busy["text"]
    assert "--sample-rate 48000" in busy["text"]
    own = verdict(figures(storage=(9000, 9000), decoding=(9000, 9000), stream=900, own_ms=1.0, batch_size=1))
    assert (own["limit"], own["factor"]) == ("stream", 9.0)
    assert "larger batches" in own["text"]


def test_what_no_stage_explains_is_not_blamed_on_one():
    found = verdict(figures(storage=(9000, 9000), decoding=(9000, 9000), stream=900, own_ms=0.1))
    assert (found["limit"], found["factor"]) == ("other", 3.45)
    assert "this machine was busy" in found["text"]


def test_own_work_that_is_less_than_noise_limits_nothing():
    found = verdict(figures(storage=(90, 90), decoding=(900, 900), stream=80, own_ms=-0.2))
    assert (found["limit"], found["factor"]) == ("storage", 10.0)


def test_what_is_read_whole_is_better_packed_as_flac():
    whole = {"reads_ranges": False, "codec": "vorbis"}
    for storage, stream in (((5, 10), 9), ((5000, 9000), 110)):
        found = verdict(figures(storage=storage, decoding=(60, 120), stream=stream, **whole))
        assert "pack --codec flac" in found["text"]


def test_a_sentence_is_one_line():
    rates = (1.0, 10.0, 1e5)
    for storage in rates:
        for decoding in rates:
            found = figures(storage=(storage, storage), decoding=(decoding, decoding), stream=1.0, local=storage > 1)
            text = verdict(found)["text"]
            assert text.endswith(".")
            assert "\n" not in text
            assert "; try " in text


def test_bytes_needed_are_told_where_the_stream_counts_them(packed):
    found = bench(open_dataset(packed, "all"), BenchOptions(crop_s=0.5, **QUICK))
    found["stream"]["stats"] |= {"bytes_used": 50, "bytes_read": 100}
    assert any("0.50 bytes used for each that was read" in line for line in islice(lines(found), 20))
