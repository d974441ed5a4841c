"""Names of AudioSet's classes: from ``class_labels_indices.csv``, ``mid_to_display_name.tsv`` and ``ontology.json``.

Where they name a class differently (``Bicycle, tricycle`` and ``Bicycle``), the first of the three that has it counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardkit.core.errors import InputError
from shardkit.core.ontology import Ontology
from shardkit.pack.jsontext import parse_json
from shardkit.pack.manifests import read_records, read_text
from shardkit.pack.places import placed
from shardkit.storage.location import Location

CLASSES_FILE = "class_labels_indices.csv"
NAMES_FILE = "mid_to_display_name.tsv"
ONTOLOGY_FILE = "ontology.json"
NAME_FILES = {"classes": CLASSES_FILE, "names": NAMES_FILE, "ontology": ONTOLOGY_FILE}  # by the option for others
_HEADER = ["index", "mid", "display_name"]


@dataclass(slots=True)
class Names:
    """What to call each class.

    Attributes:
        style: ``names``, or ``mids`` for the machine ids as they are.
        names: Names by id.
        indexed: Ids of the published index, in its order.
        ontology: How classes are related, by these names; None: no file says.
    """

    style: Literal["names", "mids"]
    names: Mapping[str, str]
    indexed: tuple[str, ...]
    ontology: Ontology | None = None
    _used: dict[str, str] = field(default_factory=dict)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The classes of the published index, in its order; empty where there is none."""
        return tuple(self.of(mid, CLASSES_FILE) for mid in self.indexed)

    def of(self, mid: str, where: str) -> str:
        """Return the label of a class.

        Raises:
            InputError: It has no name, or shares it with another one.
        """
        if self.style == "mids":
            return mid
        name = self.names.get(mid)
        if name is None:
            raise InputError(
                f"{where}: {mid!r} has no name; give a file that has, such as --from-option names={NAMES_FILE}, or "
                "--from-option labels=mids"
            )
        if self._used.setdefault(name, mid) != mid:
            raise InputError(
                f"{where}: {mid!r} and {self._used[name]!r} are both called {name!r}; --from-option labels=mids keeps "
                "them apart"
            )
        return name


def read_names(
    style: Literal["names", "mids"], *, classes: Location | None, names: Location | None, ontology: Location | None
) -> Names:
    """Return the names that some of the three files give.

    Raises:
        InputError: A file is not what it should be, or there is none and ``style`` is ``names``.
    """
    indexed = _read_classes(classes) if classes else {}
    tree = _read_ontology(ontology) if ontology else None
    found = {} if tree is None else dict(tree.names)
    found |= _read_display_names(names) if names else {}
    if style == "names" and not (found or indexed):
        raise InputError(
            f"no {CLASSES_FILE}, {NAMES_FILE} or {ONTOLOGY_FILE} beside the tables: names of classes are unknown; give "
            "one with --from-option classes=FILE, names=FILE or ontology=FILE, or --from-option labels=mids"
        )
    found |= indexed
    if tree is not None:
        tree = Ontology({identity: found[identity] for identity in tree.names}, tree.children)
    return Names(style, found, tuple(indexed), tree)


def _read_classes(location: Location) -> dict[str, str]:
    records = read_records(location)
    _, header = next(records, (1, []))
    if [cell.strip() for cell in header] != _HEADER:
        raise InputError(f"{location}: the header is {', '.join(header)}; {', '.join(_HEADER)} is needed")
    found: dict[str, str] = {}
    for number, cells in records:
        if cells and (len(cells) != 3 or cells[0].strip() != str(len(found))):
            raise InputError(
                f"{location}:{number}: found {', '.join(cells)}; index {len(found)}, mid, name was expected"
            )
        if cells:
            _add(found, cells[1], cells[2], f"{location}:{number}")
    return found


def _read_display_names(location: Location) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, cells in read_records(location, "\t"):
        if cells and len(cells) != 2:
            raise InputError(
                f"{location}:{number}: {len(cells)} cells; a mid and its name, parted by a tab, are needed"
            )
        if cells:
            _add(found, cells[0], cells[1], f"{location}:{number}")
    return found


def _read_ontology(location: Location) -> Ontology:
    with placed(str(location)):
        return Ontology.from_json(parse_json(read_text(location)))


def _add(found: dict[str, str], mid: str, name: str, where: str) -> None:
    mid, name = mid.strip(), name.strip()
    if not mid or not name:
        raise InputError(f"{where}: a mid and a name are needed, one is empty")
    if mid in found:
        raise InputError(f"{where}: {mid!r} is there twice; take one line out")
    found[mid] = name


def named_files(folder: Location, there: Iterable[str]) -> dict[str, Location]:
    """Return which of the three lie in a folder, by the option that names them otherwise."""
    listed = set(there)
    return {option: folder / name for option, name in NAME_FILES.items() if name in listed}
