"""What an importer is: a function from metadata of some layout to recordings, and what it says of each.

    def birds(request: Request, *, min_score: float = 0.0) -> Imported:
        ...

    shardkit pack --from my_package.birds:birds --from-option min_score=0.5 birds.db shards/birds

It reads ``request.source``, whatever that is, and returns plain values; whether files are there, how large they are,
keys, splits, encoding and everything after is the packer's. Its keyword-only parameters are its options.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from shardkit.core.ontology import Ontology
from shardkit.pack.bounds import Interval
from shardkit.pack.files import Files
from shardkit.pack.members import Recipe
from shardkit.storage.location import Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an importer is asked for.

    Attributes:
        source: INPUT: the metadata, a file or a folder.
        files: The files that it may name, below ``--root`` or, without one, the folder of the metadata.
        hops_s: Seconds from row to row of array members, by field, as ``--hop`` gives them.
    """

    source: Location
    files: Files
    hops_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class File:
    """A file by the names it may have, and what is made of it.

    Attributes:
        names: Paths from the root, absolute paths or URLs; the first that is there is taken.
        recipe: Makes the member of the file; None: the file is the member.
        size: Its bytes, where a listing told them: then nobody looks again whether it is there.
    """

    names: tuple[str, ...]
    recipe: Recipe | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording that the metadata names.

    Attributes:
        file: Where it may lie.
        where: The place in the metadata, for messages: ``list.csv:12``.
        key: Of the sample; None: its path from the root without the extension.
        labels: Labels of the whole recording.
        intervals: (name, start_s, stop_s) from the recording's start; a ``Fraction`` is exact.
        metadata: Values of further columns.
        members: Further members by field: stems, targets, arrays.
        cut_intervals: Cut intervals where the recording ends, and leave out those behind it, rather than fail.
        duration_s: Shortest and longest that the recording can be, where the metadata tells.
    """

    file: File
    where: str
    key: str | None = None
    labels: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, File] = field(default_factory=dict)
    cut_intervals: bool = False
    duration_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A file that the metadata names and that is not there: one line of ``missing.jsonl``."""

    file: str
    where: str
    tried: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"tried": list(self.tried)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an importer found.

    Attributes:
        recordings: What the metadata names; the packer looks which of them are there.
        missing: Recordings that the importer itself looked for in vain.
        unpacked: (path, where, reason) of files that are left out.
        labels: Vocabulary in its own order; labels of recordings that are not in it follow, sorted.
        incomplete: Whether files may be missing as a rule: they are listed, and it is no error.
        notes: What the user should know, a line each.
        ontology: How classes are related; names in it are the labels, unless these are its ids.
    """

    recordings: Sequence[Recording]
    missing: Sequence[Missing] = ()
    unpacked: Sequence[tuple[str, str, str]] = ()
    labels: tuple[str, ...] = ()
    incomplete: bool = False
    notes: tuple[str, ...] = ()
    ontology: Ontology | None = None


Importer: TypeAlias = Callable[..., Imported]
