"""Withdrawals that nobody approved in time: rejected, their funds released.

Guarantees: found by their rows, so that a restart loses none; each in a unit of work of its own, so that of several
processes one does it; one that cannot be ended (its chain is not described, its row was edited) keeps no other one; one
that is late is not approved any more, whether this has run or not (`deciding`).
"""

import asyncio
import contextlib
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection, select, type_coerce
from sqlalchemy.types import NullType

from chains.tx.store import StaleState, UnusableRow
from service.approvals.clearances import clearance_of
from service.approvals.model import ClearState
from service.audit.acts import APPROVAL_EXPIRED
from service.audit.appending import append
from service.audit.model import SYSTEM, NewEntry, Subject
from service.auth.authority import Tampered, contained
from service.build import Services
from service.db.models import clearances, withdrawals
from service.withdrawals.ending import reject_waiting
from service.withdrawals.model import WithdrawalState
from service.withdrawals.storage import withdrawal_of_account

EVERY_S: Final = 30.0
LATE_S: Final = 3 * EVERY_S
"""Without a sign of life for so long, the loop is called late."""
AT_ONCE: Final = 200
"""Withdrawals read at once."""
LOOP: Final = "approvals"
EXPIRED: Final = "approval_expired: nobody approved it in time"

_log: Final = structlog.get_logger("cambist.approvals")


async def run_expiring(services: Services, stop: asyncio.Event) -> None:
    """Look again and again until `stop`; at once when it starts."""
    services.heartbeats.expect(LOOP, within_s=LATE_S)
    while not stop.is_set():
        services.heartbeats.beat(LOOP)
        await expire_late(services)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await stop.wait()
    services.heartbeats.forget(LOOP)


async def expire_late(services: Services) -> int:
    """End what is late; how many those were."""
    ended = after_id = 0
    while page := await services.db.read(partial(_late, now_ms=services.clock.now_ms(), after_id=after_id)):
        for withdrawal_id, account_id in page:
            ended += await _ended(services, withdrawal_id, account_id)
        after_id = page[-1][0]
    return ended


async def _ended(services: Services, withdrawal_id: int, account_id: int) -> int:
    def work(c: Connection) -> int:
        with contained(but=(Tampered, LookupError)):
            return _expire(c, services, withdrawal_id, account_id)

    try:
        return await services.db.run(work)
    except UnusableRow as exc:
        _log.error("a late approval cannot be ended", withdrawal=withdrawal_id, reason=str(exc))
    except (StaleState, LookupError) as exc:
        # Decided at this moment, or of a chain that is not described any more.
        _log.info("a late approval stays", withdrawal=withdrawal_id, reason=str(exc))
    except Tampered as exc:
        # Of this one nothing is believed; the others go on.
        _log.error("an authority row was changed", withdrawal=withdrawal_id, reason=str(exc))
    return 0


def _late(c: Connection, *, now_ms: int, after_id: int) -> list[tuple[int, int]]:
    t = clearances.join(withdrawals, withdrawals.c.id == clearances.c.withdrawal_id)
    rows = c.execute(
        # As it is stored: one that is none spoils its own withdrawal, not the page.
        select(clearances.c.withdrawal_id, type_coerce(clearances.c.account_id, NullType()).label("account_id"))
        .select_from(t)
        .where(
            clearances.c.state == ClearState.PENDING,
            clearances.c.expires_ms <= now_ms,
            clearances.c.withdrawal_id > after_id,
            withdrawals.c.state == WithdrawalState.AWAITING_APPROVAL,
        )
        .order_by(clearances.c.withdrawal_id)
        .limit(AT_ONCE)
    )
    return [(row.withdrawal_id, row.account_id) for row in rows]


def _expire(c: Connection, services: Services, withdrawal_id: int, account_id: int) -> int:
    now_ms = services.clock.now_ms()
    withdrawal = withdrawal_of_account(c, withdrawal_id, account_id=account_id)
    clearance = clearance_of(c, withdrawal_id, master=services.master)
    if withdrawal is None or clearance is None or not clearance.is_late(now_ms):
        return 0
    if withdrawal.state is not WithdrawalState.AWAITING_APPROVAL:
        return 0
    reject_waiting(c, services, withdrawal, why=EXPIRED, now_ms=now_ms)
    entry = NewEntry(
        act=APPROVAL_EXPIRED,
        actor=SYSTEM,
        subject=Subject(kind="withdrawal", id=str(withdrawal_id)),
        account_id=account_id,
        details={"binding": clearance.binding, "why": str(clearance.why)},
    )
    append(c, [entry], master=services.master, now_ms=now_ms, chain=account_id)
    return 1
