"""One pass over a tar: its hash, the hash of each member, and its list of members, from bytes read once, in order.

    storage --chunks--> OnePass --+--> hash of the file
                                  +--> hash of each span that the index says is a member
                                  +--> the window that ``tar.scan`` reads headers from

``tarfile`` goes through an archive from front to back, but by seeking over data; here a seek reads what it skips.
"""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import xxhash

from shardkit.format.hashing import FileHash
from shardkit.format.tar import TarMember, scan
from shardkit.storage.location import Location
from shardkit.storage.reader import RangeReader
from shardkit.storage.store import read_range

_CHUNK = 8 * 1024 * 1024  # one request: large enough for object storage
_WINDOW_CHUNKS = 2  # tarfile looks back by a block or two, which may lie in the chunk before
_HEADER_BUFFER = 16 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, stop) of a tar that should be a member; ``number`` says which."""

    number: int
    start: int
    stop: int


SpanDone = Callable[[Span, int, bytes | None], None]


class OnePass:
    """Reads a tar once.

    Args:
        tar: What to read.
        size: Its bytes.
        spans: Members, in order of ``start`` and apart from each other.
        done: Called for each span with its xxh3 and, if ``keep``, its bytes.
        keep: Whether ``done`` wants the bytes; then memory holds one member at a time.
        progress: Called with the bytes of each chunk.
    """

    def __init__(
        self,
        tar: Location,
        size: int,
        spans: Sequence[Span],
        *,
        done: SpanDone,
        keep: bool,
        progress: Callable[[int], None],
    ) -> None:
        self._tar = tar
        self._size = size
        self._spans = deque(spans)
        self._done = done
        self._keep = keep
        self._progress = progress
        self._hash = FileHash()
        self._passed = 0
        self._window: deque[tuple[int, bytes]] = deque(maxlen=_WINDOW_CHUNKS)
        self._span_hash = xxhash.xxh3_64()
        self._span_parts: list[bytes] = []

    def members(self) -> Iterator[TarMember]:
        """Yield the members that the tar itself lists.

        Raises:
            FormatError: It is not a whole tar; the pass can be finished all the same.
        """
        raw = RangeReader(str(self._tar), self._size, self._fetch)
        yield from scan(io.BufferedReader(raw, _HEADER_BUFFER), where=str(self._tar))

    def finish(self) -> str:
        """Read what is left and return the hash of the whole file."""
        while self._passed < self._size:
            self._next_chunk()
        return self._hash.text()

    def _fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), which scanning asks for in ascending order, or nearly so."""
        while self._passed < stop:
            self._next_chunk()
        first = self._window[0][0] if self._window else 0
        if start < first:  # further back than the window: read again, past the hashes
            return read_range(self._tar, start, stop)
        return b"".join(data[max(0, start - at) : max(0, stop - at)] for at, data in self._window)

    def _next_chunk(self) -> None:
        data = read_range(self._tar, self._passed, min(self._passed + _CHUNK, self._size))
        self._hash.update(data)
        self._feed_spans(memoryview(data), self._passed)
        self._window.append((self._passed, data))
        self._passed += len(data)
        self._progress(len(data))

    def _feed_spans(self, data: memoryview, at: int) -> None:
        while self._spans and self._spans[0].start < at + len(data):
            span = self._spans[0]
            part = data[max(0, span.start - at) : max(0, span.stop - at)]
            self._span_hash.update(part)
            if self._keep:
                self._span_parts.append(bytes(part))
            if span.stop > at + len(data):
                return
            self._spans.popleft()
            whole = b"".join(self._span_parts) if self._keep else None
            digest = self._span_hash.intdigest()
            self._span_hash.reset()
            self._span_parts = []
            self._done(span, digest, whole)
