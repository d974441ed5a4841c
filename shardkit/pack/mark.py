"""``shardkit.packing``: marks an output that is being packed, from before the first shard until after the manifest.

    line 1   JSON, padded to 512 bytes: which plan, and how far it is
    line 2   JSON: the plan, of which ``shardkit commit`` makes the manifest, and what tells it from another

Made exclusively, so of two different packs that begin in one folder one is refused. Packs of the same plan go on side
by side or after each other; each shard is published by whoever is first, and again, byte for byte the same, by others.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from shardkit.core.errors import FormatError, InputError, NotFoundError
from shardkit.core.sizes import count
from shardkit.pack.draft import Draft, draft_of
from shardkit.pack.records import has_records
from shardkit.storage.location import Location
from shardkit.storage.parsing import read_parsed
from shardkit.storage.store import create, exists, read_range, write_bytes

MARK_NAME = "shardkit.packing"
_HEAD_BYTES = 512
_ABOUT = "A pack is under way here, or was interrupted: run the same command again to finish it."
State = Literal["under way", "stopped", "committed"]
_SHOWN = 3  # differences that a message names


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What an output held before it was appended to.

    Attributes:
        manifest: Hash of its manifest.
        report_bytes, missing_bytes: How much of its reports is of before; new lines go behind that.
    """

    manifest: str
    report_bytes: int = 0
    missing_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A pack under way.

    Attributes:
        plan: Hash of all that decides its result.
        facts: The same in words, to name what differs: ``{"--codec": "flac", …}``.
        draft: What it writes.
        parts: Into how many parts it was divided at first.
        ratios: Encoded bytes for each byte of input, by extension, by which its shards were cut.
        base: What was there before, where it appends.
        state: Under way (or killed); stopped by an error or Ctrl-C; or committed: its manifest is written.
    """

    plan: str
    facts: Mapping[str, str]
    draft: Draft
    parts: int = 1
    ratios: Mapping[str, float]
    base: Base | None = None
    state: State = "under way"


def read_mark(output: Location) -> Mark | None:
    """Return the mark of an output; None: there is none, or one that some other command left."""
    try:
        return read_parsed(output / MARK_NAME, _parse, vouched=False)
    except (NotFoundError, FormatError):
        return None


def claim(output: Location, mark: Mark, *, restart: bool = False) -> bool:
    """Mark an output as being packed by this plan; return whether it was not before.

    Args:
        output: A folder without a mark, or with one.
        mark: Of the plan.
        restart: Whether it replaces the mark of another plan; one that has stopped before its first shard was done is
            replaced anyway.

    Raises:
        InputError: The output is marked by another plan; the message names what differs.
        StorageError: It can't be written.
    """
    place, data = output / MARK_NAME, _dump(mark)
    there = read_mark(output)
    if there is None and not exists(place):
        if create(place, data):
            return True
        there = read_mark(output)
    if there is not None and there.plan == mark.plan:
        if there.state == "stopped":
            set_state(output, mark, "under way")
        return False
    if there is not None and not restart and not (there.state == "stopped" and not has_records(output)):
        raise InputError(
            f"{output}: another pack is under way there, or was interrupted: {_differences(there, mark)}; run that "
            "command again to finish it, or give --restart to begin anew with this one"
        )
    write_bytes(place, data)
    return True


def set_state(output: Location, mark: Mark, state: State) -> None:
    """Say how far a pack is."""
    write_bytes(output / MARK_NAME, _dump(replace(mark, state=state)))


def stop(output: Location, mark: Mark) -> None:
    """Say that a pack has stopped, if the mark is still its own."""
    there = read_mark(output)
    if there is not None and there.plan == mark.plan and there.state == "under way":
        set_state(output, there, "stopped")


def check_mark(output: Location, plan: str) -> None:
    """Raise unless an output is still being packed by a plan.

    Raises:
        InputError: Another run has finished it meanwhile, or begun anew with another plan.
    """
    if _says(output / MARK_NAME, plan):
        return
    there = read_mark(output)  # whole, so that its bytes are checked: a bad answer is not believed
    if there is not None and there.plan != plan:
        raise InputError(f"{output}: another command was given there with --restart; this one has stopped")
    if there is None or there.state == "committed":
        raise InputError(f"{output}: another run of this command has finished it meanwhile, or its mark was removed")


def _says(place: Location, plan: str) -> bool:
    """Return whether the head of a mark says that a plan is under way."""
    try:
        head = json.loads(_head(place))
        return bool(head["plan"] == plan and head["state"] != "committed")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _head(place: Location) -> bytes:
    if place.is_local:  # not through a descriptor that is kept open: the mark is replaced, not written to
        with place.local_path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    return read_range(place, 0, _HEAD_BYTES)


def _parse(data: bytes) -> Mark:
    try:
        head, _, rest = data.partition(b"\n")
        told, about = json.loads(rest), json.loads(head)
        base = None if told["base"] is None else Base(**told["base"])
        told |= {"draft": draft_of(told["draft"]), "base": base}
        return Mark(plan=about["plan"], state=about["state"], **told)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise FormatError("not a mark") from err


def _dump(mark: Mark) -> bytes:
    head = json.dumps({"about": _ABOUT, "plan": mark.plan, "state": mark.state})
    base = None if mark.base is None else {name: getattr(mark.base, name) for name in Base.__slots__}
    told: dict[str, Any] = {
        "facts": dict(mark.facts),
        "draft": mark.draft.as_json(),
        "parts": mark.parts,
        "ratios": dict(mark.ratios),
        "base": base,
    }
    return (head.ljust(_HEAD_BYTES - 1) + "\n" + json.dumps(told, ensure_ascii=False) + "\n").encode()


def _differences(there: Mark, mark: Mark) -> str:
    """Return in what the plan that stands there differs, in words."""
    names = dict.fromkeys([*there.facts, *mark.facts])
    pairs = [(name, there.facts.get(name), mark.facts.get(name)) for name in names]
    differing = [f"{name} {theirs}, not {ours}" for name, theirs, ours in pairs if theirs != ours]
    if not differing:
        jobs = {shard.stem: shard.job for shard in there.draft.shards}
        changed = [shard.stem for shard in mark.draft.shards if jobs.get(shard.stem) != shard.job]
        first = f", the first of them {changed[0]}" if changed else ""
        return f"other recordings or metadata for {count(len(changed), 'shard')} of {len(mark.draft.shards):,}{first}"
    more = f" and {len(differing) - _SHOWN:,} more" if len(differing) > _SHOWN else ""
    return ", ".join(differing[:_SHOWN]) + more
