"""That every reader of a request reads the same: one meaning for a body, a query, a Host and a client address.

Two parsers that differ on `{"amount": "1", "amount": "2"}` or `?side=buy&side=sell` are how a request means one thing
to the one who signs or checks it, and another to the one who acts on it. So such requests are refused.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from service.auth.keys import IpAddress, IpNetwork
from service.errors import ApiError

MAX_DEPTH: Final = 32
MAX_QUERY_NAMES: Final = 64

Headers = Sequence[tuple[bytes, bytes]]


def check_json(body: bytes) -> None:
    """Raises: ApiError: invalid_json: not UTF-8 JSON, a name twice in an object, NaN or infinity, nested too deep."""
    try:
        document = json.loads(
            # Decoded here: the parser would guess UTF-16 and UTF-32 too.
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        _check_depth(document)
        # Half a surrogate pair cannot be stored or sent.
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise _bad_json("nested too deeply") from None
    except UnicodeError:
        raise _bad_json("it is not UTF-8 text") from None
    except ValueError:
        # `from None`: the parser's message quotes the text.
        raise _bad_json("it cannot be parsed") from None


def check_query(query: bytes) -> Mapping[str, str]:
    """The parameters. Raises: ApiError: invalid_query: a name given twice, or what does not decode to UTF-8 text."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_NAMES
        )
    except ValueError:
        raise ApiError("invalid_query", "the query is not percent-encoded UTF-8, or has too many names") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ApiError("invalid_query", "a parameter is given more than once")
    if any("\0" in part for pair in pairs for part in pair):
        raise ApiError("invalid_query", "a parameter has a NUL character")
    return dict(pairs)


def normalized_hosts(allowed: Iterable[str]) -> frozenset[str]:
    """Names for `check_host`."""
    return frozenset(host.strip("[]").lower() for host in allowed)


def check_host(headers: Headers, allowed: Collection[str]) -> None:
    """`allowed` is normalized.

    Raises: ApiError: host_not_allowed: not exactly one Host header, or a name that is not ours.
    """
    hosts = [value for name, value in headers if name == b"host"]
    name = _host_name(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else ""
    if not name or name not in allowed:
        raise ApiError("host_not_allowed", "the Host header does not name this service")


def client_address(peer: str | None, headers: Headers, trusted: Sequence[IpNetwork]) -> IpAddress | None:
    """Who is at the other end: the peer, or if that is a trusted proxy, whom the proxies name, read right to left.

    Raises:
        ApiError: invalid_request: a trusted proxy sent something that is no address.
    """
    address = _address(peer)
    if address is None or not _in(address, trusted):
        return address
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    for text in reversed(",".join(lines).split(",") if lines else []):
        named = _address(text.strip())
        if named is None:
            raise ApiError("invalid_request", "X-Forwarded-For has something that is no address")
        address = named
        if not _in(address, trusted):
            break
    return address


def _in(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4_096)
def _address(text: str | None) -> IpAddress | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        # A zone is this host's name for a link; no allowlist can mean it.
        return None
    # A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d; allowlists name them by IPv4.
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _host_name(host: str) -> str:
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name if not rest or rest.startswith(":") else ""
    return host.partition(":")[0]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _bad_json("a name is given twice in one object")
    return found


def _no_constant(_: str) -> NoReturn:
    raise _bad_json("NaN and infinity are not JSON")


def _finite(text: str) -> float:
    # Only looked at and thrown away: amounts are text, and models refuse numbers for them.
    value = float(text)
    if not math.isfinite(value):
        raise _bad_json("a number is too large")
    return value


def _check_depth(document: Any) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _bad_json("nested too deeply")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner


def _bad_json(why: str) -> ApiError:
    return ApiError("invalid_json", f"the body is not usable: {why}")
