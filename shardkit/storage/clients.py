"""Clients of remote storage: one fsspec file system a process, its timeouts, and when to try again.

Trying again is decided here alone (see ``retries``), the clients' own retries are off: botocore's and s3fs's multiply
(5 × 5), and both keep knocking at a wrong endpoint for most of a minute.
"""

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec

from shardkit.storage import faults
from shardkit.storage.hedging import Hedging
from shardkit.storage.location import HTTP, OBJECT_STORES, S3, Location
from shardkit.storage.patience import Patience, patience_of, without_patience
from shardkit.storage.retries import Retries, RetryBudget
from shardkit.storage.traffic import Traffic

if TYPE_CHECKING:
    from shardkit.storage.direct import DirectReader
    from shardkit.storage.versions import Versions

T = TypeVar("T")

MAX_CONNECTIONS = 64  # botocore's 10 would queue the reads of a stream's threads
RENEW_AFTER_S = 5.0  # credentials that have just been looked up are not looked up again
# Options of fsspec's HTTP that do not change a request; headers, auth, proxies and the like do.
_PLAIN_HTTP_OPTIONS = frozenset({"block_size", "cache_type", "simple_links", "same_scheme", "use_listings_cache"})


class Client:
    """One fsspec file system of this process, and the hosts or buckets that have answered it.

    ``direct`` reads ranges at less cost, where the options allow it.
    """

    def __init__(self, location: Location) -> None:
        self.filesystem: Any = None
        self.direct: DirectReader | None = None
        self._location = location
        self._answered: set[str] = set()
        self._budget = RetryBudget()
        self._lock = Lock()
        self._open(None)
        share, percentile = self.patience.hedge_share, self.patience.hedge
        self.hedging = None if percentile is None else Hedging(percentile, share)

    @property
    def patience(self) -> Patience:
        """How long to wait, and how often to try."""
        return patience_of(self._location.options)

    def attempt(
        self, location: Location, call: Callable[[Any], T], *, known: bool = False, traffic: Traffic | None = None
    ) -> T:
        """Return ``call(filesystem)``, tried again while that can help.

        Args:
            location: What it is about.
            call: May be made any number of times.
            known: The endpoint is no wrong one, even if it never answered this process: somebody read an index there.
            traffic: Counts the retries.

        Raises:
            GaveUpError: It failed too often or for too long, caused by the last failure.
            Exception: What ``call`` raised, where trying again can't help.
        """
        host = location.path.partition("/")[0]
        began = time.monotonic()
        try:
            return self._once(host, call)
        except Exception as err:  # fsspec's backends share no base class of errors
            failure = err
        retries = Retries(self.patience, self._budget, str(location), began)
        while True:
            answered = known or host in self._answered
            retries.wait(failure, answered=answered)
            if traffic is not None:
                traffic.add_retry()
            if answered and faults.is_expired(failure):
                self._renew()
            try:
                return self._once(host, call)
            except Exception as err:  # as above
                failure = err

    def _once(self, host: str, call: Callable[[Any], T]) -> T:
        result = call(self.filesystem)
        self._answered.add(host)
        self._budget.succeeded()
        return result

    def _open(self, versions: "Versions | None") -> None:
        location = self._location
        options = _with_defaults(location.protocol, without_patience(location.options), self.patience)
        filesystem = _open(location.protocol, options)
        self.direct = _direct_reader(location, options, filesystem, self.patience, versions)
        self.filesystem = filesystem
        self._opened_at = time.monotonic()

    def _renew(self) -> None:
        """Look credentials up again, where somebody may have put new ones: in files, by whatever the profile names."""
        with self._lock:
            if time.monotonic() - self._opened_at > RENEW_AFTER_S:
                self._open(None if self.direct is None else self.direct.versions)


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


def _direct_reader(
    location: Location, options: dict[str, Any], filesystem: Any, patience: Patience, versions: "Versions | None"
) -> "DirectReader | None":
    """Return the reader of ranges by plain HTTP, None where requests must be fsspec's."""
    # Imported here, with urllib3: a fifth of the time that importing this package takes.
    from shardkit.storage.connections import Settings  # noqa: PLC0415
    from shardkit.storage.direct import DirectReader  # noqa: PLC0415
    from shardkit.storage.signing import PlainUrls, SignedUrls, can_sign  # noqa: PLC0415

    if location.protocol in S3 and can_sign(options):
        config = options["config_kwargs"]

        def open_other(changed: dict[str, Any]) -> Any:
            return _open(location.protocol, options | {"config_kwargs": config | changed})

        return DirectReader(SignedUrls(filesystem, config, open_other), versions)
    if location.protocol in HTTP and without_patience(location.options).keys() <= _PLAIN_HTTP_OPTIONS:
        # fsspec takes no proxy from the environment, so neither does this; certificates are the system's.
        usual = Settings(
            connect_timeout_s=patience.connect_timeout,
            read_timeout_s=patience.read_timeout,
            max_connections=MAX_CONNECTIONS,
        )
        return DirectReader(PlainUrls(usual), versions)
    return None


def _with_defaults(protocol: str, options: dict[str, Any], patience: Patience) -> dict[str, Any]:
    """Return options with ours where the user gave none: short timeouts, no retries, no stale listings."""
    if protocol in S3:
        config = _s3_config(patience) | (options.get("config_kwargs") or {})
        # One request for a whole object: with more than one at once, s3fs asks for its size first.
        return {"use_listings_cache": False, "max_concurrency": 1} | options | {"config_kwargs": config}
    if protocol in HTTP:
        from aiohttp import ClientTimeout  # noqa: PLC0415  (fsspec's HTTP client, needed for HTTP only)

        from shardkit.storage.redirects import watch_redirects  # noqa: PLC0415

        timeout = ClientTimeout(total=None, sock_connect=patience.connect_timeout, sock_read=patience.read_timeout)
        redirects = watch_redirects(with_secrets=not options.keys() <= _PLAIN_HTTP_OPTIONS)
        usual = {"timeout": timeout, "trace_configs": [redirects]}
        return options | {"client_kwargs": usual | (options.get("client_kwargs") or {})}
    return {"use_listings_cache": False} | options if protocol in OBJECT_STORES else options


def _s3_config(patience: Patience) -> dict[str, Any]:
    from botocore.config import Config  # noqa: PLC0415  (only where S3 is used)

    config: dict[str, Any] = {
        "connect_timeout": patience.connect_timeout,
        "read_timeout": patience.read_timeout,
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
