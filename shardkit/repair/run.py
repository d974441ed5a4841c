"""``repair``: what can be mended of a dataset, mended; nothing that is there is changed but the manifest, last of all.

    read or recover the manifest
    check each shard                          as 'shardkit verify' does
    mend those with problems                  new parts, under new names
    keep the old manifest under another name  shardkit.json.before-repair-N
    write the new one                         the commit point

Killed at any instant it leaves the dataset as it was, beside new files that nothing names; run again, it finishes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shardkit.core.errors import InputError, NotFoundError, StorageError
from shardkit.format.manifest import MANIFEST_NAME, Manifest, ShardInfo, dump_manifest, totals
from shardkit.pack.commit import REPORT_NAME, check_no_dataset, claim_output, remove_mark
from shardkit.pack.engine import Progress, run_jobs, share_out
from shardkit.pack.partial import partial_folder
from shardkit.repair.actions import Action, Repaired
from shardkit.repair.facts import Corrected, correct
from shardkit.repair.names import generation, kept_manifest, number_of, stem
from shardkit.repair.recover import read_or_recover
from shardkit.repair.shard import Mended, MendJob, mend_shard
from shardkit.report.problems import REPAIR_LOG
from shardkit.report.verify import BytesDone
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import (
    check_writable,
    create,
    list_files,
    publish,
    read_bytes,
    read_range,
    replace,
    size,
    write_bytes,
)

_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOptions:
    """How to repair.

    Attributes:
        output: Folder for a dataset of its own, whose manifest names the old one's whole shards where they lie; None:
            the new parts and the new manifest go beside the old ones.
        copy: Copy whole shards into ``output`` too.
        quarantine: Folder for what is broken; None: ``quarantine`` in the dataset.
        keep_broken: Whether to copy it there at all.
        deep: Decode every recording, also where all hashes are right.
        accept: Keep samples whose bytes are not those that were packed, if they can be decoded.
        dry_run: Write nothing, and say what would be done.
        workers: Processes for a large dataset.
    """

    output: Location | None = None
    copy: bool = False
    quarantine: Location | None = None
    keep_broken: bool = True
    deep: bool = False
    accept: bool = False
    dry_run: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.copy and self.output is None:
            raise InputError("--copy copies whole shards into OUTPUT; name one")
        if self.quarantine is not None and not self.keep_broken:
            raise InputError("a quarantine folder and no quarantine exclude each other; choose one")


@dataclass(slots=True)
class _Plan:
    """What is known of a dataset before anything is written."""

    old: bytes  # the manifest as it is; empty: there is none
    number: int
    corrected: Corrected
    notes: list[str] = field(default_factory=list)


def repair(
    dataset: Location, options: RepairOptions | None = None, *, progress: BytesDone = lambda _done, _total: None
) -> Repaired:
    """Mend a dataset.

    Args:
        dataset: Its folder.
        options: How.
        progress: Called with (bytes of tars checked, bytes of all tars).

    Returns:
        What was done, or with ``dry_run`` what would be.

    Raises:
        InputError: There is no dataset, nothing to repair it from, or ``output`` holds one already; or the manifest
            was changed by somebody else meanwhile.
        AccessError, StorageError: The storage can't be read or written.
    """
    options = options or RepairOptions()
    output = options.output or dataset
    if options.output is not None:
        if output == dataset:
            raise InputError(f"{output}: the output is the dataset itself; leave it out to repair beside its shards")
        check_no_dataset(output)
    if not options.dry_run:
        check_writable(output)
    manifest, old, notes = read_or_recover(dataset)
    corrected = correct(
        dataset, manifest, stored=not notes, deep=options.deep, workers=options.workers, progress=progress
    )
    plan = _Plan(old, _number(dataset, old), corrected, notes)
    if options.output is not None and not options.dry_run:
        claim_output(output)
    mended = _mend(dataset, output, plan, options)
    told = _manifest(dataset, output, plan, mended, options)
    return _finish(dataset, output, plan, mended, told, options)


def _number(dataset: Location, old: bytes) -> int:
    """Return the number of this repair: one more than the last, unless that was killed before it wrote a manifest."""
    try:
        numbers = [number for file in list_files(dataset) if (number := number_of(file.name)) is not None]
    except StorageError:  # plain HTTP lists nothing, and nothing can be written there
        return 1
    if not numbers:
        return 1
    last = max(numbers)
    return last if read_bytes(dataset / kept_manifest(last)) == old else last + 1


def _mend(dataset: Location, output: Location, plan: _Plan, options: RepairOptions) -> dict[int, Mended]:
    """Return what became of the shards that are not as they should be, by their numbers."""
    corrected = plan.corrected
    quarantine = (options.quarantine or output / "quarantine") / f"repair-{plan.number}"
    jobs = {
        number: MendJob(
            shard=corrected.manifest.shards[number],
            dataset=dataset,
            output=output,
            quarantine=quarantine if options.keep_broken else None,
            number=plan.number,
            basis=corrected.basis,
            swapped=damage.swapped,
            index_sound=damage.index_sound,
            accept=options.accept,
            dry_run=options.dry_run,
        )
        for number, damage in corrected.damaged.items()
    }
    num_bytes = sum(job.shard.bytes for job in jobs.values())
    processes, _ = share_out(len(jobs), num_bytes, options.workers) if jobs else (1, [])
    outcomes = run_jobs(mend_shard, list(jobs.values()), workers=processes, report=_ignore)
    return dict(zip(jobs, outcomes, strict=True))


def _ignore(_progress: Progress) -> None:
    """Pass over what mending reports: checking took longer."""


def _manifest(
    dataset: Location, output: Location, plan: _Plan, mended: dict[int, Mended], options: RepairOptions
) -> Manifest:
    """Return the new manifest; with an output of its own, the parts that stay are made known or copied there.

    Raises:
        InputError: Not one sample is left.
    """
    old = plan.corrected.manifest
    found = list(mended.values())
    shards = [mended[number].info if number in mended else shard for number, shard in enumerate(old.shards)]
    left = [shard for shard in shards if shard is not None]
    if not left:
        raise InputError(f"{dataset}: not one whole sample is left in {len(old.shards)} shards; pack it again")
    if options.output is not None:
        left = [_brought(dataset, output, shard, plan, options) for shard in left]
    labels = {label for one in found for label in one.labels}
    new = sorted(labels.difference(old.labels))
    names = {name for one in found for name in one.interval_names}
    fields = {
        name: told.model_copy(
            update={
                "extensions": tuple(
                    sorted({*told.extensions, *(e for one in found for e in one.extensions.get(name, ()))})
                )
            }
        )
        for name, told in old.fields.items()
    }
    splits = dict.fromkeys([*(split for split in old.splits), *(shard.split for shard in left)])
    by_split = {split: [shard for shard in left if shard.split == split] for split in splits}
    return old.model_copy(
        update={
            "shards": tuple(left),
            "labels": (*old.labels, *new),
            "interval_names": tuple(sorted({*old.interval_names, *names})),
            "fields": fields,
            "splits": {split: totals(some) for split, some in by_split.items() if some},
            "totals": totals(left),
        }
    )


def _brought(dataset: Location, output: Location, shard: ShardInfo, plan: _Plan, options: RepairOptions) -> ShardInfo:
    """Return a shard as a manifest in ``output`` has it: old parts are copied, or a tar is named where it lies."""
    if generation(shard.index) != plan.number and not options.dry_run:
        write_bytes(output / shard.index, read_bytes(dataset / shard.index))
    if generation(shard.path) == plan.number:
        return shard
    tar = resolve(dataset, shard.path)
    if not options.copy:
        return shard.model_copy(update={"path": str(tar)})
    adopted = plan.corrected.basis.adopted  # whose keys may depend on the name of the tar
    path = f"{stem(shard.index)}/{tar.name}" if adopted else f"{stem(shard.index)}.tar"
    if not options.dry_run:
        with partial_folder(output) as folder:
            _copied(tar, folder / "shard.tar")
            publish(folder / "shard.tar", output / path)
    return shard.model_copy(update={"path": path})


def _copied(tar: Location, path: Path) -> None:
    num_bytes = size(tar)
    with path.open("wb") as file:
        for start in range(0, num_bytes, _CHUNK):
            file.write(read_range(tar, start, min(start + _CHUNK, num_bytes)))


def _finish(
    dataset: Location,
    output: Location,
    plan: _Plan,
    mended: dict[int, Mended],
    told: Manifest,
    options: RepairOptions,
) -> Repaired:
    """Write the log and the manifest, unless there is nothing to change."""
    data = dump_manifest(told)
    actions = [action for one in mended.values() for action in one.actions]
    reasons = [*plan.corrected.reasons] or (["it was damaged or missing"] if plan.notes and data != plan.old else [])
    changed = data != plan.old or options.output is not None
    if data != plan.old and not actions and not reasons:
        reasons = ["its totals do not add up"]
    actions = [*(Action(action="mended-manifest", shard=None, reason=reason) for reason in reasons), *actions]
    previous = None
    if changed and not options.dry_run:
        if output != dataset:
            _bring_reports(dataset, output)
        _log(output, plan.number, actions)
        if options.output is None and plan.old:
            previous = kept_manifest(plan.number)
            write_bytes(dataset / previous, plan.old)
        _commit(output, data, plan.old if options.output is None else b"")
        if options.output is not None or not plan.old:
            remove_mark(output)
    return Repaired(
        output=str(output),
        dry_run=options.dry_run,
        number=plan.number,
        actions=tuple(actions),
        totals=told.totals,
        kept_shards=len(plan.corrected.manifest.shards) - _changed(plan.corrected.manifest.shards, mended),
        kept_samples=told.totals.samples,
        previous=previous,
        notes=tuple(plan.notes),
    )


def _changed(shards: Sequence[ShardInfo], mended: Mapping[int, Mended]) -> int:
    """Return how many shards have a new tar or a new index, or are none any more."""
    new = [(shards[number], one.info) for number, one in mended.items()]
    return sum(info is None or (info.path, info.index) != (old.path, old.index) for old, info in new)


def _bring_reports(dataset: Location, output: Location) -> None:
    """Copy what says which samples of adopted tars are in no index, and what earlier repairs did."""
    for name in (REPORT_NAME, REPAIR_LOG):
        try:
            write_bytes(output / name, read_bytes(dataset / name))
        except NotFoundError:
            continue


def _commit(output: Location, data: bytes, old: bytes) -> None:
    """Write the manifest, in place of the one that was read, or where there was none."""
    place = output / MANIFEST_NAME
    if not (replace(place, data, is_old=lambda found: found == old) if old else create(place, data)):
        raise InputError(
            f"{output}: {MANIFEST_NAME} was changed by somebody else while it was being repaired; run the repair again"
        )


def _log(output: Location, number: int, actions: Sequence[Action]) -> None:
    """Add a repair's actions to the log; in place of those that a killed run of the same repair has written."""
    try:
        before = read_bytes(output / REPAIR_LOG).decode().splitlines(keepends=True)
    except NotFoundError:
        before = []
    mine = f'{{"repair": {number},'
    lines = [line for line in before if not line.startswith(mine)] + [action.line(number) for action in actions]
    write_bytes(output / REPAIR_LOG, "".join(lines).encode())
