"""Seek tables: small, exact, and refused when damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio.flac import FlacLayout, StreamInfo, scan
from shardkit.audio.seektable import MAX_SPACING_S, SeekTable
from shardkit.core.errors import FormatError


@st.composite
def layouts(draw):
    rate = draw(st.sampled_from([8000, 44_100, 192_000]))
    count = draw(st.integers(1, 60))
    if variable := draw(st.booleans()):
        blocks = draw(st.lists(st.integers(16, 65_535), min_size=count, max_size=count))
    else:
        size = draw(st.integers(16, 65_535))
        blocks = [size] * (count - 1) + [draw(st.integers(1, size))]
    sizes = draw(st.lists(st.integers(10, 1 << draw(st.integers(4, 40))), min_size=count, max_size=count))
    ends, bytes_ = np.cumsum(blocks), np.cumsum([draw(st.integers(42, 1 << 20)), *sizes])
    info = StreamInfo(min(blocks), max(blocks), rate, 2, 16, int(ends[-1]), bytes(16))
    return FlacLayout(info, variable, ends - blocks, bytes_[:-1], int(bytes_[-1]))


@given(layouts())
def test_a_table_survives_its_coding(layout):
    table = SeekTable.of(layout)
    again = SeekTable.from_bytes(table.to_bytes())
    assert again.samples.tolist() == table.samples.tolist()
    assert again.offsets.tolist() == table.offsets.tolist()
    assert (again.frames, again.end, again.variable) == (table.frames, layout.end, layout.variable)
    assert (again.min_block, again.max_block) == (layout.info.min_block, layout.info.max_block)
    assert again.to_bytes() == table.to_bytes()


@given(layouts())
def test_points_are_frames_no_further_apart_than_promised(layout):
    table = SeekTable.of(layout)
    assert table.samples[0] == 0
    starts = dict(zip(layout.frame_samples.tolist(), layout.frame_bytes.tolist(), strict=True))
    assert [starts[sample] for sample in table.samples.tolist()] == table.offsets.tolist()
    gaps = np.diff(table.samples, append=layout.info.total_samples)
    assert gaps.max() <= max(MAX_SPACING_S * layout.info.sample_rate, layout.info.max_block)


@given(layouts(), st.data())
def test_a_range_holds_its_samples_and_little_more(layout, data):
    table = SeekTable.of(layout)
    start = data.draw(st.integers(0, table.frames - 1))
    stop = data.draw(st.integers(start + 1, table.frames))
    lo, hi, first, after = table.span(start, stop)
    assert first <= start < stop <= after
    spacing = max(MAX_SPACING_S * layout.info.sample_rate, layout.info.max_block)
    assert start - first < spacing
    assert after - stop < spacing
    inside = (layout.frame_samples >= first) & (layout.frame_samples < after)
    assert lo == layout.frame_bytes[inside][0]
    assert hi == [*layout.frame_bytes, layout.end][int(np.flatnonzero(inside)[-1]) + 1]


@given(layouts())
@settings(max_examples=20)
def test_every_truncation_is_refused(layout):
    coded = SeekTable.of(layout).to_bytes()
    for length in range(len(coded)):
        with pytest.raises(FormatError):
            SeekTable.from_bytes(coded[:length])
    with pytest.raises(FormatError):
        SeekTable.from_bytes(coded + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_refused(noise):
    for data in (noise, b"\x01\x00" + noise, b"\x01\x01" + noise):
        try:
            table = SeekTable.from_bytes(data)
        except FormatError:
            continue
        assert (np.diff(table.samples) > 0).all()
        assert (np.diff(table.offsets, append=table.end) > 0).all()


def test_another_version_is_refused_by_name(flac_stream):
    coded = SeekTable.of(scan(flac_stream([np.zeros((16, 1), int)]))).to_bytes()
    with pytest.raises(FormatError, match="version 1 expected"):
        SeekTable.from_bytes(b"\x02" + coded[1:])


def test_a_table_takes_two_bytes_a_point(tone, encode):
    data = encode(tone(44_100 * 30), 44_100, "FLAC", "PCM_16")
    table = SeekTable.of(scan(data))
    assert table.samples.size > 30 / MAX_SPACING_S
    assert len(table.to_bytes()) < 2 * table.samples.size + 30
