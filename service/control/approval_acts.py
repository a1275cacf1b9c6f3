"""Owner's act on approvals: seeing what waits for a second person. Deciding is for people, in their sessions.

Guarantees: what is shown is what somebody would approve, as in their own list (`service.approvals.listing`); what was
altered in the database is only named.
"""

from typing import Any

from sqlalchemy import Connection, select

from service.accounts.people import get_account
from service.approvals import listing
from service.approvals.listing import Seen
from service.approvals.model import ClearState
from service.auth.authority import UNREADABLE, Tampered
from service.build import Services
from service.control.params import NoParams
from service.db import models as m
from service.withdrawals.model import WithdrawalState

MOST = 200
"""Rows in one answer."""


async def list_(services: Services, params: NoParams) -> dict[str, Any]:
    """What waits in all accounts, oldest first, and the ids of those that are not as the service wrote them."""
    now_ms, t = services.clock.now_ms(), m.clearances
    query = (
        select(t.c.withdrawal_id, t.c.account_id)
        .select_from(t.join(m.withdrawals, m.withdrawals.c.id == t.c.withdrawal_id))
        .where(
            t.c.state == ClearState.PENDING,
            t.c.ended_ms.is_(None),
            t.c.expires_ms > now_ms,
            m.withdrawals.c.state == WithdrawalState.AWAITING_APPROVAL,
        )
        .order_by(t.c.withdrawal_id)
        .limit(MOST)
    )

    def read(c: Connection) -> dict[str, Any]:
        shown: list[dict[str, Any]] = []
        unusable: list[str] = []
        for withdrawal_id, account_id in c.execute(query).all():
            try:
                seen = listing.look(
                    c, account_id, withdrawal_id, decider=None, master=services.master, now_ms=now_ms
                )  # fmt: skip
            except (Tampered, *UNREADABLE):
                seen = None
            if seen is None or not seen.intact:
                unusable.append(str(withdrawal_id))
            else:
                shown.append(_shown(c, seen))
        return {"pending": shown, "unusable": unusable}

    return await services.db.read(read)


def _shown(c: Connection, seen: Seen) -> dict[str, Any]:
    withdrawal, clearance = seen.withdrawal, seen.clearance
    account = get_account(c, clearance.account_id)
    return {
        "withdrawal": withdrawal.id,
        "account": "?" if account is None else account.name,
        "asset": withdrawal.asset,
        "amount_raw": str(withdrawal.amount),
        "address": withdrawal.destination,
        "key": seen.key_label,
        "why": None if clearance.why is None else str(clearance.why),
        "expires_ms": clearance.expires_ms,
    }
