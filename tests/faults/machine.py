"""The state machine's sibling on real parts: the service on SQLite, its books, a fault proxy, Anvil.

The rules are few and an example is long. What must hold is the same as on the chain in memory
(`tests/chains/tx/model/invariants.py`), over the rows of the database, the receipts of the node and all that passed the
proxy; and here the journal is the real one (I3): opening and entries equal the chain's balances at the cursor's block.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, create_engine, select

from chains import crashpoints
from chains.tx.model import UNMINED_TX_STATES, PlanId, Tx, TxId, TxState
from chains.tx.store import StaleState
from chains.types import BlockHash, BlockRef
from scripts.devnet.cheats import fund_token
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.build import build
from service.clock import SystemClock
from service.db import models as m
from service.db import txrows
from service.db.txstore import SqlTxStore
from service.journal.reconcile import Verdict
from tests.chains.tx.model import invariants
from tests.chains.tx.model.chain import parse
from tests.chains.tx.model.invariants import Facts, OnChain
from tests.chains.tx.model.life import Killed
from tests.e2e.harness import BOB, DONE, Stack, client_of, running
from tests.faults.emulation import GETH, Emulation
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Delay, Drop, HttpStatus, NodeError, Phase, Rule, Swallow, WrongHash

T = TypeVar("T")

E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 10 * E18, "USDC": 20_000 * 10**6}}
PATH: Final = "/v1/ethereum/withdrawals"
SEND: Final = "eth_sendRawTransaction"
RECEIPT: Final = "eth_getTransactionReceipt"
CALM_ROUNDS: Final = 20
BURY_BLOCKS: Final = 135
"""Past every finality: Anvil's tag is 64 blocks behind."""
NO_LIMIT: Final = 2**256
POINTS: Final = ("K3", "K4", "K5", "K6", "K8", "K8b", "K9", "K10", "K11", "K12", "K14", "K14b", "K17")


def refused(text: str, phase: Phase) -> Callable[[int], Rule]:
    return lambda times: Rule(action=NodeError(code=-32000, text=text), method=SEND, phase=phase, times=times)


FAULTS: Final[dict[str, Callable[[int], Rule]]] = {
    "lost before": lambda times: Rule(action=Drop(), method=SEND, times=times),
    "lost after": lambda times: Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=times),
    "swallowed": lambda times: Rule(action=Swallow(), method=SEND, times=times),
    "wrong hash": lambda times: Rule(action=WrongHash(), method=SEND, times=times),
    "429": lambda times: Rule(action=HttpStatus(status=429), times=times),
    "nonce too low after": refused("nonce too low", Phase.AFTER),
    "nonce too low before": refused("nonce too low", Phase.BEFORE),
    "already known before": refused("already known", Phase.BEFORE),
    "underpriced before": refused("transaction underpriced", Phase.BEFORE),
    "underpriced after": refused("transaction underpriced", Phase.AFTER),
    "unknown after": refused("upstream gave up", Phase.AFTER),
    "no receipts": lambda times: Rule(
        action=NodeError(code=-32000, text="transaction indexing is in progress"), method=RECEIPT, times=times
    ),
    "no simulation": lambda times: Rule(
        action=NodeError(code=-32601, text="Method not found"), method="eth_simulateV1", times=times
    ),
}


class JumpingClock(SystemClock):
    """The system's, except that time-outs can be made to pass at once."""

    def __init__(self) -> None:
        self._jumped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._jumped_s

    def jump(self, seconds: float) -> None:
        self._jumped_s += seconds


class Installation:
    """One service, in a loop of its own, and the lives it goes through. Close it."""

    def __init__(self, chain: LocalChain, directory: Path, *, emulation: Emulation) -> None:
        # What is asked for is full of warnings, each as wanted.
        logging.disable(logging.CRITICAL)
        self.node = DevRpc(chain.rpc_url)
        self.clock = JumpingClock()
        self.paid: Counter[str] = Counter()
        self.paths: dict[str, str] = {}
        self.bodies: dict[str, dict[str, str]] = {}
        self.lives = self.steps = 0
        self._loop = asyncio.new_event_loop()
        self._outside, self._inside = ExitStack(), AsyncExitStack()
        self.proxy = self._outside.enter_context(ThreadedProxy(FaultProxy(chain.rpc_url)))
        # Anvil 1.7.1 leaves accounts and slots that did not exist before the blocks that a reorg removes.
        self.node("anvil_setBalance", BOB, hex(1))
        self.node("anvil_setCode", BOB, "0x")
        fund_token(self.node, "ethereum", "USDC", BOB, 1)
        behind = replace(chain, rpc_url=self.proxy.url)
        self.stack: Stack = self._do(
            self._inside.enter_async_context(running(directory, {"ethereum": behind}, funds=FUNDS))
        )
        self.node("evm_setAutomine", False)
        self.proxy.emulate(emulation)
        self.wrong: list[str] = []
        self._rows = create_engine(f"sqlite:///{directory / 'data' / 'cambist.sqlite'}")
        self._watch_sends()
        self.had = {symbol: self._do(self.stack.balance_of(BOB, symbol)) for symbol in FUNDS["ethereum"]}
        self.restart()

    def close(self) -> None:
        crashpoints.disarm()
        self.proxy.clear()
        self._do(self.stack.services.close())
        self._do(self._inside.aclose())
        self._loop.close()
        self._outside.close()
        self._rows.dispose()
        self.node("anvil_dropAllTransactions")
        self.node.close()
        logging.disable(logging.NOTSET)

    def forget_faults(self) -> None:
        self.proxy.clear()
        self._watch_sends()

    # -- lives --------------------------------------------------------------------------------------------

    def restart(self, point: str | None = None) -> None:
        """A new service on the same database; it may end at a crash point while it takes up."""
        crashpoints.disarm()
        self.lives += 1
        self._do(self.stack.services.close())
        services = self._do(build(self.stack.services.settings, clock=self.clock))
        services.keyring.add(self.stack.signing_key)
        self.stack = replace(self.stack, services=services, client=client_of(services))
        self.arm(point)
        self.carry_out(services.chains["ethereum"].engine.recover)

    def arm(self, point: str | None) -> None:
        crashpoints.disarm()
        crashpoints.arm(point or "", end=_end)

    def step(self) -> None:
        self.steps += 1
        self.clock.jump(7 * 12)
        self.carry_out(self.stack.chain().engine.step)

    def carry_out(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            self._do(work())
        except Killed:
            self.restart()

    def ask(self, work: Callable[[], Awaitable[object]]) -> None:
        async def asking() -> None:
            try:
                await work()
            except StaleState:
                return

        self.carry_out(asking)

    # -- acts ---------------------------------------------------------------------------------------------

    def withdraw(self, symbol: str, raw: int) -> None:
        """Amounts differ, so that each effect on the chain can be told from the others."""
        client_id = f"w{len(self.bodies)}"
        raw += len(self.bodies)
        amount = f"0.{raw:018d}" if symbol == "ETH" else f"{raw // 10**6}.{raw % 10**6:06d}"
        body = {"asset": symbol, "amount": amount, "address": BOB, "client_withdrawal_id": client_id}
        self.bodies[client_id] = body
        self.paid[client_id] = raw
        self._post(client_id)

    def mine(self, blocks: int = 1) -> None:
        self.node("anvil_mine", hex(blocks))

    def reorg(self) -> None:
        """The head block goes, and what was in it, unless the emulated node puts it back into its pool."""
        self.node("anvil_reorg", 1, [])

    def slots(self) -> list[Tx]:
        rows = self._read(lambda c: [txrows.tx(row) for row in c.execute(select(m.txs).order_by(m.txs.c.id))])
        return list(rows)

    def unmined(self) -> list[TxId]:
        return [tx.id for tx in self.slots() if tx.state in UNMINED_TX_STATES]

    def calm(self) -> None:
        """No faults, requests that were never answered are asked again, blocks until all is done and final."""
        self.forget_faults()
        self.arm(None)
        for client_id in self.bodies.keys() - self.paths.keys():
            self._post(client_id)
        for _ in range(CALM_ROUNDS):
            self.step()
            self.mine(2)
            self.step()
            if all(state in DONE for state in self.states().values()):
                break
        self.mine(BURY_BLOCKS)
        for _ in range(3):
            self.step()

    def states(self) -> dict[str, str]:
        def read(c: Connection) -> dict[str, str]:
            return {row.client_id: row.state for row in c.execute(select(m.withdrawals))}

        return self._read(read)

    # -- what holds ---------------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        found = invariants.broken(self.facts(), invariants.ALWAYS)
        return [*self.wrong, *found, *self.I3_journal_equals_the_chain()]

    def complaints_at_the_end(self) -> list[str]:
        facts, states = self.facts(), self.states()
        found = [*invariants.broken(facts, invariants.AT_THE_END), *self.I3_journal_equals_the_chain()]
        found += [f"I13: {name} ended as {state}" for name, state in states.items() if state not in DONE]
        found += [f"I6: {plan_id} still holds {raw}" for plan_id, raw in facts.held.items()]
        found += [f"I2: slot {tx.id} is {tx.state}" for tx in facts.txs if tx.state is not TxState.FINAL]
        for symbol, had in self.had.items():
            names = [name for name, state in states.items() if state in ("confirmed", "final")]
            paid = sum(self.paid[name] for name in names if self.bodies[name]["asset"] == symbol)
            has = self._do(self.stack.balance_of(BOB, symbol))
            if has - had != paid:
                found.append(f"I1: {has - had} {symbol} arrived, {paid} are recorded as paid")
        return found

    def I3_journal_equals_the_chain(self) -> list[str]:
        """Opening and entries equal the chain's balances at the cursor's block, to the base unit."""
        report = self._do(self.stack.books())
        return [f"I3: {row}" for row in report.rows if row.verdict is Verdict.UNEXPLAINED]

    def facts(self) -> Facts:
        wallet, config = self.stack.wallet.address, self.stack.chain().config
        seen = [parse(bytes.fromhex(tx.raw[2:])) for tx in self.proxy.recorder.txs if tx.effect.sender == wallet]
        receipts = self.node.batch([("eth_getTransactionReceipt", sent.hash) for sent in seen]) if seen else []
        mined = [
            OnChain(
                sent=sent,
                succeeded=int(receipt["status"], 16) == 1,
                fee_wei=int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16),
                block=BlockRef(number=int(receipt["blockNumber"], 16), hash=BlockHash(receipt["blockHash"])),
            )
            for sent, receipt in zip(seen, receipts, strict=True)
            if receipt is not None
        ]
        store = SqlTxStore()

        def read(c: Connection) -> Facts:
            held: defaultdict[PlanId, int] = defaultdict(int)
            releases: dict[PlanId, int] = {}
            for row in c.execute(select(m.reservations)):
                if row.released_ms is None:
                    held[PlanId(row.plan_id)] += row.raw
                else:
                    releases[PlanId(row.plan_id)] = 1
            intents = [txrows.intent(row) for row in c.execute(select(m.intents))]
            lanes = {intent.lane for intent in intents}
            return Facts(
                policy=config.fees,
                intents={intent.id: intent for intent in intents},
                txs=[txrows.tx(row) for row in c.execute(select(m.txs).order_by(m.txs.c.id))],
                attempts=[
                    txrows.attempt(row) for row in c.execute(select(m.attempts).order_by(m.attempts.c.created_ms))
                ],
                lanes={lane: state for lane in lanes if (state := store.lane(c, lane)) is not None},
                mined=mined,
                canonical={},
                next_nonces={wallet: int(self.node("eth_getTransactionCount", wallet, "latest"), 16)},
                seen=seen,
                foreign=frozenset(),
                first_nonces={wallet: 0},
                cursor=store.cursor(c, config.chain_id),
                needs_person=False,
                held=held,
                releases=releases,
                hold_limit_wei=NO_LIMIT,
            )

        return self._read(read)

    # -- private ------------------------------------------------------------------------------------------

    def _watch_sends(self) -> None:
        self.proxy.add(Rule(action=Delay(seconds=0.0), method=SEND, when=self._arrived))

    def _arrived(self, params: Sequence[Any]) -> bool:
        """I4 at the moment that it counts, in the proxy's thread: what arrives is in the database file by then."""
        sent = parse(bytes.fromhex(params[0][2:]))
        with self._rows.connect() as c:
            if c.execute(select(m.attempts.c.hash).where(m.attempts.c.hash == sent.hash)).first() is None:
                self.wrong.append(f"I4: {sent.hash} at nonce {sent.tx.nonce} left before it was durable")
        return True

    def _post(self, client_id: str) -> None:
        async def post() -> None:
            answer = await self.stack.post(PATH, self.bodies[client_id], key="withdraw")
            if answer.status_code in (200, 202):
                self.paths[client_id] = f"/v1/withdrawals/{answer.json()['id']}"

        self.carry_out(post)

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._do(self.stack.services.db.read(work))

    def _do(self, work: Awaitable[T]) -> T:
        async def doing() -> T:
            return await work

        return self._loop.run_until_complete(doing())


def _end() -> None:
    crashpoints.disarm()
    raise Killed


class ServiceMachine(RuleBasedStateMachine):
    """Bound to a chain and a directory by `bound_to`."""

    chain: LocalChain
    directories: Callable[[], Path]
    service: Installation

    @initialize(emulation=st.sampled_from((Emulation(), GETH)))
    def start(self, emulation: Emulation) -> None:
        self.service = Installation(self.chain, type(self).directories(), emulation=emulation)
        for symbol in FUNDS["ethereum"]:
            self.service.withdraw(symbol, 10**6)

    @rule(symbol=st.sampled_from(("ETH", "USDC")), raw=st.integers(1, 100).map(lambda n: n * 10**6))
    def withdraw(self, symbol: str, raw: int) -> None:
        self.service.withdraw(symbol, raw)

    @rule()
    def step(self) -> None:
        self.service.step()

    @rule(blocks=st.integers(1, 2))
    def blocks_and_step(self, blocks: int) -> None:
        self.service.mine(blocks)
        self.service.step()

    @rule()
    def reorg(self) -> None:
        self.service.reorg()

    @rule()
    def mined_seen_and_lost(self) -> None:
        self.blocks_and_step(blocks=1)
        self.service.reorg()
        self.service.step()

    @rule(name=st.sampled_from(sorted(FAULTS)), times=st.integers(1, 3))
    def fault(self, name: str, times: int) -> None:
        self.service.proxy.add(FAULTS[name](times))

    @rule(point=st.sampled_from(POINTS), count=st.integers(1, 2))
    def crash_at(self, point: str, count: int) -> None:
        self.service.arm(f"{point}:{count}")

    @rule(point=st.sampled_from((None, *POINTS)))
    def restart(self, point: str | None) -> None:
        self.service.restart(point)

    @precondition(lambda self: self.service.unmined())
    @rule(data=st.data(), cancels=st.booleans())
    def wish(self, data: st.DataObject, cancels: bool) -> None:
        tx_id = data.draw(st.sampled_from(self.service.unmined()))
        engine = self.service.stack.chain().engine
        asked = engine.request_cancel if cancels else engine.request_bump
        self.service.ask(lambda: asked(tx_id, "a test"))

    @invariant()
    def all_holds(self) -> None:
        if hasattr(self, "service"):
            _none(self.service.complaints())

    def teardown(self) -> None:
        if not hasattr(self, "service"):
            return
        service = self.service
        try:
            if not service.complaints():
                service.calm()
                note(f"{service.lives} lives, {service.steps} steps, {len(service.bodies)} withdrawals")
                _none(service.complaints_at_the_end())
        finally:
            service.close()


def bound_to(chain: LocalChain, directories: Callable[[], Path]) -> type[ServiceMachine]:
    """The machine on this chain; each example gets an empty directory."""
    return type("BoundMachine", (ServiceMachine,), {"chain": chain, "directories": staticmethod(directories)})


def _none(complaints: Sequence[str]) -> None:
    assert not complaints, "\n".join(complaints)
