"""Simulated nodes: one torchrun launcher each on this machine, all of one rendezvous on the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE_VARIABLE = "SHARDKIT_TEST_NODE"
LIMIT_S = 120.0  # a machine that others use too may need this long; a test that passes needs a tenth


class Node:
    """A torchrun launcher and its workers, which torchrun puts into sessions of their own.

    All of them inherit a variable of the environment, by which they are found even when the launcher has gone.
    """

    def __init__(self, command: Sequence[str], output: Path) -> None:
        self._name = uuid.uuid4().hex
        self._output = output
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        with output.open("wb") as sink:
            self.launcher = subprocess.Popen(
                command,
                env=env | {NODE_VARIABLE: self._name},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Return the launcher and the workers that are alive."""
        mark = f"{NODE_VARIABLE}={self._name}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # ended meanwhile, or another user's
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    def wait(self) -> int:
        """Return the exit status of the launcher."""
        return self.launcher.wait(LIMIT_S)


class Launch:
    """The example under torchrun, on several nodes; what is left of it is killed at the end of the ``with`` block.

    Args:
        script: The script and its arguments.
        ranks: Ranks on each node.
        folder: For the nodes' output.
    """

    def __init__(self, script: Sequence[str], *, ranks: Sequence[int], folder: Path) -> None:
        port, name = _free_port(), uuid.uuid4().hex
        folder.mkdir()
        self.nodes = [
            Node(
                [
                    *(sys.executable, "-m", "torch.distributed.run"),
                    *("--nnodes", str(len(ranks)), "--nproc-per-node", str(num_ranks)),
                    *("--rdzv-backend", "c10d", "--rdzv-id", name, "--rdzv-endpoint", f"127.0.0.1:{port}"),
                    # Names of hosts tell these nodes apart nowhere: say which one has the rendezvous' store.
                    *("--rdzv-conf", f"is_host={int(number == 0)}", "--local-addr", "127.0.0.1"),
                    *("--monitor-interval", "0.1"),
                    *script,
                ],
                folder / f"node-{number}.txt",
            )
            for number, num_ranks in enumerate(ranks)
        ]

    def __enter__(self) -> "Launch":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        return "\n".join(f"node {number}:\n{node.output}" for number, node in enumerate(self.nodes))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, while all nodes run."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert all(node.launcher.poll() is None for node in self.nodes), f"ended too soon\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s\n{self.output[-4000:]}"
            time.sleep(0.01)

    def kill(self, *nodes: Node) -> None:
        """End everything on some nodes, or on all, at once, as a power failure does."""
        chosen = nodes or self.nodes
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: nobody is to see another one die
            for pid in [pid for node in chosen for pid in node.processes()]:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        for node in chosen:
            node.wait()

    def finish(self) -> str:
        """Wait for all nodes to end well; return what they wrote."""
        assert [node.wait() for node in self.nodes] == [0] * len(self.nodes), self.output[-4000:]
        return self.output


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
