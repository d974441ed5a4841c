"""Where what is read from one place may lead: a manifest somebody else wrote must not send its reader anywhere.

    manifest on      may name tars at                       never
    this machine     any path, any URL                      link-local addresses, where clouds keep credentials
    a store, a host  that store; other stores and hosts     this machine's files; link-local addresses
    a public host    as above                               loopback and private addresses, the reader's own network

Only addresses that are written out are judged: names are not looked up, since what they resolve to can change in
between. A redirect is judged as a reference is.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from shardkit.core.errors import InputError
from shardkit.storage.location import HTTP, Location

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_LOOPBACK_NAMES = ("localhost", ".localhost")


def check_reach(source: Location, target: Location) -> None:
    """Raise if ``source`` may not lead to ``target``.

    Raises:
        InputError: Says what may be done instead.
    """
    if target.is_local and not source.is_local:
        raise InputError(
            f"{source}: names the local path {target}, which nothing that is stored elsewhere may do; copy it to this "
            "machine if you trust it"
        )
    if target.protocol in HTTP:
        public = source.protocol in HTTP and not is_private(host_of_url(source.url))
        check_host(host_of_url(source.url) if source.protocol in HTTP else "", host_of_url(target.url), public=public)


def check_host(source: str, target: str, *, public: bool) -> None:
    """Raise if what one host sent may not lead to another.

    Args:
        source: The one; empty where there is none.
        target: The other.
        public: Whether the one is no host of the reader's own network.

    Raises:
        InputError: It may not.
    """
    if source == target:
        return
    if _is_link_local(target):
        raise InputError(
            f"{target}: a link-local address, where clouds keep credentials, not recordings; it is not read"
        )
    if public and is_private(target):
        raise InputError(
            f"{source}: leads to {target}, which is on your own network; copy the manifest to this machine if you "
            "trust it"
        )


def host_of_url(url: str) -> str:
    """Return the host of a URL, without port and credentials, in lower case; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_private(host: str) -> bool:
    """Return whether a host is written as an address, or a name, of this machine or of a private network."""
    address = _address(host)
    if address is None:
        return host.endswith(_LOOPBACK_NAMES)
    return address.is_private or address.is_loopback or address.is_unspecified


def _is_link_local(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host in _METADATA_HOSTS
    return address.is_link_local or address == ipaddress.ip_address("fd00:ec2::254")


def _address(host: str) -> _Address | None:
    """Return the address that a host is written as: 2130706433 and 0x7f.1 are ones too."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(found, "ipv4_mapped", None) or found
