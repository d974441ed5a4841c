"""``shardkit.json``: what a dataset consists of. Small: it lists shards, never samples.

The pydantic models are the one definition; ``schemas/manifest.schema.json`` is generated from them and
``schemas/FORMAT.md`` says in words what they mean.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shardkit.core.errors import FormatError
from shardkit.format.hashing import PREFIX

MANIFEST_NAME = "shardkit.json"
FORMAT_VERSION: Literal[1] = 1

Hash = Annotated[str, Field(pattern=rf"^{PREFIX}[0-9a-f]{{32}}$")]
FieldKind = Literal["audio", "array", "text", "json", "binary"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardInfo(_Model):
    """One tar and its index."""

    split: str = Field(description="The split that the shard belongs to.")
    path: str = Field(description="The tar: relative to the dataset's folder, or an absolute URL or path.")
    bytes: int = Field(ge=0, description="Size of the tar.")
    hash: Hash = Field(description="xxh3 (128 bit) of the tar's bytes.")
    index: str = Field(
        pattern=r"^[^./][^/]*/[^/]+\.parquet$",
        description="The Parquet index of the tar, SPLIT/NAME.parquet in the dataset's folder.",
    )
    index_hash: Hash = Field(description="xxh3 (128 bit) of the index's bytes.")
    samples: int = Field(ge=0, description="Rows of the index.")
    duration_s: float = Field(ge=0, description="Seconds of primary audio.")


class FieldInfo(_Model):
    """One named part of a sample: its primary audio, a stem, an array, a text."""

    kind: FieldKind
    extensions: tuple[str, ...] = Field(description="Member name extensions seen, sorted: 'flac', 'vocals.flac'.")


class Totals(_Model):
    """What a dataset or a split adds up to."""

    shards: int = Field(ge=0)
    samples: int = Field(ge=0)
    duration_s: float = Field(ge=0)
    bytes: int = Field(ge=0)


class Manifest(_Model):
    """The commit point of a dataset: written last, so a folder without one holds no dataset."""

    format: Literal["shardkit"] = "shardkit"
    version: Literal[1] = FORMAT_VERSION
    name: str
    splits: dict[str, Totals]
    shards: tuple[ShardInfo, ...]
    labels: tuple[str, ...] = Field(description="Label vocabulary, in the order of the classes.")
    interval_names: tuple[str, ...] = Field(description="Names of intervals that occur, sorted.")
    fields: dict[str, FieldInfo]
    columns: dict[str, str] = Field(description="The user's metadata columns and their Arrow types.")
    options: dict[str, Any] = Field(description="The options it was packed with.")
    totals: Totals


def totals(shards: Sequence[ShardInfo]) -> Totals:
    """Return what the shards add up to."""
    return Totals(
        shards=len(shards),
        samples=sum(shard.samples for shard in shards),
        duration_s=round(sum(shard.duration_s for shard in shards), 6),
        bytes=sum(shard.bytes for shard in shards),
    )


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of ``shardkit.json``: indented JSON in UTF-8 that depends on the content alone."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def load_manifest(data: bytes, *, where: str) -> Manifest:
    """Return the manifest in ``data``.

    Raises:
        FormatError: Not JSON, a later format version, or not as the schema says; the message names the first place.
    """
    try:
        found = json.loads(data)
    except ValueError as err:
        raise FormatError(f"{where}: not JSON: {err}; the manifest is damaged, write it again") from err
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatError(
            f"{where}: format version {version}, this shardkit reads up to {FORMAT_VERSION}; upgrade shardkit"
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise FormatError(f"{where}: not a shardkit manifest: at {place}: {first['msg']}") from err
