"""The durable side of the model: the engine's tables with a small journal in them, audited at every commit.

The journal stands for the service: a reservation is held when a plan is queued and released when all of it has settled;
what a confirmed receipt cost is booked, and taken back when its block leaves the chain.

Guarantees: a unit of work commits whole or not at all; every commit is compared with what was there before
(`audit.py`), and every event with the events before it; what is wrong is written down in `wrong`, nothing is raised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Protocol, TypeVar

from chains.tx.memory import MemoryState
from chains.tx.model import Intent, IntentId, Lane, Outcome, Plan, PlanId, Tx, TxState
from chains.types import BlockRef, Receipt
from tests.chains.tx.model.audit import audit
from tests.chains.tx.model.life import Life

T = TypeVar("T")

BEFORE: Final = {
    "placed": (None,),
    "sent": ("placed",),
    "mined": ("placed", "sent", "reorged"),
    "confirmed": ("mined",),
    "final": ("confirmed",),
    "reorged": ("mined", "confirmed"),
    "superseded": ("placed", "sent", "reorged"),
    "rejected": (None,),
}
"""What the observer was told of an intent right before it is told this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a transaction took from its wallet, or (negative) gave back when its block left the chain."""

    intent_id: IntentId
    wei: int
    block: BlockRef


@dataclass(slots=True, kw_only=True)
class ModelState(MemoryState):
    """The engine's tables and the observer's."""

    told: dict[IntentId, str] = field(default_factory=dict)
    settled: dict[IntentId, bool] = field(default_factory=dict)
    held: dict[PlanId, int] = field(default_factory=dict)
    releases: dict[PlanId, int] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)

    def copy(self) -> "ModelState":
        return ModelState(**{one.name: dict(getattr(self, one.name)) for one in fields(self)})


class Truth(Protocol):
    """What the chain really is, whatever nodes say."""

    def depth(self, block: BlockRef) -> int:
        """How deep it lies, itself counted, below the highest head there ever was."""
        ...

    def is_final(self, block: BlockRef) -> bool: ...

    def is_used_finally(self, lane: Lane, nonce: int) -> bool: ...


class Books:
    """`TxObserver[ModelState]`, and the tables that outlive every life."""

    def __init__(self, truth: Truth, *, confirmed_depth: int, has_laggards: Callable[[], bool]) -> None:
        self.has_laggards = has_laggards
        self._truth = truth
        self._confirmed_depth = confirmed_depth
        self.state = ModelState()
        self.wrong: list[str] = []

    # -- TxObserver ---------------------------------------------------------------------------------------

    def on_rejected(self, uow: ModelState, plan: Plan, reason: str) -> None:
        for intent in plan.intents:
            if intent.id not in uow.told:
                self._tell(uow, intent, "rejected")
                self._settle(uow, intent)

    def on_placed(self, uow: ModelState, plan: Plan, txs: Sequence[Tx]) -> None:
        for tx in txs:
            self._tell(uow, uow.intents[tx.intent_id], "placed")
            if self._truth.is_used_finally(tx.lane, tx.nonce) and not self.has_laggards():
                self.wrong.append(f"I2: {tx.intent_id} was placed at nonce {tx.nonce}, which is used for ever")

    def on_sent(self, uow: ModelState, sent: Sequence[tuple[Intent, Tx]]) -> None:
        for intent, _ in sent:
            self._tell(uow, intent, "sent")

    def on_mined(self, uow: ModelState, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        self._tell(uow, intent, "mined")
        if tx.mined_hash != receipt.tx_hash or tx.block != receipt.block:
            self.wrong.append(f"I5: {intent.id} was told as mined with another receipt than its own")

    def on_confirmed(self, uow: ModelState, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        self._tell(uow, intent, "confirmed")
        if self._truth.depth(receipt.block) < self._confirmed_depth:
            self.wrong.append(f"I5: {intent.id} was booked at depth {self._truth.depth(receipt.block)}")
        value = intent.call.value_wei if tx.outcome is Outcome.SUCCEEDED else 0
        self._book(uow, Entry(intent_id=intent.id, wei=value + receipt.fee_wei, block=receipt.block))
        self._settle(uow, intent)

    def on_final(self, uow: ModelState, intent: Intent, tx: Tx) -> None:
        self._tell(uow, intent, "final")
        if tx.block is None or not self._truth.is_final(tx.block):
            self.wrong.append(f"I5: {intent.id} was told as final in {tx.block}, which is not")

    def on_reorged(self, uow: ModelState, intent: Intent, tx: Tx) -> None:
        self._tell(uow, intent, "reorged")
        if tx.state is TxState.CONFIRMED:
            booked = [entry for entry in uow.entries.values() if entry.intent_id == intent.id]
            self._book(uow, Entry(intent_id=intent.id, wei=-sum(entry.wei for entry in booked), block=booked[-1].block))

    def on_superseded(self, uow: ModelState, intent: Intent, tx: Tx) -> None:
        self._tell(uow, intent, "superseded")
        if not self._truth.is_used_finally(tx.lane, tx.nonce):
            self.wrong.append(f"I5: {intent.id} was told as superseded while its nonce is not used for ever")
        self._settle(uow, intent)

    # -- private ------------------------------------------------------------------------------------------

    def _tell(self, uow: ModelState, intent: Intent, event: str) -> None:
        before = uow.told.get(intent.id)
        if before not in BEFORE[event]:
            self.wrong.append(f"I5: {intent.id} was told as {event} after {before or 'nothing'}")
        uow.told[intent.id] = event

    def _book(self, uow: ModelState, entry: Entry) -> None:
        uow.entries[len(uow.entries)] = entry

    def _settle(self, uow: ModelState, intent: Intent) -> None:
        """The reservation goes with the last step of the plan, once: a reorg does not bring it back."""
        if intent.id in uow.settled:
            return
        uow.settled[intent.id] = True
        of_plan = [one.id for one in uow.intents.values() if one.plan_id == intent.plan_id]
        if all(one in uow.settled for one in of_plan):
            uow.held.pop(intent.plan_id, None)
            uow.releases[intent.plan_id] = uow.releases.get(intent.plan_id, 0) + 1


class ModelUow:
    """`UnitOfWork[ModelState]` of one life, over the tables that outlive it."""

    def __init__(self, books: Books, life: Life) -> None:
        self._books = books
        self._life = life

    async def run(self, work: Callable[[ModelState], T]) -> T:
        self._life.touch()
        await self._life.pause()
        self._life.touch()
        result = self._books_run(work)
        self._life.touch()
        await self._life.pause()
        if self._life.is_over:
            self._life.end()
        return result

    async def read(self, work: Callable[[ModelState], T]) -> T:
        self._life.touch()
        await self._life.pause()
        self._life.touch()
        return work(self._books.state.copy())

    def _books_run(self, work: Callable[[ModelState], T]) -> T:
        working = self._books.state.copy()
        result = work(working)
        self._books.wrong += audit(self._books.state, working)
        self._books.state = working
        return result
