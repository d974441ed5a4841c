"""``shardkit.json``: what a dataset consists of. Small: it lists shards, never samples.

The pydantic models are the one definition; ``schemas/manifest.schema.json`` is generated from them and
``schemas/FORMAT.md`` says in words what they mean.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shardkit.core.errors import FormatError
from shardkit.core.ontology import Ontology
from shardkit.format.hashing import PREFIX

MANIFEST_NAME = "shardkit.json"
FORMAT_VERSION: Literal[1] = 1

Hash = Annotated[str, Field(pattern=rf"^{PREFIX}[0-9a-f]{{32}}$")]
FieldKind = Literal["audio", "array", "text", "json", "binary"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class FeaturesInfo(_Model):
    """What the features of a dataset were computed from, and how.

    All of it but the last three parts decides the values, and ``key`` is the hash of that.
    """

    key: Hash = Field(description="Hash of what decides the features: equal keys, equal features.")
    field: str = Field(description="The field that holds them, arrays of (frame, channel, band).")
    config: dict[str, Any] = Field(description="The module that computed them: its kind, and every option.")
    revision: int = Field(ge=1, description="Of the computation; another one may give other values for one config.")
    sample_rate: int = Field(ge=1, description="Rate of the audio that they were computed from, in Hz.")
    hop_length: int = Field(ge=1, description="Samples of that audio from frame to frame.")
    silence: tuple[float, ...] = Field(
        min_length=1, description="A frame of silence, (band,): what crops are padded with."
    )
    channels: int | None = Field(ge=1, description="Channels that recordings were mixed to; null: each one's own.")
    dtype: Literal["<f4", "<f2"] = Field(description="Type of the values.")
    source_hash: Hash = Field(description="Hash of the indices, and so of the content, of the recordings' dataset.")
    source: str = Field(description="Where that dataset lay.")
    torch: str = Field(description="Version of torch that computed them.")
    device: str = Field(description="Kind of device that computed them: cpu, cuda.")

    @property
    def hop_s(self) -> float:
        """Seconds from frame to frame."""
        return self.hop_length / self.sample_rate

    def differences(self, other: "FeaturesInfo") -> list[str]:
        """Return in what the computation of other features differs from that of these, as ``n_mels 80, not 128``."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in ("field", "channels", "revision")}
        names = dict.fromkeys([*self.config, *other.config])
        pairs |= {name: (self.config.get(name), other.config.get(name)) for name in names}
        pairs["dtype"] = (self.dtype, other.dtype)
        return [f"{name} {mine!r}, not {theirs!r}" for name, (mine, theirs) in pairs.items() if mine != theirs]


class OntologyClass(_Model):
    """One class of an ontology."""

    id: str
    name: str = Field(description="What labels call it, unless they are ids.")
    child_ids: tuple[str, ...] = Field((), description="Ids of the classes that are kinds of it.")


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
    features: FeaturesInfo | None = Field(
        default=None, description="Where the dataset holds features in place of its recordings: what they are."
    )
    ontology: tuple[OntologyClass, ...] | None = Field(
        default=None, description="How classes are related, where that is known; ids are unique, and children there."
    )

    @field_validator("ontology")
    @classmethod
    def _check_ontology(cls, classes: tuple[OntologyClass, ...] | None) -> tuple[OntologyClass, ...] | None:
        if classes is not None:
            Ontology.from_json([one.model_dump() for one in classes])
        return classes

    @property
    def has_audio(self) -> bool:
        """Whether the shards hold the recordings, and not features of them."""
        return self.features is None


def ontology_classes(ontology: Ontology | None) -> tuple[OntologyClass, ...] | None:
    """Return an ontology as a manifest holds it."""
    return None if ontology is None else tuple(OntologyClass.model_validate(one) for one in ontology.dump())


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
    absent = {name for name in ("features", "ontology") if getattr(manifest, name) is None}
    content = manifest.model_dump(mode="json", exclude=absent)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def load_manifest(data: bytes, *, where: str) -> Manifest:
    """Return the manifest in ``data``.

    Raises:
        FormatError: Not JSON, a later format version, or not as the schema says; the message names the first place.
    """
    try:
        found = json.loads(data)
        if b"\\u" in data:
            json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as err:
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
