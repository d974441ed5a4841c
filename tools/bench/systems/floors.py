"""The floors: as little as the work itself can cost in Python, to tell what a system adds from what it must do.

No order, no queues, no checks, no memory of its own for each batch. Frames are decoded by dr_flac (miniaudio), the
decoder of shardkit's streams, from bytes that lie in memory, exactly those frames that hold a sample of the crop.
"""

import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from threading import local
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import miniaudio
import numpy as np
import soundfile
from numpy.typing import NDArray

import shardkit as sk
from shardkit.audio.encode import FlacEncoder
from shardkit.audio.flac import FlacLayout, StreamInfo, scan, slice_header
from shardkit.format.index import PRIMARY
from tools.bench.systems.contract import RATE, SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import place

REQUIREMENTS = ()
READS = "shardkit"
SETTINGS = (
    "Over shardkit's shards: dr_flac on a header and the frames of the crop, out of memory, float32 into one "
    "batch that is used again and again; 1 thread, or 2 that take half of each batch. WAV: int16 times 2^-15. "
    "tars alone: the shards read in order, the bytes of as many members a batch. S3: one range request of the "
    "frames each, plain HTTP kept alive, to a URL that was signed before. D: the FLAC encoder of shardkit "
    "(libFLAC, level 5) over samples in memory. G: with shardkit's LogMel."
)
VARIANTS = {
    "1 thread": {"A": (0,), "B": (0,), "B-wav": (0,), "F": (0,)},
    "2 threads": {"A": (0,), "B": (0,), "B-wav": (0,), "C-A": (0,), "C-B": (0,), "F": (0,), "G": (0,), "G-paced": (0,)},
    "tars alone": {"A": (0,), "B": (0,)},
    "encoder alone": {"D": (0,)},
}

Fetch = Callable[[int, int], bytes | memoryview]  # of bytes [start, stop) of a member
_encoded: list[tuple[NDArray[np.int16], int]] = []  # what the encoder's processes inherit
_own = local()  # of each thread: its block of samples, its connection


class Recording(NamedTuple):
    """One member: what gives its bytes, and where its frames lie, each with its end as the last."""

    key: str
    fetch: Fetch
    samples: NDArray[np.int64]
    offsets: NDArray[np.int64]
    info: StreamInfo


def batches(job: Job) -> Iterator[Batch]:
    """Give batches without end; each is the same memory."""
    if job.variant == "tars alone":
        return _tars(job)
    threads = int(job.variant.split()[0])
    if job.dataset == "digits":
        sources = [_recordings(job, name) for name in SOURCES]
        return _drawn(job, [found for found, _ in sources], sources[0][1], threads)
    found, read = _recordings(job, "")
    given = _drawn(job, [found], read, threads)
    return _with_log_mels(given) if job.workload == "G" else given


def prepare_pack(job: PackJob) -> None:
    """Read the samples."""
    for path in sorted(job.source.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        _encoded.append((samples, rate))


def pack(job: PackJob) -> None:
    """Encode them in processes that have them, and keep nothing."""
    with get_context("fork").Pool(job.processes) as pool:
        pool.map(_encode, [range(part, len(_encoded), job.processes) for part in range(job.processes)], chunksize=1)


def read_flac(recording: Recording, start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Put samples [start, stop) into (channel, time)."""
    _, fetch, samples, offsets, info = recording
    first = int(np.searchsorted(samples, start, side="right")) - 1
    after = int(np.searchsorted(samples, stop, side="left"))
    data = fetch(int(offsets[first]), int(offsets[after]))
    skipped, number = start - int(samples[first]), stop - int(samples[first])
    stream = b"".join([slice_header(info, int(samples[after] - samples[first])), data])
    lib, ffi = miniaudio.lib, miniaudio.ffi
    decoder = lib.ma_dr_flac_open_memory(stream, len(stream), ffi.NULL)
    if info.channels == 1:  # then floats can go where they shall be
        lib.ma_dr_flac_read_pcm_frames_f32(decoder, skipped, ffi.NULL)
        lib.ma_dr_flac_read_pcm_frames_f32(decoder, stop - start, ffi.from_buffer("float[]", out[0]))
        lib.ma_dr_flac_close(decoder)
        return
    block = _block(number * info.channels)
    lib.ma_dr_flac_read_pcm_frames_s16(decoder, number, ffi.cast("ma_dr_flac_int16 *", ffi.from_buffer(block)))
    lib.ma_dr_flac_close(decoder)
    decoded = block[: number * info.channels].reshape(number, info.channels)
    _scaled(decoded[skipped:], out)


def read_wav(recording: Recording, start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Put samples [start, stop) into (channel, time)."""
    channels, begin = recording.info.channels, int(recording.offsets[0])
    width = 2 * channels
    data = recording.fetch(begin + start * width, begin + stop * width)
    _scaled(np.frombuffer(data, "<i2").reshape(-1, channels), out)


def _scaled(samples: NDArray[np.int16], out: NDArray[np.float32]) -> None:
    out[...] = samples.T  # then the product: twice as fast as NumPy's product of integers and floats
    np.multiply(out, np.float32(2.0**-15), out=out)


Read = Callable[[Recording, int, int, NDArray[np.float32]], None]


def _drawn(job: Job, sources: Sequence[Sequence[Recording]], read: Read, threads: int) -> Iterator[Batch]:
    """Give batches of random crops."""
    draw = random.Random(job.seed)  # noqa: S311  (which crops)
    weights = list(SOURCES.values()) if len(sources) > 1 else [1.0]
    longest = max(int(found.samples[-1]) for source in sources for found in source)
    channels, rate = sources[0][0].info.channels, sources[0][0].info.sample_rate
    size = longest if job.crop_s is None else round(job.crop_s * rate)
    memory = np.zeros((job.batch, channels, size), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        while True:
            chosen = draw.choices(sources, weights, k=job.batch) if len(sources) > 1 else [sources[0]] * job.batch
            taken = [draw.choice(source) for source in chosen]
            places = [place(int(found.samples[-1]), job.crop_s, rate) for found in taken]
            width = max(length for _, length in places)
            audio = memory.reshape(-1)[: job.batch * channels * width].reshape(job.batch, channels, width)

            def fill(rows: range, taken: Any = taken, places: Any = places, audio: Any = audio) -> None:
                for row in rows:
                    start, length = places[row]
                    read(taken[row], start, start + length, audio[row, :, :length])
                    audio[row, :, length:] = 0.0

            if threads == 1:
                fill(range(job.batch))
            else:
                list(pool.map(fill, [range(part, job.batch, threads) for part in range(threads)]))
            starts, lengths = [start for start, _ in places], [length for _, length in places]
            yield Batch(audio, [found.key for found in taken], starts, lengths)


def _with_log_mels(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Add shardkit's: of those measured here they take least."""
    import torch  # noqa: PLC0415  (only where it is used)

    from tools.bench.systems import log_mel  # noqa: PLC0415

    features = log_mel.of_shardkit(RATE)
    with torch.no_grad():
        for batch in batches:
            yield batch._replace(features=features(torch.from_numpy(batch.audio)))


def _tars(job: Job) -> Iterator[Batch]:
    """Read the shards in order, and count the bytes of a member as a sample; nothing is delivered."""
    paths = sorted(Path(job.where).rglob("*.tar"))
    member_bytes = sum(path.stat().st_size for path in paths) // len(sk.open(job.where))
    buffer, due = bytearray(1 << 20), member_bytes * job.batch
    for path in cycle(paths):
        with path.open("rb", buffering=0) as file:
            while (number := file.readinto(buffer)) > 0:
                due -= number
                while due <= 0:
                    due += member_bytes * job.batch
                    yield Batch(None, [""] * job.batch, [], [])


def _recordings(job: Job, folder: str) -> tuple[list[Recording], Read]:
    """Return the members of a dataset, and what reads them."""
    view = sk.open(job.local / folder)
    catalog, tars, found, read = view.catalog, {}, [], read_flac
    columns = catalog.fields[PRIMARY]
    for row, key in enumerate(view.keys()):
        tar = Path(catalog.tar(row).path)
        if tar not in tars:
            tars[tar] = memoryview(tar.read_bytes())
        data = tars[tar]
        begin = int(columns.offset[row])
        member = data[begin : begin + int(columns.size[row])]
        fetch: Fetch = lambda start, stop, member=member: member[start:stop]  # noqa: E731
        if job.where.startswith("s3://"):
            fetch = _ranges(f"{job.where}/{tar.relative_to(job.local).as_posix()}", begin)
        if member[:4] == b"fLaC":
            found.append(_flac(key, fetch, scan(member)))
        else:
            read = read_wav
            found.append(_wav(key, fetch, member))
    return found, read


def _flac(key: str, fetch: Fetch, layout: FlacLayout) -> Recording:
    samples = np.append(layout.frame_samples, layout.info.total_samples)
    return Recording(key, fetch, samples, np.append(layout.frame_bytes, layout.end), layout.info)


def _wav(key: str, fetch: Fetch, member: memoryview) -> Recording:
    begin = bytes(member[:4096]).index(b"data") + 8  # samples of 16 bits follow the size
    with soundfile.SoundFile(io.BytesIO(member)) as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
    ends = np.array([begin, begin + 2 * channels * frames])
    info = StreamInfo(**dict.fromkeys(StreamInfo.__dataclass_fields__, 0) | {"sample_rate": rate, "channels": channels})
    return Recording(key, fetch, np.array([0, frames]), ends, info)


def _ranges(url: str, begin: int) -> Fetch:
    """Return what requests bytes of an object over plain HTTP, by a thread's own connection that is kept."""
    signed = urlsplit(_signed(url))
    target = f"{signed.path}?{signed.query}"

    def fetch(start: int, stop: int) -> bytes:
        connection = getattr(_own, "connection", None)
        if connection is None:
            connection = _own.connection = HTTPConnection(signed.netloc)
        connection.request("GET", target, headers={"Range": f"bytes={begin + start}-{begin + stop - 1}"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status not in (200, 206):
            raise OSError(f"{url}: {answer.status} {data[:200]!r}")
        return data

    return fetch


_signatures: dict[str, str] = {}


def _signed(url: str) -> str:
    """Return a URL of an S3 object that needs no further signature."""
    from botocore.config import Config  # noqa: PLC0415  (only where S3 is read)
    from botocore.session import get_session  # noqa: PLC0415

    if url not in _signatures:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
        client = get_session().create_client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=config)
        _signatures[url] = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    return _signatures[url]


def _block(size: int) -> NDArray[np.int16]:
    """Return this thread's memory for decoded samples."""
    block = getattr(_own, "block", None)
    if block is None or len(block) < size:
        block = _own.block = np.empty(2 * size, np.int16)
    return block


def _encode(rows: range) -> int:
    total = 0
    for row in rows:
        samples, rate = _encoded[row]
        encoder = FlacEncoder(sample_rate=rate, channels=samples.shape[1], bit_depth=16, level=5)
        encoder.write(samples)
        total += len(encoder.finish())
    return total
