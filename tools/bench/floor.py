"""The floor: as little as a crop of a FLAC can cost in Python, to tell what the stream adds from what it must do.

No order, no batches, no checks of the index, no errors: a table of where frames begin, kept decoded for each
recording; one ``pread``; dr_flac on a header and the frames; float32. What a stream costs above it is the price of
being one.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import miniaudio
import numpy as np
from numpy.typing import NDArray

import shardkit as sk
from shardkit.audio.flac import StreamInfo, slice_header
from shardkit.format.index import PRIMARY


class Recording(NamedTuple):
    """Where the frames of one recording lie: samples and bytes of the tar, each with its end as the last."""

    descriptor: int
    samples: NDArray[np.int64]
    offsets: NDArray[np.int64]
    info: StreamInfo


def recordings(folder: Path) -> list[Recording]:
    """Return the FLAC recordings of a local dataset; their descriptors stay open."""
    catalog = sk.open(folder).catalog
    columns, opened, found = catalog.fields[PRIMARY], {}, []
    for row in range(len(catalog.table)):
        member, path = columns.member(row), catalog.tar(row).path
        table, depth = member.seek_table, member.facts.bit_depth
        if table is None or depth != 16:
            raise SystemExit(f"{folder}: the floor is of 16-bit FLAC; pack with --codec flac")
        if path not in opened:
            opened[path] = os.open(path, os.O_RDONLY)
        offsets = np.append(table.offsets, table.end) + int(columns.offset[row])
        info = table.stream_info(member.facts.sample_rate, member.facts.channels, depth)
        found.append(Recording(opened[path], np.append(table.samples, table.frames), offsets, info))
    return found


def crop(recording: Recording, start: int, stop: int) -> tuple[NDArray[np.float32], int]:
    """Return samples [start, stop), (channel, time), and how many bytes were read for them."""
    descriptor, samples, offsets, info = recording
    first = int(np.searchsorted(samples, start, side="right")) - 1
    after = int(np.searchsorted(samples, stop, side="left"))
    lo, skipped = int(offsets[first]), start - int(samples[first])
    data = os.pread(descriptor, int(offsets[after]) - lo, lo)
    stream = slice_header(info, int(samples[after] - samples[first])) + data
    lib, ffi = miniaudio.lib, miniaudio.ffi
    block = np.empty((skipped + stop - start, info.channels), np.int16)
    decoder = lib.ma_dr_flac_open_memory(stream, len(stream), ffi.NULL)
    lib.ma_dr_flac_read_pcm_frames_s16(decoder, len(block), ffi.cast("ma_dr_flac_int16 *", ffi.from_buffer(block)))
    lib.ma_dr_flac_close(decoder)
    out = np.empty((info.channels, stop - start), np.float32)
    np.multiply(block[skipped:].T, np.float32(2.0**-15), out=out)
    return out, len(data)


def crops(found: Sequence[Recording], draws: Sequence[tuple[int, int, int]], *, threads: int) -> int:
    """Read the crops (recording, start, stop) and return their bytes."""
    if threads == 1:
        return sum(crop(found[row], start, stop)[1] for row, start, stop in draws)
    with ThreadPoolExecutor(threads) as executor:
        return sum(size for _, size in executor.map(lambda draw: crop(found[draw[0]], *draw[1:]), draws))
