"""Signed URLs: s3fs signs a GET of an object once, plain HTTP reads its ranges for some minutes.

A signature of S3's version 4 in the query (presigned URL) covers method, path and host, not the ``Range`` header.
What can't be put into such a URL, or changes how a request must look, is left to s3fs: see ``can_sign``.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from shardkit.storage.connections import Connections, Settings, Target, UnsuitableError
from shardkit.storage.environment import requests_ca_bundle
from shardkit.storage.location import Location

EXPIRES_S = 3600
KEPT_S = 1200.0  # a third, so that slow clocks and long retries do no harm
# Signed with temporary credentials, a URL ends with them; botocore renews them 10 minutes before that.
KEPT_WITH_TOKEN_S = 240.0
MAX_URLS = 8192  # of 0.5 to 2 KB
NEW_FOR_S = 10.0  # a signature so young is refused for another reason than its age

_OPTIONS = frozenset(
    {
        *("endpoint_url", "key", "secret", "token", "username", "password", "profile", "use_ssl", "anon"),
        *("client_kwargs", "config_kwargs", "use_listings_cache", "listings_expiry_time", "max_paths"),
        *("default_block_size", "default_fill_cache", "default_cache_type", "max_concurrency", "cache_regions"),
    }
)
_CLIENT_OPTIONS = frozenset(
    {
        *("endpoint_url", "region_name", "use_ssl", "verify"),
        *("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
    }
)
_CONFIG_OPTIONS = frozenset(
    {
        *("connect_timeout", "read_timeout", "retries", "max_pool_connections", "region_name", "signature_version"),
        *("user_agent", "user_agent_extra", "s3", "request_checksum_calculation", "response_checksum_validation"),
    }
)


def can_sign(options: Mapping[str, Any]) -> bool:
    """Return whether a signed URL does all that these options of s3fs ask for; an unknown one may ask for more."""
    client, config = options.get("client_kwargs") or {}, options.get("config_kwargs") or {}
    return (
        not options.get("anon")
        and options.keys() <= _OPTIONS
        and client.keys() <= _CLIENT_OPTIONS
        and config.keys() <= _CONFIG_OPTIONS
        and (config.get("s3") or {}).keys() <= {"addressing_style"}
        and config.get("signature_version", "s3v4") == "s3v4"
    )


_DOTS = re.compile(r"/\.\.?(/|$)")  # a step in a URL, part of a name in S3


class _Kept(NamedTuple):
    target: Target
    since: float
    until: float


class SignedUrls:
    """The signed URLs of one s3fs file system, most recently used last.

    Args:
        filesystem: The one that signs.
        config: Its ``config_kwargs``.
        open_other: Makes another one that differs in these entries of ``config_kwargs``.
    """

    def __init__(self, filesystem: Any, config: Mapping[str, Any], open_other: Callable[[dict[str, Any]], Any]) -> None:
        self._filesystem = filesystem
        self._config = config
        self._open_other = open_other
        self._regional: Any = None
        self._connections = Connections(self._settings)
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, location: Location) -> Target:
        """Return where to GET an object; signed anew well before the last signature ends."""
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(location.path)
            if kept is not None and now < kept.until:
                self._kept.move_to_end(location.path)
                return kept.target
        if not _has_plain_url(location):
            raise UnsuitableError
        url = self._sign(location)
        target = self._connections.target(url)
        kept_s = KEPT_WITH_TOKEN_S if "X-Amz-Security-Token=" in url else KEPT_S
        with self._lock:
            self._kept[location.path] = _Kept(target, now, now + kept_s)
            while len(self._kept) > MAX_URLS:
                self._kept.popitem(last=False)
        return target

    def forget(self, location: Location) -> None:
        """Sign anew the next time."""
        with self._lock:
            self._kept.pop(location.path, None)

    def renewed(self, location: Location) -> Target | None:
        """Return where to GET an object whose URL was refused, signed anew; None: it was signed just now."""
        with self._lock:
            kept = self._kept.get(location.path)
            if kept is not None and time.monotonic() - kept.since < NEW_FOR_S:
                return None
            self._kept.pop(location.path, None)
        return self.get(location)

    def _sign(self, location: Location) -> str:
        # A bucket with a dot has no certificate as a host's name, so botocore leaves it in the path.
        if self._regional is None or "." in location.path.partition("/")[0]:
            url: str = self._filesystem.sign(location.url, expiration=EXPIRES_S)
            if not _is_global(url):
                return url
            # botocore signs URLs of AWS for its global endpoint, which knows nothing of new buckets and younger
            # regions, unless the bucket has to be in the host's name.
            self._regional = self._open_other({"s3": {"addressing_style": "virtual"}})
        regional: str = self._regional.sign(location.url, expiration=EXPIRES_S)
        return regional

    def _settings(self, url: str) -> Settings:
        return Settings(
            connect_timeout_s=self._config["connect_timeout"],
            read_timeout_s=self._config["read_timeout"],
            max_connections=self._config["max_pool_connections"],
            ca_certs=self._ca_bundle() if url.startswith("https:") else None,
            proxy=_proxy(url),
        )

    def _ca_bundle(self) -> str:
        """Return the bundle that botocore would trust, by its order: argument, AWS_CA_BUNDLE, profile, requests'."""
        from botocore.httpsession import get_cert_path  # noqa: PLC0415  (only where S3 is used)

        verify = self._filesystem.client_kwargs.get("verify")
        if verify is None:
            verify = self._filesystem.session.get_config_variable("ca_bundle")
        if verify is None:
            verify = requests_ca_bundle() or True
        if not verify:
            raise UnsuitableError  # unverified TLS is s3fs's business
        bundle: str = get_cert_path(verify)
        return bundle


class PlainUrls:
    """HTTP locations, which need no signature."""

    def __init__(self, settings: Settings) -> None:
        self._connections = Connections(lambda _: settings)
        self._targets: dict[str, Target] = {}  # parsing a URL takes as long as a tenth of a request

    def get(self, location: Location) -> Target:
        """Return where to GET a file."""
        target = self._targets.get(location.url)
        if target is None:
            if len(self._targets) >= MAX_URLS:
                self._targets.clear()
            target = self._targets[location.url] = self._connections.target(location.url)
        return target

    def forget(self, location: Location) -> None:
        """Do nothing: there is nothing to make anew."""

    def renewed(self, location: Location) -> None:
        """Return None: such a URL does not get old."""


def _has_plain_url(location: Location) -> bool:
    """Return whether an object's URL is its bucket and name, signed as usual, and stays as it is on the way."""
    bucket = location.path.partition("/")[0]
    special = ":" in bucket or bucket.endswith(("--x-s3", "--xa-s3"))  # access points, directory buckets
    return not special and "?versionId=" not in location.path and not _DOTS.search(location.path)


def _is_global(url: str) -> bool:
    host, scope = urlsplit(url).netloc, unquote(url.partition("X-Amz-Credential=")[2].partition("&")[0])
    return host.endswith(".s3.amazonaws.com") and "/us-east-1/" not in scope


def _proxy(url: str) -> str | None:
    """Return the proxy that botocore takes from the environment for a URL (HTTPS_PROXY, NO_PROXY, …)."""
    from botocore.httpsession import ProxyConfiguration  # noqa: PLC0415  (only where S3 is used)
    from botocore.utils import get_environ_proxies  # noqa: PLC0415

    proxy: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return proxy
