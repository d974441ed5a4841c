"""What an answer to a range request holds: told by its status and headers, before a byte of its body is read.

Servers differ in what they make of ``Range`` (RFC 9110, section 14):

    206, Content-Range            the rule
    206, no Content-Range         some small servers; the length must speak
    200, Content-Range            ``rclone serve s3``: the range's bytes only, under the wrong status
    200, no Content-Range         the server ignores ranges and sends the whole object, which the RFC allows
    416                           the range begins at or after the end

A pure decision on values, so that each of them can be tried without a server.
"""

import re
from typing import NamedTuple

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.ASCII | re.IGNORECASE)  # RFC 9110, section 14.4


class WrongAnswerError(Exception):
    """Other bytes were sent than those asked for; asking again may help, as with a cache that is being filled."""


class Part(NamedTuple):
    """Where in an answer's body the range stands.

    ``skip`` bytes come before it, at most ``take`` bytes of it follow (``exact``: not fewer either), and ``total`` is
    the size of the whole object where the answer tells it. ``whole``: all of the object was sent, ranges are ignored.
    """

    skip: int
    take: int
    exact: bool
    total: int | None
    whole: bool = False


def find_part(status: int, content_range: str | None, length: int | None, start: int, stop: int) -> Part | None:
    """Return where the bytes [start, stop) stand in an answer, None for an answer that is none of the above.

    Args:
        status: HTTP status.
        content_range: The header of that name.
        length: Content-Length, in bytes.
        start: First byte asked for.
        stop: The byte after the last; past ``start``.

    Raises:
        WrongAnswerError: The answer's own words contradict the request or each other.
    """
    found = _CONTENT_RANGE.fullmatch(content_range.strip()) if content_range else None
    if status == 416:
        return Part(0, 0, False, _total(found))
    if status not in (200, 206):
        return None
    if found is not None and found[1]:
        return _ranged(int(found[1]), int(found[2]) + 1, _total(found), length, start, stop)
    if content_range:
        raise WrongAnswerError(f"the server's Content-Range makes no sense: {content_range[:60]!r}")
    if status == 200:
        return _whole(length, start, stop)
    if length is not None and length > stop - start:
        raise WrongAnswerError(f"asked for bytes {start:,} to {stop:,}, was sent {length:,} bytes")
    return Part(0, stop - start if length is None else length, length is not None, None)


def _ranged(first: int, after: int, total: int | None, length: int | None, start: int, stop: int) -> Part:
    wanted = stop if total is None else min(stop, total)
    shorter = total is None and first == start and first < after < stop  # the object may end there
    if (first, after) != (start, wanted) and not shorter:
        raise WrongAnswerError(f"asked for bytes {start:,} to {stop:,}, was sent bytes {first:,} to {after:,}")
    if length is not None and length != after - first:
        raise WrongAnswerError(f"bytes {first:,} to {after:,} were announced with a length of {length:,} bytes")
    return Part(0, after - first, True, total)


def _whole(length: int | None, start: int, stop: int) -> Part:
    if length is None:  # sent in chunks: how long it is turns out while it is read
        return Part(start, stop - start, False, None, whole=True)
    return Part(min(start, length), max(0, min(stop, length) - start), True, length, whole=True)


def _total(found: re.Match[str] | None) -> int | None:
    return None if found is None or found[3] == "*" else int(found[3])
