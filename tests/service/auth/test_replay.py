"""A signed request works once."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from chains.types import ChainId
from service.auth.callers import Caller
from service.auth.keymemory import WalletRef
from service.auth.keys import Permission, change_key, create_key, load_key, note_use, revoke_key
from service.auth.replay import (
    KEEP_MS,
    KEEP_ROWS_MS,
    SECOND_MS,
    NonceCache,
    NonceClaims,
    Nonces,
    claim_nonce,
    prune,
)
from service.auth.restrictions import Restrictions
from service.auth.secrets import MasterKey
from service.auth.signature import Signed
from service.db.engine import Database
from service.db.errors import DatabaseClosed
from service.db.models import request_nonces
from service.errors import ApiError
from tests.service.auth.seed import new_key, seed_key, seed_wallet
from tests.service.books_seed import NOW_MS, address_of

MASTER = MasterKey(bytes(32))


def request(nonce: str, *, key: str = "k", timestamp_ms: int = NOW_MS) -> Signed:
    return Signed(key_id=key, timestamp_ms=timestamp_ms, nonce=nonce, signature=bytes(32))


def code(cache: NonceCache, signed: Signed, *, now_ms: int = NOW_MS, is_read: bool = False) -> str | None:
    try:
        cache.remember(signed, now_ms=now_ms, is_read=is_read)
    except ApiError as refused:
        return refused.code
    return None


def test_a_nonce_works_once_a_key() -> None:
    cache = NonceCache(started_ms=NOW_MS)
    assert code(cache, request("a")) is None
    assert code(cache, request("a")) == "replayed"
    assert code(cache, request("a", timestamp_ms=NOW_MS + 1)) == "replayed"
    assert code(cache, request("b")) is None
    assert code(cache, request("a", key="l")) is None


class Chosen(str):
    """Text whose hash somebody has chosen, as who knows PYTHONHASHSEED can."""

    __slots__ = ("hashed",)
    hashed: int

    def __hash__(self) -> int:
        return self.hashed


def chosen(text: str, hashed: int) -> Chosen:
    made = Chosen(text)
    # A hash is a signed number.
    made.hashed = (hashed + 2**63) % 2**64 - 2**63
    return made


def test_nobody_makes_the_nonces_of_another_key_be_refused_not_even_with_hashes_of_their_choice() -> None:
    """Before their end, the hashes of two tuples differ by a known number with nearly every salt that they begin with:
    they are xxHash without a key (CPython, Objects/tupleobject.c)."""
    one, two = 11400714785074694791, 14029467366897019727
    back = pow(two, -1, 2**64)
    first = Signed(key_id=chosen("k", 5), timestamp_ms=NOW_MS, nonce=chosen("a", 7), signature=bytes(32))
    for step in (1, -1):
        key, nonce = chosen("l", 5 + (back << 33)), chosen("b", 7 - step * one * back)
        cache = NonceCache(started_ms=NOW_MS)
        assert code(cache, Signed(key_id=key, timestamp_ms=NOW_MS, nonce=nonce, signature=bytes(32))) is None
        assert code(cache, first) is None
        assert code(cache, first) == "replayed"


def test_a_request_signed_before_the_start_is_refused() -> None:
    cache = NonceCache(started_ms=NOW_MS)
    assert code(cache, request("a", timestamp_ms=NOW_MS - 1)) == "timestamp_out_of_window"
    assert code(cache, request("a")) is None


def test_a_full_cache_refuses_and_forgets_only_what_is_too_old() -> None:
    cache = NonceCache(started_ms=NOW_MS, capacity=2)
    assert [code(cache, request(nonce)) for nonce in "abc"] == [None, None, "busy"]
    assert code(cache, request("a"), now_ms=NOW_MS + KEEP_MS) == "replayed"
    later = NOW_MS + KEEP_MS + SECOND_MS
    assert code(cache, request("c", timestamp_ms=later), now_ms=later) is None


def test_reads_leave_room_for_what_changes_something() -> None:
    cache = NonceCache(started_ms=NOW_MS, capacity=4)

    def is_fresh(nonce: str) -> bool:
        return cache.is_fresh("k", nonce, timestamp_ms=NOW_MS, now_ms=NOW_MS)

    assert [code(cache, request(nonce), is_read=True) for nonce in "ab"] == [None, None]
    assert is_fresh("c")
    assert [code(cache, request(nonce), is_read=True) for nonce in "cd"] == [None, "busy"]
    assert not is_fresh("d")
    assert [code(cache, request(nonce)) for nonce in "de"] == [None, "busy"]


def test_what_a_clock_that_jumps_ahead_and_back_left_is_forgotten_in_time() -> None:
    cache = NonceCache(started_ms=NOW_MS, capacity=2)
    hour_ms = 3_600_000
    assert code(cache, request("a", timestamp_ms=NOW_MS + hour_ms), now_ms=NOW_MS + hour_ms) is None
    assert [code(cache, request(nonce)) for nonce in "bc"] == [None, "busy"]
    later = NOW_MS + KEEP_MS + SECOND_MS
    assert code(cache, request("c", timestamp_ms=later), now_ms=later) is None


async def test_a_claimed_nonce_is_claimed_once_also_by_racing_requests(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id

    def claim(c: Connection) -> str:
        claim_nonce(c, key_id, nonce="n" * 16, timestamp_ms=NOW_MS)
        return "claimed"

    answers = await asyncio.gather(*(db.run(claim) for _ in range(5)), return_exceptions=True)
    assert answers.count("claimed") == 1
    assert [answer.code for answer in answers if isinstance(answer, ApiError)] == ["replayed"] * 4


async def test_a_nonce_whose_work_failed_is_free_again(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id

    def fail(c: Connection) -> None:
        claim_nonce(c, key_id, nonce="n" * 16, timestamp_ms=NOW_MS)
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            await db.run(fail)


async def test_pruning_deletes_only_what_cannot_come_again(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id

    def claim(c: Connection) -> None:
        claim_nonce(c, key_id, nonce="old", timestamp_ms=NOW_MS - KEEP_ROWS_MS - 1)
        claim_nonce(c, key_id, nonce="new", timestamp_ms=NOW_MS - KEEP_ROWS_MS)

    await db.run(claim)
    assert await db.run(lambda c: prune(c, now_ms=NOW_MS)) == 1
    left = await db.read(lambda c: c.execute(select(func.max(request_nonces.c.nonce))).scalar_one())
    assert left == "new"


async def test_a_key_revoked_after_its_request_was_let_in_changes_nothing_any_more(db: Database) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    wallet = WalletRef(id=key.wallet_id, address=address_of(1), label="main")
    caller = Caller(
        key=key,
        wallet=wallet,
        client_ip=ip_address("127.0.0.1"),
        nonce="n" * 16,
        timestamp_ms=NOW_MS,
    )
    await db.run(lambda c: revoke_key(c, key.id, master=MASTER, now_ms=NOW_MS) and None)
    with pytest.raises(ApiError) as refused:
        await db.run(caller.claim_nonce)
    assert refused.value.code == "key_revoked"
    assert await db.read(lambda c: c.execute(select(func.count()).select_from(request_nonces)).scalar_one()) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"permissions": frozenset({Permission.READ})},
        {"ip_allowlist": (ip_network("203.0.113.0/24"),)},
        {"expires_ms": NOW_MS + 1},
        {"restrictions": Restrictions(daily_orders=1)},
    ],
)
async def test_a_key_narrowed_after_its_request_was_let_in_changes_nothing_with_it(
    db: Database, changed: dict[str, Any]
) -> None:
    """Placing asks a chain for seconds between the look at the key and the unit of work."""
    key = (await db.run(lambda c: seed_key(c, MASTER, Permission.READ, Permission.TRADE))).key
    caller = Caller(
        key=key,
        wallet=WalletRef(id=key.wallet_id, address=address_of(1), label="main"),
        client_ip=ip_address("127.0.0.1"),
        nonce="n" * 16,
        timestamp_ms=NOW_MS,
    )
    rights = replace(key.rights, **changed)

    def narrow(c: Connection) -> None:
        change_key(c, key, label=key.label, rights=rights, master=MASTER, now_ms=NOW_MS)

    await db.run(narrow)
    with pytest.raises(ApiError) as refused:
        await db.run(caller.claim_nonce)
    assert refused.value.code == "try_again"
    assert await db.read(lambda c: c.execute(select(func.count()).select_from(request_nonces)).scalar_one()) == 0


async def test_a_key_whose_last_use_or_label_was_written_meanwhile_goes_on(db: Database) -> None:
    new = replace(
        new_key(await db.run(lambda c: seed_wallet(c, MASTER)), *Permission),
        ip_allowlist=(ip_network("2001:db8::/64"), ip_network("192.0.2.0/24")),
        restrictions=Restrictions(daily_orders=3, max_order_usd=10**7, chains=frozenset({ChainId(137), ChainId(1)})),
    )
    key = (await db.run(lambda c: create_key(c, new, master=MASTER, now_ms=NOW_MS))).key
    caller = Caller(
        key=key,
        wallet=WalletRef(id=key.wallet_id, address=address_of(1), label="main"),
        client_ip=ip_address("127.0.0.1"),
        nonce="n" * 16,
        timestamp_ms=NOW_MS,
    )

    def touch(c: Connection) -> None:
        note_use(c, key.id, used_ms=NOW_MS + 5, master=MASTER)
        found = load_key(c, key.id, master=MASTER)
        assert found is not None
        change_key(c, found, label="another", rights=found.rights, master=MASTER, now_ms=NOW_MS)

    await db.run(touch)
    await db.run(caller.claim_nonce)


def nonces(db: Database, *, started_ms: int = NOW_MS) -> Nonces:
    return Nonces(db, started_ms=started_ms)


async def used(one: Nonces, signed: Signed, *, now_ms: int = NOW_MS) -> str | None:
    try:
        await one.use(signed, now_ms=now_ms, is_read=False)
    except ApiError as refused:
        return refused.code
    return None


async def rows_of(db: Database) -> int:
    return await db.read(lambda c: c.execute(select(func.count()).select_from(request_nonces)).scalar_one())


async def test_f70_a_read_seen_by_the_same_replica_is_refused(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id
    here = nonces(db)
    assert await used(here, request("a", key=key_id)) is None
    assert await used(here, request("a", key=key_id)) == "replayed"


@pytest.mark.postgres
async def test_f70_a_read_seen_by_another_replica_is_refused(postgres_url: str) -> None:
    one, two = await Database.open(postgres_url), await Database.open(postgres_url)
    try:
        key_id = (await one.run(lambda c: seed_key(c, MASTER))).key.id
        here, there = nonces(one), nonces(two)
        later = NOW_MS + 60_000
        for at in range(20):
            signed = request(f"nonce{at}", key=key_id, timestamp_ms=later)
            answers = await asyncio.gather(used(here, signed, now_ms=later), used(there, signed, now_ms=later))
            assert sorted(answers, key=str) == [None, "replayed"]
    finally:
        await one.close()
        await two.close()


async def test_f70_a_read_seen_before_a_restart_is_refused(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id
    before = nonces(db, started_ms=NOW_MS - 60_000)
    # Signed by clocks from a second behind to a second ahead, all seen now; then the process begins anew.
    signed = [request(f"nonce{skew}", key=key_id, timestamp_ms=NOW_MS + skew) for skew in range(-1_000, 1_001, 250)]
    assert [await used(before, one) for one in signed] == [None] * len(signed)
    after = nonces(db, started_ms=NOW_MS + 10)
    for now_ms in (NOW_MS + 10, NOW_MS + 500, NOW_MS + 1_000, NOW_MS + 4_000):
        answers = {await used(after, one, now_ms=now_ms) for one in signed}
        assert answers <= {"replayed", "timestamp_out_of_window"}


async def test_a_read_on_a_database_of_ones_own_costs_no_row(sqlite_db: Database) -> None:
    key_id = (await sqlite_db.run(lambda c: seed_key(c, MASTER))).key.id
    here = nonces(sqlite_db, started_ms=NOW_MS - 60_000)
    assert await used(here, request("a", key=key_id, timestamp_ms=NOW_MS - 20)) is None
    assert await rows_of(sqlite_db) == 0


async def test_many_claims_are_few_commits(db: Database) -> None:
    key_id = (await db.run(lambda c: seed_key(c, MASTER))).key.id
    claims = NonceClaims(db)
    begun = db.changes.stamp()
    await asyncio.gather(*(claims.claim(request(f"nonce{at}", key=key_id)) for at in range(400)))
    assert await rows_of(db) == 400
    ended = db.changes.stamp()
    assert begun is not None
    assert ended is not None
    # Two moves a commit: the first one's row, then all others together.
    assert (ended - begun) // 2 <= 4


async def test_claims_of_a_database_that_fails_are_refused_and_waited_for_by_nobody(sqlite_db: Database) -> None:
    key_id = (await sqlite_db.run(lambda c: seed_key(c, MASTER))).key.id
    claims = NonceClaims(sqlite_db)
    await sqlite_db.close()
    asked = [claims.claim(request(f"nonce{at}", key=key_id)) for at in range(10)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, DatabaseClosed) for answer in answers)


async def test_a_state_change_whose_nonce_has_a_row_does_not_trip_over_it(db: Database) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    here = nonces(db)
    assert await here.use(request("a", key=key.id), now_ms=NOW_MS, is_read=False)
    caller = Caller(
        key=key,
        wallet=WalletRef(id=key.wallet_id, address=address_of(1), label="main"),
        client_ip=ip_address("127.0.0.1"),
        nonce="a",
        timestamp_ms=NOW_MS,
        nonce_is_stored=True,
    )
    await db.run(caller.claim_nonce)
    assert await rows_of(db) == 1
