"""The whole service on local forks, in this process: a wallet with funds, three keys, signed requests.

Real parts throughout: the app over ASGI, SQLite, the engines, Anvil. The test decides when an engine makes a step
and when a block exists (`settle`), so that nothing sleeps.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr
from sqlalchemy import Connection, Table, func, select

from chains.signing.signer import UnlockedKey
from chains.types import Address, address_from_bytes
from chains.units import parse_units
from contracts.deployments import Venue
from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.accounts.wallets import Wallet
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.secrets import MasterKey
from service.auth.signature import sign_request
from service.build import ChainRuntime, Services, build
from service.journal import reservations
from service.journal.reconcile import ChainReport, Verdict, reconcile_chain
from service.plans.funds import balances_at
from service.settings import Settings
from tests.databases import place_migrated
from tests.service.api import app_of
from tests.service.served import AsServed

DONE: Final = frozenset(
    {"FILLED", "REJECTED", "EXPIRED", "CANCELED", "confirmed", "final", "failed", "rejected", "cancelled"}
)
MAX_ROUNDS: Final = 12
KEY_LIFETIME_MS: Final = 3_600_000
FUNDING_DEPTH: Final = 20
"""More than any configured chain's confirmed depth."""
BOB: Final = address_from_bytes(bytes.fromhex("1f9090aae28b8a3dceadf281b0f12828e676c326"))
"""In the withdraw key's allowlist on every chain."""
CAROL: Final = address_from_bytes(bytes.fromhex("388c818ca8b9251b393131c08a736a67ccb19297"))
"""In nobody's allowlist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What a client holds."""

    id: str
    secret: bytes


@dataclass(slots=True, kw_only=True)
class Stack:
    """One account with one wallet on the chains of the test."""

    services: Services
    client: httpx.AsyncClient
    wallet: Wallet
    keys: Mapping[str, ApiKey]
    rpcs: Mapping[str, DevRpc]
    signing_key: UnlockedKey

    def chain(self, name: str = "ethereum") -> ChainRuntime:
        return self.services.chains[name]

    async def get(self, path: str, key: str | None = "read", **params: str) -> httpx.Response:
        query = f"?{urlencode(params)}" if params else ""
        return await self.client.get(path + query, headers=self.headers("GET", path + query, b"", key=key))

    async def post(self, path: str, body: Mapping[str, Any], key: str | None = "trade") -> httpx.Response:
        raw = json.dumps(body).encode()
        return await self.post_raw(path, raw, headers=self.headers("POST", path, raw, key=key))

    async def post_raw(self, path: str, raw: bytes, *, headers: Mapping[str, str]) -> httpx.Response:
        return await self.client.post(path, content=raw, headers={"content-type": "application/json", **headers})

    def headers(self, method: str, target: str, body: bytes, *, key: str | None) -> dict[str, str]:
        """Signature headers of one request, with a nonce of its own."""
        if key is None:
            return {}
        held = self.keys[key]
        return dict(
            sign_request(
                held.id,
                held.secret,
                method=method,
                target=target,
                body=body,
                timestamp_ms=self.services.clock.now_ms(),
                nonce=secrets.token_hex(16),
            )
        )

    async def settle(self, path: str, chain: str = "ethereum") -> dict[str, Any]:
        """Engine rounds and blocks until what `path` answers has come to its end."""
        for _ in range(MAX_ROUNDS):
            await self.round(chain)
            found: dict[str, Any] = (await self.get(path)).json()
            if found["state"] in DONE:
                return found
        raise AssertionError(f"{path} did not settle: {found}")

    async def round(self, chain: str = "ethereum") -> None:
        """One engine step, then as many blocks as a confirmation takes, then another step."""
        runtime = self.chain(chain)
        await runtime.engine.step()
        await self.mine(chain, runtime.config.finality.confirmed_depth)
        await runtime.engine.step()

    async def mine(self, chain: str, blocks: int = 1) -> None:
        await asyncio.to_thread(self.rpcs[chain], "anvil_mine", hex(blocks))

    def raw(self, symbol: str, amount: str, chain: str = "ethereum") -> int:
        """Base units."""
        return parse_units(amount, self.chain(chain).assets.by_symbol(symbol).decimals)

    async def balance_of(self, address: Address, symbol: str, chain: str = "ethereum") -> int:
        """At the chain's head, in base units."""
        runtime = self.chain(chain)
        asset = runtime.assets.by_symbol(symbol)
        head = await runtime.client.head()
        return (await balances_at(runtime, address, [asset], block=head.ref))[asset.id]

    async def books(self, chain: str = "ethereum") -> ChainReport:
        return await reconcile_chain(self.services, self.wallet, chain=chain)

    async def check_books(self, chain: str = "ethereum") -> None:
        """Opening + journal equal the chain, to the wei, for every asset."""
        await self.round(chain)
        report = await self.books(chain)
        wrong = [row for row in report.rows if row.verdict is not Verdict.OK]
        assert not wrong, wrong
        assert report.rows

    async def restarted(self) -> "Stack":
        """The same installation in a new service, after this one was closed."""
        await self.services.close()
        services = await build(self.services.settings)
        services.keyring.add(self.signing_key)
        for runtime in services.chains.values():
            await runtime.engine.recover()
        return replace(self, services=services, client=client_of(services))

    async def nothing_reserved(self, chain: str = "ethereum") -> bool:
        chain_id = self.chain(chain).config.chain_id
        held = await self.services.db.read(lambda c: reservations.held(c, self.wallet.id, chain_id))
        return not held

    async def count(self, table: Table) -> int:
        """Rows of a table."""

        def read(c: Connection) -> int:
            return int(c.execute(select(func.count()).select_from(table)).scalar_one())

        return await self.services.db.read(read)


@asynccontextmanager
async def running(
    directory: Path,
    chains: Mapping[str, LocalChain],
    *,
    funds: Mapping[str, Mapping[str, int]],
    database_url: str | None = None,
    endpoints: Mapping[str, str] | None = None,
    private_key: bytes | None = None,
) -> AsyncIterator[Stack]:
    """The service over those chains; `funds` are base units by chain and asset symbol, given before the opening.

    `endpoints` are what the service is told in place of the chain's own address, in the syntax of the setting.
    """
    key = UnlockedKey(private_key or secrets.token_bytes(32))
    rpcs = {name: DevRpc(chain.rpc_url) for name, chain in chains.items()}
    for name in chains:
        for symbol, raw in funds[name].items():
            await asyncio.to_thread(_fund, rpcs[name], name, symbol, key.address, raw)
        # Below the cursor, so that the opening sees them.
        await asyncio.to_thread(rpcs[name], "anvil_mine", hex(FUNDING_DEPTH))
    settings = settings_for(directory, chains, database_url=database_url, endpoints=endpoints)
    if database_url is None and not (database := settings.data_dir / "cambist.sqlite").exists():
        await place_migrated(database)
    services = await build(settings)
    try:
        services.keyring.add(key)
        for runtime in services.chains.values():
            await runtime.engine.recover()
            await runtime.engine.step()
        wallet, keys = await _account(services, key.address)
        async with client_of(services) as client:
            yield Stack(services=services, client=client, wallet=wallet, keys=keys, rpcs=rpcs, signing_key=key)
    finally:
        await services.close()
        for rpc in rpcs.values():
            rpc.close()


def settings_for(
    directory: Path,
    chains: Mapping[str, LocalChain],
    *,
    database_url: str | None,
    endpoints: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of a fresh installation in an empty directory, its master key made; SQLite without a URL."""
    key_file = directory / "secret" / "master.key"
    MasterKey.create(key_file)
    rpc = {name: chain.rpc_url for name, chain in chains.items()} | dict(endpoints or {})
    return Settings(
        data_dir=directory / "data",
        master_key_file=key_file,
        rpc=rpc,
        database_url=None if database_url is None else SecretStr(database_url),
    )


def on_venue(stack: Stack, chain: str, venue: Venue) -> Stack:
    """The same service with only one venue to quote on: which one is best is otherwise the pools' matter."""
    runtime = stack.services.chains[chain]
    deployed = runtime.deployments.chains[runtime.config.chain_id]
    only = replace(
        deployed,
        venues=tuple(found for found in deployed.venues if found.venue is venue),
        routers=tuple(
            replace(router, venues=router.venues & {venue}) for router in deployed.routers if venue in router.venues
        ),
    )
    deployments = replace(runtime.deployments, chains={**runtime.deployments.chains, runtime.config.chain_id: only})
    chains = {**stack.services.chains, chain: replace(runtime, deployments=deployments)}
    services = replace(stack.services, chains=chains)
    return replace(stack, services=services, client=client_of(services))


def with_settings(stack: Stack, **changes: Any) -> Stack:
    """The same service with other settings."""
    services = replace(stack.services, settings=stack.services.settings.model_copy(update=changes))
    return replace(stack, services=services, client=client_of(services))


CLIENT: Final = ("127.0.0.1", 123)


def client_of(services: Services) -> httpx.AsyncClient:
    """A client of the app over those services."""
    transport = AsServed(app_of(services), client=CLIENT)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def _fund(rpc: DevRpc, chain: str, symbol: str, address: Address, raw: int) -> None:
    if symbol in ("ETH", "POL"):
        fund_native(rpc, address, raw)
    else:
        fund_token(rpc, chain, symbol, address, raw)


async def _account(services: Services, address: Address) -> tuple[Wallet, dict[str, ApiKey]]:
    now_ms = services.clock.now_ms()
    account = await services.db.run(
        lambda c: ensure_account(c, "test", owner="tester", master=services.master, now_ms=now_ms)
    )
    wallet = await register_wallet(services, account_id=account.id, address=address, label="main", signer="keystore")
    made: dict[str, ApiKey] = {}
    for name in ("read", "trade", "withdraw"):
        made[name] = await services.db.run(_key(services, wallet, name))
    return wallet, made


def _key(services: Services, wallet: Wallet, name: str) -> Callable[[Connection], ApiKey]:
    permission = Permission(name)
    withdraws = permission is Permission.WITHDRAW
    now_ms = services.clock.now_ms()
    new = NewKey(
        account_id=wallet.account_id,
        wallet_id=wallet.id,
        label=name,
        permissions=frozenset({Permission.READ, permission}),
        ip_allowlist=(parse_network("127.0.0.1/32"),) if withdraws else (),
        destinations=tuple(
            Destination(chain_id=config.chain_id, address=BOB) for config in services.configs.values() if withdraws
        ),
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )

    def make(c: Connection) -> ApiKey:
        created = create_key(c, new, master=services.master, now_ms=now_ms)
        if created.secret is None:
            raise AssertionError("an HMAC key has a secret")
        return ApiKey(id=created.key.id, secret=created.secret.encode())

    return make
