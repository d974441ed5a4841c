"""A stream written down: YAML or JSON, validated, with errors that name the key and what it may be.

The pydantic models are the one definition; ``schemas/stream.schema.json`` is generated from them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from shardkit.core.crops import CenterCrop, Crop, Fallback, RandomCrop
from shardkit.core.errors import InputError
from shardkit.core.events import EventCrop
from shardkit.core.mining import Mining
from shardkit.core.salient import SalientCrop
from shardkit.core.shuffle import Shuffle
from shardkit.format.yamltext import parse_yaml
from shardkit.storage.environment import expanded_path
from shardkit.storage.location import Location, locate
from shardkit.storage.reference import resolve
from shardkit.storage.store import read_bytes
from shardkit.stream.dataset import open_dataset
from shardkit.stream.fields import AudioType
from shardkit.stream.groups import checked_groups
from shardkit.stream.source_config import ConfigModel, ContentConfig, SourceConfig, content_of, narrowed
from shardkit.stream.targets import LabelNames
from shardkit.stream.view import View
from shardkit.stream.watchdog import STALL_S


class GroupConfig(ConfigModel):
    """Sources that share a weight, or the samples that a composition gives them."""

    sources: list[str] = Field(
        min_length=1, description="Names of sources, each in one group; they share by their own weights, or equally."
    )
    weight: float | None = Field(
        None, gt=0, description="Share of the draws; 1 if left out. With a composition, its count says it."
    )


class StageConfig(ConfigModel):
    """Weights, or a composition, that hold from a sample on."""

    from_sample: int = Field(gt=0)
    weights: dict[str, float] | None = Field(None, description="By source, or group; all of them.")
    composition: dict[str, int] | None = Field(
        None, description="By source, or group; all of them, of the same sum as before."
    )


_FALLBACK = "Where no crop will do: the best there is, another recording, or stop."


class RandomCropConfig(ConfigModel):
    """A crop anywhere."""

    kind: Literal["random"]
    duration_s: float = Field(gt=0)
    content: ContentConfig | None = Field(None, description="What of its intervals it must hold.")
    fallback: Fallback = Field("keep", description=_FALLBACK)


class CenterCropConfig(ConfigModel):
    """The middle of each recording."""

    kind: Literal["center"]
    duration_s: float = Field(gt=0)


class SalientCropConfig(ConfigModel):
    """A crop where there is something to hear."""

    kind: Literal["salient"]
    duration_s: float = Field(gt=0)
    floor_lufs: float = Field(-40.0, description="Least loudness of a crop, in LUFS.")
    search: Literal["uniform", "bias_early", "early", "loudest", "energy"] = "uniform"
    content: ContentConfig | None = Field(None, description="What of its intervals it must hold.")
    fallback: Fallback = Field("keep", description=_FALLBACK)


class EventCropConfig(ConfigModel):
    """A crop at one of a recording's intervals."""

    kind: Literal["event"]
    duration_s: float | None = Field(None, gt=0, description="None: with at: exact, the length of the event.")
    of: str | list[str] = Field(default_factory=list, description="Names of intervals; none: all.")
    at: Literal["inside", "center", "exact"] = "inside"
    fallback: Fallback = Field("keep", description=_FALLBACK)


class MiningConfig(ConfigModel):
    """Hard examples, delivered again by one of the sources."""

    source: str = Field(description="Which source delivers what was fed back.")
    size: int = Field(50_000, ge=1, description="Most samples that are kept.")
    above: float = Field(0.5, description="Only scores above this are kept.")


class ShuffleConfig(ConfigModel):
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


class StreamConfig(ConfigModel):
    """A stream: what ``shardkit.Stream`` takes."""

    sources: dict[str, SourceConfig] = Field(min_length=1)
    groups: dict[str, GroupConfig] = Field(
        default_factory=dict,
        description="Groups of sources: equal ones, unless they have weights, or counts in a composition.",
    )
    schedule: list[StageConfig] = Field(
        default_factory=list, description="Weights, or compositions, that take the place of the first later on."
    )
    temperature: float | None = Field(None, ge=0, description="Power of the weights, or of the sizes without weights.")
    composition: dict[str, int] | None = Field(
        None,
        description="In place of weights, samples of each source or group in a batch; the global batch is a multiple.",
    )
    labels: LabelNames = Field(
        "merged", description="Whether labels of one name in several sources are one class, or each source has its own."
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

    def group_members(self) -> dict[str, dict[str, float]] | None:
        """Return the sources of each group with their weights in it, or None where there are no groups.

        Raises:
            InputError: Some sources of a group have a weight and others have none; or one is unknown, or there twice.
        """
        found = {}
        for name, group in self.groups.items():
            members = [source for source in group.sources if source in self.sources]
            given = [source for source in members if self.sources[source].weight is not None]
            if len(members) < len(group.sources) or len(set(members)) < len(members):
                checked_groups(list(self.sources), {name: group.sources})  # which says what is wrong
            if given and len(given) < len(members):
                raise InputError(f"groups.{name}: give each of its sources a weight, or none of them")
            found[name] = {source: 1.0 if not given else self.sources[source].weight or 0.0 for source in members}
        return found or None

    def weights(self) -> dict[str, float] | list[tuple[int, dict[str, float]]] | None:
        """Return the weights by source or group, or the schedule of them, or None where nothing has one.

        Raises:
            InputError: Some sources have a weight and others have none.
        """
        in_group = {source for group in self.groups.values() for source in group.sources}
        alone = [name for name in self.sources if name not in in_group]
        if self.composition is not None:
            self._refuse_weights(alone)
            return None
        given = {name: group.weight or 1.0 for name, group in self.groups.items()}
        given |= {name: weight for name in alone if (weight := self.sources[name].weight) is not None}
        missing = [name for name in alone if name not in given]
        if missing and (given or self.schedule):
            or_group = ", or put it into a group" if self.groups else ", or none"
            raise InputError(f"sources.{missing[0]}.weight is missing; give every source a weight{or_group}")
        return [(0, given), *self._later("weights")] if self.schedule else given or None

    def _refuse_weights(self, alone: Sequence[str]) -> None:
        """Raise if something has a weight for which a composition has a count."""
        weighted = [f"sources.{name}" for name in alone if self.sources[name].weight is not None]
        weighted += [f"groups.{name}" for name, group in self.groups.items() if group.weight is not None]
        if weighted:
            raise InputError(f"{weighted[0]}.weight beside a composition, whose count says it; leave one of them out")

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
            "groups": self.group_members(),
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
    opened: dict[str, View] = {}  # sources of one dataset share its index
    for name, source in config.sources.items():
        try:
            # What others may have written must not send this machine's variables to a host of its choice.
            url = expanded_path(source.url) if location.is_local else source.url
            place = resolve(location.parent, url)
        except InputError as err:
            raise InputError(f"{location}: sources.{name}.url: {err}") from err
        options = place.options | source.storage_options
        same = repr((place.url, sorted(options.items()), source.split))
        if same not in opened:
            opened[same] = open_dataset(locate(place.url, options), source.split)
        try:
            views[name] = narrowed(opened[same], source, location)
        except InputError as err:
            raise InputError(f"{location}: sources.{name}: {err}") from err
    return views


def load_config(location: Location) -> StreamConfig:
    """Return the stream that a YAML file describes.

    Raises:
        InputError: Not YAML, an unknown key, a value that can't be; the message names the key.
        NotFoundError: No such file.
    """
    try:
        found = parse_yaml(read_bytes(location))
    except InputError as err:
        raise InputError(f"{location}: {err}") from err
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
        options["content"] = content_of(wanted)
    return _CROPS[config.kind](**options)


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
