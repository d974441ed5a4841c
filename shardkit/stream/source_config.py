"""A source of a stream written down: which rows of which dataset, in which parts, how often.

The keys of a source are what a view's methods are called, and act in the order in which they stand in ``SourceConfig``.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shardkit.core.content import Content, content
from shardkit.core.ontology import Ontology
from shardkit.storage.environment import expanded_path
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.stream.balance import Several
from shardkit.stream.classes import read_ontology
from shardkit.stream.events import Overlapping
from shardkit.stream.view import View


class ConfigModel(BaseModel):
    """Part of a configuration: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ContentConfig(ConfigModel):
    """What of the named intervals a crop or a window must hold."""

    of: str | list[str] = Field(default_factory=list, description="Names of intervals; none: all.")
    ratio: float = Field(0.5, gt=0, le=1, description="Least share of the part.")
    part: Literal["crop", "event"] = Field(
        "crop", description="crop: of the crop that they cover; event: of one of them that the crop holds."
    )


class WindowsConfig(ConfigModel):
    """Windows of the recordings as rows."""

    size_s: float = Field(gt=0)
    hop_s: float | None = Field(None, gt=0, description="None: size_s.")
    partial: bool = Field(False, description="A last, shorter window for what the full ones leave over.")
    content: ContentConfig | None = Field(None, description="Only windows that hold this of their intervals.")


class DrawsConfig(ConfigModel):
    """Several rows from a long recording: round(crops it holds ** power)."""

    size_s: float = Field(gt=0)
    power: float = Field(0.5, ge=0, le=1)


class BalanceConfig(ConfigModel):
    """Rows repeated in proportion to the frequency of their value ** -power."""

    column: str
    power: float = Field(0.5, ge=0)
    rare: int | None = Field(None, ge=1, description="Values of fewer rows count as one together.")
    several: Several = Field("rarest", description="Which of a row's values count.")


class EachConfig(ConfigModel):
    """One row for each value of a column: the values take turns, and so do the rows of each."""

    column: str
    rare: int | None = Field(None, ge=1, description="Values of fewer rows take one turn together.")


class HavingConfig(ConfigModel):
    """Only recordings with one of some classes, as a label or an event."""

    names: str | list[str] = Field(description="Classes, or one.")
    descendants: bool = Field(False, description="What is below them in the ontology counts too.")


class LackingConfig(ConfigModel):
    """Only recordings without some classes, but with some label or event."""

    names: str | list[str] = Field(description="Classes, or one.")
    relatives: bool | None = Field(
        None, description="Nor what is below or above them in the ontology. None: where there is an ontology."
    )


class EventsConfig(ConfigModel):
    """Events as rows."""

    names: str | list[str] = Field(default_factory=list, description="Events or classes; none: all events.")
    descendants: bool = Field(False, description="Events of what is below them in the ontology too.")
    overlapping: Overlapping = Field("any", description="only or never: whether another event sounds at the time.")
    segments_s: float | None = Field(None, gt=0, description="Cut into pieces of so many seconds; None: whole.")
    where: str | None = Field(None, description="Condition over their columns, such as event_duration_s >= 0.5.")


class ThinConfig(ConfigModel):
    """Rows of some labels thinned out."""

    labels: str | list[str] = Field(description="Rows with any of these.")
    keep: float = Field(ge=0, le=1, description="Share of them that is kept.")
    seed: int = Field(0, ge=0, lt=2**63)


class SourceConfig(ConfigModel):
    """One source: a dataset, or part of it, and its weight."""

    url: str = Field(
        description="Folder or URL of the dataset; a relative path is relative to this file, ~ and $NAME are expanded."
    )
    split: str | None = Field(None, description="One of its splits; needed where it has several, or 'all'.")
    where: str | None = Field(None, description="Condition over the index's columns, such as duration_s >= 2.")
    take: int | None = Field(None, ge=0, description="Only the first so many rows.")
    ontology: str | None = Field(None, description="An ontology.json in place of the dataset's own; a path as for url.")
    having: HavingConfig | None = Field(None, description="Recordings with some classes.")
    lacking: LackingConfig | None = Field(None, description="Recordings without some classes.")
    events: EventsConfig | None = Field(None, description="Events as rows.")
    thin: ThinConfig | None = Field(None, description="Rows of some labels thinned out.")
    windows: WindowsConfig | None = Field(None, description="Windows as rows.")
    draws: DrawsConfig | None = Field(None, description="Several rows from long recordings.")
    balance: BalanceConfig | None = Field(None, description="Rows of rare values repeated.")
    repeat: float | None = Field(None, gt=0, description="Times that each row comes in a pass.")
    each: EachConfig | None = Field(None, description="One row for each value of a column.")
    weight: float | None = Field(None, ge=0, description="Share of the draws; all sources have one, or none has.")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="For the storage behind the URL.")


def narrowed(view: View, source: SourceConfig, location: Location) -> View:
    """Return the rows of a dataset that a source has.

    Args:
        view: The dataset.
        source: What is wanted of it.
        location: Of the configuration, from which paths count.

    Raises:
        InputError: The source can't be as described.
    """
    if source.where is not None:
        view = view.where(source.where)
    if source.take is not None:
        view = view.take(source.take)
    view = _labelled(view, source, _ontology(source, location))
    if source.windows is not None:
        windows = source.windows
        wanted = None if windows.content is None else content_of(windows.content)
        view = view.windows(windows.size_s, windows.hop_s, partial=windows.partial, content=wanted)
    if source.draws is not None:
        view = view.draws(source.draws.size_s, source.draws.power)
    if source.balance is not None:
        balance = source.balance
        view = view.balance(balance.column, balance.power, rare=balance.rare, several=balance.several)
    if source.repeat is not None:
        view = view.repeat(source.repeat)
    return view if source.each is None else view.each(source.each.column, rare=source.each.rare)


def content_of(config: ContentConfig) -> Content:
    """Return what a crop or a window must hold."""
    return content(config.of, config.ratio, part=config.part)


def _labelled(view: View, source: SourceConfig, ontology: Ontology | None) -> View:
    if source.having is not None:
        having = source.having
        view = view.having(having.names, descendants=having.descendants, ontology=ontology)
    if source.lacking is not None:
        view = view.lacking(source.lacking.names, relatives=source.lacking.relatives, ontology=ontology)
    if source.events is not None:
        events = source.events
        view = view.events(**events.model_dump(exclude={"where"}), ontology=ontology)
        view = view if events.where is None else view.where(events.where)
    return view if source.thin is None else view.thin(**source.thin.model_dump())


def _ontology(source: SourceConfig, location: Location) -> Ontology | None:
    if source.ontology is None:
        return None
    return read_ontology(resolve(location.parent, expanded_path(source.ontology)))
