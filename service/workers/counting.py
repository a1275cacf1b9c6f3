"""The engine's store and observer with counters and the audit log beside them.

Guarantees: what they promise is unchanged; a counter never decides anything; a lane that is held, and a plan of which
a stored row was changed, leave an audit line. A unit of work that is rolled back has been counted and
logged all the same.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Connection, func, select, type_coerce
from sqlalchemy.types import NullType

from chains.config import ChainConfig
from chains.tx.model import Attempt, AttemptKind, Intent, Lane, Plan, Tx
from chains.tx.reasons import HoldCode, RejectCode
from chains.tx.store import Clock, TxObserver
from chains.types import Receipt, TxHash
from service.auth.authority import contained
from service.db import models as m
from service.db.txstore import SqlTxStore
from service.observability.metrics import Metrics

_CREATED: Final = select(type_coerce(m.plans.c.created_ms, NullType()))
_CHANGED: Final = (RejectCode.PAYLOAD_MISMATCH, RejectCode.UNUSABLE_ROW, RejectCode.SIGNED_BEFORE)
_audit: Final = structlog.get_logger("cambist.audit")


class CountingStore(SqlTxStore):
    """`SqlTxStore` that counts first attempts, bumps and cancels, and audits holds."""

    def __init__(self, config: ChainConfig, metrics: Metrics) -> None:
        self._chain: Final = config.key
        self._attempts: Final = metrics.attempts

    def save_attempts(
        self, uow: Connection, attempts: Sequence[Attempt], now_ms: int, *, after: Collection[TxHash] = ()
    ) -> None:
        super().save_attempts(uow, attempts, now_ms, after=after)
        of = m.attempts.c.tx_id.in_([attempt.tx_id for attempt in attempts])
        made = select(m.attempts.c.tx_id, func.count().label("made")).where(of).group_by(m.attempts.c.tx_id)
        replaced = {row.tx_id for row in uow.execute(made) if row.made > 1}
        for attempt in attempts:
            real = "bump" if attempt.tx_id in replaced else "first"
            self._attempts.labels(self._chain, "cancel" if attempt.kind is AttemptKind.CANCEL else real).inc()

    def hold_lane(self, uow: Connection, lane: Lane, reason: str | None) -> None:
        super().hold_lane(uow, lane, reason)
        if reason is not None:
            changed = reason.partition(":")[0] in (HoldCode.PAYLOAD_MISMATCH, HoldCode.UNUSABLE_ROW)
            (_audit.critical if changed else _audit.error)(
                "wallet_held", chain=self._chain, wallet=lane.wallet, reason=reason
            )


class TimingObserver:
    """`TxObserver[Connection]` that times confirmations, and keeps what a row makes impossible to its own slot."""

    def __init__(self, inner: TxObserver[Connection], config: ChainConfig, *, metrics: Metrics, clock: Clock) -> None:
        self._inner: Final = inner
        self._chain: Final = config.key
        self._confirm_seconds: Final = metrics.confirm_seconds
        self._clock: Final = clock

    def on_rejected(self, uow: Connection, plan: Plan, reason: str) -> None:
        with contained():
            self._inner.on_rejected(uow, plan, reason)
        if reason.partition(":")[0] in _CHANGED:
            _audit.critical("payload_changed", chain=self._chain, wallet=plan.lane.wallet, plan=plan.id, reason=reason)

    def on_placed(self, uow: Connection, plan: Plan, txs: Sequence[Tx]) -> None:
        with contained():
            self._inner.on_placed(uow, plan, txs)

    def on_sent(self, uow: Connection, sent: Sequence[tuple[Intent, Tx]]) -> None:
        with contained():
            self._inner.on_sent(uow, sent)

    def on_mined(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        with contained():
            self._inner.on_mined(uow, intent, tx, receipt)

    def on_confirmed(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        with contained():
            self._inner.on_confirmed(uow, intent, tx, receipt)
        accepted_ms: Any = uow.execute(_CREATED.where(m.plans.c.id == intent.plan_id)).scalar_one_or_none()
        if isinstance(accepted_ms, int):  # else somebody else wrote it
            # Seconds of a duration, not of money.
            seconds = (self._clock.now_ms() - accepted_ms) / 1000
            self._confirm_seconds.labels(self._chain, str(tx.outcome)).observe(seconds)

    def on_final(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        with contained():
            self._inner.on_final(uow, intent, tx)

    def on_reorged(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        with contained():
            self._inner.on_reorged(uow, intent, tx)

    def on_superseded(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        with contained():
            self._inner.on_superseded(uow, intent, tx)
