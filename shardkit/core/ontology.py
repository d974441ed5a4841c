"""A tree of classes, as AudioSet publishes its own: which classes are kinds of which.

    Human voice ─┬─ Speech ─┬─ Conversation          descendants("Speech"): Speech, Conversation, Narration …
                 │          └─ Narration, monologue
                 └─ Singing

A class may have several parents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Ontology:
    """Classes by id, each with its name and the ids of its children.

    >>> Ontology({"/m/1": "Dog", "/m/2": "Bark"}, {"/m/1": ("/m/2",), "/m/2": ()}).descendants("Dog")
    ('/m/1', '/m/2')
    """

    names: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_json(cls, content: Any) -> "Ontology":
        """Return the ontology that AudioSet's ``ontology.json`` holds: a list of objects.

        Raises:
            InputError: It is something else, or names a child that it does not hold.
        """
        names: dict[str, str] = {}
        children: dict[str, tuple[str, ...]] = {}
        for number, item in enumerate(content if isinstance(content, list) else [content], 1):
            if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("id", "name")):
                raise InputError(f"class {number} has no 'id' and 'name'; AudioSet's ontology.json is needed")
            if item["id"] in names:
                raise InputError(f"class {item['id']!r} is there twice; take one out")
            names[item["id"]] = item["name"]
            below = item.get("child_ids") or []
            if not isinstance(below, list) or not all(isinstance(child, str) for child in below):
                raise InputError(f"class {item['id']!r} has 'child_ids' that are no list of ids; mend them")
            children[item["id"]] = tuple(below)
        for parent, listed in children.items():
            unknown = [child for child in listed if child not in names]
            if unknown:
                raise InputError(
                    f"class {parent!r} has the child {unknown[0]!r}, which is not there; mend its child_ids"
                )
        return cls(names, children)

    def id_of(self, label: str) -> str:
        """Return the id of a class by its id or its name.

        Raises:
            InputError: There is no such class, or several of that name.
        """
        if label in self.names:
            return label
        found = [identity for identity, name in self.names.items() if name == label]
        if len(found) != 1:
            raise InputError(f"{label!r} names {len(found) or 'no'} classes of the ontology; give the id of one")
        return found[0]

    def descendants(self, label: str) -> tuple[str, ...]:
        """Return the ids of a class and of all below it, each once, in the order of the tree."""
        found: dict[str, None] = {}
        waiting = [self.id_of(label)]
        while waiting:
            identity = waiting.pop()
            if identity not in found:
                found[identity] = None
                waiting += reversed(self.children[identity])
        return tuple(found)
