"""Runs a target for minutes in a process of its own, whose memory and time for each input are bounded.

    parent   watches ──────────────► hang, crash: the input is kept, the child begun anew behind it
    child    change, read, change, read …  ──►  an untyped error, too much memory: told, and on

An input is a function of (target, seed, number), so that a finding is repeated by these.
"""

import faulthandler
import json
import logging
import mmap
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tools.fuzz.readers import told
from tools.fuzz.targets import Target

INPUT_S = 10.0  # a reader may take for one input; the machine may be busy
MORE_ADDRESSES = 1 << 30  # bytes of address space beside what the seeds took
MORE_MEMORY = 1 << 28  # bytes of memory that one input of at most 1 MiB may take
_ROOM = 4 << 20
_HEAD = 32


@dataclass(slots=True)
class Campaign:
    """What a campaign did and found; ``findings`` by what they are, each with the first input's number."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: dict[str, int] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)


def input_of(target: Target, files: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return the input of a number."""
    return target.change(files, Random(f"{seed}/{number}"))  # noqa: S311


def run_campaign(
    name: str, target: Target, *, seconds: float, seed: int, folder: Path | None, inputs: int = 1 << 62
) -> Campaign:
    """Run a target and return what was found; inputs that failed are kept in ``folder``."""
    files = list(target.seeds())
    for data in files:
        told(target.read, data)  # what is imported and cached lazily is no input's fault
    found, began, number = Campaign(), time.monotonic(), 0
    shared = mmap.mmap(-1, _ROOM)  # count, refused, number of the input under way
    while number < inputs and (left := began + seconds - time.monotonic()) > 0:
        number = _run_child(name, target, files, seed, range(number, inputs), left, shared, found, folder)
    found.seconds = time.monotonic() - began
    return found


def _run_child(
    name: str, target: Target, files: Sequence[bytes], seed: int, numbers: range, left_s: float, shared: mmap.mmap,
    found: Campaign, folder: Path | None,
) -> int:  # fmt: skip
    """Run one child until it ends or is ended; return the number of the next input."""
    _put(shared, 0, 0, numbers.start)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _child(target, files, seed, numbers, left_s, shared, writer)
    os.close(writer)
    os.set_blocking(reader, False)
    lines, seen, moved = b"", -1, time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        lines += _drain(reader)
        now = int.from_bytes(shared[16:24], "little")
        if now != seen:
            seen, moved = now, time.monotonic()
        if ended:
            break
        if time.monotonic() - moved > INPUT_S:
            os.kill(child, signal.SIGABRT)  # faulthandler says where
            time.sleep(0.2)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            _note(found, f"hang: more than {INPUT_S:g} s", seen, name, target, files, seed, folder)
            break
        time.sleep(0.02)
    lines += _drain(reader)
    os.close(reader)
    found.inputs += int.from_bytes(shared[0:8], "little")
    found.refused += int.from_bytes(shared[8:16], "little")
    for line in lines.splitlines():
        what = json.loads(line)
        _note(found, what["what"], what["number"], name, target, files, seed, folder)
        sys.stderr.write(what["trace"])
    if ended and status:
        _note(found, f"crash: status {status}", seen, name, target, files, seed, folder)
    return seen + 1


def _drain(reader: int) -> bytes:
    lines = b""
    while True:
        try:
            part = os.read(reader, 1 << 16)
        except BlockingIOError:
            return lines
        if not part:
            return lines
        lines += part


def _note(
    found: Campaign, what: str, number: int, name: str, target: Target, files: Sequence[bytes], seed: int,
    folder: Path | None,
) -> None:  # fmt: skip
    found.times[what] += 1
    if what in found.findings:
        return
    found.findings[what] = number
    sys.stderr.write(f"{name}: seed {seed}, input {number}: {what}\n")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{seed}-{number}").write_bytes(input_of(target, files, seed, number))


def _put(shared: mmap.mmap, *numbers: int) -> None:
    shared[: 8 * len(numbers)] = b"".join(number.to_bytes(8, "little") for number in numbers)


def _child(
    target: Target, files: Sequence[bytes], seed: int, numbers: range, left_s: float, shared: mmap.mmap, writer: int
) -> None:
    faulthandler.enable()
    logging.disable()
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    limit = _status("VmSize") + MORE_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    first, end, refused, said = numbers.start, time.monotonic() + left_s, 0, set()
    number = first
    while number in numbers and time.monotonic() < end:
        _put(shared, number - first, refused, number)
        data = input_of(target, files, seed, number)
        before, what, trace = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, None, ""
        try:
            refused += told(target.read, data) is not None
        except BaseException as err:  # whatever it is, it is a finding
            what, trace = _signature(err), traceback.format_exc()
        more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if what is None and more > MORE_MEMORY:
            what = f"memory: more than {MORE_MEMORY >> 20} MiB for an input of {len(data) >> 10} KiB or less"
        if what is not None:
            line = json.dumps({"what": what, "number": number, "trace": "" if what in said else trace}) + "\n"
            os.write(writer, line.encode())
            said.add(what)
        number += 1
    _put(shared, number - first, refused, number)
    os._exit(0)


def _signature(err: BaseException) -> str:
    """Return an error's type and where in shardkit it came from."""
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if "/shardkit/" in frame.filename]
    place = f"{'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno}" if frames else "the reader"
    return f"{type(err).__name__} at {place}"


def _status(name: str) -> int:
    """Return a size of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    return 0
