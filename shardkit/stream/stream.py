"""``Stream``: many sources mixed by weight, cropped, batched, resumable from one integer."""

import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Literal

from shardkit.core.checks import checked_whole
from shardkit.core.crops import Crop
from shardkit.core.errors import InputError, StateError
from shardkit.core.mining import HardExamples, Mining
from shardkit.core.order import ORDER_VERSION, MixedOrder, OnePassOrder
from shardkit.core.random import check_seed
from shardkit.core.shuffle import Shuffle
from shardkit.core.sizes import parse_size
from shardkit.core.stages import SourceRows
from shardkit.storage.location import locate
from shardkit.stream.arguments import (
    checked_dtype,
    checked_label_names,
    checked_names,
    checked_passes,
    checked_shuffle,
    checked_threads,
    checked_views,
    is_new,
    named_sources,
    node_cache,
    rank_batch_size,
    warn_of_short_epochs,
)
from shardkit.stream.assemble import Assembler, BatchOptions
from shardkit.stream.batch import Batch
from shardkit.stream.config import load_config, open_sources
from shardkit.stream.counters import Counters
from shardkit.stream.coverage import Coverage, check_range, coverage_of
from shardkit.stream.delivery import Delivery, Share
from shardkit.stream.faults import Fault, FaultLog
from shardkit.stream.fetch import Fetcher
from shardkit.stream.fields import MAX_ROW_BYTES, AudioType, check_lengths, delivered_fields
from shardkit.stream.groups import GroupsOption, checked_groups
from shardkit.stream.ledger import Ledger
from shardkit.stream.mined import Mined, examples_of, load_examples, mined_source
from shardkit.stream.mix import (
    Composition,
    Schedule,
    Stages,
    Weights,
    composed_stages,
    dump_history,
    load_history,
    stage_at,
    stages_of,
)
from shardkit.stream.plan import Planner
from shardkit.stream.pool import Empty
from shardkit.stream.ranks import check_unchanged, resolve_ranks
from shardkit.stream.sources import check_crop, check_sources, common_channels, common_rate
from shardkit.stream.state import dump_state, fingerprint, load_state
from shardkit.stream.targets import LabelNames
from shardkit.stream.view import View
from shardkit.stream.watchdog import STALL_S, Sight, Watch, checked_stall


class Stream:
    """The deterministic sequence of samples drawn from sources.

    Iterating yields this rank's batches. A new iteration of an endless stream goes on where the last one stopped; each
    iteration of a one-pass stream is a whole pass, but the first after ``load_state_dict``, which is what was left.

    Args:
        sources: Views by name, or one view.
        weights: Share of the draws of each source; or a schedule, ``[(0, {...}), (100_000, {...})]``: from which
            sample on which weights hold. None: equal shares, or with ``temperature`` by size.
        temperature: Power to which weights are raised: 1 keeps them, 0 evens them out, and without ``weights`` it
            applies to the sources' numbers of rows. None: 1, and equal shares without weights.
        composition: In place of weights, samples of each source in a batch, such as ``{"speech": 24, "noise": 8}``:
            exactly so many in each global batch, which must be a multiple of their sum, and on each rank its share of
            them. Or a schedule, as of weights, from samples with which a batch begins.
        groups: Sources that share what weights or a composition give to the group's name: lists of them, which share
            equally, ``{"positive": ["strong", "rare"]}``, or with weights, ``{"positive": {"strong": 3, "rare": 1}}``.
        labels: ``merged``: classes of one name in several sources are one class. ``by_source``: each source has classes
            of its own, ``SOURCE/CLASS``.
        mining: ``Mining("hard")``: from one epoch to the next, the source ``hard`` delivers first what ``feedback`` was
            told, hardest first, and then its own draws. Needs ``epoch_samples``. None: nothing is fed back.
        crop: ``RandomCrop``, ``CenterCrop``, ``SalientCrop`` or ``EventCrop``; None delivers whole rows, padded to the
            longest of the batch.
        views: Crops of each sample. A batch then has ``views`` rows for each of its samples, side by side.
        view_distance_s: Most seconds from the start of a sample's first crop to the start of another; None: anywhere.
        sample_rate: Rate to deliver, in Hz; None: the sources' own, which must then be one, or that of the audio that
            features were computed from.
        channels: Channels to deliver: 1 is the mean; None: the sources' own, which must then be one number.
        dtype: Of the delivered audio: ``float32``, full scale 1, or ``int16``, full scale 2**15, for recordings of up
            to 16 bits at the stream's own rate and channels: half the memory, and half the bytes to a device, where
            ``Loader`` makes float32 of it. The values are the same.
        seed: Of order and crops.
        batch_size: Samples in a batch of this rank; None: 32, or what ``global_batch_size`` or ``composition`` gives.
        global_batch_size: Samples that all ranks together deliver in one step; a multiple of the world size.
        rank: Of this process; None, with ``world_size``: torch.distributed's, else RANK and WORLD_SIZE, else 0 of 1.
            Where both are given and known, they must agree.
        world_size: Number of ranks.
        check_ranks: False takes ``rank`` and ``world_size`` as given, whatever process group there is: for
            data-parallel groups inside a larger job, or a stream of one process only.
        passes: None: endless. 1: each row exactly once, without weights; the end is padded so that all ranks
            yield equally many batches.
        epoch_samples: Where an iteration over an endless stream ends: after so many samples of all ranks, in whole
            batches. The next iteration goes on from there. None: an iteration has no end.
        shuffle: ``full``, ``block`` or ``none``, or a ``Shuffle`` with its settings.
        mask_hop: Samples of delivered audio in one frame of ``Batch.masks``; None: no masks.
        mask_names: Interval names to deliver masks of; None: all that the sources have.
        fields: Further fields to deliver: stems, paired targets, arrays. Where sources hold features in place of
            recordings, these are delivered without being asked for.
        metadata: Columns to deliver.
        loudness: Whether to deliver the loudness of each crop, which the index knows: ``Batch.loudness``.
        max_failures: Samples that this process may fail to read. Until then another draw from the same source takes
            the place of such a sample (in one pass: ``valid=False``), and a warning, ``failures`` and ``stats`` tell.
        threads: Threads that read and decode; None: one a core and at most 8 for local sources, for remote ones as many
            as the latency of the storage asks for, at most 64.
        memory: Bound on the batches held ahead of the consumer, and on reads that wait for theirs, such as ``1GB``. One
            batch is held whatever the bound.
        cache: Folder on a disk of this node in which bytes of remote tars are kept, for all processes of the node and
            for later runs; None: nothing is kept.
        cache_size: Bound on what the cache takes on that disk, such as ``200GB``.
        stall_s: Seconds without a batch, while one is asked for, after which a warning says what is waited for, with
            stacks; repeated after twice as long. None: never.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """

    def __init__(
        self,
        sources: Mapping[str, View] | View,
        *,
        weights: Weights | Schedule | None = None,
        temperature: float | None = None,
        composition: Composition | None = None,
        groups: GroupsOption | None = None,
        labels: LabelNames = "merged",
        mining: Mining | None = None,
        crop: Crop | None = None,
        views: int = 1,
        view_distance_s: float | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        dtype: AudioType = "float32",
        seed: int = 0,
        batch_size: int | None = None,
        global_batch_size: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        check_ranks: bool = True,
        passes: Literal[1] | None = None,
        epoch_samples: int | None = None,
        shuffle: Shuffle | Literal["full", "block", "none"] = "full",
        mask_hop: int | None = None,
        mask_names: Sequence[str] | None = None,
        fields: Sequence[str] = (),
        metadata: Sequence[str] = (),
        loudness: bool = False,
        max_failures: int = 100,
        threads: int | None = None,
        memory: str | int = "1GB",
        cache: str | os.PathLike[str] | None = None,
        cache_size: str | int | None = None,
        stall_s: float | None = STALL_S,
    ) -> None:
        self._sources = named_sources(sources)
        check_sources(self._sources)
        self._seed = check_seed(seed)
        self._check_ranks = check_ranks
        self.rank, self.world_size = resolve_ranks(rank, world_size, check=check_ranks)
        sizes = [len(source.view) for source in self._sources]
        names = [source.name for source in self._sources]
        self.passes = checked_passes(passes, weights, temperature, epoch_samples, composition, groups)
        self._groups = checked_groups(names, groups)
        self._composed: int | None = None
        self._own_stages: Stages = ()
        if composition is not None:
            self._own_stages, self._composed = composed_stages(self._groups, composition)
        elif self.passes is None:
            self._own_stages = stages_of(self._groups, sizes, weights, temperature)
        self._stages = self._own_stages
        self.batch_size = rank_batch_size(batch_size, global_batch_size, self.world_size, composed=self._composed)
        self.crop = crop
        self._views = checked_views(views, view_distance_s, crop)
        self._epoch = None if epoch_samples is None else self._whole_batches(epoch_samples)
        held = parse_size(memory, what="memory")
        if mask_names is not None and mask_hop is None:
            raise InputError("mask_names without mask_hop: say how many samples of audio one frame of a mask is")
        rate = common_rate(self._sources, sample_rate)
        check_crop(self._sources, crop, sample_rate=rate)
        if crop is None:
            check_lengths(self._sources, most_bytes=max(held, MAX_ROW_BYTES))
        self._options = BatchOptions(
            sample_rate=rate,
            channels=common_channels(self._sources, channels),
            global_batch_size=self.global_batch_size,
            dtype=checked_dtype(dtype),
            crop_s=None if crop is None else crop.duration_s,
            mask_hop=None if mask_hop is None else checked_whole(mask_hop, "mask_hop"),
            mask_names=None if mask_names is None else checked_names(mask_names, "mask_names"),
            fields=delivered_fields(self._sources, checked_names(fields, "fields")),
            metadata=checked_names(metadata, "metadata"),
            loudness=loudness,
            label_names=checked_label_names(labels),
        )
        self._mining = mining
        self._mined_source = -1 if mining is None else mined_source(self._sources, mining, self._epoch)
        self._hard = HardExamples()
        self._shuffle = checked_shuffle(shuffle)
        warn_of_short_epochs(self._sources, self._own_stages, self._epoch)
        self._stall_s = checked_stall(stall_s)
        faults = FaultLog(checked_whole(max_failures, "max_failures", least=0))
        self.ledger = Ledger(Counters(names), faults, node_cache(cache, cache_size))
        self._fetcher = Fetcher(self.ledger.counters.of_source, self.ledger.cache)
        self._assembler = Assembler(self._sources, self._options, self._new_planner(), faults, self._fetcher)
        self._delivery = Delivery(
            self._assembler,
            self.ledger.counters,
            share=Share(rank=self.rank, world_size=self.world_size, batch_size=self.batch_size),
            shuffle=self._shuffle,
            threads=checked_threads(threads, self._sources),
            memory=held,
        )
        self._fingerprint = self._identify()
        self._position = 0
        self._left_at: int | None = None  # where the last iteration stands; None once a state was loaded

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str], *, rank: int | None = None, world_size: int | None = None
    ) -> "Stream":
        """Return the stream that a YAML file describes; see ``schemas/stream.schema.json``.

        Raises:
            InputError: The file is not as the schema says; the message names the key and the choices.
        """
        config = load_config(locate(path))
        return cls(open_sources(config, locate(path)), rank=rank, world_size=world_size, **config.options())

    @property
    def sample_rate(self) -> int:
        """Rate of the delivered audio, in Hz."""
        return self._options.sample_rate

    @property
    def channels(self) -> int:
        """Channels of the delivered audio."""
        return self._options.channels

    @property
    def has_audio(self) -> bool:
        """Whether batches have audio, and not features that were computed before, in its place."""
        return self._sources[0].view.manifest.has_audio

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of ``Batch.labels``: the sources' vocabularies, merged or, ``by_source``, one after the other."""
        return self._assembler.labels

    @property
    def audio_fields(self) -> tuple[str, ...]:
        """The audio among the further fields that are delivered."""
        return self._assembler.audio_fields

    @property
    def mask_hop(self) -> int | None:
        """Samples of delivered audio in one frame of ``Batch.masks``; None: there are no masks."""
        return self._options.mask_hop

    @property
    def stall_s(self) -> float | None:
        """Seconds without a batch after which it is told what is waited for; None: never."""
        return self._stall_s

    @property
    def views(self) -> int:
        """Crops of each sample: rows of a batch that stand side by side."""
        return self._views.count

    @property
    def global_batch_size(self) -> int:
        """Samples that all ranks together deliver in one step."""
        return self.batch_size * self.world_size

    @property
    def num_samples(self) -> int:
        """Rows in one pass over all sources."""
        return sum(len(source.view) for source in self._sources)

    @property
    def weights(self) -> dict[str, float]:
        """The share of the draws that each source gets at the current position."""
        if not self._stages:
            return {source.name: len(source.view) / self.num_samples for source in self._sources}
        shares = stage_at(self._stages, self._position).shares
        return {source.name: share / sum(shares) for source, share in zip(self._sources, shares, strict=True)}

    @property
    def position(self) -> int:
        """Position after the last batch that was used: 0 again once a one-pass stream has come to its end."""
        return self._position

    @property
    def failures(self) -> list[Fault]:
        """The samples that could not be read so far, with position, source and error.

        In this process, or by the processes of ``Loader(workers=)``.
        """
        return list(self.ledger.faults.noted)

    def __len__(self) -> int:
        """Return the number of batches of a whole iteration: one pass, or ``epoch_samples``.

        Raises:
            TypeError: The stream is endless; what Python expects of an object without a length.
        """
        end = self.end_of_iteration(0)
        if end is None:
            raise TypeError("an endless stream has no len(); let the number of steps decide, or give epoch_samples")
        return math.ceil(end / self.global_batch_size)

    def __repr__(self) -> str:
        mix = ", ".join(f"{name} {share:.3g}" for name, share in self.weights.items())
        ranks = f"rank {self.rank} of {self.world_size}, batches of {self.batch_size}"
        return f"<Stream of {mix}: {ranks}, at {self._position:,}>"

    def end_of_iteration(self, position: int) -> int | None:
        """Return the position at which an iteration that begins at a position ends; None: it does not."""
        if self._epoch is not None:
            return (position // self._epoch + 1) * self._epoch
        return self._planner.num_positions

    def __iter__(self) -> Iterator[Batch]:
        """Yield this rank's batches from where an iteration begins."""
        for batch in self.batches(self.begin()):
            self.advance(batch.position)
            yield batch
        self.advance(None)

    def begin(self) -> int:
        """Return the position at which an iteration that begins now starts.

        An endless stream goes on where it stood. A pass begins anew, unless a state says how much of it is done: who
        evaluates takes exactly ``len`` batches and never asks for the end, or two batches to see that it works, and
        then wants the whole pass.
        """
        if self.passes is not None and self._position == self._left_at:
            self._position = 0
        if self._mining is not None and self._epoch is not None and self._position % self._epoch == 0:
            self._begin_epoch(self._mining)
        return self._position

    def advance(self, position: int | None) -> None:
        """Note how far a consumer of ``batches`` has come, so that the state says so.

        Args:
            position: ``Batch.position`` of the last batch that was used; None: the iteration is at its end, so that a
                one-pass stream begins anew. (A state that was taken at its last batch has nothing left to deliver.)
        """
        if position is not None:
            self._position = position
        elif self.passes is not None:
            self._position = 0
        self._left_at = self._position

    def at(self, position: int) -> "Stream":
        """Return a copy of this stream whose first iteration begins at a position."""
        copied = copy(self)
        copied._position, copied._left_at = position, None
        return copied

    def batches(
        self,
        position: int,
        *,
        step: int = 1,
        end: int | None = None,
        empty: Empty | None = None,
        watch: Watch | None = None,
    ) -> Generator[Batch, None, None]:
        """Return this rank's batches from a position on, leaving the stream's own position alone.

        Args:
            position: Where the first of them begins.
            step: Yield every ``step``-th batch: how several processes of one rank divide its batches.
            end: No batch begins here or later; None: ``end_of_iteration(position)``.
            empty: Makes the large arrays, as ``numpy.empty`` does; None: they are memory of this process, which is used
                again when nobody holds them.
            watch: Tells when a batch takes too long; None: one that does so after the stream's ``stall_s``.
        """
        if self._check_ranks:
            check_unchanged((self.rank, self.world_size))
        end = self.end_of_iteration(position) if end is None else end
        watch = self.new_watch() if watch is None else watch
        return self._delivery.batches(position, step=step, end=end, empty=empty, watch=watch)

    def look(self) -> Sight:
        """Return what is seen of the reading and decoding in this process, if somebody waits for it."""
        return self._assembler.look()

    def new_watch(self) -> Watch:
        """Return what tells when a batch takes longer than ``stall_s``."""
        return Watch(self.stall_s, self.ledger.counters.stalled)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON values: version, fingerprint, position of the next batch."""
        return self.state_at(self._position)

    def state_at(self, position: int) -> dict[str, Any]:
        """Return the state of this stream at a position: ``Batch.position`` of the last batch that was used."""
        state = dump_state(position, dump_history(self._stages, position), self._fingerprint)
        return state if self._mining is None else state | {"mined": self._hard.digest()}

    def feedback(self, samples: Sequence[int] | Sequence[str], scores: Sequence[float]) -> int:
        """Tell how hard samples were, so that the hardest are delivered again in the next epoch.

        Of what is fed back, the samples count that the view of ``mining``'s source has, with scores above its bound:
        whole batches can be. A sample is kept once, with its highest score, and delivered once for each epoch in which
        it was fed back. The ranks must all be told the same, as ``Loader.feedback`` sees to.

        Args:
            samples: ``Batch.positions`` of this epoch, and the crop heard there is delivered again; or keys of
                recordings, of which a crop is placed anew.
            scores: How hard each was, such as the probability of a wrong label; larger is harder.

        Returns:
            How many count.

        Raises:
            InputError: The stream has no ``mining``, or something in the above can't be.
        """
        mined = self._planner.mined
        if self._mining is None or mined is None:
            raise InputError("feedback to a stream without mining; give it mining=shardkit.Mining('a source')")
        found = examples_of(
            samples, scores, sources=self._sources, mined=mined, planner=self._planner, position=self._position
        )
        found = found.at(found.scores > self._mining.above)
        self._hard = self._hard.fed(found, size=self._mining.size)
        return len(found)

    def feedback_state(self) -> dict[str, Any]:
        """Return what was fed back and is kept, as plain JSON values: too much for the state, which has its digest.

        Save it beside the state, and give it to ``load_state_dict``.
        """
        return self._hard.dump()

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        *,
        weights: Literal["new"] | None = None,
        global_batch_size: Literal["new"] | None = None,
        feedback: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on where ``state`` was taken, at any number of ranks with the same global batch.

        Args:
            state: What ``state_dict`` returned.
            weights: ``"new"`` lets this stream's weights, or the counts of its composition, differ from those of the
                state and hold from its position on; each source goes on in the pass it was in, and the state's history
                keeps the change.
            global_batch_size: ``"new"`` lets the global batch differ: the same samples follow, in other batches.
            feedback: What ``feedback_state`` returned, for a stream with ``mining``.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        may_differ = [
            name
            for name, value in (("weights", weights), ("global_batch_size", global_batch_size))
            if is_new(value, name)
        ]
        saved = load_state(state, self._fingerprint, may_differ=may_differ)
        end = self._planner.num_positions
        if end is not None and saved.position >= end + max(self.global_batch_size, 2**20):
            raise StateError(f"position {saved.position} is past the end of one pass over {end} rows")
        if self._own_stages:
            self._stages = load_history(
                saved.history,
                self._own_stages,
                saved.position,
                num_sources=len(self._sources),
                new_weights=weights == "new",
            )
        if self._mining is not None:
            self._hard = load_examples(feedback, saved.mined)
        if self._own_stages:
            self._assembler.planner = self._new_planner()
        self._position, self._left_at = saved.position, None

    def stats(self) -> dict[str, Any]:
        """Return counts since the stream was made, of this process and of those of ``Loader(workers=)``.

        Batches; seconds that the consumer waited for them (``waited_s``); batches that took longer than ``stall_s``
        (``stalls``); samples; requests to the storage, the bytes they returned (``bytes_read``), those of them that
        crops were made of (``bytes_used``) and the seconds that threads spent in them (``storage_s``) and in decoding
        (``decode_s``); requests that were made again after a failure (``retries``) or beside a slow one (``hedges``);
        samples that failed; of these what is told by source in ``sources``; of the node's cache, if there is one,
        ``cache``: blocks that were in it or not, and bytes from it; and ``in_flight``: requests to the storage that
        this process waits for just now.

        Processes of torch's DataLoader count for themselves: ``StreamingDataset.stats`` has all.
        """
        return self.ledger.snapshot() | {"in_flight": self._fetcher.activity.count("storage")}

    def coverage(self, column: str = "labels", *, start: int | None = None, stop: int | None = None) -> Coverage:
        """Return how often each value of a column is drawn between two positions, by all ranks together.

        It is counted from the plan, so it can be asked for before anything is read, at any position and on any rank;
        what takes the place of samples that can't be read, or that a crop skips, is not in it.

        Args:
            column: A column of the index, such as ``labels`` or ``speaker``.
            start: The first position; None: where the iteration began that the stream's position is in.
            stop: The position after the last; None: the stream's position or, where an iteration would begin there,
                that iteration's end.

        Raises:
            InputError: No source has the column, its values can't be counted, or no position lies between the two.
        """
        if start is None:
            start = 0 if self._epoch is None else self._position // self._epoch * self._epoch
        if stop is None:
            end = self.end_of_iteration(start)
            stop = end if end is not None and self._position <= start else self._position
        start, stop = check_range(start, stop, end=self._planner.num_positions)
        found = coverage_of(self._sources, self._planner.recordings, column, start=start, stop=stop)
        return found.apart() if column == "labels" and self._options.label_names == "by_source" else found

    @property
    def _planner(self) -> Planner:
        return self._assembler.planner

    def _new_planner(self) -> Planner:
        options: dict[str, Any] = {"seed": self._seed, "views": self._views}
        if self.passes == 1:
            one_pass = OnePassOrder(self._source_rows(), seed=self._seed, shuffle=self._shuffle)
            return Planner(self._sources, one_pass, self.crop, **options)
        order = self._mixed_order()
        mined = None if self._mining is None else Mined(self._mined_source, order, self._hard)
        return Planner(self._sources, order, self.crop, mined=mined, **options)

    def _mixed_order(self) -> MixedOrder:
        return MixedOrder(
            self._source_rows(),
            seed=self._seed,
            shuffle=self._shuffle,
            stages=self._stages,
            batch=self._composed,
            groups=None if self._composed is None else self._groups.numbers,
        )

    def _source_rows(self) -> list[SourceRows]:
        return [
            SourceRows(name=source.name, num_rows=len(source.view), steady=source.view.steady)
            for source in self._sources
        ]

    def _begin_epoch(self, mining: Mining) -> None:
        """Keep what was fed back in the epoch before."""
        if not len(self._hard.pending):
            return
        used = 0 if self._planner.mined is None else self._planner.mined.num_used(self._position)
        self._hard = self._hard.begun(self._position, num_used=used, size=mining.size)
        self._assembler.planner = self._new_planner()

    def _whole_batches(self, epoch_samples: int) -> int:
        samples = checked_whole(epoch_samples, "epoch_samples")
        return -(-samples // self.global_batch_size) * self.global_batch_size

    def _identify(self) -> dict[str, str]:
        # Only where there are any, so that states of streams without them stay what they were.
        further: dict[str, Any] = {
            "composition": self._composed,
            "groups": None if self._composed is None else self._groups.told(),
            "mining": None if self._mining is None else repr(self._mining),
        }
        return fingerprint(
            {name: value for name, value in further.items() if value is not None}
            | {
                "order": ORDER_VERSION,
                "content": [[source.name, list(source.catalog.content)] for source in self._sources],
                "rows": [[source.name, len(source.view), source.view.digest()] for source in self._sources],
                "weights": [[stage.start, list(stage.shares)] for stage in self._own_stages],
                "seed": self._seed,
                "shuffle": repr(self._shuffle),
                "crop": repr(self.crop) + (f" {self._views}" if self._views.count > 1 else ""),
                "audio": [self.sample_rate, self.channels],
                "passes": self.passes,
                "global_batch_size": self.global_batch_size,
            }
        )
