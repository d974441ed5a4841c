"""Clients of remote storage: one fsspec file system a process, its timeouts, and when to try again.

Trying again is decided here alone, the clients' own retries are off: botocore's and s3fs's multiply (5 × 5), and
both keep knocking at a wrong endpoint for most of a minute.
"""

import os
import random
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec

from shardkit.storage import faults
from shardkit.storage.location import HTTP, OBJECT_STORES, S3, Location

if TYPE_CHECKING:
    from shardkit.storage.direct import DirectReader

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 20.0  # without a byte; S3 itself rarely lets one wait 0.2 s, a busy Ceph or MinIO does
RETRY_WAITS_S = (0.2, 0.6, 1.5, 3.0)
RETRY_FOR_S = 30.0  # no attempt begins later than this after the first
MAX_CONNECTIONS = 64  # botocore's 10 would queue the reads of a stream's threads
# Options of fsspec's HTTP that do not change a request; headers, auth, proxies and the like do.
_PLAIN_HTTP_OPTIONS = frozenset({"block_size", "cache_type", "simple_links", "same_scheme", "use_listings_cache"})


class Client:
    """One fsspec file system of this process, and the hosts or buckets that have answered it.

    ``direct`` reads ranges at less cost, where the options allow it.
    """

    def __init__(self, location: Location) -> None:
        options = _with_defaults(location.protocol, location.options)
        self.filesystem = _open(location.protocol, options)
        self.direct = _direct_reader(location, options, self.filesystem)
        self._answered: set[str] = set()

    def attempt(self, location: Location, call: Callable[[Any], T]) -> T:
        """Return ``call(filesystem)``, tried again while that can help."""
        host = location.path.partition("/")[0]
        first = time.monotonic()
        for wait_s in RETRY_WAITS_S:
            try:
                return self._once(host, call)
            except Exception as err:  # fsspec's backends share no base class of errors
                late = time.monotonic() - first + wait_s > RETRY_FOR_S
                if late or not faults.is_transient(err, answered=host in self._answered):
                    raise
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  (spread, so that workers don't return as one)
        return self._once(host, call)

    def _once(self, host: str, call: Callable[[Any], T]) -> T:
        result = call(self.filesystem)
        self._answered.add(host)
        return result


class Clients:
    """The clients of this process, one for each protocol and set of options."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[tuple[str, str], Client] = {}
        self._inherited: list[object] = []
        os.register_at_fork(after_in_child=self._reset_in_child)

    def get(self, location: Location) -> Client:
        """Return the client for a location, made now if this process has none."""
        key = (location.protocol, location.options_json)
        client = self._clients.get(key)
        if client is None:
            with self._lock:
                client = self._clients.get(key)
                if client is None:
                    client = self._clients[key] = Client(location)
        return client

    def _reset_in_child(self) -> None:
        self._inherited.append(self._clients)  # kept, not closed: see Client
        self._clients = {}
        self._lock = Lock()


def _open(protocol: str, options: dict[str, Any]) -> Any:
    """Return a new fsspec file system.

    fsspec's instance cache is passed by: a fork empties it, and the finalizers of what was inherited would then shut
    down, in the child, sockets and an event loop that are the parent's.
    """
    filesystem = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
    if protocol in S3:
        filesystem.retries = 1  # attempts, in s3fs's words
    return filesystem


def _direct_reader(location: Location, options: dict[str, Any], filesystem: Any) -> "DirectReader | None":
    """Return the reader of ranges by plain HTTP, None where requests must be fsspec's."""
    # Imported here, with urllib3: a fifth of the time that importing this package takes.
    from shardkit.storage.connections import Settings  # noqa: PLC0415
    from shardkit.storage.direct import DirectReader  # noqa: PLC0415
    from shardkit.storage.signing import PlainUrls, SignedUrls, can_sign  # noqa: PLC0415

    if location.protocol in S3 and can_sign(options):
        config = options["config_kwargs"]

        def open_other(changed: dict[str, Any]) -> Any:
            return _open(location.protocol, options | {"config_kwargs": config | changed})

        return DirectReader(SignedUrls(filesystem, config, open_other))
    if location.protocol in HTTP and location.options.keys() <= _PLAIN_HTTP_OPTIONS:
        # fsspec takes no proxy from the environment, so neither does this; certificates are the system's.
        usual = Settings(
            connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S, max_connections=MAX_CONNECTIONS
        )
        return DirectReader(PlainUrls(usual))
    return None


def _with_defaults(protocol: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with ours where the user gave none: short timeouts, no retries, no stale listings."""
    if protocol in S3:
        config = _s3_config() | (options.get("config_kwargs") or {})
        # One request for a whole object: with more than one at once, s3fs asks for its size first.
        return {"use_listings_cache": False, "max_concurrency": 1} | options | {"config_kwargs": config}
    if protocol in HTTP:
        from aiohttp import ClientTimeout  # noqa: PLC0415  (fsspec's HTTP client, needed for HTTP only)

        from shardkit.storage.redirects import watch_redirects  # noqa: PLC0415

        timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        redirects = watch_redirects(with_secrets=not options.keys() <= _PLAIN_HTTP_OPTIONS)
        usual = {"timeout": timeout, "trace_configs": [redirects]}
        return options | {"client_kwargs": usual | (options.get("client_kwargs") or {})}
    return {"use_listings_cache": False} | options if protocol in OBJECT_STORES else options


def _s3_config() -> dict[str, Any]:
    from botocore.config import Config  # noqa: PLC0415  (only where S3 is used)

    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": MAX_CONNECTIONS,
        # botocore still signs URLs by version 2, which new buckets of AWS refuse; requests are signed by 4 anyway.
        "signature_version": "s3v4",
    }
    # botocore 1.36 and later check a range against the checksum of the whole object where a store sends that along,
    # as rclone does. What is read is checked by the hashes of the index.
    if "response_checksum_validation" in Config.OPTION_DEFAULTS:
        config["response_checksum_validation"] = "when_required"
    return config
