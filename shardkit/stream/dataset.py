"""Datasets: what ``shardkit.open`` returns."""

import os
from collections.abc import Mapping

import numpy as np

from shardkit.core.errors import InputError
from shardkit.storage.location import Location, locate
from shardkit.stream.catalog import Catalog, load_catalog
from shardkit.stream.selection import Selection
from shardkit.stream.view import View


class Dataset(View):
    """All rows of a dataset, or of one split of it. Made by ``shardkit.open``."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(Selection(catalog, np.arange(len(catalog.table), dtype=np.int64)))


def open_dataset(
    url: str | os.PathLike[str] | Location,
    split: str | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
) -> Dataset:
    """Open a dataset that ``shardkit pack`` or ``shardkit index`` wrote.

    Args:
        url: Its folder: a path or an fsspec URL such as ``s3://bucket/speech``.
        split: One split, ``all``, or None: all of it. A stream asks for a choice where there are several.
        storage_options: For the file system behind the URL; credentials are found in the environment without it.

    Raises:
        InputError: No dataset there, or no such split.
        StorageError: It can't be reached.
        CorruptDataError, FormatError: The manifest or an index is damaged.
    """
    if split is not None and not isinstance(split, str):
        raise InputError(f"split is {split!r}; give the name of one, 'all', or None")
    location = url if isinstance(url, Location) else locate(url, storage_options)
    return Dataset(load_catalog(location, split=split))
