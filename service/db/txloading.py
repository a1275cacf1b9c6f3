"""Reading plans and open slots whole, so that a row that makes no sense keeps no other from being read.

Guarantees: of many, all that can be read are, with a number of statements that grows with how many cannot; a slot that
cannot be read, by any row of it, is found by what is missing (`unusable`), with the lane that its rows, its intent's or
its plan's name; a plan that cannot be read is handed out by its id, as `unusable`.
Not guaranteed: that a row whose state or chain was changed into another is found at all: it is then not asked for.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, select, type_coerce
from sqlalchemy.types import NullType

from chains.tx.model import Attempt, Intent, IntentState, Lane, OpenTx, Plan, PlanId, TxId, Unusable
from chains.tx.store import UnusableRow
from chains.types import Address, ChainId, address_from_bytes
from service.db import models as m
from service.db import txrows

T = TypeVar("T")
V = TypeVar("V")

GROUP: Final = 500
"""Values in one IN list: far below the parameter limits (SQLite 32,766, PostgreSQL's protocol 32,767)."""
ADDRESS_BYTES: Final = 20

SLOTS: Final = (
    select(m.txs, m.tx_wishes.c.wish, m.tx_wishes.c.reason.label("wish_reason"), m.tx_notes.c.note)
    .outerjoin(m.tx_wishes, m.tx_wishes.c.tx_id == m.txs.c.id)
    .outerjoin(m.tx_notes, m.tx_notes.c.tx_id == m.txs.c.id)
)


def groups(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """In parts that fit an IN list."""
    for start in range(0, len(values), GROUP):
        yield values[start : start + GROUP]


def sifted(ids: Sequence[T], load: Callable[[Sequence[T]], Sequence[V]]) -> list[V]:
    """What `load` makes of the ids, but for those on which it raises `UnusableRow`: halved until they are found."""
    if not ids:
        return []
    try:
        return list(load(ids))
    except UnusableRow:
        if len(ids) == 1:
            return []
    middle = len(ids) // 2
    return [*sifted(ids[:middle], load), *sifted(ids[middle:], load)]


# -- slots --------------------------------------------------------------------------------------------


def open_slots(uow: Connection, is_open: ColumnElement[bool]) -> list[OpenTx]:
    """The slots for which that holds, each with its intent and attempts; without those that make no sense."""
    try:
        return _slots(uow, is_open)
    except UnusableRow:
        ids: Sequence[int] = uow.execute(select(m.txs.c.id).where(is_open)).scalars().all()
        found = [
            slot
            for group in groups(ids)
            for slot in sifted(group, lambda some: _slots(uow, and_(m.txs.c.id.in_(some), is_open)))
        ]
        return sorted(found, key=_place)


def unusable(
    uow: Connection, chain_id: ChainId, loaded: Sequence[OpenTx], *, which: ColumnElement[bool]
) -> list[Unusable]:
    """The chain's slots for which that holds and that are not among `loaded`."""
    known = {slot.tx.id for slot in loaded}
    ids = uow.execute(select(m.txs.c.id).where(which)).scalars()
    return [
        Unusable(tx_id=TxId(tx_id), lane=_lane_of_slot(uow, chain_id, TxId(tx_id)))
        for tx_id in ids.all()
        if tx_id not in known
    ]


def _slots(uow: Connection, is_open: ColumnElement[bool]) -> list[OpenTx]:
    """Raises: UnusableRow."""
    with txrows.sense("an open slot"):
        slots = [txrows.tx(row) for row in uow.execute(SLOTS.where(is_open))]
        wanted = uow.execute(select(m.intents).where(m.intents.c.id.in_(select(m.txs.c.intent_id).where(is_open))))
        intents = {row.id: txrows.intent(row) for row in wanted}
        made: defaultdict[TxId, list[Attempt]] = defaultdict(list)
        for row in uow.execute(select(m.attempts).join(m.txs, m.txs.c.id == m.attempts.c.tx_id).where(is_open)):
            made[row.tx_id].append(txrows.attempt(row))
        plans = select(m.plans.c.id, m.plans.c.valid_until_ms).where(
            m.plans.c.valid_until_ms.is_not(None),
            m.plans.c.id.in_(
                select(m.intents.c.plan_id).where(m.intents.c.id.in_(select(m.txs.c.intent_id).where(is_open)))
            ),
        )
        until = {row.id: row.valid_until_ms for row in uow.execute(plans)}
        return [
            OpenTx(
                tx=tx,
                intent=txrows.restored(intents[tx.intent_id], made[tx.id]),
                attempts=oldest_first(made[tx.id]),
                valid_until_ms=until.get(intents[tx.intent_id].plan_id),
            )
            for tx in sorted(slots, key=lambda tx: (tx.lane, tx.nonce))
        ]


def _place(slot: OpenTx) -> tuple[Lane, int]:
    return slot.tx.lane, slot.tx.nonce


def oldest_first(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """A slot's, by fees, of which each has more than all before it: times are of several processes' clocks."""
    return tuple(sorted(attempts, key=lambda a: (a.fees.max_fee_wei, a.fees.priority_fee_wei, a.created_ms)))


def _lane_of_slot(uow: Connection, chain_id: ChainId, tx_id: TxId) -> Lane | None:
    """What the slot's own row says, else its intent's, else its plan's."""
    slot, intent = m.txs.c.id == tx_id, m.intents.c.id == m.txs.c.intent_id
    for query in (
        select(m.txs.c.wallet).where(slot),
        select(m.intents.c.wallet).join(m.txs, intent).where(slot),
        select(m.plans.c.wallet).join(m.intents, m.intents.c.plan_id == m.plans.c.id).join(m.txs, intent).where(slot),
    ):
        lane = _lane(uow, chain_id, query)
        if lane is not None:
            return lane
    return None


def _lane(uow: Connection, chain_id: ChainId, query: Select[Any]) -> Lane | None:
    try:
        with txrows.sense("a lane"):
            wallet = uow.execute(query.limit(1)).scalar_one_or_none()
    except UnusableRow:
        return None
    return None if wallet is None else Lane(chain_id=chain_id, wallet=wallet)


# -- plans --------------------------------------------------------------------------------------------


def plan(uow: Connection, plan_id: PlanId) -> Plan | None:
    """Raises: UnusableRow."""
    with txrows.sense(f"plan {plan_id}"):
        row = uow.execute(select(m.plans).where(m.plans.c.id == plan_id)).one_or_none()
        return None if row is None else _whole_plans(uow, [row])[0]


def plans_of_lane(uow: Connection, lane: Lane, which: ColumnElement[bool], *, most: int) -> list[Plan]:
    """The oldest plans for which that holds, as the lane's: those that make no sense as `unusable`."""
    query = select(m.plans).where(which).order_by(m.plans.c.sequence).limit(most)
    try:
        with txrows.sense("a plan"):
            return _whole_plans(uow, uow.execute(query).all())
    except UnusableRow:
        ids: Sequence[Any] = uow.execute(query.with_only_columns(_raw(m.plans.c.id))).scalars().all()
        # Text that is none names nothing.
        return [_alone(uow, PlanId(plan_id), lane) for plan_id in ids if type(plan_id) is str]


def lanes_queued(uow: Connection, chain_id: ChainId) -> list[Lane]:
    """Lanes with queued intents."""
    return sorted(Lane(chain_id=chain_id, wallet=wallet) for wallet in _queued_wallets(uow, chain_id)[0])


def astray(uow: Connection, chain_id: ChainId) -> list[Plan]:
    """Plans with queued intents of a wallet that is no address, as `unusable`, as far as their own rows name a lane."""
    plans: list[Plan] = []
    for stored in _queued_wallets(uow, chain_id)[1]:
        query = select(m.intents.c.plan_id).where(
            m.intents.c.chain_id == chain_id,
            m.intents.c.state == IntentState.QUEUED,
            _raw(m.intents.c.wallet) == stored,
        )
        for plan_id in uow.execute(query.distinct()).scalars().all():
            lane = _lane(uow, chain_id, select(m.plans.c.wallet).where(m.plans.c.id == plan_id))
            if lane is not None:
                plans.append(_unusable(PlanId(plan_id), lane))
    return plans


def _queued_wallets(uow: Connection, chain_id: ChainId) -> tuple[list[Address], list[Any]]:
    """Addresses, and what is stored in place of some."""
    query = (
        select(_raw(m.intents.c.wallet))
        .distinct()
        .where(m.intents.c.chain_id == chain_id, m.intents.c.state == IntentState.QUEUED)
    )
    found = [(stored, address_of(stored)) for stored in uow.execute(query).scalars()]
    return [wallet for _, wallet in found if wallet is not None], [stored for stored, wallet in found if wallet is None]


def address_of(stored: Any) -> Address | None:
    """What is stored in an address's column, read as no type; None: it is none."""
    is_one = isinstance(stored, bytes | memoryview) and len(stored) == ADDRESS_BYTES
    return address_from_bytes(bytes(stored)) if is_one else None


def _raw(column: Column[Any]) -> ColumnElement[Any]:
    """Whatever is stored there, looked at by nobody."""
    return type_coerce(column, NullType())


def _alone(uow: Connection, plan_id: PlanId, lane: Lane) -> Plan:
    try:
        found = plan(uow, plan_id)
    except UnusableRow:
        found = None
    return _unusable(plan_id, lane) if found is None else found


def _unusable(plan_id: PlanId, lane: Lane) -> Plan:
    return Plan(id=plan_id, lane=lane, intents=(), created_ms=0, unusable=True)


def _whole_plans(uow: Connection, rows: Sequence[Row[Any]]) -> list[Plan]:
    """The plans of these rows with their intents, in the order given."""
    intents: defaultdict[str, list[Intent]] = defaultdict(list)
    for group in groups([row.id for row in rows]):
        of = select(m.intents).where(m.intents.c.plan_id.in_(group)).order_by(m.intents.c.position)
        for intent in uow.execute(of):
            intents[intent.plan_id].append(txrows.intent(intent))
    return [
        Plan(
            id=PlanId(row.id),
            lane=Lane(chain_id=ChainId(row.chain_id), wallet=row.wallet),
            intents=tuple(intents[row.id]),
            created_ms=row.created_ms,
            valid_until_ms=row.valid_until_ms,
        )
        for row in rows
    ]
