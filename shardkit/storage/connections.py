"""Kept-alive connections to the hosts that ranges are read from: urllib3's pools, bounded and made when first needed.

Authority is not decided here: which certificates count, which proxy stands between and how long to wait is what the
fsspec client of the same location would do, see ``direct``.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote

from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.util import Url, make_headers, parse_url

MAX_HOSTS = 64  # with virtual-hosted S3 each bucket is a host
_WIRE = re.compile(r"[!-~]+", re.ASCII)  # nothing in a line of a request that could end it
_USER_AGENT = f"python-urllib3/{version('urllib3')}"  # its own
_SECRET = re.compile(r"(?i)([?&][^=&\s]*(?:sig|token|credential|secret|password|key)[^=&\s]*=)[^&\s'\"]+")


class _HideSecrets(logging.Filter):
    """Takes signatures out of what urllib3 logs: at DEBUG the URL of each request, odd headers' URLs at WARNING."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SECRET.sub(r"\1…", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_HideSecrets())


class UnsuitableError(Exception):
    """These connections can't be made here as the settings want them; fsspec's client is to be asked instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to connect to a host: times in seconds; ``ca_certs`` a bundle's path, None: the system's."""

    connect_timeout_s: float
    read_timeout_s: float
    max_connections: int
    ca_certs: str | None = None
    proxy: str | None = None


class Target(NamedTuple):
    """What a GET names: the connections to its host, and the path and query to ask for there.

    ``head``: the lines of such a request, all but the range.
    """

    pool: HTTPConnectionPool
    path: str
    head: bytes


class Connections:
    """The pools of one client; ``settings`` is called with the first URL of each host."""

    def __init__(self, settings: Callable[[str], Settings]) -> None:
        self._settings = settings
        self._lock = Lock()
        self._pools: dict[tuple[str, str, int | None], tuple[HTTPConnectionPool, bool]] = {}

    def target(self, url: str) -> Target:
        """Return where to send a GET for ``url``, in the encoded form that goes over the wire.

        Raises:
            UnsuitableError: See there.
            urllib3.exceptions.LocationParseError: It is no URL.
        """
        parsed = parse_url(url)
        if parsed.auth is not None or parsed.host is None:
            raise UnsuitableError
        key = (parsed.scheme or "http", parsed.host, parsed.port)
        known = self._pools.get(key)
        if known is None:
            known = self._keep(key, _open(url, self._settings(url)))
        pool, absolute = known
        path = parsed._replace(fragment=None).url if absolute else parsed.request_uri
        return Target(pool, path, _head(path, _host_header(parsed), pool.proxy_headers if absolute else {}))

    def _keep(
        self, key: tuple[str, str, int | None], made: tuple[HTTPConnectionPool, bool]
    ) -> tuple[HTTPConnectionPool, bool]:
        with self._lock:
            while len(self._pools) >= MAX_HOSTS:
                del self._pools[next(iter(self._pools))]  # urllib3 closes it once no read uses it
            return self._pools.setdefault(key, made)


def _head(path: str, host: str, more: Mapping[str, str]) -> bytes:
    """Return the lines of a GET, ``path`` in the form that goes over the wire."""
    if not _WIRE.fullmatch(path) or not _WIRE.fullmatch(host):
        raise UnsuitableError
    lines = {"Host": host, "Accept-Encoding": "identity", "User-Agent": _USER_AGENT, **more}
    return "".join([f"GET {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items())]).encode()


def _host_header(url: Url) -> str:
    """Return what signatures cover: the port is in it where it is not the scheme's."""
    usual = {"http": 80, "https": 443}.get(url.scheme or "http")
    return f"{url.host}" if url.port in (None, usual) else f"{url.host}:{url.port}"


def _open(url: str, settings: Settings) -> tuple[HTTPConnectionPool, bool]:
    """Return the pool of a URL's host, and whether it wants whole URLs, as a proxy does for plain HTTP."""
    timeout = Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s)
    wire: dict[str, Any] = {"timeout": timeout, "maxsize": settings.max_connections, "block": True}
    wire |= {"cert_reqs": "CERT_REQUIRED", "ca_certs": settings.ca_certs}
    if settings.proxy is None:
        return PoolManager(**wire).connection_from_url(url), False
    proxy = parse_url(settings.proxy)
    if proxy.scheme not in ("http", "https"):
        raise UnsuitableError  # SOCKS needs a package of its own
    headers = make_headers(proxy_basic_auth=unquote(proxy.auth)) if proxy.auth else None
    address = proxy._replace(auth=None).url
    manager = ProxyManager(address, proxy_headers=headers, **wire)
    return manager.connection_from_url(url), url.startswith("http:")
