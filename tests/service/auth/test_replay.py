"""A signed request works once."""

import asyncio
from ipaddress import ip_address

import pytest
from sqlalchemy import Connection, func, select

from service.auth.callers import Caller, WalletRef
from service.auth.keys import revoke_key
from service.auth.replay import KEEP_MS, KEEP_ROWS_MS, NonceCache, claim_nonce, prune
from service.auth.secrets import MasterKey
from service.auth.signature import Signed
from service.db.engine import Database
from service.db.models import request_nonces
from service.errors import ApiError
from tests.service.auth.seed import seed_key
from tests.service.books_seed import NOW_MS, address_of

MASTER = MasterKey(bytes(32))


def request(nonce: str, *, key: str = "k", timestamp_ms: int = NOW_MS) -> Signed:
    return Signed(key_id=key, timestamp_ms=timestamp_ms, nonce=nonce, signature=bytes(32))


def code(cache: NonceCache, signed: Signed, *, now_ms: int = NOW_MS) -> str | None:
    try:
        cache.remember(signed, now_ms=now_ms)
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


def test_a_request_signed_before_the_start_is_refused() -> None:
    cache = NonceCache(started_ms=NOW_MS)
    assert code(cache, request("a", timestamp_ms=NOW_MS - 1)) == "timestamp_out_of_window"
    assert code(cache, request("a")) is None


def test_a_full_cache_refuses_and_forgets_only_what_is_too_old() -> None:
    cache = NonceCache(started_ms=NOW_MS, capacity=2)
    assert [code(cache, request(nonce)) for nonce in "abc"] == [None, None, "busy"]
    assert code(cache, request("a"), now_ms=NOW_MS + KEEP_MS) == "replayed"
    later = NOW_MS + KEEP_MS + 1
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
