"""``Cursor``: where an iteration over a stream begins, and how far it came."""

from collections.abc import Mapping
from typing import Any

from shardkit.stream.stream import Stream


class Cursor:
    """The place of one consumer in a stream; the stream's own position follows it.

    An endless stream goes on where it stood. A pass begins anew, unless a state says how much of it is done: who
    evaluates takes exactly ``len`` batches and never asks for the end, or two batches to see that it works, and then
    wants the whole pass. (PyTorch Lightning's validation does both.)

    Args:
        stream: Whose position to keep.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left_at: int | None = None  # where our own last iteration stands; None once a state was loaded

    def begin(self) -> int:
        """Return the position that a new iteration begins at."""
        if self._stream.passes is not None and self._stream.position == self._left_at:
            self._stream.advance(None)
        return self._stream.position

    def advance(self, position: int | None) -> None:
        """Note the position after a batch that was delivered; None: after the last, nothing more came."""
        self._stream.advance(position)
        self._left_at = self._stream.position

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where ``state`` was taken.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        self._stream.load_state_dict(state)
        self._left_at = None
