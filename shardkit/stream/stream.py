"""``Stream``: many sources mixed by weight, cropped, batched, resumable from one integer."""

import hashlib
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from shardkit.core.crops import Crop
from shardkit.core.errors import InputError, ShardkitError
from shardkit.core.mixture import SLOTS, weights_in_order
from shardkit.core.order import ORDER_VERSION, MixedOrder, OnePassOrder, Shuffle, SourceRows
from shardkit.core.sizes import parse_size
from shardkit.storage.location import locate
from shardkit.storage.reference import resolve
from shardkit.stream.assemble import Assembler, BatchOptions, Pending
from shardkit.stream.batch import Batch
from shardkit.stream.config import crop_of, load_config, shuffle_of
from shardkit.stream.counters import Counters
from shardkit.stream.dataset import View, open_dataset
from shardkit.stream.plan import Planner, Source, check_crop, check_sources, common_channels, common_rate
from shardkit.stream.ranks import resolve_ranks
from shardkit.stream.state import dump_state, fingerprint, load_state

_MAX_LOCAL_THREADS = 8  # decoding holds the GIL for part of its time; more threads stop paying
_REMOTE_THREADS = 16  # a thread waits for its request; latency, not the number of cores, says how many must wait
_MAX_AHEAD = 8  # batches


class Stream:
    """The deterministic sequence of samples drawn from sources.

    Iterating yields this rank's batches. A new iteration goes on where the last one stopped; a one-pass stream that
    has ended begins anew.

    Args:
        sources: Views by name, or one view.
        weights: Share of the draws of each source; None: equal shares.
        crop: ``RandomCrop``, ``CenterCrop`` or ``SalientCrop``; None delivers whole samples, padded to the longest
            of the batch.
        sample_rate: Rate to deliver, in Hz; None: the sources' own, which must then be one.
        channels: Channels to deliver: 1 is the mean; None: the sources' own, which must then be one number.
        seed: Of order and crops.
        batch_size: Samples in a batch of this rank; the global batch is ``batch_size * world_size``.
        rank: Of this process; None, with ``world_size``: torch.distributed's, else RANK and WORLD_SIZE, else 0 of 1.
        world_size: Number of ranks.
        passes: None: endless. 1: each sample exactly once, without weights; the end is padded so that all ranks
            yield equally many batches.
        shuffle: ``full``, ``block`` or ``none``, or a ``Shuffle`` with its settings.
        mask_hop: Samples of delivered audio in one frame of ``Batch.masks``; None: no masks.
        mask_names: Interval names to deliver masks of; None: all that the sources have.
        fields: Further fields to deliver: stems, paired targets, arrays.
        metadata: Columns to deliver.
        threads: Threads that read and decode; None: one a core and at most 8 for local sources, 16 for remote ones.
        memory: Bound on the batches held ahead of the consumer, such as ``1GB``.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """

    def __init__(
        self,
        sources: Mapping[str, View] | View,
        *,
        weights: Mapping[str, float] | None = None,
        crop: Crop | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        seed: int = 0,
        batch_size: int = 32,
        rank: int | None = None,
        world_size: int | None = None,
        passes: Literal[1] | None = None,
        shuffle: Shuffle | Literal["full", "block", "none"] = "full",
        mask_hop: int | None = None,
        mask_names: Sequence[str] | None = None,
        fields: Sequence[str] = (),
        metadata: Sequence[str] = (),
        threads: int | None = None,
        memory: str | int = "1GB",
    ) -> None:
        self._sources = _named(sources)
        check_sources(self._sources)
        self.rank, self.world_size = resolve_ranks(rank, world_size)
        self.batch_size = _positive(batch_size, "batch_size")
        self.crop = crop
        self.passes = passes
        self._threads = _positive(_default_threads(self._sources) if threads is None else threads, "threads")
        self._memory = parse_size(memory, what="memory")
        if mask_names is not None and mask_hop is None:
            raise InputError("mask_names without mask_hop: say how many samples of audio one frame of a mask is")
        self._options = BatchOptions(
            sample_rate=common_rate(self._sources, sample_rate),
            channels=common_channels(self._sources, channels),
            crop_s=None if crop is None else crop.duration_s,
            mask_hop=None if mask_hop is None else _positive(mask_hop, "mask_hop"),
            mask_names=mask_names,
            fields=fields,
            metadata=metadata,
        )
        check_crop(self._sources, crop, sample_rate=self._options.sample_rate)
        self._counters = Counters([source.name for source in self._sources])
        self._assembler = Assembler(self._sources, self._options, self._counters.traffic)
        shuffle = Shuffle(kind=shuffle) if isinstance(shuffle, str) else shuffle
        self._order = _order(self._sources, weights, passes, seed=seed, shuffle=shuffle)
        self._planner = Planner(self._sources, self._order, crop, seed=seed)
        self._fingerprint = self._identify(seed, shuffle)
        self._position = 0

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str], *, rank: int | None = None, world_size: int | None = None
    ) -> "Stream":
        """Return the stream that a YAML file describes; see ``schemas/stream.schema.json``.

        Raises:
            InputError: The file is not as the schema says; the message names the key and the choices.
        """
        location = locate(path)
        config = load_config(location)
        sources = {}
        for name, source in config.sources.items():
            place = resolve(location.parent, source.url)
            view: View = open_dataset(locate(place.url, place.options | source.storage_options), source.split)
            sources[name] = view if source.where is None else view.where(source.where)
        return cls(
            sources,
            weights=config.weights(),
            crop=crop_of(config.crop),
            shuffle=shuffle_of(config.shuffle),
            rank=rank,
            world_size=world_size,
            **config.model_dump(exclude={"sources", "crop", "shuffle"}),
        )

    @property
    def sample_rate(self) -> int:
        """Rate of the delivered audio, in Hz."""
        return self._options.sample_rate

    @property
    def channels(self) -> int:
        """Channels of the delivered audio."""
        return self._options.channels

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of ``Batch.labels``: the sources' vocabularies, names that occur in several merged."""
        return self._assembler.labels

    @property
    def global_batch_size(self) -> int:
        """Samples that all ranks together deliver in one step."""
        return self.batch_size * self.world_size

    @property
    def num_samples(self) -> int:
        """Samples in one pass over all sources."""
        return sum(len(source.view) for source in self._sources)

    @property
    def weights(self) -> dict[str, float]:
        """The share of the draws that each source gets."""
        if isinstance(self._order, OnePassOrder):
            return {source.name: len(source.view) / self.num_samples for source in self._sources}
        shares = self._order.mixture.shares
        return {source.name: float(share / SLOTS) for source, share in zip(self._sources, shares, strict=True)}

    @property
    def position(self) -> int:
        """Where the next iteration begins: 0 again once an iteration of a one-pass stream has come to its end."""
        return self._position

    def __len__(self) -> int:
        """Return the number of batches of a one-pass stream.

        Raises:
            TypeError: The stream is endless; what Python expects of an object without a length.
        """
        end = self._planner.num_positions
        if end is None:
            raise TypeError("an endless stream has no len(); let the number of steps decide, or use passes=1")
        return math.ceil(end / self.global_batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield this rank's batches from the current position on."""
        for batch in self.batches(self.position):
            self.advance(batch.position)
            yield batch
        self.advance(None)

    def advance(self, position: int | None) -> None:
        """Note how far a consumer of ``batches`` has come, so that the state says so.

        Args:
            position: ``Batch.position`` of the last batch that was used; None: the end, so the next iteration begins
                anew. (A state that was taken at the last batch still has nothing left to deliver.)
        """
        self._position = 0 if position is None else position

    def batches(self, position: int, *, step: int = 1) -> Iterator[Batch]:
        """Yield this rank's batches from a position on, leaving the stream's own position alone.

        Args:
            position: A multiple of the global batch size.
            step: Yield every ``step``-th batch: how several processes of one rank divide its batches.
        """
        end = self._planner.num_positions
        pending: deque[Pending] = deque()
        failed: ShardkitError | None = None  # of a later batch; those before it are delivered first
        ahead = 1
        with ThreadPoolExecutor(self._threads, thread_name_prefix="shardkit") as executor:
            try:
                while True:
                    while len(pending) < ahead and failed is None and (end is None or position < end):
                        try:
                            pending.append(self._begin(position, executor))
                        except ShardkitError as err:
                            failed = err
                            break
                        ahead = self._batches_ahead(pending[-1])
                        position += step * self.global_batch_size
                    if pending:
                        batch = self._finish(pending[0])
                        pending.popleft()
                        yield batch
                    elif failed is not None:
                        raise failed
                    else:
                        return
            finally:
                for job in pending:
                    job.cancel()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON values: version, fingerprint, position of the next batch."""
        return self.state_at(self._position)

    def state_at(self, position: int) -> dict[str, Any]:
        """Return the state of this stream at a position: ``Batch.position`` of the last batch that was used."""
        return dump_state(position, self._fingerprint)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken, at any number of ranks with the same global batch.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        self._position = load_state(state, self._fingerprint, global_batch=self.global_batch_size)

    def stats(self) -> dict[str, Any]:
        """Return counts since the stream was made: batches, samples by source, seconds waited, requests, bytes read."""
        return self._counters.snapshot()

    def _begin(self, position: int, executor: Executor) -> Pending:
        plan = self._planner.plan(position, rank=self.rank, world_size=self.world_size, batch_size=self.batch_size)
        return self._assembler.begin(plan, executor)

    def _batches_ahead(self, pending: Pending) -> int:
        """Return how many batches of this size may be under way within the memory bound."""
        # While a batch is read, its undecoded bytes and one decoded copy of each sample exist beside its arrays.
        size = 2 * sum(array.nbytes for array in pending.buffers.fields.values())
        return max(1, min(_MAX_AHEAD, self._memory // max(1, size)))

    def _finish(self, pending: Pending) -> Batch:
        began = time.perf_counter()
        batch = self._assembler.finish(pending)
        self._counters.delivered([name for name in batch.sources if name], time.perf_counter() - began)
        return batch

    def _identify(self, seed: int, shuffle: Shuffle) -> dict[str, str]:
        return fingerprint(
            {
                "order": ORDER_VERSION,
                "content": [[source.name, list(source.catalog.content)] for source in self._sources],
                "rows": [[source.name, len(source.view), _digest(source.view)] for source in self._sources],
                "weights": [[name, round(share, 9)] for name, share in self.weights.items()],
                "seed": seed,
                "shuffle": repr(shuffle),
                "crop": repr(self.crop),
                "audio": [self.sample_rate, self.channels],
                "passes": self.passes,
                "global_batch_size": self.global_batch_size,
            }
        )


def _named(sources: Mapping[str, View] | View) -> list[Source]:
    if isinstance(sources, View):
        return [Source(sources.manifest.name, sources)]
    if not sources:
        raise InputError("a stream needs at least one source")
    for name, view in sources.items():
        if not isinstance(view, View):
            raise InputError(f"source {name!r} is a {type(view).__name__}; give what shardkit.open returns")
    return [Source(name, view) for name, view in sources.items()]


def _order(
    sources: Sequence[Source],
    weights: Mapping[str, float] | None,
    passes: int | None,
    *,
    seed: int,
    shuffle: Shuffle,
) -> MixedOrder | OnePassOrder:
    if passes not in (None, 1):
        raise InputError(f"passes is {passes}; choose 1 (each sample once) or None (endless)")
    if passes == 1 and weights is not None:
        raise InputError(
            "passes=1 delivers each sample exactly once, so weights have no meaning; leave one of them out"
        )
    shares = [1.0] * len(sources)
    if weights is not None:
        shares = list(weights_in_order([source.name for source in sources], weights))
    rows = [
        SourceRows(name=source.name, num_rows=len(source.view), weight=share)
        for source, share in zip(sources, shares, strict=True)
    ]
    return (OnePassOrder if passes == 1 else MixedOrder)(rows, seed=seed, shuffle=shuffle)


def _default_threads(sources: Sequence[Source]) -> int:
    if any(not tar.is_local for source in sources for tar in source.catalog.tars):
        return _REMOTE_THREADS
    return min(_MAX_LOCAL_THREADS, os.cpu_count() or 1)


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise InputError(f"{name} is {value}; it must be at least 1")
    return value


def _digest(view: View) -> str:
    return hashlib.blake2b(np.ascontiguousarray(view.rows, dtype="<i8").tobytes(), digest_size=8).hexdigest()
