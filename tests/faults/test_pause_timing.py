"""F97 against the clock on the wall: engines run by themselves, payments stream in, and a pause has its second."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest
from sqlalchemy import select

from chains.tx.model import UNMINED_TX_STATES, IntentState, Outcome, TxState
from service.control.acts import perform
from service.control.server import this_operator
from service.db import models as m
from service.pauses import Scope
from service.workers.runner import run_workers
from tests.e2e.harness import BOB, Stack
from tests.faults.proxy import FaultProxy
from tests.slack import slack

E18: Final = 10**18
PATH: Final = "/v1/ethereum/withdrawals"
PROMISE_S: Final = 1.0
WATCHED_S: Final = 4.0
"""After the promised second: two polls of the chain and a rebroadcast of what no node took."""
CLOSE_WITHIN_S: Final = 180.0
"""Bounds the test, no promise."""
LOOK_EVERY_S: Final = 0.05
MOST_IN_FLIGHT: Final = 16
"""Of Ethereum: what is queued beyond waits for blocks, of which there are none before the pause."""

pytestmark = pytest.mark.chain


@pytest.fixture
def funds() -> Mapping[str, int]:
    return {"ETH": 50 * E18, "USDC": 20_000 * 10**6}


@asynccontextmanager
async def working(stack: Stack) -> AsyncIterator[None]:
    """The workers beside the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_workers(stack.services, stop))
        try:
            yield
        finally:
            stop.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CLOSE_WITHIN_S):
        while not condition():  # noqa: ASYNC110  what is waited for happens in other threads
            await asyncio.sleep(LOOK_EVERY_S)


async def pay(stack: Stack, number: int) -> None:
    body = {"asset": "USDC", "amount": "1", "address": BOB, "client_withdrawal_id": f"w{number}"}
    await stack.post(PATH, body, key="withdraw")


async def stream(stack: Stack, *, under_way: asyncio.Event) -> None:
    """More withdrawals at once than the lane sends, then one after another until cancelled; while paused refused.

    `under_way` is set when the first ones are accepted.
    """
    await asyncio.gather(*(pay(stack, number) for number in range(2 * MOST_IN_FLIGHT)))
    under_way.set()
    for number in itertools.count(2 * MOST_IN_FLIGHT):
        await pay(stack, number)
        await asyncio.sleep(LOOK_EVERY_S)


def payments(proxy: FaultProxy, stack: Stack) -> int:
    """Times that a payload, no self-send, passed the proxy."""
    closing = {tx.hash for tx in proxy.recorder.txs if tx.effect.to == stack.wallet.address}
    return sum(sending.hash not in closing for sending in proxy.recorder.sendings)


def paid(proxy: FaultProxy, stack: Stack) -> set[tuple[str, int]]:
    """The slots with a payment that the node has taken."""
    return {tx.slot for tx in proxy.recorder.accepted() if tx.effect.to != stack.wallet.address}


def closed(proxy: FaultProxy, stack: Stack) -> set[tuple[str, int]]:
    """The slots whose self-send the node has taken."""
    return {tx.slot for tx in proxy.recorder.accepted() if tx.effect.to == stack.wallet.address}


async def states(stack: Stack) -> list[tuple[TxState, Outcome]]:
    return await stack.services.db.read(
        lambda c: [(TxState(row.state), Outcome(row.outcome)) for row in c.execute(select(m.txs))]
    )


def named(stack: Stack, scope: Scope) -> dict[str, str]:
    """How the owner names the scope."""
    return {
        Scope.ALL: {},
        Scope.CHAIN: {"chain": "ethereum"},
        Scope.WALLET: {"wallet": "main"},
        Scope.KEY: {"key": "withdraw"},
    }[scope]


@pytest.mark.parametrize("scope", list(Scope))
async def test_F97_within_a_second_of_a_pause_no_payment_leaves_any_more_and_what_left_is_closed(
    stack: Stack, proxy: FaultProxy, scope: Scope
) -> None:
    async with working(stack):
        under_way = asyncio.Event()
        payers = asyncio.create_task(stream(stack, under_way=under_way))
        await until(lambda: under_way.is_set() and len(paid(proxy, stack)) == MOST_IN_FLIGHT)
        async with slack(lambda: states(stack)) as busy:
            asked = time.monotonic()
            await perform(stack.services, "panic.on", {"reason": "panic", **named(stack, scope)}, this_operator())
            assert time.monotonic() - asked < PROMISE_S + busy.seconds
            await busy.passed(asked, PROMISE_S)
        left = payments(proxy, stack)
        await asyncio.sleep(WATCHED_S)
        assert payments(proxy, stack) == left
        payers.cancel()

        # All at the node before there is a block: on a busy machine a payment could else be mined before its self-send.
        await until(lambda: len(closed(proxy, stack)) == MOST_IN_FLIGHT)
        async with asyncio.timeout(CLOSE_WITHIN_S):
            while any(state in UNMINED_TX_STATES for state, _ in await states(stack)):
                await stack.mine("ethereum")
                await asyncio.sleep(LOOK_EVERY_S)
        # There is room in the lane again, and a queue.
        await asyncio.sleep(WATCHED_S)
        assert payments(proxy, stack) == left
    # Nothing had been mined before the pause: each nonce that was taken is closed, and nobody was paid.
    assert {outcome for _, outcome in await states(stack)} == {Outcome.CANCELLED}
    assert len(await states(stack)) == MOST_IN_FLIGHT
    # The queue waits as it was.
    queued = await stack.services.db.read(lambda c: c.execute(select(m.intents.c.state)).scalars().all())
    assert queued.count(IntentState.QUEUED) >= MOST_IN_FLIGHT
    await stack.check_books()
