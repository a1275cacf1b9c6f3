"""Everything around one engine: the chain, its nodes, the tables, the wallets, and the lives it goes through.

What the state machine does to the engine is a method here; what holds is looked up with `facts` and `complaints`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from chains import crashpoints
from chains.client import EvmClient
from chains.config import ChainConfig, FeePolicy, FinalityPolicy, SendingPolicy, load_chains
from chains.errors import RpcError
from chains.rpc.endpoint import EndpointConfig
from chains.rpc.pool import RpcPool
from chains.rpc.transport import Transport
from chains.signing.signer import LocalSigner, UnlockedKey
from chains.tx.engine import TxEngine
from chains.tx.memory import MemoryTxStore
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.model import (
    UNMINED_TX_STATES,
    Intent,
    IntentId,
    Lane,
    Plan,
    PlanId,
    TxId,
    TxState,
    Wish,
    payload_hash,
)
from chains.tx.reasons import HoldCode, NoteCode
from chains.tx.store import PreSignPaused, PreSignRefused, StaleState
from chains.types import Address, BlockRef, CallRequest, Fees, TxHash, UnsignedTx
from tests.chains.tx.model import invariants
from tests.chains.tx.model.books import Books, ModelState, ModelUow
from tests.chains.tx.model.chain import GATE, GWEI, ChainModel, Refused, Sent, parse
from tests.chains.tx.model.invariants import Facts, OnChain
from tests.chains.tx.model.life import JumpingLoop, Killed, Life, Line, MortalSigner
from tests.chains.tx.model.node import NodeModel
from tests.clock import FakeClock

ETHER: Final = 10**18
SINK: Final = Address("0x00000000000000000000000000000000DeaDBeef")
FUNDS_WEI: Final = 10 * ETHER
HOLD_LIMIT_WEI: Final = 20 * 10**6
"""What all reservations together may be; a plan holds the values of its steps, about a million wei each."""
FEES: Final = FeePolicy(
    max_fee_cap_wei=500 * GWEI, priority_floor_wei=GWEI // 10, priority_cap_wei=20 * GWEI, max_tx_cost_wei=ETHER // 50
)
RAISED_FEES: Final = replace(FEES, max_fee_cap_wei=2000 * GWEI, priority_cap_wei=80 * GWEI, max_tx_cost_wei=ETHER // 5)
SENDING: Final = SendingPolicy(bump_after_blocks=2, max_bumps=3, max_in_flight=5)
CALM_ROUNDS: Final = 90
"""Blocks in which all must come to its end once nothing goes wrong any more: far above any depth and bump limit."""
STORE: Final = MemoryTxStore()
HEADS: Final = MemoryHeadStore()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What stays the same for one example. `seed` draws only how long things take."""

    seed: int
    wallets: int = 1
    endpoints: int = 1
    confirmed_depth: int = 2
    final_depth: int = 4
    use_finalized_tag: bool = True
    has_simulation: bool = True
    others_sign: bool = False
    """Other programs use the wallets' keys."""
    deep_reorgs: bool = False
    """Reorgs may go below what is booked (never below what is final)."""


class Check:
    """`PreSignCheck` that refuses or pauses its next questions."""

    def __init__(self) -> None:
        self.refusals = 0
        self.is_paused = False

    async def check(self, intent: Intent) -> None:
        if self.is_paused:
            raise PreSignPaused("paused")
        if self.refusals:
            self.refusals -= 1
            raise PreSignRefused("not what was wanted")

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        answers: list[PreSignRefused | None] = []
        for intent in intents:
            try:
                await self.check(intent)
                answers.append(None)
            except PreSignRefused as refused:
                answers.append(refused)
        return answers


class Watched:
    """A transport that writes down which finalized blocks were shown (I12)."""

    def __init__(self, inner: Transport, wrong: list[str]) -> None:
        self.name = inner.name
        self._inner = inner
        self._wrong = wrong
        self._shown = 0

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        answer = await self._inner.request(method, params)
        if method == "eth_getBlockByNumber" and params[0] == "finalized" and answer is not None:
            number = int(answer["number"], 16)
            if number < self._shown:
                self._wrong.append(f"I12: finalized block {number} was shown after {self._shown}")
            self._shown = max(self._shown, number)
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return await self._inner.batch(calls)

    async def close(self) -> None:
        await self._inner.close()


class World:
    """One example's everything. Close it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        # Millions of warnings, each as wanted; and nobody asks how the tasks of an ended life ended.
        logging.disable(logging.CRITICAL)
        self.chance = Random(setup.seed)
        self.clock = FakeClock()
        self.loop = JumpingLoop(self.clock)
        self.config = _config(setup)
        self.chain = ChainModel(
            chain_id=self.config.chain_id,
            block_time_s=self.config.block_time_ms // 1000,
            final_depth=setup.final_depth,
        )
        self.keys = [UnlockedKey(bytes([7]) * 31 + bytes([number + 1])) for number in range(setup.wallets)]
        self.books = Books(self.chain, confirmed_depth=setup.confirmed_depth)
        self.seen: list[Sent] = []
        self.seen_of_others: list[Sent] = []
        self.needs_person = False
        self.silent_signatures = 0
        self.check = Check()
        self.nodes = [NodeModel(self.chain, name=f"node-{n}", on_raw=self._arrived) for n in range(setup.endpoints)]
        for node in self.nodes:
            node.lacks_simulation = not setup.has_simulation
        self.lives = self.steps = self.plans = self.values = 0
        self._cursor: BlockRef | None = None
        self._last_good: int | None = None
        for key in self.keys:
            self.chain.move(key.address, FUNDS_WEI)
        self.chain.mine()
        self.life = Life(self.chance, touches=None)
        self.pool: RpcPool | None = None
        self.engine = self._built()

    def close(self) -> None:
        crashpoints.disarm()
        logging.disable(logging.NOTSET)
        self.loop.close()

    # -- the process --------------------------------------------------------------------------------------

    def restart(self, *, touches: int | None = None, point: str | None = None) -> None:
        """A new process over the same tables, which ends after so many touches or at a crash point."""
        self.lives += 1
        self.life = Life(self.chance, touches=touches)
        self.arm(point)
        self.engine = self._built()
        self.carry_out(self.engine.recover)

    def arm(self, point: str | None) -> None:
        crashpoints.disarm()
        crashpoints.arm(point or "", end=self.life.end)

    def step(self, *, after_ms: int) -> None:
        self.clock.advance_ms(after_ms)
        self.steps += 1
        self.carry_out(self.engine.step)

    def live(self, *, acts: Sequence[tuple[int, Callable[[], None]]], for_ms: int) -> None:
        """The engine's own loops, all at once, while things happen at their times (milliseconds after each other)."""

        async def happen() -> None:
            for after_ms, act in acts:
                await asyncio.sleep(after_ms / 1000)
                act()
                self.engine.wake()
            await asyncio.sleep(for_ms / 1000)

        async def run() -> None:
            stop = asyncio.Event()
            running = asyncio.create_task(self.engine.run(stop))
            happening = asyncio.create_task(happen())
            await asyncio.wait([running, happening], return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await running
            await happening

        self.steps += 1
        self.carry_out(run)

    def ask(self, work: Callable[[TxEngine[ModelState]], Awaitable[object]]) -> None:
        """Somebody asks the engine for something; a slot that is not there for it is no failure."""

        async def asking() -> None:
            try:
                await work(self.engine)
            except StaleState:
                return

        self.carry_out(asking)

    def carry_out(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """To its end, or to that of the life: then the next one begins at once, without an end of its own."""

        async def all_of_it() -> None:
            await work()
            if self.pool is not None:
                await self.pool.settle()

        try:
            self.loop.finish(all_of_it())
        except Killed:
            pass
        except BaseExceptionGroup as group:
            if group.split(Killed)[1] is not None:
                raise
        if self.life.is_over:
            self.restart()

    # -- what others do -----------------------------------------------------------------------------------

    @property
    def foreign(self) -> set[TxHash]:
        return {sent.hash for sent in self.seen_of_others}

    @property
    def lanes(self) -> list[Lane]:
        return [Lane(chain_id=self.config.chain_id, wallet=key.address) for key in self.keys]

    def queue(self, lane: Lane, *, gates: Sequence[bool], valid_for_ms: int | None, gas_limit: int | None) -> bool:
        """Accept a plan with a step for each of `gates` (a call of the gate, or a payment). False: over the limit."""
        self.plans += 1
        plan_id = PlanId(f"plan-{self.plans}")
        intents: list[Intent] = []
        for position, is_gate in enumerate(gates):
            # Values differ, so that each effect on the chain can be told from all others.
            self.values += 1
            value = 10**6 + self.values
            call = CallRequest(to=GATE if is_gate else SINK, data=b"\x01" if is_gate else b"", value_wei=value)
            intents.append(
                Intent(
                    id=IntentId(f"{plan_id}/{position}"),
                    plan_id=plan_id,
                    position=position,
                    lane=lane,
                    call=call,
                    payload_hash=payload_hash(lane, call),
                    gas_limit=gas_limit,
                )
            )
        now_ms = self.clock.now_ms()
        plan = Plan(
            id=plan_id,
            lane=lane,
            intents=tuple(intents),
            created_ms=now_ms,
            valid_until_ms=None if valid_for_ms is None else now_ms + valid_for_ms,
        )
        wanted = sum(intent.call.value_wei for intent in intents)
        working = self.books.state.copy()
        if sum(working.held.values()) + wanted > HOLD_LIMIT_WEI:
            return False
        STORE.add_plan(working, plan)
        working.held[plan_id] = wanted
        self.books.state = working
        return True

    def foreign_tx(self, lane: Lane, *, ahead: int, forced: bool) -> None:
        """Another program signs with the wallet's key, at the pending nonce or so many before or after it."""
        key = next(key for key in self.keys if key.address == lane.wallet)
        nonce = max(self.chain.account(lane.wallet).nonce, self.chain.pending_nonce(lane.wallet) + ahead)
        unsigned = UnsignedTx(
            chain_id=self.config.chain_id,
            nonce=nonce,
            to=SINK,
            data=b"foreign",
            value_wei=1,
            gas_limit=50_000,
            fees=Fees(max_fee_wei=700 * GWEI, priority_fee_wei=30 * GWEI),
        )
        sent = parse(key.sign(unsigned).raw)
        self.seen_of_others.append(sent)
        self.needs_person = True
        if forced:
            self.chain.pool[sent.slot] = sent
            return
        with suppress(Refused):
            self.chain.take(sent)

    def reorg(self, depth: int, *, orphans_return: bool, remined: bool, extra: int) -> None:
        cursor = self.books.state.cursors.get(self.config.chain_id)
        first_gone = self.chain.head.header.number - depth + 1
        self.chain.reorg(depth, orphans_return=orphans_return, remined=remined, extra=extra)
        if cursor is not None and not self._is_canonical(cursor):
            self.needs_person = True
            self._last_good = min(self._last_good or first_gone, first_gone - 1)

    def person_looks(self) -> None:
        """What an operator does about held lanes and a cursor whose block is gone."""
        working, chain_id = self.books.state.copy(), self.config.chain_id
        if HEADS.thaw(working, chain_id):
            self._cursor = self._last_good = None
        cursor = STORE.cursor(working, chain_id)
        if cursor is not None and not self._is_canonical(cursor):
            # To the last block that the books and the chain have in common: what came after is booked anew.
            STORE.set_cursor(working, chain_id, self.chain.blocks[self._last_good or 0].header.ref)
            self._cursor = self._last_good = None
        for lane, state in list(working.lanes.items()):
            if state.hold_reason is None:
                continue
            if not STORE.open_txs(working, chain_id, lane=lane):
                used = max(self.chain.account(lane.wallet).nonce, self.chain.pending_nonce(lane.wallet))
                if used != state.next_nonce:
                    STORE.set_next_nonce(working, lane, state.next_nonce, used)
            STORE.hold_lane(working, lane, None)
        self.books.state = working

    def unmined(self) -> list[TxId]:
        return [tx.id for tx in self.books.state.txs.values() if tx.state in UNMINED_TX_STATES]

    def booked(self) -> list[BlockRef]:
        """Blocks of what is confirmed and not final."""
        found = [tx.block for tx in self.books.state.txs.values() if tx.state is TxState.CONFIRMED and tx.block]
        return sorted(found, key=lambda block: block.number)

    # -- to the end ---------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Faults stop, the wallets are funded, blocks come; a person looks if that was needed at all."""
        for node in self.nodes:
            node.heal()
        self.silent_signatures = 0
        self.check.refusals, self.check.is_paused = 0, False
        self.chain.gate_is_shut = False
        # The lowest there was: what was made dearer as often as it may be is mined, too.
        self.chain.base_fee_wei, self.chain.tip_floor_wei = GWEI, 1
        self.arm(None)
        self.life.touches_left = None
        for key in self.keys:
            self.chain.move(key.address, FUNDS_WEI)
        for _ in range(CALM_ROUNDS):
            if self.has_ended():
                break
            if self.needs_person or self.setup.deep_reorgs or self._is_contradicted() or self._is_frozen_by_laggards():
                self.person_looks()
            if self._is_capped():
                self.config = replace(self.config, fees=RAISED_FEES)
                self.restart()
            self._others_send_again()
            self.chain.mine()
            self.step(after_ms=self.config.block_time_ms)

    def has_ended(self) -> bool:
        return not any(invariants.I13_all_ended(self.facts()))

    def _others_send_again(self) -> None:
        """What others had mined before our first nonce, and a reorg lost: without it nothing after it is mined."""
        taken = {(tx.lane.wallet, tx.nonce) for tx in self.books.state.txs.values()}
        for sent in self.seen_of_others:
            if sent.slot not in taken and sent.tx.nonce >= self.chain.account(sent.sender).nonce:
                self.chain.pool.setdefault(sent.slot, sent)

    def _is_contradicted(self) -> bool:
        """Most endpoints said that a transaction is not where one had seen it: whom to believe is for a person."""
        held = [state.hold_reason or "" for state in self.books.state.lanes.values()]
        return len(self.nodes) > 1 and any(reason.startswith(HoldCode.CONTRADICTED) for reason in held)

    def _is_frozen_by_laggards(self) -> bool:
        """Nodes that stand still on a branch that is gone look like a reorg of all that came since."""
        return bool(self.books.state.freezes) and any(node.stood_still for node in self.nodes)

    def _is_capped(self) -> bool:
        """A slot is to be closed, its payload no longer sent, and a self-send that nodes would take for a replacement
        is above the caps: the engine says so and waits for a person, who raises them."""
        return self.config.fees is not RAISED_FEES and any(
            tx.wish is Wish.CANCEL and (tx.note or "").startswith(NoteCode.FEE_CAP)
            for tx in self.books.state.txs.values()
        )

    # -- looking ------------------------------------------------------------------------------------------

    def facts(self) -> Facts:
        state, wallets = self.books.state, {key.address for key in self.keys}
        return Facts(
            policy=self.config.fees,
            intents=state.intents,
            txs=list(state.txs.values()),
            attempts=list(state.attempts.values()),
            lanes=state.lanes,
            mined=[
                OnChain(sent=one.sent, succeeded=one.succeeded, fee_wei=one.fee_wei, block=block.header.ref)
                for block, one in self.chain.canonical()
                if one.sent.sender in wallets
            ],
            canonical={block.header.number: block.header.ref for block in self.chain.blocks},
            next_nonces={wallet: self.chain.account(wallet).nonce for wallet in wallets},
            seen=self.seen,
            foreign=self.foreign,
            first_nonces=dict.fromkeys(wallets, 0),
            cursor=state.cursors.get(self.config.chain_id),
            needs_person=self.needs_person,
            held=state.held,
            releases=state.releases,
            hold_limit_wei=HOLD_LIMIT_WEI,
        )

    def complaints(self, checks: Sequence[invariants.Check] = invariants.ALWAYS) -> list[str]:
        """Everything that does not hold now, with what was noticed at commits, sends and reads."""
        facts = self.facts()
        found = [
            *self.books.wrong,
            *invariants.broken(facts, checks),
            *invariants.I12_cursor_only_moves_on(facts, self._cursor),
            *self.I3_books_equal_the_chain(facts),
        ]
        self._cursor = facts.cursor
        return found

    def I3_books_equal_the_chain(self, f: Facts) -> list[str]:
        """At the cursor's block, what each wallet has is what came in less what is booked up to there."""
        if f.cursor is None or not self._is_canonical(f.cursor):
            return []
        wrong, at = [], f.cursor.number
        wallet_of = {intent.id: intent.lane.wallet for intent in f.intents.values()}
        for key in self.keys:
            blocks = self.chain.blocks[: at + 1]
            came = sum(block.moved_wei.get(key.address, 0) for block in blocks)
            foreign = sum(
                one.fee_wei + (one.sent.tx.value_wei if one.succeeded else 0)
                for block in blocks
                for one in block.txs
                if one.sent.hash in self.foreign and one.sent.sender == key.address
            )
            entries = self.books.state.entries.values()
            booked = sum(e.wei for e in entries if wallet_of[e.intent_id] == key.address and e.block.number <= at)
            has = self.chain.account(key.address, blocks[-1]).balance_wei
            if came - foreign - booked != has:
                wrong.append(f"I3: {key.address} has {has} wei at block {at}, the books say {came - foreign - booked}")
        return wrong

    # -- private ------------------------------------------------------------------------------------------

    def _built(self) -> TxEngine[ModelState]:
        lines: list[Transport] = [Line(node, self.life) for node in self.nodes]
        witness = None
        transport = lines[0]
        self.pool = None
        if len(lines) > 1:
            self.pool = RpcPool(
                [EndpointConfig(transport=line) for line in lines],
                name=self.config.key,
                chain_id=self.config.chain_id,
                clock=self.clock,
                genesis=self.chain.blocks[0].header.hash,
                rng=self.chance,
            )
            witness = EvmClient(self.config, self.pool.with_quorum())
            transport = Watched(self.pool, self.books.wrong)
        return TxEngine(
            client=EvmClient(self.config, transport),
            config=self.config,
            signer=MortalSigner(LocalSigner(self.keys), self.life, is_silent=self._signer_is_silent),
            store=STORE,
            heads=HEADS,
            uow=ModelUow(self.books, self.life),
            check=self.check,
            observer=self.books,
            clock=self.clock,
            witness=witness,
        )

    def _arrived(self, sent: Sent) -> None:
        """I4 at the moment that it counts: what arrives at a node is durable by then."""
        self.seen.append(sent)
        if sent.hash not in self.books.state.attempts:
            self.books.wrong.append(f"I4: {sent.hash} at nonce {sent.tx.nonce} left before it was durable")

    def _signer_is_silent(self) -> bool:
        if not self.silent_signatures:
            return False
        self.silent_signatures -= 1
        return True

    def _is_canonical(self, block: BlockRef) -> bool:
        blocks = self.chain.blocks
        return block.number < len(blocks) and blocks[block.number].header.ref == block


def _config(setup: Setup) -> ChainConfig:
    finality = FinalityPolicy(
        confirmed_depth=setup.confirmed_depth,
        use_finalized_tag=setup.use_finalized_tag,
        min_final_depth=setup.final_depth,
    )
    return replace(load_chains()["ethereum"], finality=finality, sending=SENDING, fees=FEES)
