"""The place in a manifest that an error is about."""

from collections.abc import Iterator
from contextlib import contextmanager

from shardkit.core.errors import ShardkitError


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Put a place in front of what goes wrong inside: the line of a manifest, or the file itself.

    The error stays of its class, by which the caller tells a bad recording from a store that is down.
    """
    try:
        yield
    except ShardkitError as err:
        if str(err).startswith(place):
            raise
        raise type(err)(f"{place}: {err}") from err
