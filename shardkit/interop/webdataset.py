"""For those who stay with a ``webdataset`` pipeline: a stage that decodes what is in a shard of shardkit's.

    import webdataset as wds
    from shardkit import RandomCrop
    from shardkit.interop.webdataset import decoder

    dataset = wds.WebDataset(urls, shardshuffle=False).map(decoder(sample_rate=44_100, crop=RandomCrop(2.0)))

It works on webdataset's plain dicts and does not import webdataset. Stems and arrays are cropped at the same instant as
the primary audio. What a shardkit stream has beyond it: reads of the crop's bytes alone, and an order that can be
resumed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import pcm, probe
from shardkit.audio.blocks import read_blocks
from shardkit.audio.decode import AudioMember, decode
from shardkit.audio.resample import mix_channels, resample
from shardkit.audio.transcode import analyse
from shardkit.core.crops import Crop, Recording
from shardkit.core.errors import AudioError, FormatError, InputError
from shardkit.core.loudness import dequantise
from shardkit.core.random import check_seed, hash64, key_of
from shardkit.format.arrays import check_rows, read_array, rows_between
from shardkit.format.index import PRIMARY
from shardkit.pack.fields import JSON_FIELD, field_of_extension, kind_of_extension
from shardkit.stream.piece import stem_bounds
from shardkit.stream.sample import Audio

CROP = "__crop__"  # entry of a decoded sample: first and last + 1 sample of the crop, at the stored rate
_META = "__"  # webdataset's own entries: __key__, __url__, __local_path__


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Decodes the samples of a webdataset pipeline; made by ``decoder``, called with one sample. It pickles."""

    sample_rate: int | None
    channels: int | None
    crop: Crop | None
    seed: int
    epoch: int

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with its members decoded; see ``decoder``.

        Raises:
            AudioError, FormatError, InputError: A member can't be decoded; the message has the URL and the key.
        """
        decoded = self._decoded(sample)
        if decoded is None:
            raise InputError(
                f"{sample.get('__url__')}: key {sample.get('__key__')!r}: {self.crop} skips it, which .map can't; "
                "use .compose(decoder(...).stage)"
            )
        return decoded

    def _decoded(self, sample: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the sample decoded; None if the crop skips it.

        Raises:
            AudioError, FormatError, InputError: A member can't be decoded; the message has the URL and the key.
        """
        decoded = dict(sample)
        members = {name: data for name, data in sample.items() if not name.startswith(_META)}
        audio = [name for name in members if kind_of_extension(name) == "audio"]
        audio.sort(key=lambda name: field_of_extension(name) != PRIMARY)
        timeline = None
        for name in audio:
            with _located(sample, name):
                recording = _Audio.read(_bytes(members[name]))
                if timeline is None:
                    timeline = self._place(str(sample.get("__key__")), recording, members)
                    if timeline is None:
                        return None
                decoded[name] = self._decode(recording, timeline)
        if timeline is not None:
            decoded[CROP] = (timeline.start, timeline.stop)
        for name in members:
            if name not in audio:
                with _located(sample, name):
                    decoded[name] = _decode_other(name, members, timeline)
        return decoded

    def stage(self, samples: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the samples decoded, but for those that the crop skips: for ``.compose(decoder(...).stage)``."""
        return (decoded for sample in samples if (decoded := self._decoded(sample)) is not None)

    def _place(self, key: str, recording: "_Audio", members: Mapping[str, Any]) -> "_Timeline | None":
        """Return which part of a sample to take, a function of its key, the seed and the epoch; None: none."""
        facts = recording.member.facts
        if self.crop is None:
            return _Timeline(0, facts.frames, facts.sample_rate)
        # 2^64 chances, of which the upper 53 bits make a float, as shardkit.core.random.uniform does.
        bits = int(hash64(self.seed, key_of("webdataset crop"), self.epoch, key_of(key)))
        known = Recording(
            facts.frames,
            facts.sample_rate,
            energies=recording.energies() if self.crop.needs_loudness else None,
            events=_events(members, facts.sample_rate, facts.frames, self.crop.interval_names),
        )
        bounds = self.crop.place(known, (bits >> 11) * 2.0**-53)
        return bounds and _Timeline(*bounds, facts.sample_rate)

    def _decode(self, recording: "_Audio", timeline: "_Timeline") -> Audio:
        facts = recording.member.facts
        start, stop = stem_bounds(
            timeline.start,
            timeline.stop,
            rate=timeline.sample_rate,
            stem_rate=facts.sample_rate,
            stem_frames=facts.frames,
        )
        samples = recording.samples(start, stop)
        if self.channels is not None:
            samples = mix_channels(samples, self.channels)
        rate = facts.sample_rate if self.sample_rate is None else self.sample_rate
        return Audio(resample(samples, facts.sample_rate, rate) if samples.shape[1] else samples, rate)


def decoder(
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    crop: Crop | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> Decoder:
    """Return a stage for ``.map``: bytes of members become arrays, texts and parsed JSON.

    Audio members become ``shardkit.stream.sample.Audio``: ``samples`` (channel, time) float32 and ``sample_rate``.
    ``.json`` is parsed, ``.txt`` becomes text, ``.npy`` an array, never unpickled; anything else stays bytes. An array
    whose hop ``shardkit pack`` noted in ``KEY.json`` is cropped with the audio. ``__crop__`` has the crop's bounds.

    Args:
        sample_rate: Resample to this rate, in Hz; None keeps each recording's own.
        channels: Mix to this many channels; None keeps each recording's own.
        crop: Where to cut, such as ``RandomCrop(2.0)``; None keeps the whole. A salient crop decodes and measures the
            whole recording first, since a tar has no index.
        seed: Of the crops.
        epoch: Of the crops too: with the same key, seed and epoch a crop is the same, wherever and whenever it is cut.

    Raises:
        InputError: An option is out of range.
    """
    for name, value in (("sample_rate", sample_rate), ("channels", channels)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    return Decoder(sample_rate=sample_rate, channels=channels, crop=crop, seed=check_seed(seed), epoch=epoch)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Samples [start, stop) of a recording at ``sample_rate``: what all members of a sample are cropped to."""

    start: int
    stop: int
    sample_rate: int


@dataclass(frozen=True, slots=True)
class _Audio:
    """An audio member in memory; ``decoded`` is there where its length is only known by decoding it."""

    data: bytes
    member: AudioMember
    decoded: NDArray[np.float32] | None

    @classmethod
    def read(cls, data: bytes) -> "_Audio":
        member = probe.inspect(data)
        if not member.facts.is_lossy:
            return cls(data, member, None)
        decoded = np.concatenate([pcm.to_float32(block) for block in read_blocks(member, data)], axis=1)
        return cls(data, replace(member, facts=replace(member.facts, frames=decoded.shape[1])), decoded)

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        if self.decoded is not None:
            return self.decoded[:, start:stop]
        if start == stop:
            return np.zeros((self.member.facts.channels, 0), dtype=np.float32)
        return decode(self.member, self.data, 0, start, stop)

    def energies(self) -> NDArray[np.float64]:
        """Return the loudness track as an index would hold it, so that the crops are those of a stream's policy."""
        return dequantise(analyse(self.data, name="measuring").loudness or b"")


def _decode_other(name: str, members: Mapping[str, Any], timeline: _Timeline | None) -> Any:
    data, kind = members[name], kind_of_extension(name)
    if kind == "json":
        return json.loads(_bytes(data))
    if kind == "text":
        return _bytes(data).decode()
    if kind != "array":
        return data
    hop_s = _hops_s(members).get(field_of_extension(name))
    array, _ = read_array(_bytes(data))
    if timeline is None or hop_s is None:
        return array
    check_rows(array, hop_s)
    rate = timeline.sample_rate
    first, last = rows_between(timeline.start / rate, timeline.stop / rate, float(hop_s))
    return array[first:last]


def _events(members: Mapping[str, Any], rate: int, frames: int, names: tuple[str, ...] | None) -> NDArray[np.int64]:
    """Return the bounds in samples, (event, 2), of the intervals that ``shardkit pack`` wrote into KEY.json."""
    found = []
    for name, start_s, stop_s in _noted(members, "intervals", list) if names is not None else ():
        start, stop = min(round(start_s * rate), frames), min(round(stop_s * rate), frames)
        if start < stop and (not names or name in names):
            found.append((start, stop))
    return np.array(found, np.int64).reshape(-1, 2)


def _hops_s(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the hops of arrays that ``shardkit pack`` wrote into KEY.json."""
    noted: Mapping[str, Any] = _noted(members, "hops_s", dict)
    return noted


def _noted(members: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return an entry of KEY.json, or an empty one where it has none of that kind."""
    content = json.loads(_bytes(members[JSON_FIELD])) if JSON_FIELD in members else None
    noted = content.get(name) if isinstance(content, dict) else None
    return noted if isinstance(noted, kind) else kind()


def _bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise InputError(f"found {type(data).__name__}, bytes expected; put this stage before any other decoder")
    return data


@contextmanager
def _located(sample: Mapping[str, Any], member: str) -> Iterator[None]:
    """Add URL, key and member to the errors raised inside."""
    where = f"{sample.get('__url__')}: key {sample.get('__key__')!r}, member {member!r}"
    try:
        yield
    except InputError as err:
        raise InputError(f"{where}: {err}") from err
    except AudioError as err:
        raise AudioError(f"{where}: {err}; run 'shardkit verify' on its dataset") from err
    except ValueError as err:  # of JSON, of UTF-8, and our own FormatError
        raise FormatError(f"{where}: {err}; run 'shardkit verify' on its dataset") from err
