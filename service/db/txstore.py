"""The engine's `TxStore` over SQL: intents, slots and attempts in the tables of `service.db.models`.

Guarantees: every state write is a guarded update that must hit exactly the rows it names, else `StaleState`, and so
the unit of work around it leaves nothing; what belongs together is written as sets (one statement for a plan's
intents, a group's attempts), not row by row; an intent whose stored payload no longer has its payload hash is handed
out as `altered`, and a row that makes no sense at all keeps no other from being read (`txloading`). The schema's
constraints repeat the rules below this module.
Not guaranteed: durability and isolation, which are the unit of work's; that the payload is what its order or
withdrawal meant, which the pre-sign check decides.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Update,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import NullType

from chains.tx.model import (
    CLOSED_TX_STATES,
    OPEN_TX_STATES,
    SENDABLE_ATTEMPT_STATES,
    TX_TRANSITIONS,
    UNMINED_TX_STATES,
    Attempt,
    AttemptKind,
    AttemptState,
    IntentId,
    IntentState,
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
from chains.tx.store import DuplicateId, StaleState, UnusableRow
from chains.types import BlockHash, BlockRef, ChainId, TxHash
from service.db import models as m
from service.db import txloading, txrows
from service.db.txloading import SLOTS, groups

T = TypeVar("T")

_NO_BLOCK: Final[Mapping[str, Any]] = {
    "block_number": None,
    "block_hash": None,
    "mined_hash": None,
    "outcome": Outcome.NONE,
}


class SqlTxStore:
    """`TxStore[Connection]`; what each method promises is said there. Holds no state of its own."""

    # -- intents -------------------------------------------------------------------------------------
    def add_plan(self, uow: Connection, plan: Plan) -> None:
        row = {
            "id": plan.id,
            "chain_id": plan.lane.chain_id,
            "wallet": plan.lane.wallet,
            "created_ms": plan.created_ms,
            "valid_until_ms": plan.valid_until_ms,
        }
        if _insert_new(uow, m.plans, [row], key="id") != 1:
            raise DuplicateId(plan.id)
        rows = [txrows.intent_row(intent) for intent in plan.intents]
        if rows and _insert_new(uow, m.intents, rows, key="id") != len(rows):
            raise DuplicateId(f"an intent of {plan.id}")

    def plan(self, uow: Connection, plan_id: PlanId) -> Plan | None:
        return txloading.plan(uow, plan_id)

    def next_plans(self, uow: Connection, lane: Lane, most: int) -> Sequence[Plan]:
        other = m.intents.alias("other")
        queued = select(m.intents.c.plan_id).where(_of_lane(m.intents, lane), m.intents.c.state == IntentState.QUEUED)
        waits = ~exists().where(other.c.plan_id == m.plans.c.id, other.c.state != IntentState.QUEUED)
        return txloading.plans_of_lane(uow, lane, and_(m.plans.c.id.in_(queued), waits), most=most)

    def started_plan(self, uow: Connection, lane: Lane) -> Plan | None:
        other = m.intents.alias("other")
        queued = select(m.intents.c.plan_id).where(_of_lane(m.intents, lane), m.intents.c.state == IntentState.QUEUED)
        begun = exists().where(other.c.plan_id == m.plans.c.id, other.c.state == IntentState.PLACED)
        found = txloading.plans_of_lane(uow, lane, and_(m.plans.c.id.in_(queued), begun), most=1)
        return found[0] if found else None

    def plan_txs(self, uow: Connection, plan_id: PlanId) -> Sequence[Tx]:
        of_plan = select(m.intents.c.id).where(m.intents.c.plan_id == plan_id)
        with txrows.sense(f"plan {plan_id}"):
            rows = uow.execute(SLOTS.where(m.txs.c.intent_id.in_(of_plan)).order_by(m.txs.c.nonce))
            return [txrows.tx(row) for row in rows]

    def queued_lanes(self, uow: Connection, chain_id: ChainId) -> Sequence[Lane]:
        return txloading.lanes_queued(uow, chain_id)

    def unfilled_lanes(self, uow: Connection, chain_id: ChainId) -> Sequence[Lane]:
        wallets = select(m.txs.c.wallet).where(m.txs.c.chain_id == chain_id, m.txs.c.state == TxState.RESERVED)
        try:
            with txrows.sense("a slot"):
                found = set(uow.execute(wallets.distinct()).scalars())
        except UnusableRow:
            reserved = txloading.open_slots(uow, and_(m.txs.c.chain_id == chain_id, m.txs.c.state == TxState.RESERVED))
            found = {slot.tx.lane.wallet for slot in reserved}
        return sorted(Lane(chain_id=chain_id, wallet=wallet) for wallet in found)

    def queue_plan(self, uow: Connection, plan_id: PlanId) -> None:
        statement = (
            update(m.intents)
            .where(m.intents.c.plan_id == plan_id, m.intents.c.state == IntentState.ACCEPTED)
            .values(state=IntentState.QUEUED)
        )
        _must_hit(uow, statement, _size(uow, plan_id), f"plan {plan_id} does not wait to be queued")

    def reject_plan(self, uow: Connection, plan_id: PlanId, reason: str) -> None:
        size = _size(uow, plan_id)
        statement = (
            update(m.intents)
            .where(m.intents.c.plan_id == plan_id, m.intents.c.state.in_([IntentState.ACCEPTED, IntentState.QUEUED]))
            .values(state=IntentState.REJECTED, reject_reason=reason)
        )
        _must_hit(uow, statement, size, f"plan {plan_id} no longer waits")

    def reject_rest(self, uow: Connection, plan_id: PlanId, reason: str) -> None:
        statement = (
            update(m.intents)
            .where(m.intents.c.plan_id == plan_id, m.intents.c.state == IntentState.QUEUED)
            .values(state=IntentState.REJECTED, reject_reason=reason)
        )
        if uow.execute(statement).rowcount < 1:
            raise StaleState(f"plan {plan_id} has nothing queued")

    # -- lanes ---------------------------------------------------------------------------------------
    def lane(self, uow: Connection, lane: Lane) -> LaneState | None:
        freeze = select(m.chain_freezes.c.reason).where(m.chain_freezes.c.chain_id == m.lanes.c.chain_id)
        hold = func.coalesce(freeze.scalar_subquery(), m.lanes.c.hold_reason).label("hold_reason")
        with txrows.sense(f"lane {lane.wallet}"):
            row = uow.execute(select(m.lanes.c.next_nonce, hold).where(_of_lane(m.lanes, lane))).one_or_none()
        return None if row is None else LaneState(lane=lane, next_nonce=row.next_nonce, hold_reason=row.hold_reason)

    def lane_load(self, uow: Connection, lane: Lane) -> LaneLoad:
        with txrows.sense(f"lane {lane.wallet}"):
            return self._load(uow, lane)

    def open_lane(self, uow: Connection, lane: Lane, next_nonce: int) -> LaneState:
        row = {"chain_id": lane.chain_id, "wallet": lane.wallet, "next_nonce": next_nonce}
        _insert_new(uow, m.lanes, [row], key="next_nonce")
        stored = self.lane(uow, lane)
        if stored is None:
            raise StaleState(f"{lane} vanished while it was opened")
        return stored

    def hold_lane(self, uow: Connection, lane: Lane, reason: str | None) -> None:
        statement = update(m.lanes).where(_of_lane(m.lanes, lane)).values(hold_reason=reason)
        _must_hit(uow, statement, 1, f"{lane} does not exist")

    def set_next_nonce(self, uow: Connection, lane: Lane, expected: int, next_nonce: int) -> None:
        open_slot = exists().where(_of_lane(m.txs, lane), m.txs.c.state.not_in(CLOSED_TX_STATES))
        statement = (
            update(m.lanes)
            .where(_of_lane(m.lanes, lane), m.lanes.c.next_nonce == expected, ~open_slot)
            .values(next_nonce=next_nonce)
        )
        _must_hit(uow, statement, 1, f"{lane} is not idle at nonce {expected}")

    def take_back_nonce(self, uow: Connection, lane: Lane, expected: int, next_nonce: int) -> None:
        used = exists().where(_of_lane(m.txs, lane), m.txs.c.nonce >= next_nonce)
        statement = (
            update(m.lanes)
            .where(_of_lane(m.lanes, lane), m.lanes.c.next_nonce == expected, ~used)
            .values(next_nonce=next_nonce)
        )
        _must_hit(uow, statement, 1, f"{lane} is not ahead of its slots at nonce {expected}")

    def reserve(
        self,
        uow: Connection,
        lane: Lane,
        intents: Sequence[tuple[IntentId, int]],
        *,
        first_nonce: int,
        now_ms: int,
    ) -> Sequence[Tx]:
        if not intents:
            return []
        # The lane's row first: its lock orders reservations of one lane.
        statement = (
            update(m.lanes)
            .where(_of_lane(m.lanes, lane), m.lanes.c.next_nonce == first_nonce)
            .values(next_nonce=first_nonce + len(intents))
        )
        _must_hit(uow, statement, 1, f"{lane} is not at nonce {first_nonce}")
        for group in groups([intent_id for intent_id, _ in intents]):
            place = (
                update(m.intents)
                .where(m.intents.c.id.in_(group), _of_lane(m.intents, lane), m.intents.c.state == IntentState.QUEUED)
                .values(state=IntentState.PLACED)
            )
            _must_hit(uow, place, len(group), f"an intent of {lane} is not queued")
        rows = [
            {
                "intent_id": intent_id,
                "chain_id": lane.chain_id,
                "wallet": lane.wallet,
                "nonce": first_nonce + offset,
                "gas_limit": gas_limit,
                "state": TxState.RESERVED,
                "outcome": Outcome.NONE,
                "created_ms": now_ms,
                "updated_ms": now_ms,
            }
            for offset, (intent_id, gas_limit) in enumerate(intents)
        ]
        try:
            stored = uow.execute(insert(m.txs).returning(m.txs), rows).all()
        except IntegrityError as exc:
            raise UnusableRow(f"an intent of {lane.wallet} has a slot already, or its nonce has") from exc
        return sorted((txrows.tx(row) for row in stored), key=lambda tx: tx.nonce)

    # -- attempts ------------------------------------------------------------------------------------
    def save_attempts(
        self, uow: Connection, attempts: Sequence[Attempt], now_ms: int, *, after: Collection[TxHash] = ()
    ) -> None:
        tx_ids = sorted({attempt.tx_id for attempt in attempts})
        unsent = [attempt.tx_id for attempt in attempts if attempt.state is AttemptState.SIGNED]
        if len(set(unsent)) != len(unsent):
            raise StaleState("two unsent attempts for one slot")
        for group in groups(tx_ids):
            # This also locks the slots, so that the look for other attempts below holds until the commit.
            sign = (
                update(m.txs)
                .where(m.txs.c.id.in_(group), m.txs.c.state.in_(UNMINED_TX_STATES))
                .values(
                    state=case((m.txs.c.state == TxState.RESERVED, TxState.SIGNED), else_=m.txs.c.state),
                    updated_ms=now_ms,
                )
            )
            _must_hit(uow, sign, len(group), "a slot is mined or closed")
            made = uow.execute(select(m.attempts.c.hash, m.attempts.c.state).where(m.attempts.c.tx_id.in_(group)))
            if any(row.state == AttemptState.SIGNED or row.hash not in after for row in made):
                raise StaleState("a slot has an unsent attempt, or one more than was known")
        real = [attempt.tx_id for attempt in attempts if attempt.kind is AttemptKind.REAL]
        for group in groups(real):
            unwanted = m.tx_wishes.c.tx_id.in_(group) & (m.tx_wishes.c.wish == Wish.CANCEL)
            if uow.execute(select(m.tx_wishes.c.tx_id).where(unwanted).limit(1)).first():
                raise StaleState("a slot is to be cancelled")
        rows = [txrows.attempt_row(attempt) for attempt in attempts]
        if rows and _insert_new(uow, m.attempts, rows, key="hash") != len(rows):
            raise StaleState("an attempt with these bytes exists already")

    def mark_sent(self, uow: Connection, hashes: Sequence[TxHash], now_ms: int) -> Collection[TxId]:
        moved: set[TxId] = set()
        for group in groups(sorted(set(hashes))):
            sent = (
                update(m.attempts)
                .where(
                    m.attempts.c.hash.in_(group),
                    m.attempts.c.state.in_(SENDABLE_ATTEMPT_STATES),
                )
                .values(state=AttemptState.SENT, sent_ms=now_ms, node_answer=None)
            )
            _must_hit(uow, sent, len(group), "an attempt is unknown or settled")
            # Slots that are broadcast already stay so: no count to hold this one to.
            became = (
                update(m.txs)
                .where(
                    m.txs.c.id.in_(select(m.attempts.c.tx_id).where(m.attempts.c.hash.in_(group))),
                    m.txs.c.state == TxState.SIGNED,
                )
                .values(state=TxState.BROADCAST, updated_ms=now_ms)
                .returning(m.txs.c.id)
            )
            moved.update(TxId(tx_id) for (tx_id,) in uow.execute(became))
        return moved

    def sendable(self, uow: Connection, hashes: Sequence[TxHash]) -> Collection[TxHash]:
        found: set[TxHash] = set()
        for group in groups(sorted(set(hashes))):
            is_it = and_(m.attempts.c.hash.in_(group), m.attempts.c.state.in_(SENDABLE_ATTEMPT_STATES))
            found.update(TxHash(tx_hash) for (tx_hash,) in uow.execute(select(m.attempts.c.hash).where(is_it)))
        return found

    def set_aside(self, uow: Connection, attempt: TxHash) -> None:
        statement = (
            update(m.attempts)
            .where(m.attempts.c.hash == attempt, m.attempts.c.state == AttemptState.SIGNED)
            .values(state=AttemptState.REFUSED)
        )
        _must_hit(uow, statement, 1, f"attempt {attempt} is not unsent")

    def note_answer(self, uow: Connection, attempt: TxHash, answer: str) -> None:
        statement = update(m.attempts).where(m.attempts.c.hash == attempt).values(node_answer=answer)
        _must_hit(uow, statement, 1, f"attempt {attempt} is unknown")

    # -- wishes and notes ----------------------------------------------------------------------------
    def wish(self, uow: Connection, tx_id: TxId, wish: Wish, *, reason: str, now_ms: int) -> bool:
        # The slot's row first: its lock orders a cancel and the saving of a real attempt.
        slot = update(m.txs).where(m.txs.c.id == tx_id, m.txs.c.state.in_(UNMINED_TX_STATES))
        _must_hit(uow, slot.values(updated_ms=now_ms), 1, f"slot {tx_id} is not unmined")
        values = {"wish": wish, "reason": reason, "asked_ms": now_ms}
        if _insert_new(uow, m.tx_wishes, [{"tx_id": tx_id, **values}], key="tx_id") == 1:
            return True
        stronger = (
            update(m.tx_wishes)
            .where(m.tx_wishes.c.tx_id == tx_id, m.tx_wishes.c.wish.not_in([wish, Wish.CANCEL]))
            .values(**values)
        )
        return uow.execute(stronger).rowcount == 1

    def wish_granted(self, uow: Connection, tx_id: TxId) -> None:
        # There may be none.
        uow.execute(delete(m.tx_wishes).where(m.tx_wishes.c.tx_id == tx_id, m.tx_wishes.c.wish == Wish.BUMP))

    def wishes(self, uow: Connection, chain_id: ChainId) -> Collection[tuple[TxId, Wish]]:
        unmined = and_(m.txs.c.chain_id == chain_id, m.txs.c.state.in_(UNMINED_TX_STATES))
        # What is none of these spoils its own slot (`open_txs`).
        known = m.tx_wishes.c.wish.in_(list(Wish))
        wished = select(m.tx_wishes.c.tx_id, m.tx_wishes.c.wish).join(m.txs, m.txs.c.id == m.tx_wishes.c.tx_id)
        return {(TxId(row.tx_id), Wish(row.wish)) for row in uow.execute(wished.where(unmined, known))}

    def note_tx(self, uow: Connection, tx_id: TxId, note: str | None) -> None:
        if note is None:
            uow.execute(delete(m.tx_notes).where(m.tx_notes.c.tx_id == tx_id))
        elif _insert_new(uow, m.tx_notes, [{"tx_id": tx_id, "note": note}], key="tx_id") == 0:
            statement = update(m.tx_notes).where(m.tx_notes.c.tx_id == tx_id).values(note=note)
            _must_hit(uow, statement, 1, f"note of slot {tx_id}")

    # -- confirmation --------------------------------------------------------------------------------
    def open_txs(
        self,
        uow: Connection,
        chain_id: ChainId,
        *,
        lane: Lane | None = None,
        states: Collection[TxState] = OPEN_TX_STATES,
        only: Collection[TxId] | None = None,
    ) -> Sequence[OpenTx]:
        of = m.txs.c.chain_id == chain_id if lane is None else _of_lane(m.txs, lane)
        is_open = and_(of, m.txs.c.state.in_(states))
        if only is None:
            return txloading.open_slots(uow, is_open)
        slots = [
            slot
            for group in groups(list(only))
            for slot in txloading.open_slots(uow, and_(m.txs.c.id.in_(group), is_open))
        ]
        return sorted(slots, key=lambda slot: (slot.tx.lane, slot.tx.nonce))

    def unusable(
        self,
        uow: Connection,
        chain_id: ChainId,
        loaded: Sequence[OpenTx],
        *,
        states: Collection[TxState],
        lane: Lane | None = None,
    ) -> Sequence[Unusable]:
        of = m.txs.c.chain_id == chain_id if lane is None else _of_lane(m.txs, lane)
        return txloading.unusable(uow, chain_id, loaded, which=and_(of, m.txs.c.state.in_(states)))

    def astray(self, uow: Connection, chain_id: ChainId) -> Sequence[Plan]:
        return txloading.astray(uow, chain_id)

    def tx_ids(self, uow: Connection, chain_id: ChainId, states: Collection[TxState]) -> Sequence[TxId]:
        raw = type_coerce(m.txs.c.wallet, NullType()), type_coerce(m.txs.c.nonce, NullType())
        of_chain = select(m.txs.c.id, *raw).where(m.txs.c.chain_id == chain_id, m.txs.c.state.in_(states))
        # Sorted here: as `Lane` is, by the text of its address. What makes no sense has no place among them.
        rows = [(txloading.address_of(row[1]), row[2], row[0]) for row in uow.execute(of_chain).all()]
        placed = sorted((wallet, nonce, at) for wallet, nonce, at in rows if wallet and isinstance(nonce, int))
        return [TxId(at) for _, _, at in placed]

    def mark_mined(
        self, uow: Connection, tx_id: TxId, attempt: TxHash, *, block: BlockRef, outcome: Outcome, now_ms: int
    ) -> None:
        self._move(
            uow,
            tx_id,
            TxState.MINED,
            now_ms=now_ms,
            block_number=block.number,
            block_hash=block.hash,
            mined_hash=attempt,
            outcome=outcome,
        )
        is_it = m.attempts.c.hash == attempt
        mined = update(m.attempts).where(m.attempts.c.tx_id == tx_id, is_it).values(state=AttemptState.MINED)
        _must_hit(uow, mined, 1, f"attempt {attempt} is not of slot {tx_id}")
        uow.execute(update(m.attempts).where(m.attempts.c.tx_id == tx_id, ~is_it).values(state=AttemptState.LOST))

    def mark_confirmed(self, uow: Connection, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.CONFIRMED, now_ms=now_ms)

    def mark_final(self, uow: Connection, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.FINAL, now_ms=now_ms)

    def mark_reorged(self, uow: Connection, tx_id: TxId, now_ms: int) -> None:
        statement = (
            update(m.txs)
            .where(m.txs.c.id == tx_id, m.txs.c.state.in_([TxState.MINED, TxState.CONFIRMED]))
            .values(state=TxState.BROADCAST, updated_ms=now_ms, **_NO_BLOCK)
        )
        _must_hit(uow, statement, 1, f"slot {tx_id} is not mined")
        uow.execute(
            update(m.attempts)
            .where(m.attempts.c.tx_id == tx_id, m.attempts.c.state.in_([AttemptState.MINED, AttemptState.LOST]))
            .values(state=AttemptState.SENT)
        )

    def mark_superseded(self, uow: Connection, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.SUPERSEDED, now_ms=now_ms)
        uow.execute(update(m.attempts).where(m.attempts.c.tx_id == tx_id).values(state=AttemptState.LOST))

    # -- cursor --------------------------------------------------------------------------------------
    def cursor(self, uow: Connection, chain_id: ChainId) -> BlockRef | None:
        columns = (m.chain_cursors.c.block_number, m.chain_cursors.c.block_hash)
        with txrows.sense(f"the cursor of chain {chain_id}"):
            row = uow.execute(select(*columns).where(m.chain_cursors.c.chain_id == chain_id)).one_or_none()
        return None if row is None else BlockRef(number=row.block_number, hash=BlockHash(row.block_hash))

    def set_cursor(self, uow: Connection, chain_id: ChainId, block: BlockRef) -> None:
        values = {"block_number": block.number, "block_hash": block.hash}
        if _insert_new(uow, m.chain_cursors, [{"chain_id": chain_id, **values}], key="chain_id") == 0:
            statement = update(m.chain_cursors).where(m.chain_cursors.c.chain_id == chain_id).values(**values)
            _must_hit(uow, statement, 1, f"cursor of chain {chain_id}")

    def _load(self, uow: Connection, lane: Lane) -> LaneLoad:
        rows = uow.execute(
            select(m.txs.c.id, m.intents.c.value_wei, m.attempts.c.max_fee_wei, m.attempts.c.gas_limit)
            .join(m.intents, m.intents.c.id == m.txs.c.intent_id)
            .outerjoin(m.attempts, m.attempts.c.tx_id == m.txs.c.id)
            .where(_of_lane(m.txs, lane), m.txs.c.state.in_(UNMINED_TX_STATES))
        ).all()
        # In Python: no money is added up in SQL.
        values = {tx_id: value for tx_id, value, _, _ in rows}
        costs: dict[TxId, int] = {}
        for tx_id, _, max_fee_wei, gas_limit in rows:
            if max_fee_wei is not None:
                costs[tx_id] = max(costs.get(tx_id, 0), max_fee_wei * gas_limit)
        is_open = and_(_of_lane(m.txs, lane), m.txs.c.state.in_(OPEN_TX_STATES))
        opened = uow.execute(select(func.count()).where(is_open)).scalar_one()
        committed = sum(values.values()) + sum(costs.values())
        last = uow.execute(select(func.max(m.txs.c.nonce)).where(_of_lane(m.txs, lane))).scalar_one()
        return LaneLoad(unmined=len(values), open=opened, committed_wei=committed, last_nonce=last)

    def _move(self, uow: Connection, tx_id: TxId, after: TxState, *, now_ms: int, **values: Any) -> None:
        before = [state for state in TxState if after in TX_TRANSITIONS[state]]
        statement = (
            update(m.txs)
            .where(m.txs.c.id == tx_id, m.txs.c.state.in_(before))
            .values(state=after, updated_ms=now_ms, **values)
        )
        _must_hit(uow, statement, 1, f"slot {tx_id} cannot become {after}")


def _of_lane(table: Any, lane: Lane) -> ColumnElement[bool]:
    return and_(table.c.chain_id == lane.chain_id, table.c.wallet == lane.wallet)


def _size(uow: Connection, plan_id: PlanId) -> int:
    """How many intents a plan has. Raises: StaleState: none."""
    size: int = uow.execute(select(func.count()).where(m.intents.c.plan_id == plan_id)).scalar_one()
    if not size:
        raise StaleState(f"plan {plan_id} does not exist or is empty")
    return size


def _must_hit(uow: Connection, statement: Update, rows: int, what: str) -> None:
    try:
        hit = uow.execute(statement).rowcount
    except IntegrityError as exc:
        # The rows broke a rule of the schema before: only what is written past it does.
        raise UnusableRow(f"{what}: the row breaks a rule of its table") from exc
    if hit != rows:
        raise StaleState(f"{what} ({hit} of {rows} rows)")


def _insert_new(uow: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: str) -> int:
    """Insert the rows whose unique keys are new; how many those were.

    `ON CONFLICT DO NOTHING` rather than a caught error: on PostgreSQL an error spoils the whole transaction.
    """
    dialect = postgresql if uow.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(table.c[key])
    return len(uow.execute(statement, list(rows)).all())
