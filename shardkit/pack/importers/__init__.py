"""Importers: known layouts of recordings and their metadata, as ``shardkit pack --from KIND`` reads them.

    metadata ──importer──> recordings, labels, intervals ──packer──> shards

Each kind is one function of the contract (``contract.py``); ``--from package.module:function`` names any other.
Nothing behind the importer knows where the recordings came from.
"""

import importlib
from typing import Final

from shardkit.core.errors import InputError
from shardkit.pack.importers.contract import File, Imported, Importer, Missing, Recording, Request

__all__ = ["KINDS", "File", "Imported", "Importer", "Missing", "Recording", "Request", "importer_of"]

# Imported when asked for: packing a folder needs none of them.
KINDS: Final = {
    "labels": "shardkit.pack.importers.labels:labels",
    "pairs": "shardkit.pack.importers.pairs:pairs",
    "framed": "shardkit.pack.importers.framed:framed",
    "spg": "shardkit.pack.importers.spg:spg",
    "audioset": "shardkit.pack.importers.audioset:audioset",
    "groups": "shardkit.pack.importers.groups:groups",
    "stems": "shardkit.pack.importers.stems:stems",
}


def importer_of(kind: str) -> Importer:
    """Return the importer of a kind, or the function that ``package.module:function`` names.

    Raises:
        InputError: There is no such kind, module or function.
    """
    module, colon, name = KINDS.get(kind, kind).partition(":")
    if not colon:
        raise InputError(
            f"--from {kind}: no such kind; choose {', '.join(KINDS)}, or name a function of your own as "
            "package.module:function"
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError, TypeError) as err:
        raise InputError(f"--from {kind}: can't import {module!r}: {err}; install it, or set PYTHONPATH") from err
    if not callable(found):
        raise InputError(f"--from {kind}: {module!r} has no function {name!r}")
    importer: Importer = found
    return importer
