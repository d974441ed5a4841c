"""Points of lossy members: small, proven, and refused when damaged."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio import mp3, ogg
from shardkit.audio.decode import AudioMember, byte_range, decode, read_table
from shardkit.audio.points import SPACING_S, PointTable
from shardkit.audio.proof import Proof, find_points
from shardkit.audio.transcode import analyse
from shardkit.audio.whole import read_blocks
from shardkit.core.errors import AudioError, FormatError

LOSSY = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")]
RATE = 22_050


@pytest.fixture(scope="module", params=LOSSY, ids=["mp3", "vorbis"])
def member(request, tone, encode):
    """A member of 12 s with its table, its bytes and its full decode."""
    return indexed(encode(tone(12 * RATE, 2, RATE), RATE, *request.param))


@pytest.fixture(scope="module")
def vorbis(tone, encode):
    return encode(tone(12 * RATE, 2, RATE), RATE, "OGG", "VORBIS")


@pytest.fixture(scope="module")
def mp3_file(tone, encode):
    return encode(tone(12 * RATE, 2, RATE), RATE, "MP3", "MPEG_LAYER_III")


def indexed(data):
    encoded = analyse(data, name="x")
    table = None if encoded.seek_table is None else read_table(encoded.seek_table, encoded.facts.codec)
    known = AudioMember(encoded.facts, len(data), table, encoded.setup)
    return known, data, decode(AudioMember(encoded.facts, len(data)), data, 0, 0, encoded.facts.frames)


def check_crops(known, data, full, step=0.37):
    frames = known.facts.frames
    for start in range(0, frames, round(step * known.facts.sample_rate)):
        stop = min(frames, start + 9000)
        lo, hi = byte_range(known, start, stop)
        assert decode(known, data[lo:hi], lo, start, stop).tobytes() == full[:, start:stop].tobytes()


@st.composite
def tables(draw):
    count = draw(st.integers(2, 50))
    sizes = draw(st.lists(st.integers(1, 1 << draw(st.integers(4, 40))), min_size=count, max_size=count))
    steps = draw(st.lists(st.integers(1, 1 << 20), min_size=count - 1, max_size=count - 1))
    offset, small = draw(st.integers(0, 1 << 20)), st.integers(0, 1 << 20)
    ends = offset + np.cumsum(sizes)
    return PointTable(
        positions=np.cumsum([0, *steps]),
        offsets=np.array([offset, *ends[:-1]]),
        end=int(ends[-1]),
        skip=draw(small),
        lead=draw(small),
        lag=draw(small),
        setup=draw(st.none() | st.integers(0, (1 << 64) - 1)),
        checks=draw(st.none() | st.just(np.arange(count, dtype=np.uint16) * 77)),
    )


@given(tables())
def test_coded_tables_read_back(table):
    again = PointTable.from_bytes(table.to_bytes())
    assert again.positions.tolist() == table.positions.tolist()
    assert again.offsets.tolist() == table.offsets.tolist()
    for name in ("end", "skip", "lead", "lag", "setup"):
        assert getattr(again, name) == getattr(table, name)
    assert (again.checks is None) is (table.checks is None)
    assert table.checks is None or again.checks.tolist() == table.checks.tolist()


@given(tables())
@settings(max_examples=20)
def test_every_truncation_is_refused(table):
    coded = table.to_bytes()
    for length in range(len(coded)):
        with pytest.raises(FormatError):
            PointTable.from_bytes(coded[:length])
    with pytest.raises(FormatError):
        PointTable.from_bytes(coded + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_refused(noise):
    for data in (noise, *(bytes([2, flags]) + noise for flags in range(5))):
        try:
            table = PointTable.from_bytes(data)
        except FormatError:
            continue
        assert (np.diff(table.positions) > 0).all()
        assert (np.diff(table.offsets, append=table.end) > 0).all()
        assert len(table.offsets) >= 2


@given(tables(), st.data())
def test_a_span_begins_and_ends_where_decoding_is_exact(table, data):
    start = data.draw(st.integers(0, int(table.positions[-1]) + 9))
    stop = data.draw(st.integers(start + 1, start + 100_000))
    span = table.span(start, stop)
    first = table.offsets.tolist().index(span.lo)
    assert first == 0 or table.exact_from()[first] <= start
    assert first + 1 == len(table.offsets) or first + 1 < 2 or table.exact_from()[first + 1] > start
    assert (span.after is None) is (span.hi == table.end)
    assert span.after is None or span.after - table.lag >= stop + table.skip


def test_a_codec_without_points_has_no_table():
    with pytest.raises(FormatError, match="opus has no seek table"):
        read_table(b"\x02\x00", "opus")
    with pytest.raises(FormatError, match="version 1 expected"):
        read_table(b"\x02\x00", "flac")


def test_tables_are_small(member):
    known, _, _ = member
    num_points = len(known.seek_table.offsets)
    assert num_points > 12 / SPACING_S / 3  # a page of this noise in Vorbis takes nearly a second
    assert len(known.seek_table.to_bytes()) < 5 * num_points + 40


def test_short_members_and_opus_have_none(tone, encode):
    for container, subtype in LOSSY:
        assert analyse(encode(tone(3 * RATE, 1, RATE), RATE, container, subtype), name="x").seek_table is None
    claims_nothing = strip(encode(tone(3 * RATE, 1, RATE), RATE, "MP3", "MPEG_LAYER_III"), 1)
    assert analyse(claims_nothing, name="x").seek_table is None
    encoded = analyse(encode(tone(96_000, 1, 8000), 8000, "OGG", "OPUS"), name="x")
    assert (encoded.seek_table, encoded.setup) == (None, None)


def test_a_flipped_bit_in_a_slice_is_found_and_located(member):
    """Pages of Ogg have checksums; of an MP3 the index keeps some."""
    known, data, _ = member
    chance = np.random.default_rng(0)
    for _ in range(200):
        start = int(chance.integers(0, 10 * RATE))
        lo, hi = byte_range(known, start, start + RATE)
        damaged = bytearray(data[lo:hi])
        damaged[chance.integers(len(damaged))] ^= 1 << chance.integers(8)
        with pytest.raises(AudioError, match=f"samples {start} to {start + RATE} at bytes {lo} to {hi}: "):
            decode(known, bytes(damaged), lo, start, start + RATE)


def test_a_damaged_mp3_frame_header_is_found(mp3_file):
    """Also by who has no checksums of it."""
    known, data, _ = indexed(mp3_file)
    known = replace(known, seek_table=replace(known.seek_table, checks=None))
    lo, hi = byte_range(known, 5 * RATE, 6 * RATE)
    starts = [lo]
    while starts[-1] < hi:
        starts.append(starts[-1] + mp3.frame_at(data, starts[-1]).num_bytes)
    for start in starts[:-1]:
        for byte, bit in ((0, 0), (1, 7), (1, 3), (2, 1), (2, 2), (2, 7)):  # sync, version, padding, rate, bit rate
            damaged = bytearray(data[lo:hi])
            damaged[start - lo + byte] ^= 1 << bit
            with pytest.raises(AudioError, match=f"at bytes {lo} to {hi}: damaged: "):
                decode(known, bytes(damaged), lo, 5 * RATE, 6 * RATE)


def moved(table, point, *, samples=0, num_bytes=0):
    positions, offsets = table.positions.copy(), table.offsets.copy()
    positions[point] += samples
    offsets[point] += num_bytes
    return PointTable(positions, offsets, table.end, table.skip, table.lead, table.lag, table.setup)


@pytest.mark.parametrize("wrong", [{"samples": 64}, {"samples": -1}, {"num_bytes": 1}, {"num_bytes": -40}])
def test_a_wrong_point_is_found_by_reading_from_it(member, wrong):
    known, data, _ = member
    bad = AudioMember(known.facts, known.size, moved(known.seek_table, 3, **wrong), known.setup)
    start = int(known.seek_table.exact_from()[3]) + 100
    lo, hi = byte_range(bad, start, start + 5000)
    with pytest.raises(AudioError, match=f"samples {start} to {start + 5000} at bytes {lo} to {hi}"):
        decode(bad, data[lo:hi], lo, start, start + 5000)


def test_a_vorbis_point_on_another_page_is_found(vorbis):
    known, data, _ = indexed(vorbis)
    table = known.seek_table
    shifted = PointTable(
        table.positions[:-1], np.append(table.offsets[0], table.offsets[2:]), table.end, 0, 0, table.lag, table.setup
    )
    bad = AudioMember(known.facts, known.size, shifted, known.setup)
    start = int(table.positions[5])
    lo, hi = byte_range(bad, start, start + 5000)
    with pytest.raises(AudioError, match="its pages go on for"):
        decode(bad, data[lo:hi], lo, start, start + 5000)


def test_a_table_past_the_end_is_refused(member):
    known = member[0]
    longer = AudioMember(known.facts, known.size - 1, known.seek_table, known.setup)
    frames = known.facts.frames
    with pytest.raises(FormatError, match=f"of a member of {known.size - 1} bytes"):
        byte_range(longer, frames - 1, frames)


def test_a_vorbis_without_its_setup_is_refused(vorbis):
    known, data, _ = indexed(vorbis)
    bare = AudioMember(known.facts, known.size, known.seek_table)
    lo, hi = byte_range(bare, RATE, 2 * RATE)
    with pytest.raises(FormatError, match="without its decoder setup"):
        decode(bare, data[lo:hi], lo, RATE, 2 * RATE)


@pytest.mark.parametrize("wrong", [{"samples": 64}, {"num_bytes": 1}])
def test_what_is_wrong_is_not_proven(member, wrong):
    known, data, _ = member
    for table in (known.seek_table, moved(known.seek_table, 3, **wrong)):
        proof = Proof(data, known.facts, table, known.setup)
        blocks = list(proof.watch(read_blocks(data, known.facts, 7777)))
        assert sum(map(len, blocks)) == known.facts.frames
        if table is known.seek_table:
            assert proof.failed_at is None
            assert proof.table.to_bytes() == table.to_bytes()
        else:
            assert proof.table is None
            assert proof.failed_at <= table.exact_from()[3]


def test_a_proof_needs_every_bit(member):
    """A full decode that differs in one sample, anywhere, leaves no table."""
    known, data, _ = member
    whole = np.concatenate(list(read_blocks(data, known.facts, 1 << 20)))
    for sample in (0, len(whole) // 3, len(whole) - 1):
        changed = whole.copy()
        changed[sample, 1] = np.nextafter(changed[sample, 1], np.float32(1))
        proof = Proof(data, known.facts, known.seek_table, known.setup)
        list(proof.watch(iter(np.array_split(changed, 5))))
        assert proof.table is None
        assert proof.failed_at <= sample


def test_points_past_the_trimmed_end_are_left_out(member):
    """And what is left is a whole table: it reads back, and its last checksum is of all that follows."""
    known, data, _ = member
    whole = np.concatenate(list(read_blocks(data, known.facts, 1 << 20)))
    num_points = len(known.seek_table.offsets) - 2
    cut = int(known.seek_table.exact_from()[num_points])
    proof = Proof(data, known.facts, known.seek_table, known.setup)
    list(proof.watch(iter([whole[:cut]])))
    assert len(proof.table.offsets) == num_points
    table = PointTable.from_bytes(proof.table.to_bytes())
    shorter = replace(known, facts=replace(known.facts, frames=cut), seek_table=table)
    lo, hi = byte_range(shorter, cut - RATE, cut)
    assert hi == table.end
    found = decode(shorter, data[lo:hi], lo, cut - RATE, cut)
    assert found.tobytes() == np.ascontiguousarray(whole[cut - RATE : cut].T).tobytes()
    damaged = bytearray(data[lo:hi])
    damaged[-9] ^= 4
    with pytest.raises(AudioError, match="at bytes"):
        decode(shorter, bytes(damaged), lo, cut - RATE, cut)


def strip(data, num_frames):
    """Return an MP3 without its first frames."""
    start = mp3.first_frame(data)
    for _ in range(num_frames):
        start += mp3.frame_at(data, start).num_bytes
    return data[start:]


@pytest.mark.parametrize("rate", [22_050, 44_100])
@pytest.mark.parametrize("num_frames", [1, 2, 31])
def test_mp3_without_a_header_or_its_first_frames(tone, encode, rate, num_frames):
    data = strip(encode(tone(9 * rate, 2, rate), rate, "MP3", "MPEG_LAYER_III"), num_frames)
    known, data, full = indexed(data)
    if num_frames == 1:  # otherwise frames lack bits that were in those before, which mpg123 may not get over
        assert known.reads_ranges
    check_crops(known, data, full)


def test_mp3_between_tags(mp3_file):
    tagged = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + mp3_file + b"TAG" + bytes(125)
    known, data, full = indexed(tagged)
    assert known.reads_ranges
    assert known.seek_table.end == len(tagged) - 128
    check_crops(known, data, full)


def test_mp3_with_a_xing_header_that_states_no_delay(mp3_file):
    start = mp3.first_frame(mp3_file)
    xing = start + 4 + mp3.frame_at(mp3_file, start).side_info
    bare = bytearray(mp3_file)
    bare[xing + 120 : xing + 150] = bytes(30)
    known, data, full = indexed(bytes(bare))
    assert (known.reads_ranges, known.seek_table.skip) == (True, 529)
    check_crops(known, data, full)


@pytest.mark.parametrize("num_segments", [1, 3, 8, 40, 255])
def test_vorbis_packets_may_span_pages(vorbis, num_segments):
    known, data, full = indexed(repaginated(vorbis, num_segments))
    assert np.array_equal(full, indexed(vorbis)[2])
    assert known.reads_ranges or num_segments in (1, 255)
    check_crops(known, data, full)


def ogg_page(lacing, body, *, granule, sequence, flags, serial):
    head = b"OggS\0" + bytes([flags]) + granule.to_bytes(8, "little", signed=True)
    head += serial.to_bytes(4, "little") + sequence.to_bytes(4, "little")
    tail = bytes([len(lacing), *lacing]) + body
    return head + ogg.checksum(head + bytes(4) + tail).to_bytes(4, "little") + tail


def repaginated(data, num_segments):
    """Return a Vorbis file with so many lacing values on each page of audio, where packets end or not."""
    pages = list(ogg.pages(data, 0, len(data)))
    packets, serial = list(ogg.packets(data, pages[2:])), pages[0].serial
    granules = packet_ends(data[: pages[2].start], packets, serial)
    granules[-1] = pages[-1].granule
    lacing = []
    for packet, granule in zip(packets, granules, strict=True):
        lacing += [(255, None)] * (len(packet) // 255) + [(len(packet) % 255, granule)]
    out, body, goes_on = data[: pages[2].start], b"".join(packets), False
    for sequence, first in enumerate(range(0, len(lacing), num_segments), 2):
        group = lacing[first : first + num_segments]
        sizes, ends = [size for size, _ in group], [granule for _, granule in group if granule is not None]
        flags = (1 if goes_on else 0) | (4 if first + num_segments >= len(lacing) else 0)
        out += ogg_page(sizes, body[: sum(sizes)], granule=(ends or [-1])[-1], sequence=sequence, flags=flags,
                        serial=serial)  # fmt: skip
        body, goes_on = body[sum(sizes) :], sizes[-1] == 255
    return out


def packet_ends(headers, packets, serial):
    """Return the granule position at the end of each packet: what one adds is what a file of it and the last holds."""
    granules = [0]
    for pair in pairwise(packets):
        lacing = [size for packet in pair for size in [255] * (len(packet) // 255) + [len(packet) % 255]]
        page = ogg_page(lacing, b"".join(pair), granule=1 << 20, sequence=2, flags=0, serial=serial)
        with sf.SoundFile(io.BytesIO(headers + page)) as file:
            granules.append(granules[-1] + file.frames)
    return granules


def test_the_bit_reservoir_is_silenced_not_skipped():
    """A silent frame passes on as many bytes as it says, at most what its field holds."""
    header = bytes([0xFF, 0xFB, 0x90, 0x00])  # MPEG-1, 128 kbit/s, 44.1 kHz, stereo
    frame = header + bytes(range(1, 33)) + bytes(381)
    assert len(frame) == mp3.frame_at(frame, 0).num_bytes
    for reach in (0, 100, 511, 900):
        quiet = mp3.silenced(frame, reach)
        assert len(quiet) == len(frame)
        assert mp3.main_data(quiet, 0, mp3.frame_at(quiet, 0)) == (min(reach, 511), 381)
        assert quiet[6:36] == bytes(30)
    with pytest.raises(AudioError, match="damaged MP3 frame"):
        mp3.silenced(bytes(100), 0)


def test_an_unusual_file_has_no_points(vorbis):
    known, data, _ = indexed(vorbis)
    assert find_points(data[:4000], known.facts) == (None, None)
    assert find_points(b"", known.facts) == (None, None)
