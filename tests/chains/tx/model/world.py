"""Everything around one engine: the chain, its nodes, the tables, the wallets, and the lives it goes through.

What the state machine does to the engine is a method here; what holds is looked up with `facts` and `complaints`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from chains import crashpoints
from chains.client import EvmClient
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
    payload_hash,
)
from chains.tx.store import StaleState
from chains.types import BlockRef, CallRequest, Fees, TxHash, UnsignedTx
from tests.chains.tx.model import invariants
from tests.chains.tx.model.books import Books, ModelState, ModelUow
from tests.chains.tx.model.chain import GATE, GWEI, ChainModel, Refused, Sent, parse
from tests.chains.tx.model.invariants import Facts, OnChain
from tests.chains.tx.model.life import JumpingLoop, Killed, Life, Line, MortalSigner
from tests.chains.tx.model.node import NodeModel
from tests.chains.tx.model.parts import FUNDS_WEI, HOLD_LIMIT_WEI, SINK, Check, Setup, Watched, config_of
from tests.clock import FakeClock

STORE: Final = MemoryTxStore()
HEADS: Final = MemoryHeadStore()


class World:
    """One example's everything. Close it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        # Millions of warnings, each as wanted; and nobody asks how the tasks of an ended life ended.
        logging.disable(logging.CRITICAL)
        self.chance = Random(setup.seed)
        self.clock = FakeClock()
        self.loop = JumpingLoop(self.clock)
        self.config = config_of(setup)
        self.chain = ChainModel(
            chain_id=self.config.chain_id,
            block_time_s=self.config.block_time_ms // 1000,
            final_depth=setup.final_depth,
        )
        self.keys = [UnlockedKey(bytes([7]) * 31 + bytes([number + 1])) for number in range(setup.wallets)]
        self.books = Books(
            self.chain,
            confirmed_depth=setup.confirmed_depth,
            has_laggards=lambda: any(node.stands_still for node in self.nodes),
        )
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
