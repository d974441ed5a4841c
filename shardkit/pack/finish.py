"""The end of a pack: all shards are there, the manifest is written, and nothing else stays behind.

    shards and records ──► report.jsonl ──► shardkit.json ──► records, strays, at last the mark are removed
                                            (the commit point)

Killed anywhere on this way, it begins again at the left, or, once the manifest is there, goes on behind it.
"""

from collections.abc import Sequence
from dataclasses import replace

from shardkit.core.errors import InputError, StorageError
from shardkit.core.sizes import count
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import MANIFEST_NAME, Manifest, dump_manifest
from shardkit.pack.commit import (
    REPORT_NAME,
    PackSummary,
    build_manifest,
    commit_manifest,
    remove_mark,
    remove_strays,
    report_lines,
)
from shardkit.pack.draft import PlannedShard, first_numbers
from shardkit.pack.imported import MISSING_NAME
from shardkit.pack.inputs import Unpacked
from shardkit.pack.mark import Base, Mark, read_mark, set_state
from shardkit.pack.records import ShardOutcome, done_shards
from shardkit.storage.location import Location
from shardkit.storage.parsing import read_parsed
from shardkit.storage.store import exists, list_files, read_bytes, write_bytes
from shardkit.stream.catalog import read_manifest

_SHOWN = 8  # shards that a message names of each part


def commit(output: Location) -> PackSummary:
    """Finish a dataset whose parts are all packed: ``shardkit commit``.

    Args:
        output: What ``pack(part=…)`` was given.

    Raises:
        InputError: No pack is under way there, or shards are missing; the message says of which parts.
        StorageError: It can't be read or written.
    """
    mark = read_mark(output)
    if mark is None:
        state = "it is a whole dataset already" if exists(output / MANIFEST_NAME) else "'shardkit pack' begins one"
        raise InputError(f"{output}: no pack is under way there: {state}")
    if is_committed(output, mark):
        return finish_committed(output, mark)
    sizes = dict(list_files(output))
    outcomes = done_shards(output, mark.draft.shards, sizes=sizes)
    if any(outcome is None for outcome in outcomes):
        raise InputError(f"{output}: {lacking(mark, outcomes)}; run what is missing again, then commit")
    return finish(output, mark, [outcome for outcome in outcomes if outcome is not None])


def lacking(mark: Mark, outcomes: Sequence[ShardOutcome | None]) -> str:
    """Return in words which shards are not done, by the parts that they belong to."""
    parts: dict[int, list[PlannedShard]] = {}
    for number, (shard, outcome) in enumerate(zip(mark.draft.shards, outcomes, strict=True)):
        if outcome is None:
            parts.setdefault(number % mark.parts + 1, []).append(shard)
    lines = []
    for part, shards in sorted(parts.items()):
        more = f" and {len(shards) - _SHOWN:,} more" if len(shards) > _SHOWN else ""
        name = f"part {part}/{mark.parts} lacks " if mark.parts > 1 else ""
        lines.append(f"{name}{', '.join(shard.stem for shard in shards[:_SHOWN])}{more}")
    missing = sum(map(len, parts.values()))
    return f"{missing:,} of {count(len(outcomes), 'shard')} are not packed yet: {'; '.join(lines)}"


def is_committed(output: Location, mark: Mark) -> bool:
    """Return whether the manifest of a pack that is under way is written already."""
    if mark.base is None:
        return exists(output / MANIFEST_NAME)
    return read_parsed(output / MANIFEST_NAME, file_hash, vouched=False) != mark.base.manifest


def finish(output: Location, mark: Mark, outcomes: Sequence[ShardOutcome]) -> PackSummary:
    """Write the manifest of a pack whose shards are all done, and remove what is no part of the dataset.

    Raises:
        InputError: None of the inputs could be packed, or another run has written a manifest.
        StorageError: A shard is not there with the size that it was written with.
    """
    _check_files(output, outcomes)
    manifest = _manifest(output, mark, outcomes)
    unpacked = [*mark.draft.unpacked, *(line for outcome in outcomes for line in outcome.unpacked)]
    unpacked.sort(key=_place)
    left_out = sorted((line for outcome in outcomes for line in outcome.left_out), key=_place)
    base = mark.base or Base(manifest="")
    _write_lines(output / REPORT_NAME, report_lines([*unpacked, *left_out]), behind=base.report_bytes)
    if mark.draft.missing is not None:
        _write_lines(output / MISSING_NAME, "".join(mark.draft.missing).encode(), behind=base.missing_bytes)
    commit_manifest(output, dump_manifest(manifest), base=mark.base)
    _clean(output, mark, manifest)
    return _summary(output, mark, manifest, outcomes, unpacked)


def _write_lines(place: Location, lines: bytes, *, behind: int) -> None:
    """Write a report, behind so many bytes of what is there; a line that is among them is not repeated."""
    old = read_bytes(place)[:behind] if behind else b""
    known = set(old.splitlines())
    new = [line for line in lines.splitlines(keepends=True) if line.rstrip(b"\n") not in known] if known else [lines]
    write_bytes(place, old + b"".join(new))


def nothing_new(output: Location, manifest: Manifest, mark: Mark) -> PackSummary:
    """Return the summary of an append to which nothing was to be added; nothing is written."""
    notes = (*mark.draft.notes, "nothing to add")
    return replace(_summary(output, mark, manifest, [], mark.draft.unpacked), notes=notes)


def finish_committed(output: Location, mark: Mark) -> PackSummary:
    """Remove what a run left behind that was killed after it had written the manifest."""
    manifest = read_manifest(output)
    _clean(output, mark, manifest)
    return _summary(output, mark, manifest, [], mark.draft.unpacked)


def _clean(output: Location, mark: Mark, manifest: Manifest) -> None:
    set_state(output, mark, "committed")
    remove_strays(output, manifest, since=None if mark.base is None else first_numbers(mark.draft.shards))
    remove_mark(output)


def _check_files(output: Location, outcomes: Sequence[ShardOutcome]) -> None:
    sizes = dict(list_files(output))
    for outcome in outcomes:
        for name, num_bytes in outcome.files().items():
            if sizes.get(name) != num_bytes:
                found = f"{sizes[name]:,} bytes" if name in sizes else "nothing"
                raise StorageError(
                    f"{output / name}: {num_bytes:,} bytes were written, {found} is there; run the same command again"
                )


def _manifest(output: Location, mark: Mark, outcomes: Sequence[ShardOutcome]) -> Manifest:
    draft = mark.draft
    shards = [outcome.info for outcome in outcomes if outcome.info is not None]
    if not shards and mark.base is None:
        first = next(line for outcome in outcomes for line in outcome.unpacked)
        inputs = sum(shard.inputs for shard in draft.shards)
        raise InputError(f"{output}: not one of {inputs} inputs could be packed; the first: {first.reason}")
    old = None if mark.base is None else read_manifest(output)
    extensions = {name: set(info.extensions) for name, info in old.fields.items()} if old else {}
    for outcome in outcomes:
        for name, seen in outcome.extensions.items():
            extensions.setdefault(name, set()).update(seen)
    return build_manifest(
        name=draft.name,
        shards=[*(old.shards if old else ()), *shards],
        vocabulary=draft.labels,
        labels=set(),
        interval_names={*draft.interval_names, *(old.interval_names if old else ())},
        kinds=draft.kinds,
        extensions=extensions,
        columns=draft.columns,
        options=draft.options,
        ontology=draft.ontology,
    )


def _summary(
    output: Location,
    mark: Mark,
    manifest: Manifest,
    outcomes: Sequence[ShardOutcome],
    unpacked: Sequence[Unpacked],
) -> PackSummary:
    draft = mark.draft
    return PackSummary(
        output=str(output),
        totals=manifest.totals,
        splits=manifest.splits,
        input_bytes=draft.input_bytes,
        unpacked=tuple(unpacked),
        notes=(*draft.notes, *_interval_notes(outcomes)),
        missing=len(draft.missing or ()),
        clipped_inputs=sum(outcome.clipped_inputs for outcome in outcomes),
        clipped_values=sum(outcome.num_clipped for outcome in outcomes),
    )


def _interval_notes(outcomes: Sequence[ShardOutcome]) -> list[str]:
    cut = sum(outcome.intervals_cut for outcome in outcomes)
    left_out = sum(len(outcome.left_out) for outcome in outcomes)
    notes = [f"{count(cut, 'interval')} cut where the recording ends"] if cut else []
    if left_out:
        notes.append(f"{count(left_out, 'interval')} behind the end of the recording left out, see {REPORT_NAME}")
    return notes


def _place(line: Unpacked) -> tuple[str, str]:
    return line.path, line.where
