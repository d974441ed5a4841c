"""``shardkit export``: samples back to plain files, byte for byte, with a manifest that packs them again.

    FOLDER/KEY.EXTENSION      each member of each sample
    FOLDER/manifest.jsonl     one line a sample; written last, so a folder without it is not whole. It is
                              manifest.parquet where a column has a type that JSON lacks: dates, bytes, float32 …
    FOLDER/ontology.json      how labels are related, where the dataset says so

Keys come from a dataset that somebody else may have made, and are used as paths here: one that leads out of the
folder is refused before anything is written.
"""

import errno
import json
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shardkit.core.errors import InputError, StorageError
from shardkit.core.sizes import count, format_size
from shardkit.report.clip import write_audio
from shardkit.report.layout import MANIFEST_NAME, ONTOLOGY_NAME, Layout, check_names, members_of
from shardkit.stream.fetch import read_member
from shardkit.stream.view import View

__all__ = ["MANIFEST_NAME", "ExportSummary", "export", "write_audio"]

_READERS = 8  # members in flight: what remote storage needs, and local storage can take
_AT_ONCE = 256  # so that a million samples don't become a million queued reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What ``export`` wrote.

    Attributes:
        folder: Where.
        manifest: The file that packs it again.
        samples: How many samples.
        files: How many members they had; each is a file.
        bytes: Size of these files.
        pack_options: The arguments that ``shardkit pack`` needs to pack ``manifest`` again.
    """

    folder: Path
    manifest: Path
    samples: int
    files: int
    bytes: int
    pack_options: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.folder}: {count(self.samples, 'sample')}, {count(self.files, 'file')}, {format_size(self.bytes)}; "
            f"to pack it again: {shlex.join(['shardkit', 'pack', str(self.manifest), 'OUTPUT', *self.pack_options])}"
        )


def export(
    view: View, folder: Path, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> ExportSummary:
    """Write the members of a view's samples as files, and a manifest for ``shardkit pack --codec keep``.

    ``KEY.json`` is written like any other member, but left out of the manifest: packing makes it anew from the
    columns. A metadata column with the name of one of the manifest's own is written as ``source_NAME``.

    Args:
        view: What to write; a sample that it lists twice is written once.
        folder: New or empty.
        progress: Called with (bytes written, bytes in all) after each member.

    Raises:
        InputError: The view is empty, or the folder is not.
        FormatError: A key or an extension would lead out of the folder, or two members to one file.
        CorruptDataError: A member's bytes are not those that were packed; the message says where.
        StorageError: The dataset can't be read or the folder can't be written.
    """
    catalog = view.catalog
    if not catalog.manifest.has_audio:
        raise InputError(
            f"{catalog.location}: holds features, of which no manifest packs a dataset again; its shards are plain "
            "tars of .npy and .json, which tar and numpy read"
        )
    rows = list(dict.fromkeys(view.rows.tolist()))
    if not rows:
        raise InputError(f"{catalog.location}: no samples to export: the condition holds for none; nothing was written")
    members = [member for row in rows for member in members_of(catalog, row)]
    check_names(catalog, members)
    _make_folder(folder)
    total, done = sum(member.size for member in members), 0
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(members), _AT_ONCE):
            for written in pool.map(
                lambda member: _write(folder / member.name, read_member(catalog, member.field, member.row)),
                members[start : start + _AT_ONCE],
            ):
                done += written
                progress(done, total)
    layout = Layout(catalog, rows, members)
    ontology = catalog.ontology
    further: tuple[str, ...] = ()
    if ontology is not None:
        _write(folder / ONTOLOGY_NAME, (json.dumps(ontology.dump(), indent=1, ensure_ascii=False) + "\n").encode())
        further = ("--ontology", str(folder / ONTOLOGY_NAME))
    _write(folder / layout.name, layout.manifest())
    return ExportSummary(
        folder=folder,
        manifest=folder / layout.name,
        samples=len(rows),
        files=len(members),
        bytes=done,
        pack_options=(*layout.pack_options(), *further),
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next(folder.iterdir(), None)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: it or a folder above it is a file; name a new or an empty folder") from None
    except OSError as err:
        raise StorageError(f"{folder}: can't be made: {err.strerror}; choose a folder you may write to") from err
    if found is not None:
        raise InputError(f"{folder}: not empty, it holds {found.name!r}; name a new or an empty folder")


def _write(path: Path, data: bytes) -> int:
    """Write a new file and return its size; what exists is never overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            return file.write(data)
    except OSError as err:
        advice = "name a folder with a shorter path" if err.errno == errno.ENAMETOOLONG else "empty it and try again"
        raise StorageError(f"{path}: can't be written: {err.strerror}; {advice}") from err
