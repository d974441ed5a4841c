"""``--append``: what a packed dataset holds decides how new inputs are added, and nothing of it is written again.

    key is there already      left out and counted, if labels and metadata are the same; else an error
    split of a group          where it is; of a new group by hash, so no group is ever in two splits
    number of a shard         behind the last of its split
    label vocabulary          grows at its end: classes keep their numbers
    columns and fields        those of the dataset, in its types; what new inputs lack is null. A new one is refused,
                              since the indices of old shards would have to be written again to hold it

Of a recording that is there already the index knows no more than its labels and metadata, the path among them: one
that was replaced by another under the same name is not noticed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from shardkit.core.errors import InputError
from shardkit.core.sizes import count
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import MANIFEST_NAME, FieldKind, Manifest, OntologyClass, load_manifest
from shardkit.pack.commit import REPORT_NAME, natural_order
from shardkit.pack.imported import MISSING_NAME
from shardkit.pack.inputs import PackInput
from shardkit.pack.mark import Base, Mark
from shardkit.pack.options import PackOptions
from shardkit.storage.location import Location
from shardkit.storage.parsing import read_parsed
from shardkit.storage.store import exists, size
from shardkit.stream.catalog import Catalog, load_catalog

_ADVICE = "what is packed is never changed: pack it anew, or leave it as it was"


class Nothing:
    """What a new dataset begins with; ``Packed`` says what each of these is where there is one."""

    base: Base | None = None
    name: str | None = None

    def first_numbers(self) -> dict[str, int]:
        """Return no numbers: all begin with 0."""
        return {}

    def split_of_groups(self, column: str | None) -> dict[str, str] | None:  # noqa: ARG002
        """Return None: no split has any."""
        return None

    def new_inputs(self, found: Sequence[PackInput], columns: Mapping[str, pa.DataType]) -> Sequence[PackInput]:  # noqa: ARG002
        """Return all inputs."""
        return found

    def kinds(self, new: Mapping[str, FieldKind]) -> dict[str, FieldKind]:
        """Return the fields."""
        return dict(new)

    def columns(self, new: Mapping[str, pa.DataType], found: Sequence[PackInput]) -> dict[str, pa.DataType]:  # noqa: ARG002
        """Return the columns."""
        return dict(new)

    def labels(self, vocabulary: Sequence[str], labels: set[str]) -> tuple[str, ...]:
        """Return the vocabulary: an importer's in its order, the others behind it in natural order."""
        found = dict.fromkeys(vocabulary)
        return (*found, *natural_order(labels.difference(found)))

    def ontology(self, new: tuple[OntologyClass, ...] | None) -> tuple[OntologyClass, ...] | None:
        """Return how labels are related."""
        return new

    def options(self, new: Mapping[str, object]) -> Mapping[str, object]:
        """Return the options as the manifest keeps them."""
        return new

    def notes(self, num_known: int) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Packed(Nothing):
    """A dataset that is to be appended to.

    Attributes:
        manifest: Its manifest.
        base: What the mark of the append says of it.
        catalog: Its index.
    """

    manifest: Manifest
    base: Base
    catalog: Catalog

    @property
    def name(self) -> str:  # type: ignore[override]
        """The dataset's name."""
        return self.manifest.name

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each key."""
        return {key: row for row, key in enumerate(self.catalog.table.column("key").to_pylist())}

    def first_numbers(self) -> dict[str, int]:
        """Return the number of the first new shard of each split."""
        first: dict[str, int] = {}
        for shard in self.manifest.shards:
            number = int(shard.index.rpartition("/")[2].split(".")[0])  # also of 000003.repair-1.parquet
            first[shard.split] = max(first.get(shard.split, 0), number + 1)
        return first

    def split_of_groups(self, column: str | None) -> dict[str, str] | None:
        """Return the split that each group of recordings is in.

        Raises:
            InputError: The column of the groups is not in the index.
        """
        if column is None or not self.manifest.options.get("splits"):
            return {}
        if column not in self.manifest.columns:
            raise InputError(f"{self.catalog.location}: no column {column!r} in it, by which its splits are told")
        splits = [self.catalog.shards[shard].split for shard in self.catalog.shard_of_row.tolist()]
        return {
            str(group): split
            for group, split in zip(self.catalog.table.column(column).to_pylist(), splits, strict=True)
        }

    def new_inputs(self, found: Sequence[PackInput], columns: Mapping[str, pa.DataType]) -> list[PackInput]:
        """Return the inputs whose keys are not there yet.

        Raises:
            InputError: One that is there already had other labels, or another value in a column.
        """
        known = [item for item in found if item.key in self.row_of]
        rows = self.catalog.table.take(pa.array([self.row_of[item.key] for item in known], pa.int64()))
        labels = rows.column("labels").to_pylist()
        for item, there in zip(known, labels, strict=True):
            if list(item.labels) != there:
                raise InputError(f"{item.where}: {item.key!r} is packed with the labels {there}; {_ADVICE}")
        for name in columns:
            given = pa.array([item.metadata.get(name) for item in known], columns[name]).to_pylist()
            for item, mine, there in zip(known, given, rows.column(name).to_pylist(), strict=True):
                if mine != there and name in item.metadata and repr(mine) != repr(there):  # NaN is no other value
                    raise InputError(
                        f"{item.where}: {item.key!r} is packed with {name} {there!r}, not {mine!r}; {_ADVICE}"
                    )
        return [item for item in found if item.key not in self.row_of]

    def kinds(self, new: Mapping[str, FieldKind]) -> dict[str, FieldKind]:
        """Return the fields of old and new samples.

        Raises:
            InputError: A field is not there, or is of another kind.
        """
        old: dict[str, FieldKind] = {name: info.kind for name, info in self.manifest.fields.items()}
        for name, kind in new.items():
            self._check_known("field", name, old)
            if old[name] != kind:
                raise InputError(f"field {name!r} is {kind} here, {old[name]} in {self.catalog.location}; rename it")
        return old

    def columns(self, new: Mapping[str, pa.DataType], found: Sequence[PackInput]) -> dict[str, pa.DataType]:
        """Return the columns of old and new samples: those of the dataset, in their types.

        Raises:
            InputError: A column is not there, or holds what its type there can't.
        """
        schema = self.catalog.table.schema
        old = {name: schema.field(name).type for name in self.manifest.columns}
        for name, kind in new.items():
            self._check_known("column", name, old)
            try:
                pa.array([item.metadata.get(name) for item in found], old[name])
            except (pa.ArrowInvalid, pa.ArrowTypeError) as err:
                raise InputError(
                    f"column {name!r} holds {kind} here, {old[name]} in {self.catalog.location}; make it that: {err}"
                ) from err
        return old

    def labels(self, vocabulary: Sequence[str], labels: set[str]) -> tuple[str, ...]:
        """Return the vocabulary with new labels at its end: an importer's in its order, others in natural order."""
        return super().labels([*self.manifest.labels, *vocabulary], labels)

    def ontology(self, new: tuple[OntologyClass, ...] | None) -> tuple[OntologyClass, ...] | None:
        """Return how labels are related: what comes with the new inputs, if anything does."""
        return new or self.manifest.ontology

    def options(self, new: Mapping[str, object]) -> Mapping[str, object]:  # noqa: ARG002
        """Return the options by which the dataset was packed at first."""
        return self.manifest.options

    def notes(self, num_known: int) -> tuple[str, ...]:
        """Return what the user should know."""
        return (f"{count(num_known, 'input')} packed before, left as they are",) if num_known else ()

    def _check_known(self, what: str, name: str, old: Collection[str]) -> None:
        if name not in old:
            raise InputError(
                f"{what} {name!r} is not in {self.catalog.location}, and its old samples can't get it without being "
                f"packed anew; leave it out, or rename it to one of {', '.join(map(repr, old))}"
            )


def read_packed(output: Location, options: PackOptions, mark: Mark | None) -> Packed:
    """Return the dataset that is to be appended to.

    Args:
        output: Where it is.
        options: Of the new inputs; they must be those of the old ones.
        mark: That of an append which was interrupted there.

    Raises:
        InputError: There is no dataset, or one that was packed otherwise.
    """
    place = output / MANIFEST_NAME
    if not exists(place):
        unfinished = "finish the pack that is under way there first" if mark else "pack it without --append"
        raise InputError(f"{output}: no dataset to append to; {unfinished}")
    data, manifest = read_parsed(place, lambda data: (data, load_manifest(data, where=str(place))), vouched=False)
    _check_options(output, manifest, options)
    base = Base(
        manifest=file_hash(data), report_bytes=_size(output / REPORT_NAME), missing_bytes=_size(output / MISSING_NAME)
    )
    if mark is not None and mark.base is not None and mark.base.manifest == base.manifest:
        base = mark.base  # the reports may have been written since
    return Packed(manifest=manifest, base=base, catalog=load_catalog(output, split=None))


def _check_options(output: Location, manifest: Manifest, options: PackOptions) -> None:
    if manifest.features is not None or "codec" not in manifest.options:
        raise InputError(f"{output}: not written by 'shardkit pack'; only what it wrote can be appended to")
    given = options.recorded()
    for name in given:
        old = manifest.options.get(name)
        if given.get(name) != old:
            flag = "--shard-size" if name == "shard_bytes" else f"--{name.rstrip('s').replace('_', '-')}"
            raise InputError(f"{output}: packed with {name} {old}, not {given.get(name)}; give the same {flag}")
    if options.name is not None and options.name != manifest.name:
        raise InputError(f"{output}: its name is {manifest.name!r}, not {options.name!r}; leave --name out")


def _size(file: Location) -> int:
    return size(file) if exists(file) else 0
