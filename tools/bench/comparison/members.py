"""The stored bytes of a dataset of shardkit's, for checks."""

from collections.abc import Iterator
from pathlib import Path

from shardkit.format.index import PRIMARY
from shardkit.stream.dataset import open_dataset
from shardkit.stream.fetch import read_member


def members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give key and bytes of each primary audio member."""
    view = open_dataset(folder)
    for row, key in enumerate(view.keys()):
        yield key, bytes(read_member(view.catalog, PRIMARY, row))
