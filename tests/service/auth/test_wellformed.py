"""Requests that two readers could read differently are refused."""

from ipaddress import ip_network

import pytest

from service.auth.wellformed import MAX_DEPTH, check_host, check_json, check_query, client_address
from service.errors import ApiError

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def json_code(body: bytes) -> str | None:
    try:
        check_json(body)
    except ApiError as refused:
        return refused.code
    return None


@pytest.mark.parametrize("body", [b"{}", b'{"a":{"a":1}}', b'["1",null,true]', b"1.5", '{"ä":"☃"}'.encode()])
def test_usable_json_passes(body: bytes) -> None:
    assert json_code(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}{}",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"\\u0061":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b"[" * 60_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"\xef\xbb\xbf{}",
        b"\xff",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        b'"\\ud800"',
    ],
)
def test_json_that_could_mean_two_things_is_refused(body: bytes) -> None:
    """F71, F92"""
    assert json_code(body) == "invalid_json"


def test_the_deepest_allowed_json_passes() -> None:
    depth = MAX_DEPTH - 1
    assert json_code(b"[" * depth + b"1" + b"]" * depth) is None


@pytest.mark.parametrize("query", [b"", b"a=1&b=2", b"a=", b"a=%E2%98%83", b"a=1%262"])
def test_a_plain_query_passes(query: bytes) -> None:
    check_query(query)


@pytest.mark.parametrize("query", [b"a=1&a=1", b"a=1&%61=2", b"a=%ff", b"a=\xc3", b"a=%00", b"&".join([b"a=1"] * 65)])
def test_a_query_that_could_mean_two_things_is_refused(query: bytes) -> None:
    """F71"""
    with pytest.raises(ApiError) as caught:
        check_query(query)
    assert caught.value.code == "invalid_query"


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:1", b"[::1]:80", b"[::1]"])
def test_our_own_names_pass(host: bytes) -> None:
    check_host([(b"host", host)], ("localhost", "127.0.0.1", "::1"))


@pytest.mark.parametrize(
    "hosts", [[], [b""], [b"evil.example"], [b"localhost.evil.example"], [b"localhost", b"localhost"], [b"[::1]x"]]
)
def test_other_hosts_are_refused(hosts: list[bytes]) -> None:
    """F71"""
    with pytest.raises(ApiError) as caught:
        check_host([(b"host", host) for host in hosts], ("localhost", "::1"))
    assert caught.value.code == "host_not_allowed"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", [b"198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"127.0.0.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"127.0.0.1", b"198.51.100.1", b"10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::ffff:10.0.0.1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", [b"2001:db9::1"], "2001:db9::1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(
    peer: str, forwarded: list[bytes], client: str
) -> None:
    """F74"""
    headers = [(b"x-forwarded-for", line) for line in forwarded]
    assert str(client_address(peer, headers, PROXIES)) == client


def test_a_peer_without_an_address_is_nobody() -> None:
    assert client_address(None, [(b"x-forwarded-for", b"127.0.0.1")], PROXIES) is None
    assert client_address("testclient", [], PROXIES) is None


def test_nonsense_from_a_trusted_proxy_is_refused() -> None:
    """F74"""
    with pytest.raises(ApiError, match="no address"):
        client_address("10.0.0.1", [(b"x-forwarded-for", b"unknown")], PROXIES)
