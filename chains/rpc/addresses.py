"""The text of an endpoint setting -> endpoints: one address or several, with names and send-only ones; and of a setting
of WebSockets.

    https://node.example/KEY
    https://one.example/KEY, https://two.example/KEY
    alchemy=https://one.example/KEY own=http://127.0.0.1:8545 relay=send-only:https://relay.example
    own=http://127.0.0.1:8545 relay=private:https://relay.example

A `send-only` one gets transactions beside the others; where there is a `private` one, private ones get them alone.
Separated by commas, blanks or lines. Without a name an endpoint is called by its chain and place (`ethereum-1`): a host
name may hold a key, so nothing of the address becomes a name.
"""

import re
from dataclasses import dataclass
from typing import Final

from chains.rpc.endpoint import EndpointConfig
from chains.rpc.hints import SecretSocketUrl, SocketAddress
from chains.rpc.transport import HttpTransport, RpcLimits, SecretUrl

SEND_ONLY: Final = "send-only:"
PRIVATE: Final = "private:"
_NAMED: Final = re.compile(r"([a-z][a-z0-9-]{0,31})=(.+)", re.ASCII)


class InvalidEndpoints(ValueError):
    """The text is no list of endpoint addresses. The message says which place is wrong, never what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAddress:
    """One endpoint of a setting."""

    name: str
    url: SecretUrl
    send_only: bool = False
    private: bool = False

    def config(self, limits: RpcLimits | None = None) -> EndpointConfig:
        return EndpointConfig(
            transport=HttpTransport(self.url, name=self.name, limits=limits),
            send_only=self.send_only,
            private=self.private,
        )


def parse_endpoints(text: str, *, chain: str) -> tuple[EndpointAddress, ...]:
    """Raises: InvalidEndpoints: no address, none that may be read from, not http(s), or a name twice."""
    found: list[EndpointAddress] = []
    for place, (name, address) in enumerate(_entries(text, unnamed=chain), start=1):
        is_private = address.startswith(PRIVATE)
        is_relay = is_private or address.startswith(SEND_ONLY)
        try:
            url = SecretUrl(address.removeprefix(PRIVATE if is_private else SEND_ONLY))
        except ValueError:
            raise InvalidEndpoints(f"endpoint {place}: an address starts with http:// or https://") from None
        found.append(EndpointAddress(name=name, url=url, send_only=is_relay, private=is_private))
    _check_names([endpoint.name for endpoint in found])
    if all(endpoint.send_only for endpoint in found):
        raise InvalidEndpoints("at least one endpoint must not be send-only or private")
    return tuple(found)


def parse_sockets(text: str, *, chain: str) -> tuple[SocketAddress, ...]:
    """Raises: InvalidEndpoints: no address, not ws(s), or a name twice."""
    found: list[SocketAddress] = []
    for place, (name, address) in enumerate(_entries(text, unnamed=f"{chain}-ws"), start=1):
        try:
            url = SecretSocketUrl(address)
        except ValueError:
            raise InvalidEndpoints(f"socket {place}: an address starts with ws:// or wss://") from None
        found.append(SocketAddress(name=name, url=url))
    _check_names([socket.name for socket in found])
    return tuple(found)


def _entries(text: str, *, unnamed: str) -> list[tuple[str, str]]:
    """(name, address) of each."""
    entries: list[tuple[str, str]] = []
    for place, entry in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), start=1):
        named = _NAMED.fullmatch(entry)
        entries.append((named[1], named[2]) if named else (f"{unnamed}-{place}", entry))
    return entries


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise InvalidEndpoints("two endpoints have the same name")
