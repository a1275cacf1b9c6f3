"""The routes of balances, reconciliation and the deposit address, as a client meets them."""

import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.auth.callers import Caller
from service.auth.keymemory import WalletRef
from service.auth.keys import NewKey, Permission, create_key
from service.balances import routes as balances_routes
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.deposits import routes as deposits_routes
from service.problems import install_handlers
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, address_of
from tests.service.ledger_node import LedgerNode, ScriptedChain, scripted_services

WALLET = address_of(0xCAFE)
PATHS = ["/v1/ethereum/balances", "/v1/ethereum/reconciliation", "/v1/ethereum/deposit-address"]


class AsCaller:
    """Stands where the middleware does, which has its own tests: puts the caller into the request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.caller: Caller | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"caller": self.caller, "request_id": "r"}
        await self.app(scope, receive, send)


@dataclass(slots=True)
class Scene:
    client: httpx.AsyncClient
    door: AsCaller
    node: LedgerNode
    caller: Caller
    chain: ScriptedChain
    db: Database

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def scene(sqlite_db: Database, clock: FakeClock) -> AsyncIterator[Scene]:
    services = scripted_services(sqlite_db, clock)
    chain = services.chains["ethereum"]
    chain.node.give(WALLET, chain.assets.by_symbol("USDC"), raw=2_500_000)
    chain.node.mine(10)
    account = await sqlite_db.run(
        lambda c: ensure_account(c, "main", owner="me", master=services.master, now_ms=NOW_MS)
    )
    wallet = await register_wallet(services, account_id=account.id, address=WALLET, label="main", signer="keystore")
    app = FastAPI()
    app.include_router(balances_routes.router)
    app.include_router(deposits_routes.router)
    install_handlers(app)
    app.state.services = services
    door = AsCaller(app)
    new = NewKey(account_id=account.id, wallet_id=wallet.id, label="k", permissions=frozenset({Permission.READ}))
    key = (await sqlite_db.run(lambda c: create_key(c, new, master=services.master, now_ms=NOW_MS))).key
    caller = Caller(
        key=key,
        wallet=WalletRef(id=wallet.id, address=WALLET, label="main"),
        client_ip=ipaddress.ip_address("127.0.0.1"),
        nonce="n",
        timestamp_ms=NOW_MS,
    )
    door.caller = caller
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
        yield Scene(client=client, door=door, node=chain.node, caller=caller, chain=chain, db=sqlite_db)


async def test_balances_name_their_block_and_all_listed_assets(scene: Scene) -> None:
    answer = await scene.get("/v1/ethereum/balances")
    assert (answer["chain"], answer["wallet"]) == ("ethereum", WALLET)
    assert (answer["block"]["number"], answer["block"]["hash"]) == (10, scene.node.ref(10).hash)
    assert [row["asset"] for row in answer["balances"]] == [asset.symbol for asset in scene.chain.assets]
    (usdc,) = (row for row in answer["balances"] if row["asset"] == "USDC")
    assert (usdc["total"], usdc["available"], usdc["reserved"], usdc["raw"]) == ("2.5", "2.5", "0", "2500000")


async def test_the_reconciliation_agrees_and_then_shows_what_came_from_outside(scene: Scene) -> None:
    assert (await scene.get("/v1/ethereum/reconciliation"))["verdict"] == "ok"
    scene.node.give(WALLET, scene.chain.assets.by_symbol("USDC"), raw=3_000_000)
    block = scene.node.mine()
    await scene.db.run(lambda c: SqlTxStore().set_cursor(c, ETHEREUM, block))
    answer = await scene.get("/v1/ethereum/reconciliation")
    (usdc,) = (row for row in answer["assets"] if row["asset"] == "USDC")
    assert (answer["verdict"], answer["block"]["number"]) == ("unexplained", block.number)
    assert (usdc["opening"], usdc["journal"], usdc["chain"], usdc["unexplained"]) == ("2.5", "0", "3", "0.5")


async def test_the_deposit_address_is_the_wallets_own_with_the_listed_assets(scene: Scene) -> None:
    answer = await scene.get("/v1/ethereum/deposit-address")
    assert (answer["address"], answer["chain_id"]) == (WALLET, 1)
    assert [asset["symbol"] for asset in answer["assets"]] == [asset.symbol for asset in scene.chain.assets]
    assert "unexplained" in answer["note"]


async def test_a_node_that_is_down_is_an_error_for_balances_and_a_verdict_for_the_books(scene: Scene) -> None:
    scene.node.down = True
    refused = await scene.client.get("/v1/ethereum/balances")
    assert (refused.status_code, refused.json()["code"]) == (503, "node_unavailable")
    report = await scene.get("/v1/ethereum/reconciliation")
    assert (report["verdict"], report["why"]) == ("unknown", "node_unreachable")


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_key_that_reads_nothing_is_told(scene: Scene, path: str) -> None:
    scene.door.caller = None
    answer = await scene.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")


@pytest.mark.parametrize("path", PATHS)
async def test_a_chain_that_nobody_knows_has_its_own_code(scene: Scene, path: str) -> None:
    answer = await scene.client.get(path.replace("ethereum", "atlantis"))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_chain")
