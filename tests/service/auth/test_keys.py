"""API keys: what may be made, and that rows changed in the database grant nothing."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, select, update

from chains.types import ZERO_ADDRESS, ChainId
from service.accounts.wallets import Wallet
from service.auth import keys
from service.auth.authority import Tampered
from service.auth.caveats import Arrival, caveats_of, decide
from service.auth.key_model import MAX_WITHDRAW_LIFETIME_MS
from service.auth.keys import Algorithm, Created, Destination, InvalidKey, KeyLabelTaken, NewKey, Permission
from service.auth.secrets import MasterKey
from service.db import models as m
from service.db.engine import Database
from tests.service.auth.seed import BOB, DAY_MS, new_key, seed_key, seed_wallet
from tests.service.books_seed import NOW_MS, address_of

MASTER = MasterKey(bytes(32))
WALLET = Wallet(id=1, account_id=1, address=address_of(1), label="main", signer="keystore", created_ms=NOW_MS)
PUBLIC = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
WITHDRAW = new_key(WALLET, Permission.WITHDRAW)


def withdraw_key(c: Connection) -> Created:
    return seed_key(c, MASTER, Permission.READ, Permission.WITHDRAW)


async def test_a_made_key_loads_as_it_was_asked_for(db: Database) -> None:
    made = await db.run(withdraw_key)
    key = await db.read(lambda c: keys.load_key(c, made.key.id, master=MASTER))
    assert key == made.key
    assert key is not None
    assert key.permissions == {Permission.READ, Permission.WITHDRAW}
    assert await db.read(lambda c: keys.list_keys(c, key.account_id, master=MASTER)) == [key]
    assert await db.read(lambda c: keys.list_keys(c, key.account_id + 1, master=MASTER)) == []
    assert await db.read(lambda c: keys.load_key(c, "ck_0", master=MASTER)) is None


async def test_the_secret_is_stored_sealed_and_opens_for_its_row_only(sqlite_db: Database) -> None:
    """F79"""
    made = await sqlite_db.run(withdraw_key)
    assert made.secret is not None
    row = await sqlite_db.read(lambda c: dict(c.execute(select(m.api_keys)).mappings().one()))
    assert made.secret.encode() not in b"".join(repr(value).encode() for value in row.values())
    assert bytes.fromhex(made.secret) not in row["secret_sealed"]
    assert made.secret not in repr(made)
    assert keys.hmac_secret(made.key, master=MASTER) == made.secret.encode()


async def test_of_an_ed25519_key_only_the_public_half_is_stored(sqlite_db: Database) -> None:
    def make(c: Connection) -> Created:
        new = replace(new_key(seed_wallet(c, MASTER)), algorithm=Algorithm.ED25519, public_key=PUBLIC)
        return keys.create_key(c, new, master=MASTER, now_ms=NOW_MS)

    made = await sqlite_db.run(make)
    assert made.secret is None
    assert (made.key.public_key, made.key.sealed) == (PUBLIC, None)


@pytest.mark.parametrize(
    "change",
    [
        {"can_trade": True},
        {"wallet_id": 2},
        {"account_id": 2},
        {"ip_allowlist": []},
        {"expires_ms": None},
        {"expires_ms": NOW_MS * 2},
        {"id": "ck_other"},
        {"mac": bytes(32)},
    ],
)
async def test_a_key_edited_in_the_database_is_refused(sqlite_db: Database, change: dict[str, Any]) -> None:
    """F79"""
    made = await sqlite_db.run(withdraw_key)

    def edit(c: Connection) -> None:
        c.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        c.execute(delete(m.key_destinations))
        c.execute(update(m.api_keys).values(**change))
        keys.load_key(c, change.get("id", made.key.id), master=MASTER)

    with pytest.raises(Tampered):
        await sqlite_db.run(edit)


async def test_a_revoked_key_cannot_be_brought_back_by_clearing_the_column(sqlite_db: Database) -> None:
    """F79"""
    made = await sqlite_db.run(withdraw_key)
    await sqlite_db.run(lambda c: keys.revoke_key(c, made.key.id, master=MASTER, now_ms=NOW_MS + 1))
    await sqlite_db.run(lambda c: c.execute(update(m.api_keys).values(revoked_ms=None)) and None)
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: keys.load_key(c, made.key.id, master=MASTER))


async def test_revoking_keeps_the_first_time_and_an_unknown_key_is_none(db: Database) -> None:
    made = await db.run(withdraw_key)
    for now_ms in (NOW_MS + 1, NOW_MS + 2):
        key = await db.run(lambda c, t=now_ms: keys.revoke_key(c, made.key.id, master=MASTER, now_ms=t))  # type: ignore[misc]
        assert key is not None
        assert key.revoked_ms == NOW_MS + 1
    assert await db.run(lambda c: keys.revoke_key(c, "ck_0", master=MASTER, now_ms=NOW_MS)) is None


async def test_destinations_are_a_chains_own_and_an_edited_one_is_refused(sqlite_db: Database) -> None:
    made = await sqlite_db.run(withdraw_key)

    def allowed(c: Connection, chain: int = 1) -> frozenset[str]:
        return frozenset(keys.destinations(c, made.key.id, chain_id=ChainId(chain), master=MASTER))

    assert await sqlite_db.read(allowed) == {BOB.address}
    assert await sqlite_db.read(lambda c: allowed(c, 137)) == frozenset()
    for change in ({"address": address_of(66)}, {"chain_id": 137}):

        def edit(c: Connection, change: dict[str, Any] = change) -> None:
            c.execute(update(m.key_destinations).values(**change))
            allowed(c)

        with pytest.raises(Tampered):
            await sqlite_db.run(edit)


async def test_two_keys_of_an_account_have_different_labels(sqlite_db: Database) -> None:
    def make(c: Connection) -> None:
        new = new_key(seed_wallet(c, MASTER))
        keys.create_key(c, new, master=MASTER, now_ms=NOW_MS)
        keys.create_key(c, new, master=MASTER, now_ms=NOW_MS)

    with pytest.raises(KeyLabelTaken):
        await sqlite_db.run(make)


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (replace(WITHDRAW, permissions=frozenset()), "permission"),
        (replace(WITHDRAW, destinations=()), "addresses"),
        (replace(WITHDRAW, destinations=(BOB, BOB)), "twice"),
        (replace(WITHDRAW, destinations=(Destination(chain_id=ChainId(1), address=ZERO_ADDRESS),)), "zero"),
        (replace(WITHDRAW, ip_allowlist=()), "networks"),
        (replace(WITHDRAW, ip_allowlist=(ip_network("10.0.0.0/23"),)), "/24"),
        (replace(WITHDRAW, ip_allowlist=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/63"))), "/64"),
        (replace(WITHDRAW, ip_allowlist=(ip_network("0.0.0.0/0"),)), "/24"),
        (replace(WITHDRAW, expires_ms=None), "expiry"),
        (replace(WITHDRAW, expires_ms=NOW_MS), "future"),
        (replace(new_key(WALLET, Permission.TRADE), destinations=(BOB,)), "withdraw permission"),
        (replace(WITHDRAW, algorithm=Algorithm.ED25519), "public key"),
        (replace(WITHDRAW, public_key=PUBLIC), "public key"),
        (replace(WITHDRAW, algorithm=Algorithm.ED25519, public_key=bytes(31)), "32 bytes"),
        (replace(WITHDRAW, algorithm=Algorithm.ED25519, public_key=bytes(32)), "weak"),
        (replace(WITHDRAW, algorithm=Algorithm.ED25519, public_key=b"\x01" + bytes(31)), "weak"),
        (replace(WITHDRAW, algorithm=Algorithm.ED25519, public_key=b"\xff" * 32), "weak"),
    ],
)
async def test_a_key_that_would_not_be_safe_is_refused(sqlite_db: Database, new: NewKey, why: str) -> None:
    """F76"""
    with pytest.raises(InvalidKey, match=why):
        await sqlite_db.run(lambda c: keys.create_key(c, new, master=MASTER, now_ms=NOW_MS))
    assert await sqlite_db.read(lambda c: keys.list_keys(c, master=MASTER)) == []


async def test_the_widest_networks_for_withdraw_are_accepted(sqlite_db: Database) -> None:
    def make(c: Connection) -> Created:
        new = new_key(seed_wallet(c, MASTER), Permission.WITHDRAW)
        networks = (ip_network("203.0.113.0/24"), ip_network("2001:db8::/64"))
        return keys.create_key(c, replace(new, ip_allowlist=networks), master=MASTER, now_ms=NOW_MS)

    key = (await sqlite_db.run(make)).key
    assert key.expires_ms == NOW_MS + DAY_MS
    for address, denied in (("203.0.113.255", False), ("2001:db8::1", False), ("203.0.114.1", True)):
        arrival = Arrival(now_ms=NOW_MS, client_ip=ip_address(address))
        assert (decide(caveats_of(key), arrival) is not None) is denied


@pytest.mark.parametrize("text", ["", "x", "10.0.0.1/24", "10.0.0.0/33", "::ffff:10.0.0.1/128", "::/0", "1.2.3"])
def test_what_is_no_clear_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        keys.parse_network(text)


def test_a_single_address_is_a_network_of_one() -> None:
    assert str(keys.parse_network("203.0.113.7")) == "203.0.113.7/32"


async def test_a_withdraw_key_lives_for_90_days_at_most(sqlite_db: Database) -> None:
    wallet = await sqlite_db.run(lambda c: seed_wallet(c, MASTER))
    new = new_key(wallet, Permission.WITHDRAW)
    longest = replace(new, expires_ms=NOW_MS + MAX_WITHDRAW_LIFETIME_MS)
    too_long = replace(new, expires_ms=NOW_MS + MAX_WITHDRAW_LIFETIME_MS + 1)
    with pytest.raises(InvalidKey, match="90 days"):
        await sqlite_db.run(lambda c: keys.create_key(c, too_long, master=MASTER, now_ms=NOW_MS))
    made = await sqlite_db.run(lambda c: keys.create_key(c, longest, master=MASTER, now_ms=NOW_MS))
    assert made.key.expires_ms == NOW_MS + 90 * DAY_MS
