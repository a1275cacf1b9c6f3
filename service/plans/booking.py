"""What a confirmed transaction did to a wallet, written to the books, and what undoes it after a deep reorg.

Guarantees: only the wallet's own transactions are booked here, from their receipts: balance changes and the gas
paid, once a confirmation, with one `balance` event. Not guaranteed: transfers that others made to the wallet; those
show as unexplained in the reconciliation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from chains.config import ChainConfig
from chains.tx.model import Intent, Outcome, Tx
from chains.types import CallRequest, Receipt
from chains.units import format_units
from contracts.assets import AssetList
from contracts.deployments import Deployments
from contracts.effects import AssetDelta, balance_changes
from service.db.models import journal_entries
from service.journal import books
from service.journal.books import Cause, Change

EVENT: Final = "balance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The order or withdrawal behind a plan, as far as the books need it. `id` goes into the entries."""

    id: str
    cause: Cause
    account_id: int
    wallet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBooks:
    """Books the transactions of one chain."""

    config: ChainConfig
    assets: AssetList
    deployments: Deployments

    def book(
        self, c: Connection, intent: Intent, *, tx: Tx, receipt: Receipt, subject: Subject, now_ms: int
    ) -> Sequence[AssetDelta]:
        """Append what the transaction moved and the gas it paid; the answer is what it moved, without gas."""
        deltas = self.moved(intent, tx=tx, receipt=receipt)
        gas = Change(asset_id=self.assets.native.id, raw=-receipt.fee_wei, cause="gas")
        changes = [*(Change(asset_id=delta.asset.id, raw=delta.raw) for delta in deltas), gas]
        books.record(
            c,
            account_id=subject.account_id,
            wallet_id=subject.wallet_id,
            changes=changes,
            cause=subject.cause,
            cause_id=subject.id,
            tx_hash=receipt.tx_hash,
            block=receipt.block,
            event_kind=EVENT,
            event_payload=self._payload(intent, tx=tx, subject=subject, changes=changes),
            now_ms=now_ms,
        )
        return deltas

    def unbook(self, c: Connection, intent: Intent, *, tx: Tx, subject: Subject, now_ms: int) -> int:
        """Append what undoes a transaction whose block left the chain; the answer is the gas that came back, wei."""
        if tx.mined_hash is None:
            return 0
        gas_wei = self._gas_booked(c, tx=tx, wallet_id=subject.wallet_id)
        seq = books.reverse(
            c,
            account_id=subject.account_id,
            wallet_id=subject.wallet_id,
            tx_hash=tx.mined_hash,
            cause_id=subject.id,
            block=tx.block,
            event_kind=EVENT,
            event_payload=self._payload(intent, tx=tx, subject=subject, changes=()) | {"reversed": True},
            now_ms=now_ms,
        )
        return 0 if seq is None else gas_wei

    def moved(self, intent: Intent, *, tx: Tx, receipt: Receipt) -> Sequence[AssetDelta]:
        """The wallet's balance changes by this receipt, without gas. A self-send that closed the slot moves nothing."""
        wallet = intent.lane.wallet
        call = CallRequest(to=wallet) if tx.outcome is Outcome.CANCELLED else intent.call
        return balance_changes(receipt, call=call, wallet=wallet, assets=self.assets, deployments=self.deployments)

    def _gas_booked(self, c: Connection, *, tx: Tx, wallet_id: int) -> int:
        # The newest gas line of the transaction is the one that stands: every earlier one has its reversal.
        raw = c.execute(
            select(journal_entries.c.raw)
            .where(
                journal_entries.c.wallet_id == wallet_id,
                journal_entries.c.tx_hash == tx.mined_hash,
                journal_entries.c.cause == "gas",
            )
            .order_by(journal_entries.c.id.desc())
            .limit(1)
        ).scalar_one_or_none()
        return 0 if raw is None else int(raw)

    def _payload(self, intent: Intent, *, tx: Tx, subject: Subject, changes: Sequence[Change]) -> dict[str, Any]:
        block = tx.block
        return {
            "chain": self.config.key,
            "wallet": intent.lane.wallet,
            "cause": subject.cause,
            "cause_id": subject.id,
            "tx_hash": tx.mined_hash,
            "outcome": tx.outcome.value,
            "block": None if block is None else {"number": block.number, "hash": block.hash},
            "changes": [self._change(change, subject) for change in changes],
        }

    def _change(self, change: Change, subject: Subject) -> dict[str, str]:
        asset = self.assets.by_id(change.asset_id)
        return {
            "asset": asset.symbol,
            "asset_id": asset.id,
            "amount": format_units(change.raw, asset.decimals),
            "cause": change.cause or subject.cause,
        }
