"""A stream written down: YAML or JSON, validated, with errors that name the key and what it may be.

The pydantic models are the one definition; ``schemas/stream.schema.json`` is generated from them.
"""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shardkit.core.content import Content, content
from shardkit.core.crops import CenterCrop, Crop, Fallback, RandomCrop
from shardkit.core.errors import InputError
from shardkit.core.events import EventCrop
from shardkit.core.mining import Mining
from shardkit.core.salient import SalientCrop
from shardkit.core.shuffle import Shuffle
from shardkit.storage.environment import expanded_path
from shardkit.storage.location import Location, locate
from shardkit.storage.reference import resolve
from shardkit.storage.store import read_bytes
from shardkit.stream.balance import Several
from shardkit.stream.dataset import open_dataset
from shardkit.stream.fields import AudioType
from shardkit.stream.groups import group_weights
from shardkit.stream.view import View
from shardkit.stream.watchdog import STALL_S


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupConfig(_Model):
    """Sources that share a weight."""

    sources: list[str] = Field(min_length=1, description="Names of sources; each source is in one group.")
    weight: float = Field(1, gt=0, description="Share of the draws, which the sources share by their own weights.")


class ContentConfig(_Model):
    """What of the named intervals a crop or a window must hold."""

    of: str | list[str] = Field(default_factory=list, description="Names of intervals; none: all.")
    ratio: float = Field(0.5, gt=0, le=1, description="Least share of the part.")
    part: Literal["crop", "event"] = Field(
        "crop", description="crop: of the crop that they cover; event: of one of them that the crop holds."
    )


class WindowsConfig(_Model):
    """Windows of the recordings as rows."""

    size_s: float = Field(gt=0)
    hop_s: float | None = Field(None, gt=0, description="None: size_s.")
    partial: bool = Field(False, description="A last, shorter window for what the full ones leave over.")
    content: ContentConfig | None = Field(None, description="Only windows that hold this of their intervals.")


class DrawsConfig(_Model):
    """Several rows from a long recording: round(crops it holds ** power)."""

    size_s: float = Field(gt=0)
    power: float = Field(0.5, ge=0, le=1)


class BalanceConfig(_Model):
    """Rows repeated in proportion to the frequency of their value ** -power."""

    column: str
    power: float = Field(0.5, ge=0)
    rare: int | None = Field(None, ge=1, description="Values of fewer rows count as one together.")
    several: Several = Field("rarest", description="Which of a row's values count.")


class EachConfig(_Model):
    """One row for each value of a column: the values take turns, and so do the rows of each."""

    column: str
    rare: int | None = Field(None, ge=1, description="Values of fewer rows take one turn together.")


class StageConfig(_Model):
    """Weights, or a composition, that hold from a sample on."""

    from_sample: int = Field(gt=0)
    weights: dict[str, float] | None = Field(None, description="By source; all of them.")
    composition: dict[str, int] | None = Field(None, description="By source; all of them, of the same sum as before.")


class SourceConfig(_Model):
    """One source: a dataset, or part of it, and its weight."""

    url: str = Field(
        description="Folder or URL of the dataset; a relative path is relative to this file, ~ and $NAME are expanded."
    )
    split: str | None = Field(None, description="One of its splits; needed where it has several, or 'all'.")
    where: str | None = Field(None, description="Condition over the index's columns, such as duration_s >= 2.")
    take: int | None = Field(None, ge=0, description="Only the first so many rows.")
    windows: WindowsConfig | None = Field(None, description="Windows as rows.")
    draws: DrawsConfig | None = Field(None, description="Several rows from long recordings.")
    balance: BalanceConfig | None = Field(None, description="Rows of rare values repeated.")
    repeat: float | None = Field(None, gt=0, description="Times that each row comes in a pass.")
    each: EachConfig | None = Field(None, description="One row for each value of a column.")
    weight: float | None = Field(None, ge=0, description="Share of the draws; all sources have one, or none has.")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="For the storage behind the URL.")


_FALLBACK = "Where no crop will do: the best there is, another recording, or stop."


class RandomCropConfig(_Model):
    """A crop anywhere."""

    kind: Literal["random"]
    duration_s: float = Field(gt=0)
    content: ContentConfig | None = Field(None, description="What of its intervals it must hold.")
    fallback: Fallback = Field("keep", description=_FALLBACK)


class CenterCropConfig(_Model):
    """The middle of each recording."""

    kind: Literal["center"]
    duration_s: float = Field(gt=0)


class SalientCropConfig(_Model):
    """A crop where there is something to hear."""

    kind: Literal["salient"]
    duration_s: float = Field(gt=0)
    floor_lufs: float = Field(-40.0, description="Least loudness of a crop, in LUFS.")
    search: Literal["uniform", "bias_early", "early", "loudest", "energy"] = "uniform"
    content: ContentConfig | None = Field(None, description="What of its intervals it must hold.")
    fallback: Fallback = Field("keep", description=_FALLBACK)


class EventCropConfig(_Model):
    """A crop at one of a recording's intervals."""

    kind: Literal["event"]
    duration_s: float | None = Field(None, gt=0, description="None: with at: exact, the length of the event.")
    of: str | list[str] = Field(default_factory=list, description="Names of intervals; none: all.")
    at: Literal["inside", "center", "exact"] = "inside"
    fallback: Fallback = Field("keep", description=_FALLBACK)


class MiningConfig(_Model):
    """Hard examples, delivered again by one of the sources."""

    source: str = Field(description="Which source delivers what was fed back.")
    size: int = Field(50_000, ge=1, description="Most samples that are kept.")
    above: float = Field(0.5, description="Only scores above this are kept.")


class ShuffleConfig(_Model):
    """How the rows of a pass are permuted."""

    kind: Literal["full", "block", "none"] = "full"
    block_rows: int = Field(32, ge=1)
    window_blocks: int = Field(1, ge=1)


CropConfig = Annotated[
    RandomCropConfig | CenterCropConfig | SalientCropConfig | EventCropConfig, Field(discriminator="kind")
]
_CROPS: dict[str, type[Crop]] = {
    "random": RandomCrop,
    "center": CenterCrop,
    "salient": SalientCrop,
    "event": EventCrop,
}


class StreamConfig(_Model):
    """A stream: what ``shardkit.Stream`` takes."""

    sources: dict[str, SourceConfig] = Field(min_length=1)
    groups: dict[str, GroupConfig] = Field(
        default_factory=dict, description="Groups of sources: equal ones, unless they have weights."
    )
    schedule: list[StageConfig] = Field(
        default_factory=list, description="Weights, or compositions, that take the place of the first later on."
    )
    temperature: float | None = Field(None, ge=0, description="Power of the weights, or of the sizes without weights.")
    composition: dict[str, int] | None = Field(
        None, description="Samples of each source in a batch, in place of weights; the global batch is a multiple."
    )
    mining: MiningConfig | None = Field(None, description="Hard examples; needs epoch_samples.")
    crop: CropConfig | None = Field(None, description="None delivers whole rows.")
    views: int = Field(1, ge=1, description="Crops of each sample.")
    view_distance_s: float | None = Field(
        None, gt=0, description="Most seconds from the first crop of a sample to another; None: anywhere."
    )
    sample_rate: int | None = Field(None, ge=1, description="Hz.")
    channels: int | None = Field(None, ge=1)
    dtype: AudioType = Field("float32", description="Of the audio; int16 for recordings of up to 16 bits, as they are.")
    seed: int = Field(0, ge=0, lt=2**63)
    batch_size: int | None = Field(None, ge=1, description="Of one rank; None: 32, or by global_batch_size.")
    global_batch_size: int | None = Field(None, ge=1, description="Of all ranks together.")
    passes: Literal[1] | None = None
    epoch_samples: int | None = Field(None, ge=1, description="Samples of all ranks after which an iteration ends.")
    shuffle: Literal["full", "block", "none"] | ShuffleConfig = Field(
        default_factory=lambda: ShuffleConfig.model_validate({})
    )
    mask_hop: int | None = Field(None, ge=1, description="Samples of delivered audio in one frame of the masks.")
    mask_names: list[str] | None = None
    fields: list[str] = Field(default_factory=list)
    metadata: list[str] = Field(default_factory=list)
    loudness: bool = Field(False, description="Tell the loudness of each crop.")
    max_failures: int = Field(100, ge=0, description="Samples that a process may fail to read.")
    threads: int | None = Field(None, ge=1)
    memory: str | int = "1GB"
    cache: str | None = Field(None, description="Folder on this node's disk for bytes of remote tars.")
    cache_size: str | int | None = Field(None, description="What the cache may take on disk, such as 200GB.")
    stall_s: float | None = Field(
        STALL_S, gt=0, description="Seconds without a batch after which a warning says why; None: never."
    )

    def weights(self) -> dict[str, float] | list[tuple[int, dict[str, float]]] | None:
        """Return the weights by source, or the schedule of them, or None where no source has one.

        Raises:
            InputError: Some sources have a weight and others have none; or the groups are not groups of the sources.
        """
        if self.groups and (self.schedule or self.composition is not None):
            raise InputError("groups share by weight, and a schedule or a composition is given too; choose one")
        if self.groups:
            members = {name: (group.weight, group.sources) for name, group in self.groups.items()}
            return group_weights(members, {name: source.weight for name, source in self.sources.items()})
        given = {name: source.weight for name, source in self.sources.items() if source.weight is not None}
        missing = [name for name in self.sources if name not in given]
        stages = [] if self.composition is not None else self.schedule
        if missing and (given or stages):
            raise InputError(f"sources.{missing[0]}.weight is missing; give every source a weight, or none")
        if stages:
            return [(0, given), *self._later("weights")]
        return given or None

    def compositions(self) -> list[tuple[int, dict[str, int]]] | None:
        """Return the schedule of compositions, or None where there is none.

        Raises:
            InputError: An entry of the schedule has weights instead.
        """
        return None if self.composition is None else [(0, self.composition), *self._later("composition")]

    def _later(self, what: Literal["weights", "composition"]) -> list[tuple[int, Any]]:
        """Return the entries of the schedule, each with what it must have and nothing else."""
        other = "composition" if what == "weights" else "weights"
        for number, stage in enumerate(self.schedule):
            if getattr(stage, what) is None or getattr(stage, other) is not None:
                raise InputError(f"schedule.{number} must have {what} and no {other}, as the stream's start has")
        return [(stage.from_sample, getattr(stage, what)) for stage in self.schedule]

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``Stream`` but its sources and ranks."""
        plain = self.model_dump(exclude={"sources", "groups", "schedule", "crop", "shuffle"})
        return plain | {
            "weights": self.weights(),
            "composition": self.compositions(),
            "mining": None if self.mining is None else Mining(**self.mining.model_dump()),
            "crop": crop_of(self.crop),
            "shuffle": shuffle_of(self.shuffle),
        }


def open_sources(config: StreamConfig, location: Location) -> dict[str, View]:
    """Return the views of a configuration that was read from ``location``.

    Raises:
        InputError: A source can't be as described; the message names it.
    """
    views = {}
    for name, source in config.sources.items():
        try:
            place = resolve(location.parent, expanded_path(source.url))
        except InputError as err:
            raise InputError(f"{location}: sources.{name}.url: {err}") from err
        dataset = open_dataset(locate(place.url, place.options | source.storage_options), source.split)
        try:
            views[name] = _narrowed(dataset, source)
        except InputError as err:
            raise InputError(f"{location}: sources.{name}: {err}") from err
    return views


def _narrowed(view: View, source: SourceConfig) -> View:
    if source.where is not None:
        view = view.where(source.where)
    if source.take is not None:
        view = view.take(source.take)
    if source.windows is not None:
        windows = source.windows
        wanted = None if windows.content is None else _content_of(windows.content)
        view = view.windows(windows.size_s, windows.hop_s, partial=windows.partial, content=wanted)
    if source.draws is not None:
        view = view.draws(source.draws.size_s, source.draws.power)
    if source.balance is not None:
        balance = source.balance
        view = view.balance(balance.column, balance.power, rare=balance.rare, several=balance.several)
    if source.repeat is not None:
        view = view.repeat(source.repeat)
    return view if source.each is None else view.each(source.each.column, rare=source.each.rare)


def load_config(location: Location) -> StreamConfig:
    """Return the stream that a YAML file describes.

    Raises:
        InputError: Not YAML, an unknown key, a value that can't be; the message names the key.
        NotFoundError: No such file.
    """
    try:
        found = yaml.safe_load(read_bytes(location))
    except yaml.YAMLError as err:
        raise InputError(f"{location}: not YAML: {' '.join(str(err).split())}") from err
    try:
        return StreamConfig.model_validate(found)
    except ValidationError as err:
        raise InputError(f"{location}: {_explain(err)}") from err


def crop_of(config: CropConfig | None) -> Crop | None:
    """Return the crop that a configuration describes."""
    if config is None:
        return None
    options = config.model_dump(exclude={"kind", "content"})
    wanted = getattr(config, "content", None)
    if wanted is not None:
        options["content"] = _content_of(wanted)
    return _CROPS[config.kind](**options)


def _content_of(config: ContentConfig) -> Content:
    return content(config.of, config.ratio, part=config.part)


def shuffle_of(config: str | ShuffleConfig) -> Shuffle:
    """Return the shuffle that a configuration describes."""
    if isinstance(config, str):
        config = ShuffleConfig.model_validate({"kind": config})
    return Shuffle(**config.model_dump())


def _explain(error: ValidationError) -> str:
    """Say in one line what the first error is: the key, what was found, what may stand there."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}; see schemas/stream.schema.json for those there are{more}"
    return f"{key}: {first['msg']}, found {first['input']!r}{more}"
