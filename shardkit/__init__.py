"""Audio recordings to WebDataset shards, and a deterministic, mixed, cropped stream back out of them.

Names are imported when first used, so that ``import shardkit`` costs next to nothing and never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardkit.core.content import content
    from shardkit.core.crops import CenterCrop, RandomCrop
    from shardkit.core.errors import (
        AccessError,
        AudioError,
        CorruptDataError,
        FormatError,
        InputError,
        NotFoundError,
        ShardkitError,
        StateError,
        StorageError,
    )
    from shardkit.core.events import EventCrop
    from shardkit.core.mining import Mining
    from shardkit.core.ontology import Ontology
    from shardkit.core.salient import SalientCrop
    from shardkit.core.shuffle import Shuffle
    from shardkit.stream.batch import Batch
    from shardkit.stream.dataset import Dataset
    from shardkit.stream.dataset import open_dataset as open
    from shardkit.stream.detection import targets
    from shardkit.stream.sample import Audio, Interval, Sample
    from shardkit.stream.stream import Stream
    from shardkit.stream.view import View

__version__ = "0.1.0"

_HOMES = {
    "shardkit.core.content": ("content",),
    "shardkit.core.crops": ("CenterCrop", "RandomCrop"),
    "shardkit.core.errors": (
        "AccessError",
        "AudioError",
        "CorruptDataError",
        "FormatError",
        "InputError",
        "NotFoundError",
        "ShardkitError",
        "StateError",
        "StorageError",
    ),
    "shardkit.core.events": ("EventCrop",),
    "shardkit.core.mining": ("Mining",),
    "shardkit.core.ontology": ("Ontology",),
    "shardkit.core.salient": ("SalientCrop",),
    "shardkit.core.shuffle": ("Shuffle",),
    "shardkit.stream.batch": ("Batch",),
    "shardkit.stream.dataset": ("Dataset",),
    "shardkit.stream.detection": ("targets",),
    "shardkit.stream.sample": ("Audio", "Interval", "Sample"),
    "shardkit.stream.stream": ("Stream",),
    "shardkit.stream.view": ("View",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names} | {"open": "shardkit.stream.dataset"}

__all__ = [
    "AccessError",
    "Audio",
    "AudioError",
    "Batch",
    "CenterCrop",
    "CorruptDataError",
    "Dataset",
    "EventCrop",
    "FormatError",
    "InputError",
    "Interval",
    "Mining",
    "NotFoundError",
    "Ontology",
    "RandomCrop",
    "SalientCrop",
    "Sample",
    "ShardkitError",
    "Shuffle",
    "StateError",
    "StorageError",
    "Stream",
    "View",
    "content",
    "open",
    "targets",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'shardkit' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), "open_dataset" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
