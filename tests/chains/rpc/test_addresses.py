"""The endpoint setting."""

import pytest

from chains.rpc.addresses import InvalidEndpoints, parse_endpoints


def shown(text: str) -> list[tuple[str, str, bool]]:
    return [(one.name, one.url.reveal(), one.send_only) for one in parse_endpoints(text, chain="ethereum")]


def test_one_address_and_several_with_any_separator() -> None:
    assert shown("https://a/K") == [("ethereum-1", "https://a/K", False)]
    expected = [("ethereum-1", "https://a/K", False), ("ethereum-2", "http://b?x=1", False)]
    for text in ("https://a/K,http://b?x=1", " https://a/K , http://b?x=1, ", "https://a/K\nhttp://b?x=1\n"):
        assert shown(text) == expected


def test_names_and_send_only_endpoints() -> None:
    assert shown("own=http://127.0.0.1:8545 relay=send-only:https://r send-only:https://s") == [
        ("own", "http://127.0.0.1:8545", False),
        ("relay", "https://r", True),
        ("ethereum-3", "https://s", True),
    ]


@pytest.mark.parametrize(
    "text",
    ["", " , ", "ftp://canary", "canary", "a=canary", "send-only:https://canary", "a=https://x a=https://canary"],
)
def test_what_is_no_list_of_endpoints_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidEndpoints) as raised:
        parse_endpoints(text, chain="ethereum")
    assert "canary" not in str(raised.value)


def test_no_address_shows() -> None:
    [endpoint] = parse_endpoints("https://canary/K", chain="polygon")
    assert "canary" not in f"{endpoint!r} {endpoint.config()!r}"
    assert endpoint.config().transport.name == "polygon-1"


def test_a_private_endpoint_is_send_only_and_is_told_apart() -> None:
    own, relay = parse_endpoints("own=http://127.0.0.1:8545 relay=private:https://relay.example", chain="ethereum")
    assert (own.send_only, own.private) == (False, False)
    assert (relay.send_only, relay.private, relay.url.reveal()) == (True, True, "https://relay.example")
    with pytest.raises(InvalidEndpoints, match="private"):
        parse_endpoints("private:https://relay.example", chain="ethereum")
