"""However an iteration ends, it ends at once, and nothing of it is left: law L10.

Real programs, in all ways of reading, from disk and from S3, ended in all ways: see ``program.py``.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import shardkit as sk
from tests.stream.gated_server import gated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ALL = "stream,loader,processes,side,dataloader"
OURS = "stream,loader,processes"
SHM = Path("/dev/shm")  # noqa: S108
STARTS_S = 120.0
PROMPT_S = 30.0  # on an idle machine 0.1; what hangs takes for ever


@pytest.fixture(scope="module")
def places(datasets, s3):
    shutil.copytree(datasets["clips"], s3.folder / "ends")
    return [str(datasets["clips"]), f"{s3.url}/ends"]


@pytest.fixture(autouse=True)
def nothing_left_on_the_machine(tmp_path):
    """Fail the test that leaves something in /dev/shm or among temporary files."""
    yield
    assert not list(SHM.glob("*shardkit*"))
    temporary = tmp_path / "tmp"
    left = [path.name for path in temporary.iterdir()]
    shutil.rmtree(temporary.resolve())
    assert [
        name for name in left if not name.startswith("pymp-")
    ] == []  # of torch: where DataLoader's workers send from
    assert not list((tmp_path / "cache").glob("*/.shardkit-block"))


@contextmanager
def start(tmp_path, kinds, end, urls, method="fork"):
    """Run the program; whatever the test finds, it ends with the block."""
    # Sockets lie there, and the path of one has 108 characters at most: torch's workers would fall silent.
    (tmp_path / "tmp").symlink_to(tempfile.mkdtemp(prefix="ends-", dir="/tmp"))
    script = str(Path(__file__).with_name("program.py"))
    program = subprocess.Popen(
        [sys.executable, script, kinds, end, str(tmp_path / "cache"), method, *urls],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(Path(sk.__file__).parents[1]), *sys.path]),
            "PYTHONWARNINGS": "ignore:.*use of fork:DeprecationWarning",
            "TMPDIR": str((tmp_path / "tmp").resolve()),
        },
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def reading(program):
    """Wait until it reads, and return its process ids."""
    if not select.select([program.stdout], [], [], STARTS_S)[0]:
        os.killpg(program.pid, signal.SIGKILL)
    line = program.stdout.readline().split()
    assert line[:1] == ["reading"], program.communicate(timeout=60)
    return [program.pid, *map(int, line[1:])]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def all_gone(pids):
    limit = time.monotonic() + PROMPT_S
    while not all(gone(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.02)
    return all(gone(pid) for pid in pids)


@pytest.mark.parametrize(
    ("end", "method", "kinds"),
    [("break", "fork", ALL), ("error", "fork", ALL), ("break", "spawn", "processes,dataloader")],
)
def test_who_leaves_a_loop_leaves_nothing_behind(places, tmp_path, end, method, kinds):
    with start(tmp_path, kinds, end, places, method) as program:
        pids = reading(program)
        out, errors = program.communicate(timeout=PROMPT_S)
    left = json.loads(out.splitlines()[-1])
    assert len(left.pop("open")) <= (method == "spawn")  # Python's resource tracker stays
    assert left == {"threads": [], "processes": []}
    assert (program.returncode, errors) == (0, "")
    assert all_gone(pids)


def test_a_program_may_end_in_the_middle(places, tmp_path):
    with start(tmp_path, ALL, "exit", places) as program:
        pids = reading(program)
        _, errors = program.communicate(timeout=PROMPT_S)
    assert (program.returncode, errors) == (0, "")
    assert all_gone(pids)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_of_it(places, tmp_path, sign):
    with start(tmp_path, ALL, "signal", places) as program:
        pids = reading(program)
        if sign == signal.SIGINT:
            os.killpg(program.pid, sign)  # as a terminal does
        else:
            program.send_signal(sign)
        _, errors = program.communicate(timeout=PROMPT_S)
    assert program.returncode == -sign
    assert "shardkit/stream/" not in errors or sign == signal.SIGINT, errors  # torch's own workers may complain
    assert all_gone(pids)


def test_a_process_that_is_forked_in_the_middle_is_told_so_and_may_read_anew(places, tmp_path):
    with start(tmp_path, OURS, "fork", places) as program:
        pids = reading(program)
        out, errors = program.communicate(timeout=PROMPT_S)
    *told, left = out.splitlines()
    assert told == ["InputError"] * 3 + ["read anew", "child 0"], errors
    assert json.loads(left) == {"threads": [], "processes": [], "open": []}
    assert (program.returncode, errors) == (0, "")
    assert all_gone(pids)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_storage_that_does_not_answer_does_not_hold_up_the_end(datasets, tmp_path, sign):
    with gated(datasets["clips"].parent) as server:
        with start(tmp_path, OURS, "signal", [f"{server.url}/clips"]) as program:
            pids = reading(program)
            server.gate.clear()
            time.sleep(0.5)  # what was read ahead is used up
            began = time.monotonic()
            program.send_signal(sign)
            program.communicate(timeout=PROMPT_S)
            seconds = time.monotonic() - began
        assert program.returncode == -sign
        assert all_gone(pids)
    assert seconds < 18  # before the storage's own time limit of 20 s
