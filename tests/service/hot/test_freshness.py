"""A hot answer is never older than the last event its account was told of; a revoked key is told so at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from service.auth.keys import revoke_key
from service.hot.memory import Memory
from service.orders import storage
from service.orders.model import OrderState
from tests.service.api import Api, api, code_of
from tests.service.books_seed import NOW_MS, Owner, address_of
from tests.service.trading_seed import seed_order_of

ORDER = "/v1/orders/1"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    # How many reads there are beside a number of commits depends on the disk.
    async with api(tmp_path, ip_weight_per_minute=10**9, key_weight_per_minute=10**9) as made:
        key = made.keys["read"].key

        def seed(c: Connection) -> None:
            owner = Owner(account_id=key.account_id, wallet_id=key.wallet_id, address=address_of(0xA11CE))
            seed_order_of(c, owner, key_id=key.id)

        await made.services.db.run(seed)
        # Past the first second, in which each signed request leaves a row: a commit.
        made.clock.advance_ms(2_000)
        yield made


async def filled(service: Api) -> str:
    answer = await service.ask("GET", ORDER, key="read")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["filled_base"])


async def fill(service: Api, amount: int) -> None:
    wallet_id = service.keys["read"].key.wallet_id

    def move(c: Connection) -> None:
        order = storage.order_by_id(c, 1, wallet_id=wallet_id)
        assert order is not None
        storage.move(c, order, expected=[OrderState.NEW], now_ms=NOW_MS, filled_base=amount)

    await service.services.db.run(move)


async def test_what_was_committed_is_in_every_answer_after_it(service: Api) -> None:
    for amount in range(1, 40):
        assert await filled(service) == await filled(service)
        await fill(service, amount)
        assert await filled(service) == f"0.{amount:06d}".rstrip("0")


async def test_answers_beside_commits_never_go_back(service: Api) -> None:
    stop = asyncio.Event()
    told = 0

    async def writes() -> None:
        nonlocal told
        for amount in range(1, 60):
            await fill(service, amount)
            told = amount
        stop.set()

    async def reads() -> None:
        while not stop.is_set():
            before = told
            shown = round(float(await filled(service)) * 10**6)
            assert shown >= before
            await asyncio.sleep(0)

    await asyncio.gather(writes(), reads(), reads(), reads())


async def test_an_order_is_read_from_memory_between_commits(service: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(service)
    reads = 0
    real = service.services.db.read

    async def counted(work):  # type: ignore[no-untyped-def]
        nonlocal reads
        reads += 1
        return await real(work)

    monkeypatch.setattr(service.services.db, "read", counted)
    for _ in range(20):
        await filled(service)
    assert reads == 0


async def test_a_key_that_is_revoked_gets_no_hot_answer_any_more(service: Api) -> None:
    await filled(service)
    key_id, master = service.keys["read"].key.id, service.services.master
    now_ms = service.clock.now_ms()
    await service.services.db.run(lambda c: revoke_key(c, key_id, master=master, now_ms=now_ms) and None)
    assert code_of(await service.ask("GET", ORDER, key="read")) == "key_revoked"


def test_memory_answers_only_under_the_same_token_and_is_bounded() -> None:
    memory: Memory[str] = Memory(2)
    memory.put("a", 1, "x")
    assert memory.get("a", 1) == "x"
    assert memory.get("a", 2) is None
    assert memory.get("a", None) is None
    memory.put("b", None, "y")
    assert memory.get("b", None) is None
    for key in "bc":
        memory.put(key, 1, key)
    assert [memory.get(key, 1) for key in "abc"] == [None, "b", "c"]
