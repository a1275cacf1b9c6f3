"""What is worked out ahead of a key's requests says what the key itself says."""

import inspect
import random
from dataclasses import replace
from hashlib import sha256
from hmac import digest
from ipaddress import ip_address, ip_network

import pytest

from service.auth import caveats
from service.auth.caveats import Arrival, Caveat, Use, caveats_of, decide
from service.auth.keys import Algorithm, ApiKey, Permission
from service.auth.ready import MAX_ADDRESSES, Ready, ready_of
from service.auth.restrictions import Restrictions
from service.auth.secrets import MasterKey

NOW_MS = 1_700_000_000_000
IDLE_MS = 1_000


def key_of(master: MasterKey, **changes: object) -> ApiKey:
    key = ApiKey(
        id="ck_1",
        account_id=1,
        wallet_id=1,
        label="bot",
        algorithm=Algorithm.HMAC_SHA256,
        permissions=frozenset({Permission.READ}),
        ip_allowlist=(),
        created_ms=NOW_MS,
        expires_ms=None,
        revoked_ms=None,
        restrictions=Restrictions(),
        sealed=master.seal(b"ab" * 32, identity="api_keys/ck_1/secret"),
        public_key=None,
    )
    return replace(key, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64])
def test_its_signatures_are_hmacs(length: int) -> None:
    secret = b"s" * length
    ready = Ready(secret, ())
    for text in (b"", b"a", b"b" * 200):
        right = digest(secret, text, sha256).hex().encode()
        assert ready.is_right(text, right)
        assert not ready.is_right(text + b".", right)
        assert not ready.is_right(text, right[:-1] + (b"0" if right[-1:] != b"0" else b"1"))


def test_it_admits_what_the_caveats_do_at_any_time_and_from_any_address() -> None:
    rng = random.Random(1)
    seen = set()
    for _ in range(300):
        key = key_of(
            MasterKey(),
            expires_ms=rng.choice([None, NOW_MS + 50]),
            last_used_ms=rng.choice([None, NOW_MS - IDLE_MS + 20]),
            ip_allowlist=rng.choice([(), (ip_network("10.0.0.0/30"),), (ip_network("2001:db8::/64"),)]),
            permissions=frozenset(rng.sample(list(Permission), rng.randint(1, 3))),
        )
        of_key = caveats_of(key, idle_ms=IDLE_MS)
        ready = Ready(b"s", of_key)
        assert ready.may_read == (decide(of_key, Use(permission=Permission.READ)) is None)
        for _ in range(30):
            now_ms = NOW_MS + rng.randint(0, 60)
            address = ip_address(rng.choice(["10.0.0.1", "10.0.0.3", "10.0.0.4", "2001:db8::1", "2001:db9::1"]))
            expected = decide(of_key, Arrival(now_ms=now_ms, client_ip=address)) is None
            assert ready.admits(now_ms, address, named=str(address)) is expected
            seen.add(expected)
    assert seen == {True, False}


def test_keys_that_need_the_whole_way_have_none() -> None:
    master = MasterKey()
    whole = key_of(master)

    def made(key: ApiKey, *, by: MasterKey = master) -> Ready | None:
        return ready_of(key, caveats_of(key), master=by)

    assert made(whole) is not None
    assert made(replace(whole, revoked_ms=NOW_MS)) is None
    assert made(replace(whole, lapses_ms=NOW_MS)) is None
    assert made(replace(whole, algorithm=Algorithm.ED25519, sealed=None, public_key=bytes(32))) is None
    assert made(whole, by=MasterKey()) is None
    long = replace(whole, sealed=master.seal(b"x" * 65, identity="api_keys/ck_1/secret"))
    assert made(long) is None


def test_addresses_are_bounded_and_it_shows_nothing() -> None:
    ready = Ready(b"s3cret", ())
    for at in range(3 * MAX_ADDRESSES):
        assert ready.admits(NOW_MS, ip_address(at), named=str(ip_address(at)))
        assert len(ready._addresses) <= MAX_ADDRESSES
    assert "s3cret" not in repr(ready)


def test_no_caveat_but_those_known_here_looks_at_an_arrival() -> None:
    """A yes is remembered by address and by the two ends: a caveat that looks at more belongs into `ready`, too."""
    checks = {
        name: vars(kind)["check"]
        for name, kind in inspect.getmembers(caveats, inspect.isclass)
        if "check" in vars(kind) and kind is not Caveat
    }
    assert len(checks) > 10
    looking = {name for name, check in checks.items() if "Arrival" in inspect.getsource(check)}
    assert looking == {"NotYet", "NotExpired", "NotIdle", "FromNetworks"}
