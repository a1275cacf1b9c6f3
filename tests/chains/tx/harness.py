"""An engine over the in-memory store against a real Anvil, with a recording observer and a check that tests turn."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from chains.client import EvmClient
from chains.config import ChainConfig, FinalityPolicy, load_chains
from chains.errors import RpcError, RpcRefused, RpcUnavailable, SigningError
from chains.rpc.transport import HttpTransport, Transport
from chains.signing.signer import LocalSigner, Signer, UnlockedKey
from chains.tx.engine import TxEngine
from chains.tx.leases import Leases
from chains.tx.memory import MemoryState, MemoryTxStore, MemoryUnitOfWork
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.model import (
    Intent,
    IntentId,
    Lane,
    LaneState,
    OpenTx,
    Plan,
    PlanId,
    Tx,
    TxState,
    payload_hash,
)
from chains.tx.store import PreSignPaused, PreSignRefused
from chains.types import Address, BlockRef, CallRequest, Fees, Receipt, SignedTx, UnsignedTx
from scripts.devnet.rpc import DevRpc
from tests.clock import FakeClock

ETHER = 10**18
SINK = Address("0x00000000000000000000000000000000DeaDBeef")
STORE = MemoryTxStore()
HEADS = MemoryHeadStore()


@dataclass
class Seen:
    """`TxObserver` that writes down what it is told: (event, intent id or plan id, detail)."""

    events: list[tuple[str, str, str]] = field(default_factory=list)
    breaks_on: str | None = None
    mined: asyncio.Event = field(default_factory=asyncio.Event)

    def kinds(self, of: str | None = None) -> list[str]:
        return [kind for kind, subject, _ in self.events if of is None or subject == of]

    def on_rejected(self, uow: MemoryState, plan: Plan, reason: str) -> None:
        self.events.append(("rejected", plan.id, reason))

    def on_placed(self, uow: MemoryState, plan: Plan, txs: Sequence[Tx]) -> None:
        self.events.append(("placed", plan.id, ",".join(str(tx.nonce) for tx in txs)))

    def on_sent(self, uow: MemoryState, sent: Sequence[tuple[Intent, Tx]]) -> None:
        self.events += [("sent", intent.id, tx.state) for intent, tx in sent]

    def on_mined(self, uow: MemoryState, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        if self.breaks_on == "mined":
            raise ZeroDivisionError
        self.events.append(("mined", intent.id, tx.outcome))
        self.mined.set()

    def on_confirmed(self, uow: MemoryState, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        self.events.append(("confirmed", intent.id, tx.outcome))

    def on_final(self, uow: MemoryState, intent: Intent, tx: Tx) -> None:
        self.events.append(("final", intent.id, tx.outcome))

    def on_reorged(self, uow: MemoryState, intent: Intent, tx: Tx) -> None:
        self.events.append(("reorged", intent.id, tx.state))

    def on_superseded(self, uow: MemoryState, intent: Intent, tx: Tx) -> None:
        self.events.append(("superseded", intent.id, tx.state))


@dataclass
class Check:
    """`PreSignCheck` that refuses from its `refuse_from`-th question on (counted from 1)."""

    refuse_from: int | None = None
    asked: int = 0
    paused: bool = False

    async def check(self, intent: Intent) -> None:
        self.asked += 1
        if self.paused:
            raise PreSignPaused("paused by a test")
        if self.refuse_from is not None and self.asked >= self.refuse_from:
            raise PreSignRefused("not what was wanted")

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        return [await self._told(intent) for intent in intents]

    async def _told(self, intent: Intent) -> PreSignRefused | None:
        try:
            await self.check(intent)
        except PreSignRefused as refused:
            return refused
        return None


class Killed(BaseException):
    """Stands for kill -9: passes everything that catches exceptions."""


class DyingSigner:
    """A signer in whose process the light goes out before it signs."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def addresses(self) -> Sequence[Address]:
        return [self._address]

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        raise Killed


class RefusingSigner:
    """A signer that knows the address and will not sign."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def addresses(self) -> Sequence[Address]:
        return [self._address]

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        raise SigningError("the key was withdrawn")


class Tapped:
    """A transport that writes down sends, can lose them or die in them, and lacks the methods it is told to lack."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.name = inner.name
        self.raws: list[str] = []
        self.sent = asyncio.Event()
        self.lose_sends = False
        self.die_in_sends = False
        self.refuse_sends: RpcRefused | None = None
        self.fail_with: RpcError | None = None
        self.lacking: frozenset[str] = frozenset()

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        if self.fail_with is not None:
            raise self.fail_with
        return await self._inner.request(f"{method}_absent" if method in self.lacking else method, params)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        if self.fail_with is not None:
            raise self.fail_with
        sends = [params[0] for method, params in calls if method == "eth_sendRawTransaction"]
        if sends and self.die_in_sends:
            raise Killed
        self.raws += sends
        if sends:
            self.sent.set()
        if sends and self.lose_sends:
            raise RpcUnavailable("no answer in time", endpoint=self.name, method="eth_sendRawTransaction")
        if sends and self.refuse_sends is not None:
            return [self.refuse_sends] * len(calls)
        return await self._inner.batch(calls)

    async def close(self) -> None:
        await self._inner.close()


@dataclass
class Bench:
    """One chain, one funded wallet, and engines over one store."""

    rpc: DevRpc
    config: ChainConfig
    client: EvmClient
    tap: Tapped
    key: UnlockedKey
    uow: MemoryUnitOfWork
    seen: Seen
    check: Check
    clock: FakeClock
    engine: TxEngine[MemoryState]
    signer: Signer

    @property
    def lane(self) -> Lane:
        return Lane(chain_id=self.config.chain_id, wallet=self.key.address)

    def restart(self) -> None:
        """A new engine over the same store, as after a crash: nothing in memory is left."""
        self.engine = make_engine(self)

    def foreign(self, nonce: int, *, tip_gwei: int = 5) -> str:
        """Another program sends a transaction with the same key. The answer is its hash."""
        fees = Fees(max_fee_wei=500 * 10**9, priority_fee_wei=tip_gwei * 10**9)
        tx = UnsignedTx(
            chain_id=self.config.chain_id,
            nonce=nonce,
            to=SINK,
            data=b"",
            value_wei=7,
            gas_limit=21_000,
            fees=fees,
        )
        answer: str = self.rpc("eth_sendRawTransaction", "0x" + self.key.sign(tx).raw.hex())
        return answer

    def open_at(self, uow: MemoryState, nonce: int) -> None:
        STORE.open_lane(uow, self.lane, nonce)

    def release(self, uow: MemoryState) -> None:
        """A person releases the lane."""
        STORE.hold_lane(uow, self.lane, None)

    async def state_of(self, name: str) -> list[TxState]:
        return [tx.state for tx in await self.txs(name)]

    async def queue(
        self, name: str, *calls: CallRequest, valid_until_ms: int | None = None, gas_limit: int | None = None
    ) -> Plan:
        intents = tuple(
            Intent(
                id=IntentId(f"{name}/{position}"),
                plan_id=PlanId(name),
                position=position,
                lane=self.lane,
                call=call,
                payload_hash=payload_hash(self.lane, call),
                gas_limit=gas_limit,
            )
            for position, call in enumerate(calls)
        )
        plan = Plan(
            id=PlanId(name),
            lane=self.lane,
            intents=intents,
            created_ms=self.clock.now_ms(),
            valid_until_ms=valid_until_ms,
        )
        await self.uow.run(lambda u: STORE.add_plan(u, plan))
        return plan

    async def txs(self, name: str) -> list[Tx]:
        return list(await self.uow.read(lambda u: STORE.plan_txs(u, PlanId(name))))

    async def plan(self, name: str) -> Plan:
        found = await self.uow.read(lambda u: STORE.plan(u, PlanId(name)))
        assert found is not None
        return found

    async def open(self) -> list[OpenTx]:
        return list(await self.uow.read(lambda u: STORE.open_txs(u, self.config.chain_id)))

    async def lane_state(self) -> LaneState:
        state = await self.uow.read(lambda u: STORE.lane(u, self.lane))
        assert state is not None
        return state

    async def cursor(self) -> BlockRef | None:
        return await self.uow.read(lambda u: STORE.cursor(u, self.config.chain_id))

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", blocks)

    async def step(self, *, blocks: int = 0) -> None:
        """Mine, let a few block times pass, and take one step."""
        if blocks:
            self.mine(blocks)
        self.clock.advance_ms(10 * self.config.block_time_ms)
        await self.engine.step()


def make_engine(bench: Bench, *, leases: Leases[MemoryState] | None = None) -> TxEngine[MemoryState]:
    return TxEngine(
        client=bench.client,
        config=bench.config,
        signer=bench.signer,
        store=STORE,
        heads=HEADS,
        uow=bench.uow,
        check=bench.check,
        observer=bench.seen,
        clock=bench.clock,
        leases=leases,
    )


def config_for(name: str, *, confirmed_depth: int = 2, final_depth: int = 4) -> ChainConfig:
    """The chain as configured, with a finality that a test reaches in a few blocks."""
    finality = FinalityPolicy(confirmed_depth=confirmed_depth, use_finalized_tag=False, min_final_depth=final_depth)
    return replace(load_chains()[name], finality=finality)


@asynccontextmanager
async def bench_on(url: str, config: ChainConfig, *, funds_wei: int = 10 * ETHER) -> AsyncIterator[Bench]:
    """A bench with a fresh key; only the test makes blocks."""
    rpc = DevRpc(url)
    tap = Tapped(HttpTransport(url, name=config.key))
    key = UnlockedKey(_fresh_key())
    client = EvmClient(config, tap)
    bench = Bench(
        rpc=rpc,
        config=config,
        client=client,
        tap=tap,
        key=key,
        uow=MemoryUnitOfWork(),
        seen=Seen(),
        check=Check(),
        clock=FakeClock(),
        signer=LocalSigner([key]),
        engine=None,  # type: ignore[arg-type]  # made right below, from the bench itself
    )
    bench.restart()
    rpc("anvil_setBalance", key.address, hex(funds_wei))
    rpc("evm_setAutomine", False)
    try:
        yield bench
    finally:
        rpc("evm_setAutomine", True)
        await tap.close()
        rpc.close()


def _fresh_key() -> bytes:
    """Throw-away: on a fork of a real network a signature is valid on the real one too."""
    return secrets.token_bytes(32)
