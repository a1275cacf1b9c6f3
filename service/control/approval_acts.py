"""Owner's act on approvals: seeing what waits for a second person. Deciding is for people, in their sessions."""

from typing import Any

from sqlalchemy import Connection, select

from service.approvals.model import ClearState
from service.build import Services
from service.control.params import NoParams
from service.db import models as m
from service.withdrawals.model import WithdrawalState

MOST = 200
"""Rows in one answer."""


async def list_(services: Services, params: NoParams) -> dict[str, Any]:
    """What waits in all accounts, oldest first."""
    joined = (
        m.clearances.join(m.withdrawals, m.withdrawals.c.id == m.clearances.c.withdrawal_id)
        .join(m.accounts, m.accounts.c.id == m.clearances.c.account_id)
        .join(m.api_keys, m.api_keys.c.id == m.withdrawals.c.key_id)
    )
    query = (
        select(
            m.clearances.c.withdrawal_id,
            m.clearances.c.why,
            m.clearances.c.expires_ms,
            m.withdrawals.c.asset,
            m.withdrawals.c.amount,
            m.withdrawals.c.destination,
            m.accounts.c.name,
            m.api_keys.c.label,
        )
        .select_from(joined)
        .where(
            m.clearances.c.state == ClearState.PENDING,
            m.clearances.c.expires_ms > services.clock.now_ms(),
            m.withdrawals.c.state == WithdrawalState.AWAITING_APPROVAL,
        )
        .order_by(m.clearances.c.withdrawal_id)
        .limit(MOST)
    )

    def read(c: Connection) -> list[dict[str, Any]]:
        return [
            {
                "withdrawal": row.withdrawal_id,
                "account": row.name,
                "asset": row.asset,
                "amount_raw": str(row.amount),
                "address": row.destination,
                "key": row.label,
                "why": row.why,
                "expires_ms": row.expires_ms,
            }
            for row in c.execute(query)
        ]

    return {"pending": await services.db.read(read)}
