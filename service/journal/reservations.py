"""Amounts that accepted plans and resting orders will need: held when they are accepted, released once when settled.

    hold            -> plan               accepted, and queued
    hold_for_order  -> order              accepted, and rests
    move_to_plan       order -> plan      triggered: the same rows, raised where the plan takes more
    move_to_order      plan -> order      its try came to nothing, and the order rests again
    release            plan  -> free
    release_order      order -> free      cancelled or expired while it rested

Guarantees: a row has one holder at any time, and moves with all its amounts or not at all; a holder holds each asset at
most once; a hold is released once, and `release` says whether this call did it; with `available` given, concurrent
holds of one wallet never add up to more than is there (units of work are serial on SQLite and serializable on
PostgreSQL, so what was read as free is still free at the commit).
Not guaranteed: that the chain still has the amount (a balance is as old as its block), nor that a plan uses all
that it holds. A reservation is not a journal entry: it moves nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from chains.tx.model import PlanId, TxState
from chains.tx.store import StaleState
from chains.types import Address, ChainId
from contracts.assets import AssetId
from service.db.models import intents, reservations, txs


class AlreadyHeld(Exception):
    """The plan or order has a reservation already (held, or held and released)."""


class NotEnoughFree(Exception):
    """Less is free of an asset than the plan needs. Amounts are base units; `free` is never negative."""

    def __init__(self, asset_id: AssetId, *, wanted: int, free: int) -> None:
        super().__init__(f"{asset_id}: {wanted} wanted, {free} free")
        self.asset_id = asset_id
        self.wanted = wanted
        self.free = free


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What an open plan or a resting order holds of one asset, in base units. `mined_at`: the height by which all of
    the plan was mined, or None."""

    asset_id: AssetId
    raw: int
    mined_at: int | None


def hold(
    c: Connection,
    *,
    account_id: int,
    wallet_id: int,
    chain_id: ChainId,
    plan_id: PlanId,
    amounts: Mapping[AssetId, int],
    now_ms: int,
    available: Mapping[AssetId, int] | None = None,
    available_at: int | None = None,
) -> None:
    """Hold the amounts for a plan (stored before, in the same unit of work). Amounts of zero are left out.

    `available`: the wallet's balances that the caller read on the chain. With it the hold is made only if, of every
    asset, balance less what other plans hold covers it; an asset missing there counts as none. `available_at` is
    the height they were read at: plans mined by then have taken theirs. Without it all open plans count.

    Raises:
        NotEnoughFree: `available` was given and does not cover the amounts.
        AlreadyHeld: the plan has held before.
    """
    rows = {"account_id": account_id, "wallet_id": wallet_id, "chain_id": chain_id, "created_ms": now_ms}
    row, holder = {**rows, "plan_id": plan_id}, reservations.c.plan_id == plan_id
    _hold(c, row, holder=holder, amounts=amounts, available=available, available_at=available_at)


def hold_for_order(
    c: Connection,
    *,
    account_id: int,
    wallet_id: int,
    chain_id: ChainId,
    order_id: int,
    amounts: Mapping[AssetId, int],
    now_ms: int,
    available: Mapping[AssetId, int] | None = None,
    available_at: int | None = None,
) -> None:
    """`hold`, for an order that rests (stored before, in the same unit of work). Raises: as `hold`."""
    rows = {"account_id": account_id, "wallet_id": wallet_id, "chain_id": chain_id, "created_ms": now_ms}
    row, holder = {**rows, "order_id": order_id}, reservations.c.order_id == order_id
    _hold(c, row, holder=holder, amounts=amounts, available=available, available_at=available_at)


def move_to_plan(
    c: Connection,
    order_id: int,
    plan_id: PlanId,
    *,
    amounts: Mapping[AssetId, int],
    available: Mapping[AssetId, int],
    available_at: int | None,
    now_ms: int,
) -> None:
    """What a resting order holds becomes the hold of its plan, which needs `amounts`.

    Never less than was held; where the plan takes more (gas has become dearer), the balance has to cover that.

    Raises:
        StaleState: the order holds nothing (any more).
        NotEnoughFree: balance less what others hold does not cover the amounts.
    """
    rows = c.execute(
        select(reservations).where(reservations.c.order_id == order_id, reservations.c.released_ms.is_(None))
    ).all()
    if not rows:
        raise StaleState(f"order {order_id} holds nothing")
    own = {AssetId(row.asset): int(row.raw) for row in rows}
    others = dict(still_held(holds(c, rows[0].wallet_id, ChainId(rows[0].chain_id)), at=available_at))
    for asset, raw in own.items():
        others[asset] -= raw
    for asset, wanted in amounts.items():
        free = max(0, available.get(asset, 0) - others.get(asset, 0))
        if wanted > free:
            raise NotEnoughFree(asset, wanted=wanted, free=free)
    _move(c, reservations.c.order_id == order_id, rows=len(own), plan_id=plan_id, order_id=None)
    for asset, wanted in amounts.items():
        of_asset = and_(reservations.c.plan_id == plan_id, reservations.c.asset == asset)
        if wanted and asset not in own:
            row = {"account_id": rows[0].account_id, "wallet_id": rows[0].wallet_id, "chain_id": rows[0].chain_id}
            _insert(c, {**row, "plan_id": plan_id, "created_ms": now_ms}, {asset: wanted})
        elif wanted > own.get(asset, 0):
            c.execute(update(reservations).where(of_asset).values(raw=wanted))


def move_to_order(c: Connection, plan_id: PlanId, order_id: int) -> bool:
    """What a plan holds becomes the hold of the order, which rests again. False: the plan holds nothing (any more)."""
    held_now = and_(reservations.c.plan_id == plan_id, reservations.c.released_ms.is_(None))
    moved = c.execute(update(reservations).where(held_now).values(plan_id=None, order_id=order_id))
    return moved.rowcount > 0


def release(c: Connection, plan_id: PlanId, now_ms: int) -> bool:
    """Release what the plan holds. True if this call released it, False if nothing was held (any more)."""
    released = c.execute(
        update(reservations)
        .where(reservations.c.plan_id == plan_id, reservations.c.released_ms.is_(None))
        .values(released_ms=now_ms)
    )
    return released.rowcount > 0


def release_order(c: Connection, order_id: int, now_ms: int) -> bool:
    """Release what a resting order holds. True if this call released it, False if nothing was held (any more)."""
    released = c.execute(
        update(reservations)
        .where(reservations.c.order_id == order_id, reservations.c.released_ms.is_(None))
        .values(released_ms=now_ms)
    )
    return released.rowcount > 0


def held(c: Connection, wallet_id: int, chain_id: ChainId) -> Mapping[AssetId, int]:
    """What open plans and resting orders of the wallet hold on a chain, by asset, in base units."""
    return still_held(holds(c, wallet_id, chain_id), at=None)


def still_held(found: Iterable[Hold], *, at: int | None) -> Mapping[AssetId, int]:
    """What is to be taken from a balance read at a height, by asset; without a height, all of it."""
    sums: dict[AssetId, int] = {}
    for one in found:
        if at is None or one.mined_at is None or one.mined_at > at:
            sums[one.asset_id] = sums.get(one.asset_id, 0) + one.raw
    return sums


def holds(c: Connection, wallet_id: int, chain_id: ChainId) -> Sequence[Hold]:
    """What open plans and resting orders of the wallet hold on a chain, row by row."""
    rows = c.execute(
        select(reservations.c.plan_id, reservations.c.asset, reservations.c.raw).where(
            reservations.c.wallet_id == wallet_id,
            reservations.c.chain_id == chain_id,
            reservations.c.released_ms.is_(None),
        )
    ).all()
    # Of what rests nothing was mined: all of it counts, at any height.
    mined_at = {
        plan_id: None if plan_id is None else _mined_at(c, plan_id) for plan_id in {row.plan_id for row in rows}
    }
    return [Hold(asset_id=row.asset, raw=row.raw, mined_at=mined_at[row.plan_id]) for row in rows]


def newest_mined(c: Connection, wallet: Address, chain_id: ChainId) -> int | None:
    """The height of the wallet's newest transaction that is known to be mined.

    Of a balance read at or above it, what `holds` says is true: a released hold's transaction has taken its amounts.
    """
    of_wallet = and_(txs.c.chain_id == chain_id, txs.c.wallet == wallet, txs.c.block_number.is_not(None))
    return c.execute(select(txs.c.block_number).where(of_wallet).order_by(txs.c.nonce.desc()).limit(1)).scalar()


def _hold(
    c: Connection,
    row: Mapping[str, Any],
    *,
    holder: ColumnElement[bool],
    amounts: Mapping[AssetId, int],
    available: Mapping[AssetId, int] | None,
    available_at: int | None,
) -> None:
    if c.execute(select(reservations.c.id).where(holder).limit(1)).first():
        raise AlreadyHeld(row.get("plan_id") or row["order_id"])
    wanted = {asset: raw for asset, raw in amounts.items() if raw}
    if available is not None:
        taken = still_held(holds(c, row["wallet_id"], row["chain_id"]), at=available_at)
        for asset, raw in wanted.items():
            free = max(0, available.get(asset, 0) - taken.get(asset, 0))
            if raw > free:
                raise NotEnoughFree(asset, wanted=raw, free=free)
    if wanted:
        _insert(c, row, wanted)


def _insert(c: Connection, row: Mapping[str, Any], amounts: Mapping[AssetId, int]) -> None:
    c.execute(insert(reservations), [{**row, "asset": asset, "raw": raw} for asset, raw in amounts.items()])


def _move(c: Connection, holder: ColumnElement[bool], *, rows: int, **to: Any) -> None:
    moved = c.execute(update(reservations).where(holder, reservations.c.released_ms.is_(None)).values(**to))
    if moved.rowcount != rows:
        raise StaleState(f"{moved.rowcount} of {rows} reservations were there to be moved")


def _mined_at(c: Connection, plan_id: PlanId) -> int | None:
    slot = and_(txs.c.intent_id == intents.c.id, txs.c.state != TxState.SUPERSEDED)
    found = c.execute(
        select(txs.c.block_number).select_from(intents.outerjoin(txs, slot)).where(intents.c.plan_id == plan_id)
    )
    heights = found.scalars().all()
    return None if not heights or None in heights else max(heights)
