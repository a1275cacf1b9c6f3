"""Internet addresses: one form for each, allowlists, and which hop of a proxied request is the client.

Guarantees: IPv4-mapped IPv6 is the IPv4 address it means; zone ids, odd spellings and host bits are refused; a
forwarding header counts only when the peer is a trusted proxy, and is read from the right.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_BITS: Final = 96
MAX_HOPS: Final = 16
"""Entries of X-Forwarded-For that are looked at."""


class InvalidAddress(ValueError):
    """Not an internet address or network in its plain form."""


def parse_ip(text: str) -> Ip:
    """Raises: InvalidAddress."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidAddress("not an IP address") from None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            raise InvalidAddress("an IP address with a zone id means nothing here")
        return found.ipv4_mapped or found
    return found


def parse_network(text: str) -> Network:
    """An address or a network in CIDR notation. Raises: InvalidAddress."""
    if "%" in text:
        raise InvalidAddress("an IP address with a zone id means nothing here")
    try:
        found = ipaddress.ip_network(text, strict=True)
    except ValueError as error:
        reason = "has host bits set" if "host bits" in str(error) else "is not an address or a network such as"
        raise InvalidAddress(f"the network {reason} 203.0.113.0/24") from None
    if isinstance(found, ipaddress.IPv6Network):
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            if found.prefixlen < _MAPPED_BITS:
                raise InvalidAddress("an IPv4-mapped network is written as the IPv4 network it means")
            return ipaddress.IPv4Network((mapped, found.prefixlen - _MAPPED_BITS))
    return found


def contains(networks: Iterable[Network], ip: Ip) -> bool:
    """Whether one of the networks has the address."""
    return any(ip.version == network.version and ip in network for network in networks)


def client_ip(peer: str, forwarded_for: Sequence[str], *, trusted: Sequence[Network]) -> Ip:
    """The client's address: the peer, or the right-most hop that is not a trusted proxy.

    `forwarded_for` are the values of all X-Forwarded-For headers in their order; no other header is looked at.

    Raises:
        InvalidAddress: the peer's, or the hop that would count, is not an address.
    """
    found = parse_ip(peer)
    if not contains(trusted, found):
        return found
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        found = parse_ip(hop)
        if not contains(trusted, found):
            return found
    return found


def rate_key(ip: Ip) -> str:
    """What a rate limit counts by: the address, or an IPv6 customer's whole /64."""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)
