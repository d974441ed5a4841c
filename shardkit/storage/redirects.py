"""Redirects over HTTP: where one leads is looked at before it is followed, and who may see what is sent along.

aiohttp follows redirects by itself. It takes ``Authorization`` away where they lead to another origin, but no other
header: an ``X-Api-Key`` of the storage options would be shown to whoever a server names.
"""

from typing import Any

from shardkit.core.errors import InputError
from shardkit.storage.reach import check_host, host_of_url, is_private


class RedirectError(OSError):
    """A redirect that is not followed."""


def watch_redirects(*, with_secrets: bool) -> Any:
    """Return an aiohttp trace that refuses redirects that lead where they must not.

    Args:
        with_secrets: Whether the requests carry headers of the user's, which only their own origin may see.
    """
    from aiohttp import TraceConfig  # noqa: PLC0415  (fsspec's HTTP client, needed for HTTP only)

    async def check(_session: Any, _context: Any, params: Any) -> None:
        location = params.response.headers.get("Location") or params.response.headers.get("URI") or ""
        source = params.response.url
        target = source.join(type(source)(location))
        if with_secrets and source.origin() != target.origin():
            raise RedirectError(
                f"it redirects to {target.host}, which must not see the headers and cookies of your storage options; "
                "give the address it leads to, or leave them out"
            )
        try:
            check_host(source.host or "", host_of_url(str(target)), public=not is_private(source.host or ""))
        except InputError as err:
            raise RedirectError(f"it redirects: {err}") from err

    trace = TraceConfig()
    trace.on_request_redirect.append(check)
    return trace
