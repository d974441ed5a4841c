"""A line to a reading process, to ask it what it is doing while it is busy with just that.

    consumer     Line.ask ──── question ───►  FarEnd, a thread: what the other threads do, and their stacks
                          ◄──── a Sight ────
                          (no answer) ── signal ──►  faulthandler, without the interpreter: bare stacks into a pipe

A process that was stopped answers neither way; the system tells. One that hangs in foreign code that keeps the
interpreter's lock still lets faulthandler write.
"""

import faulthandler
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from shardkit.stream.watchdog import ASKING, Sight

_ANSWER_S = 2.0  # a process that is merely busy answers within this
# What faulthandler listens for: of the signals for programs' own use the last but a few, which nobody is likely to use.
_DUMP = getattr(signal, "SIGRTMAX", None) and signal.SIGRTMAX - 5
_STATES = {
    "T": "is stopped by a signal; continue it with 'kill -CONT {pid}'",
    "t": "is stopped by a debugger",
    "D": "waits for the kernel: a disk, or a network file system, that does not answer",
    "Z": "has ended",
}


class FarEnd:
    """The reading process's end of a line.

    Args:
        questions: Where it is asked, and answers.
        dumps: Where faulthandler writes.
    """

    def __init__(self, questions: Connection, dumps: Connection) -> None:
        self._questions, self._dumps = questions, dumps

    def __enter__(self) -> "FarEnd":
        return self

    def __exit__(self, *_: object) -> None:
        self._questions.close()
        self._dumps.close()

    def answer_in_thread(self, look: Callable[[], Sight]) -> None:
        """Answer questions with what ``look`` returns, from now on until the other end is closed."""
        if _DUMP:
            os.set_blocking(self._dumps.fileno(), False)  # what does not fit is lost, rather than the process
            faulthandler.register(_DUMP, file=self._dumps.fileno(), all_threads=True, chain=False)
        with suppress(OSError):
            self._questions.send(None)  # from now on the signal is safe: before, it would end this process
        threading.Thread(target=self._answer, args=(look,), name=ASKING, daemon=True).start()

    def _answer(self, look: Callable[[], Sight]) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._questions.recv()
                self._questions.send(look())


class Line:
    """The consumer's end.

    Attributes:
        other: The other end, for the process.
    """

    def __init__(self) -> None:
        self._questions, questions = Pipe()
        self._dumps, dumps = Pipe(duplex=False)
        self.other = FarEnd(questions, dumps)
        self._is_ready = False

    def close(self) -> None:
        """Hang up."""
        self._questions.close()
        self._dumps.close()

    def ask(self, name: str, pid: int | None) -> Sight:
        """Return what the process at the other end does, or why it can't say."""
        who, fields = f"{name} (pid {pid})", {"worker": name, "worker_pid": pid}
        try:
            while self._questions.poll():
                self._questions.recv()  # that it is ready, or an answer that came too late
                self._is_ready = True
            self._questions.send(None)
            if self._is_ready and self._questions.poll(_ANSWER_S):
                seen: Sight = self._questions.recv()
                return Sight(seen.waits_for, f"{who}, {seen.message}", seen.stacks, fields | seen.fields)
        except (EOFError, OSError):
            pass  # it is ending, or the line was closed
        state = _state(pid)
        why = _STATES.get(state, "does not answer" if self._is_ready else "is starting").format(pid=pid)
        can_dump = self._is_ready and state not in _STATES
        return Sight("process", f"{who}, which {why}", self._dumped(pid) if can_dump else "", fields)

    def _dumped(self, pid: int | None) -> str:
        """Return the stacks that faulthandler writes in the other process."""
        text = b""
        with suppress(OSError):
            if _DUMP and pid is not None:
                os.kill(pid, _DUMP)
                while self._dumps.poll(_ANSWER_S / 10 if text else _ANSWER_S):
                    part = os.read(self._dumps.fileno(), 2**16)
                    if not part:
                        break
                    text += part
        return text.decode("utf-8", "replace")


def _state(pid: int | None) -> str:
    """Return the letter by which Linux tells what a process does; empty where it is not told."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
