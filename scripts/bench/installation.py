"""An installation of the service for benchmarks: wallets with funds on a local Ethereum, withdrawals that are accepted.

Guarantees: all parts are the service's own (SQLite file, pre-sign check, observer, books); only the engine's endpoint
can be made to fail. Not guaranteed: anything of HTTP; requests are stored as an accepted one leaves them.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select

from chains.errors import RpcError, RpcUnavailable
from chains.node_errors import SendVerdict
from chains.rpc.endpoint import SEND, Calls
from chains.rpc.transport import RpcLimits
from chains.signing.signer import UnlockedKey
from chains.tx.model import UNMINED_TX_STATES, AttemptState, Lane, TxState
from chains.types import Address, address_from_bytes
from contracts import erc20
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.accounts.wallets import Wallet
from service.approvals.clearances import insert_clearance
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.secrets import MasterKey
from service.build import ChainRuntime, Services, build
from service.db import models as m
from service.db.txstore import SqlTxStore
from service.ids import withdrawal_plan_id
from service.journal import reservations
from service.plans.building import queued_plan
from service.settings import Settings
from service.withdrawals.model import WithdrawalDraft
from service.withdrawals.storage import insert_withdrawal

CHAIN: Final = "ethereum"
ETHER: Final = 10**18
FUNDS_WEI: Final = 1_000 * ETHER
GAS_WEI: Final = 21_000 * 10**11
"""Held for one transfer's gas: 100 gwei."""
FUNDING_BLOCKS: Final = 20
"""More than the confirmed depth, so that the books open with the funds."""
ACCEPTED_AT_ONCE: Final = 200
KEY_LIFETIME_MS: Final = 3_600_000
SINK: Final = address_from_bytes(bytes.fromhex("1f9090aae28b8a3dceadf281b0f12828e676c326"))
MANY: Final = 100_000

OWN_NODE: Final = """
[ethereum]
block_time_ms = 1000
[ethereum.finality]
use_finalized_tag = false
min_final_depth = 4
[ethereum.sending]
max_in_flight = {max_in_flight}
"""
"""As an operator of a node of his own would configure it: blocks a second apart, and a pool that takes more."""


@dataclass
class Faulty:
    """Stands before `RpcPool.batch`, through which every call goes, and loses some: of sends each call by itself, of
    reads what is one HTTP request. Half of them never reach a node, of the others only the answer is lost."""

    inner: Callable[[Calls], Awaitable[list[Any | RpcError]]]
    name: str
    rng: random.Random
    rate: float
    lost: Counter[str] = field(default_factory=Counter)

    async def batch(self, calls: Calls) -> list[Any | RpcError]:
        fates = self._fates(calls)
        sent = [call for call, fate in zip(calls, fates, strict=True) if fate is not Fate.UNSEEN]
        answers = iter(await self.inner(sent) if sent else [])
        results: list[Any | RpcError] = []
        for (method, _), fate in zip(calls, fates, strict=True):
            answer = None if fate is Fate.UNSEEN else next(answers)
            lost = RpcUnavailable("lost by the benchmark", endpoint=self.name, method=method)
            results.append(answer if fate is Fate.WELL else lost)
        return results

    def _fates(self, calls: Calls) -> list["Fate"]:
        if any(method == SEND for method, _ in calls):
            return [self._fate(SEND) for _ in calls]
        size = RpcLimits().max_batch
        requests = [self._fate("reads") for _ in range(0, len(calls), size)]
        return [requests[index // size] for index in range(len(calls))]

    def _fate(self, what: str) -> "Fate":
        if self.rng.random() >= self.rate:
            return Fate.WELL
        fate = self.rng.choice((Fate.UNSEEN, Fate.UNANSWERED))
        self.lost[f"{what} {fate}"] += 1
        return fate


class Fate(StrEnum):
    WELL = "well"
    UNSEEN = "unseen"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """`keys` are the wallets' withdraw keys, by wallet id."""

    services: Services
    rpc: DevRpc
    wallets: Sequence[Wallet]
    keys: dict[int, str]

    @property
    def chain(self) -> ChainRuntime:
        return self.services.chains[CHAIN]

    def lose(self, rate: float, rng: random.Random) -> "Faulty":
        """From now on the chain's endpoints lose that part of all calls."""
        pool = self.chain.endpoints
        faulty = Faulty(inner=pool.batch, name=pool.name, rng=rng, rate=rate)
        pool.batch = faulty.batch  # type: ignore[method-assign]
        return faulty

    async def accept(self, wallet: Wallet, amounts: Sequence[int]) -> None:
        """Withdrawals of these amounts of ETH, as they stand once they were answered."""
        for start in range(0, len(amounts), ACCEPTED_AT_ONCE):
            part = amounts[start : start + ACCEPTED_AT_ONCE]
            await self.services.db.run(lambda c, part=part, start=start: self._accept(c, wallet, part, start))  # type: ignore[misc]

    def _accept(self, c: Connection, wallet: Wallet, amounts: Sequence[int], first: int) -> None:
        native, chain_id = self.chain.assets.native, self.chain.config.chain_id
        now_ms = self.services.clock.now_ms()
        for number, amount in enumerate(amounts, first):
            plan_id = withdrawal_plan_id(self.services.clock)
            lane = Lane(chain_id=chain_id, wallet=wallet.address)
            call = erc20.transfer_call(native, SINK, amount=amount)
            SqlTxStore().add_plan(c, queued_plan(plan_id, lane, calls=[call], created_ms=now_ms, valid_until_ms=None))
            reservations.hold(
                c,
                account_id=wallet.account_id,
                wallet_id=wallet.id,
                chain_id=chain_id,
                plan_id=plan_id,
                amounts={native.id: amount + GAS_WEI},
                now_ms=now_ms,
            )
            draft = WithdrawalDraft(
                account_id=wallet.account_id,
                wallet_id=wallet.id,
                key_id=self.keys[wallet.id],
                client_id=f"{wallet.label}-{number}",
                params_hash="0x" + "11" * 32,
                chain_id=chain_id,
                asset=native.id,
                amount=amount,
                destination=SINK,
                plan_id=plan_id,
            )
            made = insert_withdrawal(c, draft, now_ms=now_ms)
            master = self.services.master
            insert_clearance(c, made, why=None, usd=None, requester_id=None, expires_ms=None, master=master)

    async def count(self, states: Sequence[TxState] | None = None, *, besides: Sequence[TxState] = ()) -> int:
        """Slots in these states."""
        query = select(func.count()).select_from(m.txs)
        query = query.where(m.txs.c.state.in_(list(TxState) if states is None else states))
        query = query.where(m.txs.c.state.not_in(besides))
        return await self.services.db.read(lambda c: int(c.execute(query).scalar_one()))

    async def acknowledged(self) -> int:
        """Slots whose bytes the node has acknowledged: it has them, or their nonce is used (by them, the end shows)."""
        used = m.attempts.c.node_answer.startswith(SendVerdict.NONCE_TOO_LOW)
        late = select(m.attempts.c.tx_id).where(used, m.attempts.c.state == AttemptState.SIGNED)
        known = m.txs.c.state.not_in([TxState.RESERVED, TxState.SIGNED]) | m.txs.c.id.in_(late)
        query = select(func.count()).select_from(m.txs).where(known)
        return await self.services.db.read(lambda c: int(c.execute(query).scalar_one()))

    async def booked(self) -> int:
        """Slots that are confirmed."""
        return await self.count([TxState.CONFIRMED, TxState.FINAL])

    async def unmined(self) -> int:
        return await self.count(sorted(UNMINED_TX_STATES))

    async def balance_wei(self, address: Address) -> int:
        return await self.chain.client.balance(address, block="latest")


@asynccontextmanager
async def installation(
    directory: Path, url: str, *, wallets: int, max_in_flight: int = MANY
) -> AsyncIterator[Installation]:
    """A fresh one on the chain at `url`, with that many funded wallets whose keys are unlocked."""
    rpc = DevRpc(url)
    keys = [UnlockedKey(secrets.token_bytes(32)) for _ in range(wallets)]
    for key in keys:
        await asyncio.to_thread(rpc, "anvil_setBalance", key.address, hex(FUNDS_WEI))
    await asyncio.to_thread(rpc, "anvil_setBalance", SINK, hex(ETHER))
    await asyncio.to_thread(rpc, "anvil_mine", hex(FUNDING_BLOCKS))
    chains_file = directory / "chains.toml"
    chains_file.write_text(OWN_NODE.format(max_in_flight=max_in_flight))
    key_file = directory / "secret" / "master.key"
    MasterKey.create(key_file)
    settings = Settings(
        data_dir=directory / "data", master_key_file=key_file, rpc={CHAIN: url}, chains_file=chains_file
    )
    services = await build(settings)
    try:
        now_ms = services.clock.now_ms()
        made: list[Wallet] = []
        for number, key in enumerate(keys):
            services.keyring.add(key)
            account = await services.db.run(
                lambda c, number=number: ensure_account(  # type: ignore[misc]
                    c, f"bench{number}", owner=f"owner{number}", master=services.master, now_ms=now_ms
                )
            )
            made.append(
                await register_wallet(
                    services, account_id=account.id, address=key.address, label=f"w{number}", signer="keystore"
                )
            )
        ids = {wallet.id: await _withdraw_key(services, wallet) for wallet in made}
        yield Installation(services=services, rpc=rpc, wallets=made, keys=ids)
    finally:
        await services.close()
        rpc.close()


async def _withdraw_key(services: Services, wallet: Wallet) -> str:
    now_ms = services.clock.now_ms()
    chain_id = services.chains[CHAIN].config.chain_id
    new = NewKey(
        account_id=wallet.account_id,
        wallet_id=wallet.id,
        label="withdraw",
        permissions=frozenset({Permission.READ, Permission.WITHDRAW}),
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=chain_id, address=SINK),),
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    created = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    return created.key.id
