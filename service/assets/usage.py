"""What stands in the way of taking an asset out of a list: what is under way with it, and balances in the books."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from chains.tx.model import TxState
from chains.types import ChainId
from contracts.assets import AssetId
from service.db.models import intents, order_plans, orders, reservations, transactions, txs, wallets, withdrawals
from service.journal import books
from service.journal.opening import openings
from service.orders.model import OPEN_STATES
from service.transactions.model import TransactionState
from service.withdrawals.model import WithdrawalState

_CLOSED = (WithdrawalState.FINAL, WithdrawalState.REJECTED, WithdrawalState.CANCELLED, WithdrawalState.FAILED)
_ENDED = (
    TransactionState.FINAL,
    TransactionState.REJECTED,
    TransactionState.CANCELLED,
    TransactionState.FAILED,
)
_SETTLED = (TxState.FINAL, TxState.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Ids of what is under way with the asset, and the wallets (by label) whose books have some of it, base units."""

    orders: tuple[int, ...]
    withdrawals: tuple[int, ...]
    transactions: tuple[int, ...]
    holds: int
    balances: tuple[tuple[str, int], ...]

    @property
    def under_way(self) -> bool:
        return bool(self.orders or self.withdrawals or self.transactions or self.holds)


def usage_of(c: Connection, asset: AssetId, *, chain_id: ChainId) -> Usage:
    """Who uses the asset. An order or withdrawal counts until its transactions are final: a reorg undoes them."""
    unsettled = (
        select(intents.c.plan_id)
        .join(txs, txs.c.intent_id == intents.c.id)
        .where(txs.c.state.not_in([str(state) for state in _SETTLED]))
    )
    tried = select(order_plans.c.order_id).where(order_plans.c.plan_id.in_(unsettled))
    in_orders = select(orders.c.id).where(
        or_(orders.c.base_asset == asset, orders.c.quote_asset == asset),
        or_(orders.c.state.in_([str(state) for state in sorted(OPEN_STATES)]), orders.c.id.in_(tried)),
    )
    in_withdrawals = select(withdrawals.c.id).where(
        withdrawals.c.asset == asset,
        or_(
            withdrawals.c.state.not_in([str(state) for state in _CLOSED]),
            withdrawals.c.plan_id.in_(unsettled),
        ),
    )
    called = select(transactions).where(
        transactions.c.chain_id == chain_id,
        or_(
            transactions.c.state.not_in([str(state) for state in _ENDED]),
            transactions.c.plan_id.in_(unsettled),
        ),
    )
    held = select(reservations.c.id).where(reservations.c.asset == asset, reservations.c.released_ms.is_(None))
    balances = []
    for wallet in c.execute(select(wallets.c.id, wallets.c.label).order_by(wallets.c.id)).all():
        opening = openings(c, wallet.id, chain_id=chain_id).get(asset)
        raw = 0 if opening is None else opening.raw
        after = {} if opening is None else {asset: opening.block.number}
        raw += books.totals(c, wallet.id, chain_id=chain_id, after=after).get(asset, 0)
        if raw:
            balances.append((wallet.label, raw))
    return Usage(
        orders=tuple(c.execute(in_orders.order_by(orders.c.id)).scalars()),
        withdrawals=tuple(c.execute(in_withdrawals.order_by(withdrawals.c.id)).scalars()),
        transactions=tuple(row.id for row in c.execute(called.order_by(transactions.c.id)) if _names(row, asset)),
        holds=len(c.execute(held).all()),
        balances=tuple(balances),
    )


def _names(row: Row[Any], asset: AssetId) -> bool:
    """Whether a transaction gives, approves or may take some of the asset."""
    return row.asset == asset or asset in (row.approvals or {}) or asset in (row.max_out or {})
