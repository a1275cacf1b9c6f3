"""Hot reads on a chain: the framework's answers, of the same block, after every block and every event."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.devnet.network import LocalChain
from service.auth.signature import FUTURE_MS
from service.balances.reading import MAX_HEAD_AGE_S
from service.hot.table import HotTable
from tests.e2e.harness import Stack, running
from tests.service.hot.ways import framework_only
from tests.service.served import AsServed

pytestmark = pytest.mark.chain
FUNDS = {"ethereum": {"ETH": 10**19, "USDC": 10**10}}
MOST_ROUNDS = 30
AHEAD_WITHIN_S = 60
AGES = {"age_ms", "checked_ms", "server_time_ms"}
TARGETS = (
    "/v1/ethereum/ticker",
    "/v1/ethereum/ticker?market=ETHUSDC",
    "/v1/1/ticker?market=NOPE",
    "/v1/ethereum/depth?market=ETHUSDC",
    "/v1/eth/depth?market=ETHUSDC&limit=5",
    "/v1/ethereum/depth?market=ETHUSDC&limit=40&aggregate=100",
    "/v1/ethereum/depth?market=ETHUSDC&limit=0",
    "/v1/ethereum/depth",
    "/v1/ethereum/balances",
    "/v1/eth/balances",
    "/v1/orders/1",
)


@pytest.fixture
async def stack(fresh_ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as found:
        yield found


def without_ages(document: Any) -> Any:
    """What does not change by the millisecond; an age is there on both ways."""
    if isinstance(document, dict):
        return {name: 0 if name in AGES | {"instance"} else without_ages(inner) for name, inner in document.items()}
    return [without_ages(inner) for inner in document] if isinstance(document, list) else document


async def compare(stack: Stack, framework: httpx.AsyncClient) -> dict[str, Any]:
    # Both ways may show a head that is some seconds old: here it is the newest, for all that is compared.
    await stack.chain().states.view((), max_age_s=0)
    found = {}
    for target in TARGETS:
        answers = []
        # The second one from memory, where it is answered ahead.
        for client in (stack.client, stack.client, framework):
            answers.append(await client.get(target, headers=stack.headers("GET", target, b"", key="read")))
        other = answers.pop()
        for hot in answers:
            assert (hot.status_code, hot.headers["content-type"]) == (other.status_code, other.headers["content-type"])
            assert without_ages(hot.json()) == without_ages(other.json()), target
            found[target] = hot.json()
    return found


async def ahead(stack: Stack, served: AsServed, target: str) -> None:
    """Ask until it is answered ahead, which needs a key and a head that were looked at just now, and a service that is
    older than a second: in the first one each signed request leaves a row."""
    before = len(served.answered)
    async with asyncio.timeout(AHEAD_WITHIN_S):
        while len(served.answered) == before:
            assert (await stack.get(target)).status_code == 200


async def test_both_ways_say_the_same_of_every_block_and_while_an_order_is_carried_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = 0
    real = HotTable.answer

    async def counted(*args: Any, **named: Any) -> bytes | None:
        nonlocal answered
        body = await real(*args, **named)
        answered += body is not None
        return body

    monkeypatch.setattr(HotTable, "answer", counted)
    served = stack.client._transport
    assert isinstance(served, AsServed)
    transport = httpx.ASGITransport(app=framework_only(stack.services), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as framework:
        before = await compare(stack, framework)
        body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5", "client_order_id": "hot-1"}
        assert (await stack.post("/v1/ethereum/orders", body)).status_code == 202
        states: set[str] = set()
        compared: list[dict[str, Any]] = []
        while "FILLED" not in states and len(compared) < MOST_ROUNDS:
            compared.append(await compare(stack, framework))
            states.add(compared[-1]["/v1/orders/1"]["state"])
            await stack.round()
        assert states >= {"NEW", "FILLED"}, compared[-1]["/v1/orders/1"]
        after = await compare(stack, framework)
    shown = [f"/v1/ethereum/{what}" for what in ("balances", "depth?market=ETHUSDC", "ticker?market=ETHUSDC")]
    assert [target for target in shown if without_ages(before[target]) == without_ages(after[target])] == []
    # All but the ones in an unusual form; by which of the two ways is a matter of time.
    assert answered + len(served.answered) > 8 * len(compared)
    for target in ("ticker?market=ETHUSDC", "depth?market=ETHUSDC", "balances"):
        await ahead(stack, served, f"/v1/ethereum/{target}")
    await ahead(stack, served, "/v1/orders/1")


async def test_balances_at_a_known_head_ask_no_node_until_something_is_committed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "/v1/ethereum/balances"
    first = await stack.get(target)
    # In the service's first second each signed request leaves a row, which is a commit.
    began_ms = stack.services.clock.now_ms()
    while stack.services.clock.now_ms() <= began_ms + FUTURE_MS:
        await stack.get(target)
    asked: list[str] = []
    real = stack.chain().client.transport.request

    async def noted(method: str, params: Any) -> Any:
        asked.append(method)
        return await real(method, params)

    monkeypatch.setattr(stack.chain().client.transport, "request", noted)
    for _ in range(MOST_ROUNDS):
        began_s = stack.services.clock.monotonic_s()
        await stack.chain().client.head()
        await stack.get(target)
        asked.clear()
        answers = [await stack.get(target) for _ in range(5)]
        if stack.services.clock.monotonic_s() - began_s < MAX_HEAD_AGE_S:
            break
    else:
        pytest.fail("the machine is too busy for a few requests while a head is new")
    assert all(answer.json()["balances"] == first.json()["balances"] for answer in answers)
    assert asked == []
    await stack.services.db.run(lambda c: None)
    await stack.get(target)
    assert asked
