"""One damaged shard: what of it is whole goes on, in a new index or in a new tar with an index; the old ones stay.

tar sound, index not                    index made anew; the tar stays where it is
tar damaged                             whole samples -> new tar and index; the rest -> quarantine
no tar, or another's                    no shard; its keys are told
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from shardkit.core.errors import AudioError, FormatError, InputError, NotFoundError, StorageError
from shardkit.core.sizes import count
from shardkit.format.hashing import FileHash, file_hash
from shardkit.format.index import PRIMARY, IndexRow, dump_index
from shardkit.format.manifest import ShardInfo
from shardkit.format.tar import TarMember, TarWriter
from shardkit.pack.engine import Progress, Report
from shardkit.pack.partial import partial_folder
from shardkit.pack.shard import WRITE_BYTES, HashedFile
from shardkit.repair.actions import Action, ActionKind
from shardkit.repair.evidence import Evidence, keys, read_evidence
from shardkit.repair.names import UNKNOWN_HASH, base_stem, is_rewritten
from shardkit.repair.rows import Basis, moved_row, rebuilt_row
from shardkit.repair.samples import Question, Sample, Sorted, sort_samples
from shardkit.repair.walk import Walked, walk
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import exists, is_folder, publish, read_range, size, write_bytes

_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MendJob:
    """All that a process needs to mend one shard.

    Attributes:
        shard: As the manifest has it.
        dataset: Its folder.
        output: Where new parts go.
        quarantine: Folder for what is broken; None: it is not copied.
        number: Of the repair, in the names of new parts.
        basis: What rows have in common.
        swapped: The tar is another shard's.
        index_sound: Nothing is wrong with its index alone.
        accept: Keep what was changed since it was packed, if it can be decoded.
        dry_run: Write nothing.
    """

    shard: ShardInfo
    dataset: Location
    output: Location
    quarantine: Location | None
    number: int
    basis: Basis
    swapped: bool
    index_sound: bool
    accept: bool
    dry_run: bool

    @property
    def stem(self) -> str:
        """The new parts' name, without an extension."""
        return f"{base_stem(self.shard.index)}.repair-{self.number}"


@dataclass(slots=True)
class Mended:
    """What became of a shard; ``info`` is None where no sample of it is left."""

    info: ShardInfo | None = None
    actions: list[Action] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    interval_names: set[str] = field(default_factory=set)
    extensions: dict[str, set[str]] = field(default_factory=dict)


def mend_shard(job: MendJob, report: Report) -> Mended:
    """Write what a damaged shard is to become.

    Raises:
        AccessError, StorageError: The storage can't be read or written.
    """
    mended = Mended()
    evidence = read_evidence(job.dataset / job.shard.index)
    if evidence.schema is not None and evidence.schema.field("fields").type != job.basis.schema.field("fields").type:
        evidence = Evidence(hash=evidence.hash, note=evidence.note)
    tar = _tar(job)
    if tar is None or job.swapped:
        reason = "there is no such tar" if tar is None else "its tar holds another shard's bytes"
        _drop(mended, job, evidence, reason)
    else:
        with local_copy(tar) as path, path.open("rb") as file:
            _Mender(job, evidence, mended, tar, file).run()
    report(Progress(0.0, job.shard.bytes, num_inputs=0))
    return mended


def _tar(job: MendJob) -> Location | None:
    try:
        tar = resolve(job.dataset, job.shard.path)
        return None if is_folder(tar) or not exists(tar) else tar
    except (InputError, NotFoundError):
        return None


def _drop(mended: Mended, job: MendJob, evidence: Evidence, reason: str) -> None:
    lost = keys(evidence)
    known = "" if lost or not job.shard.samples else f"; its {job.shard.samples} keys are not known: no index is left"
    mended.actions.append(Action(action="dropped-shard", shard=job.shard.path, reason=reason + known))
    mended.actions += [Action(action="lost", shard=job.shard.path, key=key, reason=reason) for key in lost]


@contextmanager
def local_copy(tar: Location) -> Iterator[Path]:
    """A tar as a local file: itself, or a temporary copy, since a damaged one is read here and there."""
    if tar.is_local:
        yield tar.local_path
        return
    with tempfile.TemporaryDirectory(prefix="shardkit-") as folder:
        path, num_bytes = Path(folder) / "shard.tar", size(tar)
        try:
            with path.open("wb") as copy:
                for start in range(0, num_bytes, _CHUNK):
                    copy.write(read_range(tar, start, min(start + _CHUNK, num_bytes)))
        except StorageError:
            raise
        except OSError as err:
            raise StorageError(f"{folder}: can't copy {tar} here: {err}; set TMPDIR to a larger disk") from err
        yield path


class _Mender:
    """Mends one shard whose tar is there."""

    def __init__(self, job: MendJob, evidence: Evidence, mended: Mended, tar: Location, file: BinaryIO) -> None:
        self._job = job
        self._evidence = evidence
        self._mended = mended
        self._tar = tar
        self._file = file
        self._hash = _hash_of(file)
        self._rewritten = is_rewritten(job.shard.path)
        self._broken: list[tuple[str | None, Sequence[tuple[str, TarMember]], str]] = []

    def run(self) -> None:
        walked = walk(self._file)
        known = {self._job.shard.hash, self._evidence.note.get("hash")} - {None, UNKNOWN_HASH}
        sound = walked.is_whole and (self._hash in known or not known)
        prefixed = self._job.basis.manifest.options.get("prefix_keys") and not self._rewritten
        prefix = f"{self._tar.name.removesuffix('.tar')}/" if prefixed else ""
        question = Question(
            sound=sound,
            trusted=self._job.index_sound and bool(self._evidence.rows),
            accept=self._job.accept,
            closed_by_json=not self._job.basis.adopted,
            prefix=prefix,
        )
        found = sort_samples(self._file, walked, list(self._evidence.entries(prefix)), question)
        kept = list(self._kept(found, question))
        # What can't be indexed stays in an adopted tar, as 'shardkit index' leaves it.
        left_out = sound and not found.apart and self._job.basis.adopted
        if not kept:
            self._mended.actions.append(
                Action(action="dropped-shard", shard=self._job.shard.path, reason="no sample of it is whole")
            )
        elif sound and not found.apart and (left_out or not self._broken):
            self._index_of(self._job.shard.path, [row for _, row in kept], walked.size, self._hash, keep_tar=True)
        else:
            self._rewrite(kept)
        self._tell_broken(found, left_out=bool(left_out and kept), walked=walked)

    def _kept(self, found: Sorted, question: Question) -> Iterator[tuple[Sample, IndexRow]]:
        """Yield the whole samples with their rows in the old tar; note the others."""
        rows = {row["key"]: row for row in self._evidence.rows}
        for sample in found.samples:
            row, fault = None, sample.fault
            if fault is None:
                row, fault = self._row(
                    sample, rows.get(sample.key) if question.trusted and not question.sound else None
                )
            if row is None:
                self._broken.append((sample.key, sample.members, fault or ""))
                continue
            if not sample.proven:
                changed = sample.key in rows
                kind: ActionKind = "accepted" if changed else "unproven"
                reason = "its bytes are not those that were packed" if changed else "no checksum of it is left"
                self._mended.actions.append(
                    Action(action=kind, shard=self._job.shard.path, key=sample.key, reason=f"{reason}; it decodes")
                )
            yield sample, row

    def _row(self, sample: Sample, told: Mapping[str, Any] | None) -> tuple[IndexRow | None, str | None]:
        """Return the row of a sample: the one it had, or one made anew; or why there is none."""
        try:
            if told is not None and sample.proven:
                return self._moved(sample, told), None
            return rebuilt_row(sample.key, sample.members, self._file, self._tar, self._job.basis), None
        except (AudioError, FormatError, InputError) as err:
            place = f"{self._tar}: key {sample.key!r}"
            return None, str(err).removeprefix(place).removeprefix(", ").removeprefix(": ")

    def _moved(self, sample: Sample, row: Mapping[str, Any]) -> IndexRow:
        offsets = {extension: member.offset for extension, member in sample.members}
        places = {
            name: offsets[told["extension"]]
            for name, told in row["fields"].items()
            if told is not None and told["extension"] in offsets
        }
        return moved_row(row, places, self._evidence.setups, self._job.basis)

    def _rewrite(self, kept: Sequence[tuple[Sample, IndexRow]]) -> None:
        """Write the kept samples to a new tar; where that would be the old one, byte for byte, keep the old one."""
        name, old = f"{self._job.stem}.tar", [row for _, row in kept]
        if self._job.dry_run:
            with Path(os.devnull).open("wb") as nowhere:
                rows, num_bytes, tar_hash = self._copy(kept, nowhere)
        else:
            with partial_folder(self._job.output) as folder:
                path = folder / "shard.tar"
                with path.open("wb", WRITE_BYTES) as file:
                    rows, num_bytes, tar_hash = self._copy(kept, file)
                if tar_hash != self._hash:
                    publish(path, self._job.output / name)
        if tar_hash == self._hash:
            self._index_of(self._job.shard.path, old, num_bytes, tar_hash, keep_tar=True)
        else:
            self._index_of(name, rows, num_bytes, tar_hash, keep_tar=False)

    def _copy(self, kept: Sequence[tuple[Sample, IndexRow]], file: BinaryIO) -> tuple[list[IndexRow], int, str]:
        sink = HashedFile(file)
        tar = TarWriter(sink)
        rows = [self._copied(sample, row, tar) for sample, row in kept]
        tar.close()
        return rows, tar.position, sink.hash.text()

    def _copied(self, sample: Sample, row: IndexRow, tar: TarWriter) -> IndexRow:
        offsets = {}
        for extension, member in sample.members:
            parts = _parts(self._file, member.offset, member.size)
            offsets[extension] = tar.add_parts(f"{row.key}.{extension}", member.size, parts).offset
        members = {name: replace(entry, offset=offsets[entry.extension]) for name, entry in row.members.items()}
        return replace(row, members=members)

    def _index_of(self, path: str, rows: Sequence[IndexRow], num_bytes: int, tar_hash: str, *, keep_tar: bool) -> None:
        """Write the index of the old tar or of a new one, unless it is the one that is there."""
        job, note = self._job, dict(self._evidence.note)
        told = note.get("tar") if keep_tar and isinstance(note.get("tar"), str) else None
        own = str(self._tar) if job.basis.adopted and keep_tar else path
        kept = {"tar": told or own, "bytes": num_bytes, "hash": tar_hash}
        if job.basis.manifest.features is not None:
            left_out = note.get("left_out")
            kept |= {
                "features": job.basis.manifest.features.key,
                "left_out": left_out if isinstance(left_out, list) else [],
            }
        data = dump_index(rows, job.basis.schema, note=kept)
        same = keep_tar and file_hash(data) == self._evidence.hash
        index = job.shard.index if same else f"{job.stem}.parquet"
        if not same and not job.dry_run:
            write_bytes(job.output / index, data)
        self._mended.info = ShardInfo(
            split=job.shard.split,
            path=path,
            bytes=num_bytes,
            hash=tar_hash,
            index=index,
            index_hash=file_hash(data),
            samples=len(rows),
            duration_s=round(sum(_duration_s(row) for row in rows), 6),
        )
        self._note(rows)
        again = "as it was, byte for byte" if file_hash(data) == job.shard.index_hash else "made from the tar"
        kind: ActionKind = "mended-manifest" if same else "rebuilt-index" if keep_tar else "rewritten-shard"
        reason = {
            "mended-manifest": "tar and index are whole, the manifest was wrong about them",
            "rebuilt-index": f"its tar stays; index {again}",
        }.get(kind, f"its tar is damaged; {count(len(rows), 'whole sample')}")
        became = None if same else index if keep_tar else path
        self._mended.actions.insert(0, Action(action=kind, shard=job.shard.path, reason=reason, became=became))

    def _note(self, rows: Sequence[IndexRow]) -> None:
        for row in rows:
            self._mended.labels.update(row.labels)
            self._mended.interval_names.update(name for name, _, _ in row.intervals)
            for name, member in row.members.items():
                self._mended.extensions.setdefault(name, set()).add(member.extension)

    def _tell_broken(self, found: Sorted, *, left_out: bool, walked: Walked) -> None:
        job = self._job
        self._mended.actions += [
            Action(action="lost", shard=job.shard.path, key=key, reason="nothing of it is in the tar")
            for key in found.lost
        ]
        if left_out:
            for key, _, reason in self._broken:
                path = f"{self._tar.name}/{key}"
                self._mended.actions.append(
                    Action(action="left-out", shard=job.shard.path, key=key, reason=reason, path=path)
                )
            return
        rest = [(None, [("", member)], f"member {member.name!r}: {reason}") for member, reason in found.loose]
        rest += [
            (
                None,
                [("", TarMember(f"gap-{start:012d}.bin", start, stop - start))],
                f"damaged: bytes {start:,} to {stop:,}",
            )
            for start, stop in found.gaps
        ]
        sound = walked.is_whole and not found.gaps and not self._broken
        rest = [] if sound and self._mended.info and self._mended.info.path == self._job.shard.path else rest
        broken = [*self._broken, *rest]
        if not broken:
            return
        place = None if job.quarantine is None else job.quarantine / f"{base_stem(job.shard.index)}.tar"
        if place is not None and not job.dry_run:
            self._quarantine(place, broken)
        kind: ActionKind = "dropped" if place is None else "quarantined"
        became = None if place is None else str(place)
        self._mended.actions += [
            Action(action=kind, shard=job.shard.path, key=key, reason=reason, became=became)
            for key, _, reason in broken
        ]

    def _quarantine(
        self, place: Location, broken: Sequence[tuple[str | None, Sequence[tuple[str, TarMember]], str]]
    ) -> None:
        """Write what is broken to a tar of its own, every byte as it was found."""
        with partial_folder(self._job.output) as folder:
            path = folder / "quarantine.tar"
            with path.open("wb", WRITE_BYTES) as file:
                tar = TarWriter(file)
                for _, members, _ in broken:
                    for _, member in members:
                        tar.add_parts(member.name, member.size, _parts(self._file, member.offset, member.size))
                tar.close()
            publish(path, place)


def _duration_s(row: IndexRow) -> float:
    primary = row.members.get(PRIMARY)
    audio = row.recording if primary is None else primary.audio
    return 0.0 if audio is None else audio.frames / audio.sample_rate


def _hash_of(file: BinaryIO) -> str:
    running = FileHash()
    file.seek(0)
    while data := file.read(_CHUNK):
        running.update(data)
    return running.text()


def _parts(file: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
    while length > 0:
        file.seek(offset)
        data = file.read(min(length, _CHUNK))
        if not data:
            return
        yield data
        offset, length = offset + len(data), length - len(data)
