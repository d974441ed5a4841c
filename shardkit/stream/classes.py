"""Classes by name: the labels and events of a dataset, and how its ontology says that they are related.

A class may be named by a label of the dataset, or by the id or the name that the ontology has for it: a dataset may
label by id. A label that the ontology does not know is a class by itself, as some of AudioSet's strong labels are.
"""

import difflib
import os
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from shardkit.core.content import checked_interval_names
from shardkit.core.errors import InputError
from shardkit.core.ontology import Ontology
from shardkit.storage.location import Location, locate
from shardkit.storage.store import read_bytes
from shardkit.stream.catalog import Catalog

OntologyLike: TypeAlias = Ontology | str | os.PathLike[str] | Location


def read_ontology(ontology: OntologyLike) -> Ontology:
    """Return an ontology that may be given by the place of its ``ontology.json``.

    Raises:
        InputError: It is none; the message names the file.
        NotFoundError: There is no such file.
    """
    if isinstance(ontology, Ontology):
        return ontology
    location = ontology if isinstance(ontology, Location) else locate(ontology)
    try:
        return Ontology.loads(read_bytes(location))
    except InputError as err:
        raise InputError(f"{location}: {err}") from err


class Classes:
    """The classes of a dataset.

    Args:
        catalog: The dataset.
        ontology: In place of its own; None: its own, if it has one.
    """

    def __init__(self, catalog: Catalog, ontology: OntologyLike | None = None) -> None:
        manifest = catalog.manifest
        self.names = tuple(dict.fromkeys([*manifest.labels, *manifest.interval_names]))
        self.ontology = catalog.ontology if ontology is None else read_ontology(ontology)
        self._known = frozenset(self.names)
        self._location = catalog.location

    def labels(self, names: str | Sequence[str], what: str, *, descendants: bool = False) -> frozenset[str]:
        """Return the labels of the dataset that some names stand for.

        Args:
            names: Of classes, or of one.
            what: Who asks, for the errors.
            descendants: Whether what lies below them in the ontology is among them.

        Raises:
            InputError: A name stands for no label, or there is no ontology to go down in.
        """
        ontology = self._needed(what) if descendants else self.ontology
        found: set[str] = set()
        for name in checked_interval_names(names, what):
            self._check(name, what)
            of_name = {name} & self._known
            if ontology is not None and name in ontology and (descendants or not of_name):
                of_name |= self._of_ids(ontology.descendants(name) if descendants else [ontology.id_of(name)])
            if not of_name:
                below = " nor what is below it in the ontology" if descendants else ""
                raise InputError(f"{self._location}: {what}: nothing is labelled {name!r}{below}; choose another class")
            found |= of_name
        return frozenset(found)

    def related(self, names: str | Sequence[str], what: str) -> frozenset[str]:
        """Return the labels that some names stand for, and those of what is below and above them in the ontology.

        Raises:
            InputError: A name is of no class, or there is no ontology.
        """
        ontology = self._needed(what)
        found: set[str] = set()
        for name in checked_interval_names(names, what):
            self._check(name, what)
            found |= {name} & self._known
            if name in ontology:
                found |= self._of_ids([*ontology.descendants(name), *ontology.ancestors(name)])
        return frozenset(found)

    def _of_ids(self, identities: Iterable[str]) -> set[str]:
        """Return the labels of some classes: a dataset labels by id or by name."""
        assert self.ontology is not None  # noqa: S101  for the type checker: ids come from it
        return {label for each in identities for label in (each, self.ontology.names[each]) if label in self._known}

    def _needed(self, what: str) -> Ontology:
        if self.ontology is None:
            raise InputError(
                f"{self._location}: {what}: the dataset has no ontology that says which classes are related; give "
                "ontology='ontology.json', or do without: descendants=False, relatives=False"
            )
        return self.ontology

    def _check(self, name: str, what: str) -> None:
        if name in self._known or (self.ontology is not None and name in self.ontology):
            return
        more = () if self.ontology is None else self.ontology.names.values()
        known = [*self.names, *more]
        near = difflib.get_close_matches(name, known, n=1)
        some = ", ".join(self.names[:10]) + (", …" if len(self.names) > 10 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"there is {some or 'none'}"
        raise InputError(f"{self._location}: {what}: no label, event or class is called {name!r}; {hint}")
