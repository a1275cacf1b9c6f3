"""What the engine needs from outside, as Protocols: a store inside units of work, a clock, checks, an observer.

`U` is the caller's unit of work: an open database transaction, or the in-memory state. All store and observer
methods are plain synchronous functions over it, so that nothing can await the network inside one; the
`UnitOfWork` runner executes a function and commits, or rolls back when it raises.

Guarantees asked of an implementation (and shown by the shared contract tests):
- `run` returns after the commit is durable; a raise inside leaves nothing behind.
- state changes are guarded: exactly the named rows, in the expected state, or `StaleState`.
- an intent whose stored payload does not have its hash any more is handed out as `altered`, never as if it had;
- a row that makes no sense, since something else has written it, keeps no other from being handed out: of many the
  others are, and what is asked for by itself raises `UnusableRow`;
- (chain, wallet, nonce) is unique; at most one attempt of a tx is unsent; a plan or intent id is unique for ever.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from chains.tx.model import (
    OPEN_TX_STATES,
    Attempt,
    Intent,
    IntentId,
    Lane,
    LaneLoad,
    LaneState,
    OpenTx,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxId,
    TxState,
    Unusable,
    Wish,
)
from chains.types import BlockRef, ChainId, Receipt, TxHash

T = TypeVar("T")
U_co = TypeVar("U_co", covariant=True)
U_contra = TypeVar("U_contra", contravariant=True)


class StaleState(Exception):
    """A guarded update did not hit exactly the rows it names: someone else moved them first."""


class StoreUnavailable(Exception):
    """The store cannot be reached now, or others are in the way. Nothing was written; the same may be tried again."""


class UnusableRow(ValueError):
    """A stored row makes no sense: something else than the engine has written it. Nothing was read or written."""


class DuplicateId(Exception):
    """A plan or intent id exists already."""


class UnitOfWork(Protocol[U_co]):
    """Runs functions against the database, atomically."""

    async def run(self, work: Callable[[U_co], T]) -> T:
        """Execute `work` and commit; roll back and re-raise what it raises. Durable when this returns."""
        ...

    async def read(self, work: Callable[[U_co], T]) -> T:
        """Execute a read-only `work` on a consistent snapshot."""
        ...


class TxStore(Protocol[U_contra]):
    """Durable intents, slots and attempts. Every method runs inside the caller's unit of work."""

    # -- intents -------------------------------------------------------------------------------------
    def add_plan(self, uow: U_contra, plan: Plan) -> None:
        """Store a plan and its intents in the state they carry. Raises: DuplicateId."""
        ...

    def plan(self, uow: U_contra, plan_id: PlanId) -> Plan | None:
        """Raises: UnusableRow."""
        ...

    def next_plans(self, uow: U_contra, lane: Lane, most: int) -> Sequence[Plan]:
        """The oldest plans of the lane whose intents are all queued, first in, first out; those of which a row makes no
        sense as `unusable`, with no intents."""
        ...

    def started_plan(self, uow: U_contra, lane: Lane) -> Plan | None:
        """The oldest plan of the lane of which some intents are placed and others still queued.

        Only where plans are placed step by step, because the node cannot simulate a sequence. `unusable` as above.
        """
        ...

    def plan_txs(self, uow: U_contra, plan_id: PlanId) -> Sequence[Tx]:
        """All slots of the plan's intents, closed ones included, by nonce. Raises: UnusableRow."""
        ...

    def queued_lanes(self, uow: U_contra, chain_id: ChainId) -> Sequence[Lane]:
        """Lanes with queued intents."""
        ...

    def unfilled_lanes(self, uow: U_contra, chain_id: ChainId) -> Sequence[Lane]:
        """Lanes with reserved slots: nonces that were taken and have no attempt."""
        ...

    def queue_plan(self, uow: U_contra, plan_id: PlanId) -> None:
        """All intents of the plan from accepted to queued: its lane may take it. Raises: StaleState."""
        ...

    def reject_plan(self, uow: U_contra, plan_id: PlanId, reason: str) -> None:
        """All intents of the plan from accepted or queued to rejected. Raises: StaleState."""
        ...

    def reject_rest(self, uow: U_contra, plan_id: PlanId, reason: str) -> None:
        """The queued intents of a started plan become rejected; placed ones stay. Raises: StaleState: none is."""
        ...

    # -- lanes ---------------------------------------------------------------------------------------
    def lane(self, uow: U_contra, lane: Lane) -> LaneState | None:
        """The lane as stored; while its chain is frozen (`HeadStore.freeze`), held for that reason.

        Raises: UnusableRow.
        """
        ...

    def lane_load(self, uow: U_contra, lane: Lane) -> LaneLoad:
        """Raises: UnusableRow."""
        ...

    def open_lane(self, uow: U_contra, lane: Lane, next_nonce: int) -> LaneState:
        """Create the lane if it does not exist; the answer is what is stored."""
        ...

    def hold_lane(self, uow: U_contra, lane: Lane, reason: str | None) -> None:
        """Hold (a reason) or release (None) a lane."""
        ...

    def set_next_nonce(self, uow: U_contra, lane: Lane, expected: int, next_nonce: int) -> None:
        """Move an idle lane's nonce after foreign use, by a person's act. Raises: StaleState."""
        ...

    def take_back_nonce(self, uow: U_contra, lane: Lane, expected: int, next_nonce: int) -> None:
        """Put right a counter that ran ahead of its slots: none of the lane has `next_nonce` or a higher one.

        Raises: StaleState: one has, or the counter is not `expected` any more.
        """
        ...

    def reserve(
        self,
        uow: U_contra,
        lane: Lane,
        intents: Sequence[tuple[IntentId, int]],
        *,
        first_nonce: int,
        now_ms: int,
    ) -> Sequence[Tx]:
        """Give each (intent, gas limit) the next nonce, from `first_nonce`, and mark the intents placed.

        Raises: StaleState: the lane's next nonce is not `first_nonce`, or an intent is not queued.
        """
        ...

    # -- attempts ------------------------------------------------------------------------------------
    def save_attempts(
        self, uow: U_contra, attempts: Sequence[Attempt], now_ms: int, *, after: Collection[TxHash] = ()
    ) -> None:
        """Store signed attempts; a reserved tx becomes signed. `after`: those that their slots had when they were made.

        Raises: StaleState: a slot has an attempt that is not in `after`, or an unsent one, or it is to be cancelled and
        the attempt is a real one.
        """
        ...

    def mark_sent(self, uow: U_contra, hashes: Sequence[TxHash], now_ms: int) -> Collection[TxId]:
        """Attempts signed | sent | refused -> sent, their tx signed -> broadcast. `node_answer` of each is cleared.

        The answer is the slots that became broadcast by this; others were before.
        """
        ...

    def sendable(self, uow: U_contra, hashes: Sequence[TxHash]) -> Collection[TxHash]:
        """Those of them that `mark_sent` takes: the others are unknown, mined or lost."""
        ...

    def set_aside(self, uow: U_contra, attempt: TxHash) -> None:
        """An unsent attempt becomes refused, to make place for one that stands in for it. Raises: StaleState."""
        ...

    def note_answer(self, uow: U_contra, attempt: TxHash, answer: str) -> None:
        """Keep what a node said to a send; changes no state."""
        ...

    # -- wishes and notes ----------------------------------------------------------------------------
    def wish(self, uow: U_contra, tx_id: TxId, wish: Wish, *, reason: str, now_ms: int) -> bool:
        """Ask for something; False if that, or a cancel, was asked before: the first reason stays.

        Raises: StaleState: the slot does not exist or is not unmined.
        """
        ...

    def wish_granted(self, uow: U_contra, tx_id: TxId) -> None:
        """A bump was made or cannot be made: it is not wished any more. A cancel stays."""
        ...

    def wishes(self, uow: U_contra, chain_id: ChainId) -> Collection[tuple[TxId, Wish]]:
        """What is wished of the chain's unmined slots, granted cancels included."""
        ...

    def note_tx(self, uow: U_contra, tx_id: TxId, note: str | None) -> None:
        """Keep why a slot waits; changes no state."""
        ...

    # -- confirmation --------------------------------------------------------------------------------
    def open_txs(
        self,
        uow: U_contra,
        chain_id: ChainId,
        *,
        lane: Lane | None = None,
        states: Collection[TxState] = OPEN_TX_STATES,
        only: Collection[TxId] | None = None,
    ) -> Sequence[OpenTx]:
        """Slots that are not closed, by lane and nonce: the chain's, one lane's, those of the ids in `only`; without
        those that make no sense (`unusable`)."""
        ...

    def unusable(
        self,
        uow: U_contra,
        chain_id: ChainId,
        loaded: Sequence[OpenTx],
        *,
        states: Collection[TxState],
        lane: Lane | None = None,
    ) -> Sequence[Unusable]:
        """Slots of the chain (or of the lane) in these states that `open_txs` left out of `loaded`, in the same unit of
        work."""
        ...

    def astray(self, uow: U_contra, chain_id: ChainId) -> Sequence[Plan]:
        """Plans with queued intents that no lane has, since whose they are makes no sense; as `next_plans` has what is
        unusable, as far as their own rows say whose they are."""
        ...

    def tx_ids(self, uow: U_contra, chain_id: ChainId, states: Collection[TxState]) -> Sequence[TxId]:
        """The chain's slots in these states, by lane and nonce: cheap for thousands, to be loaded in parts."""
        ...

    def mark_mined(
        self, uow: U_contra, tx_id: TxId, attempt: TxHash, *, block: BlockRef, outcome: Outcome, now_ms: int
    ) -> None:
        """signed | broadcast -> mined by that attempt; the tx's other attempts become lost."""
        ...

    def mark_confirmed(self, uow: U_contra, tx_id: TxId, now_ms: int) -> None: ...

    def mark_final(self, uow: U_contra, tx_id: TxId, now_ms: int) -> None: ...

    def mark_reorged(self, uow: U_contra, tx_id: TxId, now_ms: int) -> None:
        """mined | confirmed -> broadcast; outcome and block are cleared, all its attempts are sent again."""
        ...

    def mark_superseded(self, uow: U_contra, tx_id: TxId, now_ms: int) -> None: ...

    # -- cursor --------------------------------------------------------------------------------------
    def cursor(self, uow: U_contra, chain_id: ChainId) -> BlockRef | None:
        """The block up to which every own transaction has been observed as confirmed, hence booked."""
        ...

    def set_cursor(self, uow: U_contra, chain_id: ChainId, block: BlockRef) -> None: ...


class TxObserver(Protocol[U_contra]):
    """Told of every state change inside the unit of work that makes it, so that the books commit with it.

    Must be fast, must not do I/O beyond `uow`; a raise rolls the change back and the engine tries again.
    """

    def on_rejected(self, uow: U_contra, plan: Plan, reason: str) -> None:
        """`reason` is "code: text" (see chains.tx.reasons). Of a plan that was placed step by step, `plan` shows which
        intents had been placed before; their transactions go on and are told as usual."""
        ...

    def on_placed(self, uow: U_contra, plan: Plan, txs: Sequence[Tx]) -> None: ...

    def on_sent(self, uow: U_contra, sent: Sequence[tuple[Intent, Tx]]) -> None:
        """Nodes have the bytes of these slots; they were sent together and are written as a set."""
        ...

    def on_mined(self, uow: U_contra, intent: Intent, tx: Tx, receipt: Receipt) -> None: ...

    def on_confirmed(self, uow: U_contra, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        """At the chain's confirmed depth: this is where fills and fees are booked, once."""
        ...

    def on_final(self, uow: U_contra, intent: Intent, tx: Tx) -> None: ...

    def on_reorged(self, uow: U_contra, intent: Intent, tx: Tx) -> None:
        """The tx was mined or confirmed (`tx` is as it was before) and its block left the chain."""
        ...

    def on_superseded(self, uow: U_contra, intent: Intent, tx: Tx) -> None: ...


class PreSignRefused(Exception):
    """The decoded payload is not what its intent says, or a limit no longer holds. The plan is rejected."""


class PreSignPaused(PreSignRefused):
    """A person paused this. Before a nonce was taken the plan waits; a nonce that was taken is closed."""


class PreSignCheck(Protocol):
    """Asked right before signing. Decodes the payload again and compares it with what was wanted."""

    async def check(self, intent: Intent) -> None:
        """Raises: PreSignRefused, PreSignPaused."""
        ...

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        """`check` of each at one moment: what it would have raised, in its place."""
        ...


class Clock(Protocol):
    """Time, injected. `now_ms` is UTC; `monotonic_s` is for time-outs and never steps."""

    def now_ms(self) -> int: ...

    def monotonic_s(self) -> float: ...
