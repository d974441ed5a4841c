"""One pass over a tar gives what three would: the file's hash, each member's hash and bytes, and tarfile's list."""

import io
import tarfile
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import FormatError
from shardkit.format.hashing import file_hash, member_hash
from shardkit.report import onepass
from shardkit.report.onepass import OnePass, Span
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes

SIZES = st.lists(st.integers(0, 5_000), min_size=1, max_size=12)


def tar_of(sizes):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"{'long/' * (30 * (number % 2))}ä{number}.bin")
            info.size = size
            archive.addfile(info, io.BytesIO(bytes([number]) * size))
    return sink.getvalue()


def read(data, spans, *, keep):
    location = locate("memory://onepass/shard.tar")
    write_bytes(location, data)
    done, steps = [], []
    reading = OnePass(
        location, len(data), spans, done=lambda *what: done.append(what), keep=keep, progress=steps.append
    )
    return reading, done, steps


@settings(deadline=None, max_examples=60)
@given(SIZES, st.sampled_from([512, 700, 1_024, 10_240, 1 << 20]), st.booleans())
def test_hashes_bytes_and_list_are_those_of_the_whole_file(sizes, chunk, keep):
    data = tar_of(sizes)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(info.name, info.offset_data, info.size) for info in archive]
    spans = [Span(number, offset, offset + size) for number, (_, offset, size) in enumerate(expected)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onepass, "_CHUNK", chunk)
        reading, done, steps = read(data, spans, keep=keep)
        assert [(member.name, member.offset, member.size) for member in reading.members()] == expected
        assert reading.finish() == file_hash(data)
    bodies = [data[span.start : span.stop] for span in spans]
    assert done == [(span, member_hash(body), body if keep else None) for span, body in zip(spans, bodies, strict=True)]
    assert sum(steps) == len(data)
    assert max(steps) <= chunk


def test_a_tar_that_breaks_off_is_hashed_to_its_end_all_the_same():
    data = tar_of([3_000, 3_000, 3_000])[:6_000]
    reading, done, _ = read(data, [Span(0, 512, 3_512), Span(1, 4_608, 5_000)], keep=True)
    with pytest.raises(FormatError):
        list(reading.members())
    assert reading.finish() == file_hash(data)
    assert [(span.number, body) for span, _, body in done] == [(0, data[512:3_512]), (1, data[4_608:5_000])]


def test_spans_are_told_in_their_order():
    data = tar_of([100] * 5)
    spans = [Span(number, at, at + 100) for number, at in enumerate(range(0, 1_000, 200))]
    reading, done, _ = read(data, spans, keep=False)
    reading.finish()
    assert all(first[0].stop <= second[0].start for first, second in pairwise(done))
    assert [span for span, _, _ in done] == spans
