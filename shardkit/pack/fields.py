"""Fields of a sample: what kind each member is, told by its extension."""

import re
from collections.abc import Iterable, Mapping

from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import FieldKind
from shardkit.pack.inputs import AUDIO_EXTENSIONS, PackInput
from shardkit.pack.members import extension_of, file_of

JSON_FIELD = "json"  # every packed sample has KEY.json: labels, intervals and metadata for other readers
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")  # it is part of the names of files
_KIND_OF_EXTENSION: dict[str, FieldKind] = {
    **dict.fromkeys((extension.lstrip(".") for extension in AUDIO_EXTENSIONS), "audio"),
    "npy": "array",
    "txt": "text",
    "json": "json",
}


def kind_of_extension(extension: str) -> FieldKind:
    """Return the kind of a member by the last part of its extension; ``binary`` for what is unknown.

    >>> kind_of_extension("vocals.flac"), kind_of_extension("cls")
    ('audio', 'binary')
    """
    return _KIND_OF_EXTENSION.get(extension.rpartition(".")[2].lower(), "binary")


def field_of_extension(extension: str) -> str:
    """Return the field that a member's extension stands for.

    >>> field_of_extension("flac"), field_of_extension("vocals.flac"), field_of_extension("txt")
    ('audio', 'vocals', 'txt')
    """
    name, dot, _ = extension.rpartition(".")
    if dot:
        return name
    return PRIMARY if kind_of_extension(extension) == "audio" else extension


def field_kinds(inputs: Iterable[PackInput]) -> dict[str, FieldKind]:
    """Return the fields of a dataset packed from these inputs.

    Raises:
        InputError: A field has a name that can't be one, or files of two kinds.
    """
    kinds: dict[str, FieldKind] = {PRIMARY: "audio"}
    for item in inputs:
        for name, member in item.members.items():
            kind = kind_of_extension(extension_of(member))
            if kinds.setdefault(name, kind) != kind:
                raise InputError(
                    f"{item.where}: field {name!r} is {kinds[name]} elsewhere, here {file_of(member)} is {kind}"
                )
    return {**dict(sorted(kinds.items(), key=lambda entry: (entry[0] != PRIMARY, entry[0]))), JSON_FIELD: "json"}


def check_field_names(members: Mapping[str, str]) -> None:
    """Raise unless each name can be a field of its own."""
    for name in members:
        if name in (PRIMARY, JSON_FIELD) or not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} can't name a field: use at most 100 letters, digits, '-' and '_', and not {PRIMARY!r} or "
                f"{JSON_FIELD!r}"
            )
