"""``pack``: from inputs to a committed dataset.

    inputs ──► plan ──► mark ──► shards, each with a record ──► manifest; records and mark are removed
               pure     shardkit.packing

Killed at any instant, the same command goes on: the plan comes out the same, which the mark tells, and shards that have
their record are left as they are.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from shardkit.audio.options import TranscodeOptions
from shardkit.core.errors import InputError, StorageError
from shardkit.core.sizes import count
from shardkit.format.index import RESERVED, index_schema
from shardkit.format.manifest import MANIFEST_NAME, FieldKind, ontology_classes, totals
from shardkit.pack.append import Nothing, Packed, read_packed
from shardkit.pack.columns import arrow_type, column_name
from shardkit.pack.commit import PackSummary, check_empty, check_no_dataset, remove_mark
from shardkit.pack.draft import Draft, PlannedShard
from shardkit.pack.engine import Progress, run_jobs, share_out
from shardkit.pack.estimate import bytes_ratios
from shardkit.pack.fields import check_field_names, field_kinds
from shardkit.pack.finish import finish, finish_committed, is_committed, nothing_new
from shardkit.pack.identity import common_hash, job_hash, made_with
from shardkit.pack.imported import Import, missing_lines, read_imported
from shardkit.pack.inputs import InputOptions, PackInput, Unpacked, read_inputs
from shardkit.pack.mark import Mark, claim, read_mark, stop
from shardkit.pack.on_ray import Cluster, run_on_ray, write_on_node
from shardkit.pack.options import PackOptions
from shardkit.pack.partial import remove_partial
from shardkit.pack.parts import WHOLE, Part
from shardkit.pack.plan import ShardPlan, plan_shards
from shardkit.pack.records import ShardOutcome, done_shards
from shardkit.pack.shard import ShardJob, done_progress, write_shard
from shardkit.storage.location import Location
from shardkit.storage.store import list_files
from shardkit.stream.classes import read_ontology

Start = Callable[[int, int], None]
Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Planned:
    """A pack before work starts: its mark, and the inputs of each shard."""

    mark: Mark
    plans: Sequence[ShardPlan]
    schema: pa.Schema
    hops_s: Mapping[str, float]


def pack(
    source: Location,
    output: Location,
    *,
    inputs: InputOptions,
    options: PackOptions,
    hops_s: Mapping[str, float] | None = None,
    part: Part = WHOLE,
    cluster: Cluster | None = None,
    restart: bool = False,
    append: bool = False,
    start: Start = lambda _files, _bytes: None,
    report: Report = lambda _progress: None,
) -> PackSummary:
    """Pack a folder, a manifest, or what an importer knows, into a dataset.

    Args:
        source: Folder or manifest (CSV, TSV, JSONL, Parquet), or the importer's own.
        output: Folder of the dataset; must not hold one yet. What an interrupted run of the same plan left there is
            gone on with.
        inputs: How to read ``source``.
        options: What to make of it.
        hops_s: Seconds from row to row of each array member, by field.
        part: Which of the shards to write; after all parts ``commit`` finishes the dataset.
        cluster: Machines that write the shards; None: this one.
        restart: Whether what a run of another plan left is replaced.
        append: Whether the inputs are added to a dataset that is there; those whose keys it has are left out.
        start: Called once with the number of inputs and their bytes.
        report: Called as inputs are done.

    Returns:
        The summary; the manifest is written, last of all. Of a part: what its shards hold, and no manifest.

    Raises:
        InputError: The request can't be met as it stands, or a pack of another plan is under way there; nothing was
            written.
        AudioError: An input can't be packed and ``options.on_error`` is ``fail``.
        StorageError: The output can't be written.
    """
    began = time.monotonic()
    check_field_names(inputs.members)
    if inputs.split_column and options.splits:
        raise InputError(f"splits are given as fractions and as the column {inputs.split_column!r}; choose one")
    there = _interrupted(output, appending=append)
    check_no_dataset(output, finishing=append or (there is not None and there.base is None))
    packed = read_packed(output, options, there) if append else Nothing()
    ratios = None if there is None or restart else there.ratios
    planned = _plan(source, output, inputs, options, hops_s or {}, ratios, packed)
    mark = replace(planned.mark, parts=part.count)
    if isinstance(packed, Packed) and not planned.plans:
        return _timed(nothing_new(output, packed.manifest, mark), began)
    if _claim(output, mark, restart=restart) and is_committed(output, mark):
        return _timed(finish_committed(output, mark), began)
    try:
        outcomes = _write_shards(planned, output, options, part, cluster, start, report)
    except BaseException:
        if part == WHOLE:  # others may still be at work on theirs
            with suppress(StorageError):
                stop(output, mark)
        raise
    if part != WHOLE:
        return _timed(_part_summary(output, mark, part, outcomes), began)
    return _timed(finish(output, mark, [outcome for outcome in outcomes if outcome is not None]), began)


def _interrupted(output: Location, *, appending: bool) -> Mark | None:
    """Return the mark of a run that did not come to its end; what one left that had appended all is removed here.

    Its command can't be told from what it appended, once that is in the dataset.
    """
    mark = read_mark(output)
    if mark is None or mark.base is None or not is_committed(output, mark):
        return mark
    finish_committed(output, mark)
    if not appending:
        raise InputError(f"{output}: already holds a dataset ({MANIFEST_NAME}), to which --append had added")
    return None


def _plan(
    source: Location,
    output: Location,
    inputs: InputOptions,
    options: PackOptions,
    hops_s: Mapping[str, float],
    ratios: Mapping[str, float] | None,
    packed: Nothing,
) -> _Planned:
    ontology = None if inputs.ontology is None else read_ontology(inputs.ontology)
    found, unpacked, types, imported = _read(source, inputs, hops_s, options)
    if ontology is None and imported is not None:
        ontology = imported.ontology
    num_found, kinds = len(found), packed.kinds(field_kinds(found))
    hops_s = _checked_hops(hops_s, kinds)
    columns = packed.columns(_columns(found, types), found)
    labels = packed.labels(imported.labels if imported else (), {label for item in found for label in item.labels})
    found = packed.new_inputs(found, columns)
    # Those of the run that was interrupted, if there are any: measuring them reads recordings.
    ratios = bytes_ratios(found, options) if ratios is None else ratios
    first_numbers, split_of = packed.first_numbers(), packed.split_of_groups(options.split_by)
    plans = plan_shards(found, options, bytes_ratio=ratios, first_numbers=first_numbers, split_of=split_of)
    schema = index_schema(kinds, columns)
    common = common_hash(options=options.recorded(), hops_s=hops_s, schema=schema)
    draft = Draft(
        name=options.name or packed.name or output.name,
        labels=labels,
        interval_names=tuple(sorted({name for item in found for name, _, _ in item.intervals})),
        kinds=kinds,
        columns={name: str(kind) for name, kind in columns.items()},
        options=packed.options(options.recorded() | inputs.recorded()),
        shards=tuple(
            PlannedShard(plan.stem, job_hash(plan, common=common), len(plan.inputs), plan.num_bytes) for plan in plans
        ),
        unpacked=tuple(unpacked),
        missing=tuple(missing_lines(imported.missing).decode().splitlines(keepends=True)) if imported else None,
        ontology=packed.ontology(ontology_classes(ontology)),
        notes=(
            *packed.notes(num_found - len(found)),
            *_renamed(columns),
            *(imported.notes if imported else ()),
        ),
        input_bytes=sum(item.size for item in found),
    )
    facts = _facts(source, options, inputs.recorded(), hops_s, draft, len(found))
    plan = draft.plan_hash(packed.base and packed.base.manifest)
    return _Planned(Mark(plan=plan, facts=facts, draft=draft, ratios=ratios, base=packed.base), plans, schema, hops_s)


def _facts(
    source: Location,
    options: PackOptions,
    inputs: dict[str, object],
    hops_s: Mapping[str, float],
    draft: Draft,
    num_inputs: int,
) -> dict[str, str]:
    """Return what decides a plan, in words."""
    return {
        "the input": str(source),
        "the number of inputs": f"{num_inputs:,}",
        "their bytes": f"{draft.input_bytes:,}",
        "the name": draft.name,
        **{name: str(value) for name, value in (options.recorded() | inputs).items()},
        **{f"the hop of {name}": f"{hop_s:g}" for name, hop_s in hops_s.items()},
        "the fields": ", ".join(draft.kinds),
        "the columns": ", ".join(draft.columns),
        **made_with(),
    }


def _claim(output: Location, mark: Mark, *, restart: bool) -> bool:
    """Mark the output; return whether a run of the same plan had, or of another that is to be replaced."""
    if mark.base is None and read_mark(output) is None:
        check_empty(output)
    if not claim(output, mark, restart=restart):
        return True
    if is_committed(output, mark):  # by somebody between the first look and the mark
        remove_mark(output)
        raise InputError(f"{output}: another run has written {MANIFEST_NAME} there meanwhile; nothing was packed")
    return False


def _write_shards(
    planned: _Planned,
    output: Location,
    options: PackOptions,
    part: Part,
    cluster: Cluster | None,
    start: Start,
    report: Report,
) -> list[ShardOutcome | None]:
    """Return what became of each shard; None for those that are another part's and not done."""
    shards = planned.mark.draft.shards
    mine = [number for number in range(len(shards)) if part.has(number)]
    start(sum(shards[number].inputs for number in mine), sum(shards[number].bytes for number in mine))
    remove_partial(output)
    outcomes = done_shards(output, shards, sizes=dict(list_files(output)), complete=options.on_error == "fail")
    for number in mine:
        outcome = outcomes[number]
        if outcome is not None:
            report(done_progress(shards[number], outcome))
    left = [number for number in mine if outcomes[number] is None]
    processes, threads = share_out(len(left), sum(shards[number].bytes for number in left), options.workers)
    if cluster is not None:
        threads = [1] * len(left)  # a task has one processor, a node as many tasks as processors
    jobs = [_job(planned, number, output, options, num) for number, num in zip(left, threads, strict=True)]
    if cluster is None:
        done = run_jobs(write_shard, jobs, workers=processes, report=report)
    else:
        done = run_on_ray(write_on_node, jobs, cluster=cluster, report=report)
    for number, outcome in zip(left, done, strict=True):
        outcomes[number] = outcome
    return outcomes


def _job(planned: _Planned, number: int, output: Location, options: PackOptions, threads: int) -> ShardJob:
    return ShardJob(
        plan=planned.plans[number],
        output=output,
        transcode=TranscodeOptions(
            codec=options.codec,
            sample_rate=options.sample_rate,
            channels=options.channels,
            bit_depth=options.bit_depth,
            flac_level=options.flac_level,
            loudness=options.loudness,
            max_decoded_bytes=options.max_decoded_bytes,
        ),
        schema=planned.schema,
        hops_s=planned.hops_s,
        on_error=options.on_error,
        threads=threads,
        packing=planned.mark.plan,
        shard=planned.mark.draft.shards[number],
    )


def _part_summary(output: Location, mark: Mark, part: Part, outcomes: Sequence[ShardOutcome | None]) -> PackSummary:
    mine = [outcome for number, outcome in enumerate(outcomes) if outcome is not None and part.has(number)]
    infos = [outcome.info for outcome in mine if outcome.info is not None]
    return PackSummary(
        output=str(output),
        totals=totals(infos),
        splits={},
        input_bytes=sum(shard.bytes for number, shard in enumerate(mark.draft.shards) if part.has(number)),
        unpacked=tuple(line for outcome in mine for line in outcome.unpacked),
        notes=(
            f"part {part} of {count(len(outcomes), 'shard')} is done; when all parts are: shardkit commit {output}",
        ),
        clipped_inputs=sum(outcome.clipped_inputs for outcome in mine),
        clipped_values=sum(outcome.num_clipped for outcome in mine),
    )


def _timed(summary: PackSummary, began: float) -> PackSummary:
    return replace(summary, wall_s=time.monotonic() - began)


def _read(
    source: Location, inputs: InputOptions, hops_s: Mapping[str, float], options: PackOptions
) -> tuple[Sequence[PackInput], list[Unpacked], Mapping[str, pa.DataType], Import | None]:
    if inputs.importer is None:
        return *read_inputs(source, inputs), None
    imported = read_imported(source, inputs, hops_s=hops_s, keep_going=options.on_error == "skip")
    return imported.inputs, imported.unpacked, {}, imported


def _columns(found: Sequence[PackInput], types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return the type of each metadata column: the source's own, or the one that holds its values."""
    places = [item.where for item in found]
    names = dict.fromkeys(name for item in found for name in item.metadata)
    return {
        name: types[name]
        if name in types
        else arrow_type(name, [item.metadata.get(name) for item in found], places=places)
        for name in names
    }


def _renamed(columns: Mapping[str, pa.DataType]) -> tuple[str, ...]:
    renamed = [(name, column_name(name)) for name in RESERVED if column_name(name) in columns]
    return tuple(f"column {name!r} is kept as {kept!r}: the index has its own {name!r}" for name, kept in renamed)


def _checked_hops(hops_s: Mapping[str, float], kinds: Mapping[str, FieldKind]) -> Mapping[str, float]:
    for name, hop_s in hops_s.items():
        if kinds.get(name) != "array":
            arrays = [field for field, kind in kinds.items() if kind == "array"]
            raise InputError(f"hop of {name!r}: not an array field; there is {', '.join(arrays) or 'none'}")
        if not hop_s > 0:
            raise InputError(f"hop of {name!r} is {hop_s:g} s; it must be positive")
    return hops_s
