"""A tree of classes, as AudioSet publishes its own: which classes are kinds of which.

    Human voice ─┬─ Speech ─┬─ Conversation          descendants("Speech"): Speech, Conversation, Narration …
                 │          └─ Narration, monologue  ancestors("Speech"):   Speech, Human voice, Human sounds
                 └─ Singing

A class may have several parents.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shardkit.core.errors import InputError


@dataclass(frozen=True)
class Ontology:
    """Classes by id, each with its name and the ids of its children.

    >>> pets = Ontology({"/m/1": "Dog", "/m/2": "Bark"}, {"/m/1": ("/m/2",), "/m/2": ()})
    >>> pets.descendants("Dog"), pets.ancestors("Bark")
    (('/m/1', '/m/2'), ('/m/2', '/m/1'))
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
            below = item.get("child_ids") or ()
            if not isinstance(below, list | tuple) or not all(isinstance(child, str) for child in below):
                raise InputError(f"class {item['id']!r} has child_ids {below!r}; a list of ids is needed")
            names[item["id"]] = item["name"]
            children[item["id"]] = tuple(below)
        for parent, listed in children.items():
            unknown = [child for child in listed if child not in names]
            if unknown:
                raise InputError(
                    f"class {parent!r} has the child {unknown[0]!r}, which is not there; mend its child_ids"
                )
        return cls(names, children)

    @classmethod
    def loads(cls, data: bytes) -> "Ontology":
        """Return the ontology in the bytes of an ``ontology.json``.

        Raises:
            InputError: They are no JSON in UTF-8, or no ontology.
        """
        try:
            content = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as err:
            raise InputError(f"not JSON in UTF-8: {err}; AudioSet's ontology.json is needed") from err
        return cls.from_json(content)

    def dump(self) -> list[dict[str, Any]]:
        """Return what ``from_json`` reads, plain JSON values."""
        return [
            {"id": identity, "name": name, "child_ids": list(self.children[identity])}
            for identity, name in self.names.items()
        ]

    def __contains__(self, label: object) -> bool:
        return label in self.names or label in self._ids

    def id_of(self, label: str) -> str:
        """Return the id of a class by its id or its name.

        Raises:
            InputError: There is no such class, or several of that name.
        """
        if label in self.names:
            return label
        found = self._ids.get(label, ())
        if len(found) != 1:
            raise InputError(f"{label!r} names {len(found) or 'no'} classes of the ontology; give the id of one")
        return found[0]

    def descendants(self, label: str) -> tuple[str, ...]:
        """Return the ids of a class and of all below it, each once, in the order of the tree."""
        return self._walk(label, self.children)

    def ancestors(self, label: str) -> tuple[str, ...]:
        """Return the ids of a class and of all above it, each once, in the order of a walk upwards."""
        return self._walk(label, self._parents)

    def _walk(self, label: str, following: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        waiting = [self.id_of(label)]
        while waiting:
            identity = waiting.pop()
            if identity not in found:
                found[identity] = None
                waiting += reversed(following.get(identity, ()))
        return tuple(found)

    @cached_property
    def _ids(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for identity, name in self.names.items():
            found[name] = (*found.get(name, ()), identity)
        return found

    @cached_property
    def _parents(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for parent, below in self.children.items():
            for child in dict.fromkeys(below):
                found[child] = (*found.get(child, ()), parent)
        return found
