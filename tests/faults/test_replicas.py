"""Two workers and two processes of the API on one PostgreSQL: one intent, one effect, whoever is stopped or killed."""

import asyncio
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import select

from chains.types import ChainId
from scripts.devnet.network import LocalChain
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.db import models as m
from service.pauses import EVERYTHING, pause
from service.workers.membership import TTL_S
from tests.e2e.harness import BOB, ApiKey, Stack, running
from tests.e2e.people import person
from tests.faults.observed import Effect, SeenTx
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.replicas import Fleet, Replica, replicas
from tests.slack import slack

E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 100 * E18, "USDC": 50_000 * 10**6}}
WITHDRAWALS: Final = "/v1/ethereum/withdrawals"
ORDERS: Final = "/v1/ethereum/orders"
AT_ONCE: Final = 32
SETTLED_S: Final = 300.0
"""Bounds a wait, no promise."""
ELSEWHERE_S: Final = 2.0
"""Until a pause or a revocation is in force in other processes."""
MOST_IN_FLIGHT: Final = 16
"""Of Ethereum: what is queued beyond waits for blocks."""
QUEUED: Final = 8
WATCHED_S: Final = 5.0
"""After that: two polls of the chain and a rebroadcast."""
RESTING: Final = {
    "market": "ETHUSDC", "side": "sell", "type": "limit", "time_in_force": "gtc", "base_amount": "0.1",
    "price": "4000", "client_order_id": "rests",
}  # fmt: skip
KEY_LIFETIME_MS: Final = 3_600_000

pytestmark = [pytest.mark.chain, pytest.mark.postgres, pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def proxy(fresh_ethereum: LocalChain) -> Any:
    with ThreadedProxy(FaultProxy(fresh_ethereum.rpc_url)) as made:
        yield made


@pytest.fixture
async def fleet(
    fresh_ethereum: LocalChain, proxy: FaultProxy, postgres_url: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    key = secrets.token_bytes(32)
    async with running(
        tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS, database_url=postgres_url, private_key=key
    ) as stack:
        stack.rpcs["ethereum"]("evm_setAutomine", False)
        stack.rpcs["ethereum"]("anvil_setCode", BOB, "0x")
        async with replicas(stack, tmp_path, rpc_url=proxy.url, private_key=key) as made:
            yield made


def pay(client_id: str, amount: str) -> dict[str, str]:
    return {"asset": "USDC", "amount": amount, "address": BOB, "client_withdrawal_id": client_id}


async def with_key(stack: Stack, label: str) -> Stack:
    """The same stack with one more key, which may trade and withdraw."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label=label,
        permissions=frozenset(Permission),
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=ChainId(1), address=BOB),),
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    key = ApiKey(id=made.key.id, secret=(made.secret or "").encode())
    return replace(stack, keys={**stack.keys, label: key})


async def all_at_once(fleet: Fleet, asked: Sequence[tuple[Replica, str, dict[str, str], str]]) -> list[httpx.Response]:
    """(api, path, body, key) each, `AT_ONCE` under way."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(api: Replica, path: str, body: dict[str, str], *, key: str) -> httpx.Response:
        async with room:
            return await fleet.post(api, path, body, key=key)

    return list(await asyncio.gather(*(one(api, path, body, key=key) for api, path, body, key in asked)))


async def states(stack: Stack, table: Any) -> Counter[str]:
    """Every withdrawal's or order's plan, by the state of its last slot."""
    last = select(m.txs.c.state).join(m.intents, m.intents.c.id == m.txs.c.intent_id)
    plans = await stack.services.db.read(lambda c: c.execute(select(table.c.plan_id)).scalars().all())
    found: Counter[str] = Counter()
    for plan in plans:
        of_plan = last.where(m.intents.c.plan_id == plan).order_by(m.txs.c.nonce.desc()).limit(1)
        found[await stack.services.db.read(lambda c, q=of_plan: c.execute(q).scalar() or "queued")] += 1  # type: ignore[misc]
    return found


async def settled(fleet: Fleet, table: Any, count: int) -> None:
    async def done() -> bool:
        found = await states(fleet.stack, table)
        return found["confirmed"] + found["final"] == count

    await fleet.until(done, within_s=SETTLED_S)


def ours(fleet: Fleet, proxy: FaultProxy) -> list[SeenTx]:
    return [tx for tx in proxy.recorder.txs if tx.effect.sender == fleet.stack.wallet.address]


async def check_the_end(fleet: Fleet, proxy: FaultProxy, *, intents: int) -> None:
    """Gapless nonces, one each; nothing was sent that is not a stored attempt; books equal the chain."""
    stack = fleet.stack
    await fleet.stop()
    nonces = await stack.services.db.read(lambda c: sorted(c.execute(select(m.txs.c.nonce)).scalars()))
    assert nonces == list(range(intents))
    stored = await stack.services.db.read(lambda c: set(c.execute(select(m.attempts.c.hash)).scalars()))
    assert {tx.hash for tx in ours(fleet, proxy)} <= stored
    await stack.check_books()
    assert await stack.nothing_reserved()


async def test_F61_two_thousand_duplicated_withdrawals_at_two_processes_are_one_transfer_an_id(
    fleet: Fleet, proxy: FaultProxy
) -> None:
    await fleet.start("worker")
    apis = [await fleet.start("api"), await fleet.start("api")]
    before = await fleet.stack.balance_of(BOB, "USDC")
    ids, repeats = 40, 50
    amounts = {f"w{n}": f"1.{n:06d}" for n in range(ids)}
    asked = [
        (apis[(n + k) % 2], WITHDRAWALS, pay(client_id, amount), "withdraw")
        for k in range(repeats)
        for n, (client_id, amount) in enumerate(amounts.items())
    ]
    assert len(asked) == 2_000
    answers = await all_at_once(fleet, asked)
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {202: ids, 200: len(asked) - ids}
    named = zip((body["client_withdrawal_id"] for _, _, body, _ in asked), answers, strict=True)
    assert len({(client_id, answer.json()["id"]) for client_id, answer in named}) == ids
    await settled(fleet, m.withdrawals, ids)
    assert await fleet.stack.balance_of(BOB, "USDC") - before == ids * 10**6 + sum(range(ids))
    await check_the_end(fleet, proxy, intents=ids)


async def test_F18_two_hundred_orders_at_once_on_one_wallet_with_two_replicas_are_each_mined_once(
    fleet: Fleet, proxy: FaultProxy
) -> None:
    for role in ("worker", "worker"):
        await fleet.start(role)
    apis = [await fleet.start("api"), await fleet.start("api")]
    order = {"market": "ETHUSDC", "side": "sell", "type": "market", "base_amount": "0.01"}
    asked = [(apis[n % 2], ORDERS, {**order, "client_order_id": f"o{n}"}, "trade") for n in range(200)]
    answers = await all_at_once(fleet, asked)
    assert Counter(answer.status_code for answer in answers) == {202: 200}
    await settled(fleet, m.orders, 200)
    effects: dict[tuple[str, int], set[Effect]] = {}
    for tx in ours(fleet, proxy):
        effects.setdefault(tx.slot, set()).add(tx.effect)
    assert Counter(len(found) for found in effects.values()) == {1: 200}
    await check_the_end(fleet, proxy, intents=200)


async def test_F19_a_worker_that_is_stopped_for_longer_than_its_lease_does_nothing_stale_when_it_returns(
    fleet: Fleet, proxy: FaultProxy
) -> None:
    for role in ("worker", "worker"):
        await fleet.start(role)
    api = await fleet.start("api")
    before = await fleet.stack.balance_of(BOB, "USDC")
    first = await fleet.post(api, WITHDRAWALS, pay("first", "1"), key="withdraw")
    assert first.status_code == 202, first.text
    await settled(fleet, m.withdrawals, 1)
    paused = await fleet.worker_of_lane()
    registered = await fleet.holder(f"lane:1:{fleet.stack.wallet.address}")
    # Work is on its way while it stops.
    asked = [(api, WITHDRAWALS, pay(f"w{n}", f"2.{n:06d}"), "withdraw") for n in range(20)]
    accepting = asyncio.create_task(all_at_once(fleet, asked))
    await asyncio.sleep(0.3)
    paused.signal(signal.SIGSTOP)
    assert {answer.status_code for answer in await accepting} == {202}
    await settled(fleet, m.withdrawals, 21)
    assert await fleet.holder(f"lane:1:{fleet.stack.wallet.address}") != registered
    sent = len(proxy.recorder.sendings)
    paused.signal(signal.SIGCONT)
    await fleet.until(lambda: _said(paused, "was taken for dead"), within_s=SETTLED_S)
    await asyncio.sleep(TTL_S)
    assert len(proxy.recorder.sendings) == sent, "it sent again what another process has settled"
    total = 10**6 + 20 * 2 * 10**6 + sum(range(20))
    assert await fleet.stack.balance_of(BOB, "USDC") - before == total
    await check_the_end(fleet, proxy, intents=21)


async def test_F01_what_a_killed_worker_held_is_finished_by_another(fleet: Fleet, proxy: FaultProxy) -> None:
    for role in ("worker", "worker"):
        await fleet.start(role)
    api = await fleet.start("api")
    before = await fleet.stack.balance_of(BOB, "USDC")
    asked = [(api, WITHDRAWALS, pay(f"w{n}", f"1.{n:06d}"), "withdraw") for n in range(30)]
    accepting = asyncio.create_task(all_at_once(fleet, asked))
    (await fleet.worker_of_lane()).process.kill()
    assert {answer.status_code for answer in await accepting} == {202}
    await settled(fleet, m.withdrawals, 30)
    assert await fleet.stack.balance_of(BOB, "USDC") - before == 30 * 10**6 + sum(range(30))
    await check_the_end(fleet, proxy, intents=30)


async def test_F97_a_pause_is_in_force_in_other_processes_within_two_seconds(fleet: Fleet, proxy: FaultProxy) -> None:
    await fleet.start("worker")
    api = await fleet.start("api")
    asked = [(api, WITHDRAWALS, pay(f"w{n}", f"1.{n:06d}"), "withdraw") for n in range(60)]
    accepting = asyncio.create_task(all_at_once(fleet, asked))
    await fleet.until(lambda: _paid(fleet, proxy), within_s=SETTLED_S)
    async with slack(lambda: fleet.get(api, "/v1/orders")) as busy:
        # The operator's command, in a process of its own.
        now_ms = fleet.stack.services.clock.now_ms()
        await fleet.stack.services.db.run(lambda c: pause(c, EVERYTHING, reason="panic", now_ms=now_ms))
        await busy.passed(time.monotonic(), ELSEWHERE_S)
    payments = len(_payments(fleet, proxy))
    codes = {answer.status_code for answer in await accepting}
    assert codes <= {202, 503}, codes
    late = await fleet.post(api, WITHDRAWALS, pay("late", "1"), key="withdraw")
    assert late.status_code == 503
    await asyncio.sleep(WATCHED_S)
    assert len(_payments(fleet, proxy)) == payments, "a payment left after the pause was in force"


async def test_F97_a_key_revoked_in_another_process_is_without_effect_within_two_seconds(
    fleet: Fleet, proxy: FaultProxy
) -> None:
    """Its queued payments are rejected and its resting order cancelled with it; each open slot gets its self-send."""
    await fleet.start("worker")
    api = await fleet.start("api")
    fleet.stack = stack = await with_key(fleet.stack, "thief")
    owner, before = await person(stack), await stack.balance_of(BOB, "USDC")
    placed = await fleet.post(api, ORDERS, RESTING, key="thief")
    assert placed.status_code == 202, placed.text
    fleet.mining.clear()
    paying = [(api, WITHDRAWALS, pay(f"w{n}", f"1.{n:06d}"), "thief") for n in range(MOST_IN_FLIGHT + QUEUED)]
    answers = await all_at_once(fleet, paying)
    assert {answer.status_code for answer in answers} == {202}
    await fleet.until(lambda: _paid(fleet, proxy, times=MOST_IN_FLIGHT), within_s=SETTLED_S)
    # The worker has nothing under way, and looks again at its own time.
    await asyncio.sleep(secrets.randbelow(1_000) / 1_000)

    async with slack(lambda: fleet.get(api, f"/v1/orders/{placed.json()['id']}"), times=len(answers) + 3) as busy:
        began_s = time.monotonic()

        async def closed() -> float:
            await fleet.until(lambda: _closing(fleet, proxy, slots=MOST_IN_FLIGHT), within_s=SETTLED_S)
            return time.monotonic() - began_s

        closing = asyncio.create_task(closed())
        revoked = await fleet.client.delete(
            f"{api.url}/v1/keys/{stack.keys['thief'].id}", headers={"authorization": f"Bearer {owner.token}"}
        )
        assert revoked.status_code == 200, revoked.text
        told = [(await fleet.get(api, f"/v1/withdrawals/{answer.json()['id']}"))["state"] for answer in answers]
        assert Counter(told)["rejected"] == QUEUED
        assert (await fleet.get(api, f"/v1/orders/{placed.json()['id']}"))["state"] == "CANCELED"
        refused = await fleet.post(api, WITHDRAWALS, pay("late", "1"), key="thief")
        assert refused.json()["code"] == "key_revoked"
        assert time.monotonic() - began_s < ELSEWHERE_S + busy.seconds
        took_s = await closing
        assert took_s < ELSEWHERE_S + busy.seconds
        await busy.passed(began_s, ELSEWHERE_S)
    sent = len(proxy.recorder.sendings)
    await asyncio.sleep(WATCHED_S)
    selfsends = {tx.hash for tx in ours(fleet, proxy) if tx.effect.to == stack.wallet.address}
    assert {one.hash for one in proxy.recorder.sendings[sent:]} <= selfsends, "a payment left after the revocation"
    fleet.mining.set()

    async def ended() -> bool:
        found = await states(stack, m.withdrawals)
        return found["confirmed"] + found["final"] == MOST_IN_FLIGHT

    await fleet.until(ended, within_s=SETTLED_S)
    assert await stack.balance_of(BOB, "USDC") == before
    await check_the_end(fleet, proxy, intents=MOST_IN_FLIGHT)


async def _said(replica: Replica, text: str) -> bool:
    return replica.said(text)


async def _paid(fleet: Fleet, proxy: FaultProxy, *, times: int = 1) -> bool:
    return len(_payments(fleet, proxy)) >= times


async def _closing(fleet: Fleet, proxy: FaultProxy, *, slots: int) -> bool:
    """That many slots have a self-send that left."""
    wallet = fleet.stack.wallet.address
    return len({tx.slot for tx in ours(fleet, proxy) if tx.effect.to == wallet}) >= slots


def _payments(fleet: Fleet, proxy: FaultProxy) -> list[SeenTx]:
    """What left, and is no self-send."""
    return [tx for tx in ours(fleet, proxy) if tx.effect.to != fleet.stack.wallet.address]
