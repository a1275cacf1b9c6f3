"""The figures of a service at work, and that no endpoint's address is in anything it says (F84)."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.errors import RpcError
from scripts.devnet.network import LocalChain
from service.approvals.expiring import LOOP as EXPIRING
from service.cli.checking import check_settings
from service.db.models import lanes
from service.observability.logs import configure_logging
from service.observability.scraping import page
from service.settings import Settings
from service.workers.markets import run_markets
from service.workers.runner import PRUNING, run_workers
from tests.chainfixtures import manual_mining
from tests.e2e.harness import BOB, running
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, HttpStatus, NodeError, Rule
from tests.service.observability.test_metrics import samples

FUNDS = {"ethereum": {"ETH": 10**18, "USDC": 10**9}}
WITHDRAWAL = {"asset": "USDC", "amount": "5", "address": BOB, "client_withdrawal_id": "w"}
CANARY = "canarykey4f1e9b"


def of(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((name, tuple(sorted(labels.items()))))


async def test_a_withdrawal_on_its_way_shows_in_the_figures(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
        shown = await page(stack.services)
        assert of(shown, "cambist_queued_intents", chain="ethereum") == 1
        assert of(shown, "cambist_accept_seconds_count", route="/v1/{chain}/withdrawals") == 1
        with manual_mining(stack.rpcs["ethereum"]):
            await stack.chain().engine.step()
            shown = await page(stack.services)
            assert of(shown, "cambist_pending_transactions", chain="ethereum", age="1m") == 1
            assert of(shown, "cambist_attempts_total", chain="ethereum", kind="first") == 1
            assert of(shown, "cambist_pool_sends_total", chain="ethereum") == 1
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        shown = await page(stack.services)
        assert of(shown, "cambist_pending_transactions", chain="ethereum", age="1m") == 0
        assert of(shown, "cambist_confirm_seconds_count", chain="ethereum", outcome="succeeded") == 1
        assert of(shown, "cambist_endpoint_lag_blocks", chain="ethereum", endpoint="ethereum-1") == 0
        assert of(shown, "cambist_endpoint_state", chain="ethereum", endpoint="ethereum-1", state="alive") == 1


async def test_F45_what_one_endpoint_takes_and_another_refuses_for_good_is_sent_once_and_counted(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with FaultProxy(ethereum.rpc_url, name="a") as good, FaultProxy(ethereum.rpc_url, name="b") as bad:
        bad.add(Rule(action=NodeError(code=-32000, text="intrinsic gas too low"), method="eth_sendRawTransaction"))
        endpoints = {"ethereum": f"good={good.url}, bad={bad.url}"}
        async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=endpoints) as stack:
            asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
            found = await stack.settle(f"/v1/withdrawals/{asked['id']}")
            assert found["state"] in ("confirmed", "final")
            await stack.chain().endpoints.settle()
            shown = await page(stack.services)
            assert of(shown, "cambist_pool_contradictions_total", chain="ethereum") == 1
            assert of(shown, "cambist_attempts_total", chain="ethereum", kind="first") == 1
            assert of(shown, "cambist_attempts_total", chain="ethereum", kind="cancel") is None


async def test_a_held_wallet_shows_by_the_code_of_its_reason(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        await stack.services.db.run(lambda c: c.execute(lanes.update().values(hold_reason="foreign_nonce: text")))
        shown = await page(stack.services)
        assert of(shown, "cambist_held_lanes", chain="ethereum", code="foreign_nonce") == 1
        assert b"text" not in shown


async def test_running_engines_give_signs_of_life(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        stop = asyncio.Event()
        loops = {"engine-ethereum", "history-ethereum", "keeper-ethereum", PRUNING, EXPIRING}
        async with asyncio.TaskGroup() as group:
            group.create_task(run_workers(stack.services, stop))
            async with asyncio.timeout(60):
                while True:
                    workers = (await stack.get("/readyz")).json()["workers"]
                    if loops <= workers.keys():
                        break
                    await asyncio.sleep(0.05)
            assert workers == dict.fromkeys(loops, "ok")
            stop.set()
        assert (await stack.get("/readyz")).json()["workers"] == {}


async def test_the_pools_in_memory_show_what_they_are_and_what_they_cost(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        shown = await page(stack.services)
        assert of(shown, "cambist_market_pools", chain="ethereum") == 0
        assert of(shown, "cambist_market_behind_blocks", chain="ethereum") is None
        assert (await stack.get("/v1/ethereum/quote?market=ETHUSDC&side=sell&base_amount=1")).status_code == 200
        shown = await page(stack.services)
        assert (of(shown, "cambist_market_pools", chain="ethereum") or 0) > 3
        assert of(shown, "cambist_market_behind_blocks", chain="ethereum") == 0
        assert (of(shown, "cambist_market_node_calls_total", chain="ethereum") or 0) > 3
        assert of(shown, "cambist_market_disagreements_total", chain="ethereum") == 0


async def test_the_loops_of_the_pools_give_signs_of_life_and_end_when_told(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_markets(stack.services, stop))
            await asyncio.sleep(0)
            assert (await stack.get("/readyz")).json()["workers"] == {"markets-ethereum": "ok"}
            stop.set()
        assert (await stack.get("/readyz")).json()["workers"] == {}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at the lowest level there is; put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(Settings(log_level="debug"), stream)
    root.setLevel(logging.NOTSET)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


async def test_F84_the_address_of_an_endpoint_is_in_nothing_that_the_service_says(
    ethereum: LocalChain, tmp_path: Path, logged: io.StringIO
) -> None:
    said: list[Any] = []
    async with FaultProxy(ethereum.rpc_url, name="a") as proxy:
        url = f"{proxy.url}/{CANARY}?apikey={CANARY}"
        endpoints = {"ethereum": f"one={url}, http://{CANARY}.invalid/ relay=send-only:{url}/relay"}
        async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=endpoints) as stack:
            settings = stack.services.settings
            asked = await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")
            order = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.01"}
            placed = await stack.post("/v1/ethereum/orders", order)
            assert placed.status_code == 202, placed.text
            await stack.settle(f"/v1/orders/{placed.json()['id']}")
            for fault in (Drop(), HttpStatus(status=401, body=f"no such key: {CANARY}"), HttpStatus(status=429)):
                rule = Rule(action=fault)
                proxy.add(rule)
                for path in ("/v1/ethereum/balances", "/v1/ethereum/ticker", "/readyz"):
                    answer = await stack.get(path)
                    assert answer.status_code == 503, (path, answer.text)
                    said.append(answer.text)
                with pytest.raises(RpcError) as failure:
                    await stack.chain().client.send_raw(b"\x02")
                said += [repr(failure.value), str(failure.value), repr(failure.value.__context__)]
                said.append((await check_settings(settings))["chains"])
                await stack.chain().engine.step()
                proxy.remove(rule)
            await stack.chain().endpoints.probe()
            said += [asked.text, placed.text, (await stack.get("/v1/openapi.json", None)).text]
            said += [repr(settings), settings.model_dump(mode="json"), settings.model_dump_json()]
            said += [repr(stack.services), await page(stack.services), await check_settings(settings)]
    said.append(logged.getvalue())
    assert "one" in logged.getvalue()
    for one in said:
        text = one if isinstance(one, str) else repr(one)
        assert CANARY not in text, text[max(0, text.find(CANARY) - 300) : text.find(CANARY) + 100]
    assert CANARY not in orjson.dumps(said, default=repr).decode()
