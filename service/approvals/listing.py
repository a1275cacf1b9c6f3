"""Withdrawals that need or needed a second person, decoded for whoever decides.

Guarantees: what a list shows is what its clearance is bound to; one that is not, or whose clearance, key or destination
has a wrong MAC, is only named (`unusable`), and never as something to approve. One alone that is not what its clearance
is bound to is shown with that said (`intact`), and nobody may approve it. A key is shown what it is for (`Scope`), and
not that there is more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from chains.types import ChainId
from contracts.assets import AssetId
from service.approvals.clearances import Clearance, binding_of, clearance_of
from service.approvals.deciding import Decider, why_not_theirs
from service.approvals.model import ClearState
from service.approvals.named import Named, named_by
from service.auth.authority import UNREADABLE, Sifted, Tampered
from service.auth.callers import Caller
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.db.models import clearances, users, withdrawals
from service.withdrawals.model import Withdrawal, WithdrawalState
from service.withdrawals.storage import withdrawal_of_account

EXPIRED = "expired"
CLOSED = "closed"
"""It ended without a decision: cancelled, its key revoked, or given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a key is for; None: all chains, all assets."""

    wallet_id: int
    chains: frozenset[ChainId] | None
    assets: frozenset[AssetId] | None

    def conditions(self) -> Sequence[ColumnElement[bool]]:
        w = withdrawals.c
        found = [w.wallet_id == self.wallet_id]
        found += [] if self.chains is None else [w.chain_id.in_(sorted(self.chains))]
        return found + ([] if self.assets is None else [w.asset.in_(sorted(self.assets))])


def scope_of(caller: Caller | SessionCaller) -> Scope | None:
    """None: a person, who sees the whole account."""
    if isinstance(caller, SessionCaller):
        return None
    limited = caller.key.restrictions
    return Scope(wallet_id=caller.key.wallet_id, chains=limited.chains, assets=limited.assets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One of them. `state` is what it comes to now; `address_name` what the account's book calls the destination,
    `address_added_ms` since when it has it."""

    withdrawal: Withdrawal
    clearance: Clearance
    state: str
    intact: bool
    may_approve: bool
    requester: str | None
    key_label: str
    decided_by: str | None
    address_name: str | None
    address_added_ms: int | None


def list_seen(
    c: Connection,
    account_id: int,
    *,
    decider: Decider | None,
    scope: Scope | None,
    pending: bool,
    before_id: int | None,
    limit: int,
    master: MasterKey,
    now_ms: int,
) -> Sifted[Seen]:
    """Those of the account, newest first, below `before_id`; with `pending` only what waits.

    One that was altered keeps no other one from being seen.
    """
    t = clearances.join(withdrawals, withdrawals.c.id == clearances.c.withdrawal_id)
    query = (
        select(clearances.c.withdrawal_id)
        .select_from(t)
        .where(clearances.c.account_id == account_id, clearances.c.state != ClearState.CLEAR)
        .order_by(clearances.c.withdrawal_id.desc())
        .limit(limit)
    )
    if pending:
        query = query.where(
            clearances.c.state == ClearState.PENDING,
            clearances.c.ended_ms.is_(None),
            clearances.c.expires_ms > now_ms,
            withdrawals.c.state == WithdrawalState.AWAITING_APPROVAL,
        )
    if scope is not None:
        query = query.where(*scope.conditions())
    if before_id is not None:
        query = query.where(clearances.c.withdrawal_id < before_id)
    ids = c.execute(query).scalars().all()
    seen: list[Seen] = []
    unusable: list[str] = []
    for withdrawal_id in ids:
        try:
            one = look(c, account_id, withdrawal_id, decider=decider, master=master, now_ms=now_ms)
        except (Tampered, *UNREADABLE):
            unusable.append(str(withdrawal_id))
            continue
        if one is not None and one.intact:
            seen.append(one)
        elif one is not None:
            unusable.append(str(withdrawal_id))
    return Sifted(table=clearances.name, intact=seen, unusable=unusable)


def is_within(c: Connection, withdrawal_id: int, scope: Scope | None) -> bool:
    """Whether a key with that scope is shown the withdrawal."""
    if scope is None:
        return True
    mine = select(withdrawals.c.id).where(withdrawals.c.id == withdrawal_id, *scope.conditions())
    return c.execute(mine).first() is not None


def look(
    c: Connection, account_id: int, withdrawal_id: int, *, decider: Decider | None, master: MasterKey, now_ms: int
) -> Seen | None:
    """One of the account's; None: there is none, or it needed nobody. Raises: Tampered."""
    withdrawal = withdrawal_of_account(c, withdrawal_id, account_id=account_id)
    clearance = None if withdrawal is None else clearance_of(c, withdrawal_id, master=master)
    if withdrawal is None or clearance is None or clearance.state is ClearState.CLEAR:
        return None
    state = _state(withdrawal, clearance, now_ms)
    refusal = None if decider is None else why_not_theirs(decider, withdrawal, clearance, now_ms=now_ms)
    named = _named(c, withdrawal, master=master)
    entry = None if named is None else named.entry
    intact = named is not None and clearance.binding == binding_of(withdrawal)
    return Seen(
        withdrawal=withdrawal,
        clearance=clearance,
        state=state,
        intact=intact,
        may_approve=decider is not None and refusal is None and intact and state == ClearState.PENDING,
        requester=_user_name(c, clearance.requester_id),
        key_label="?" if named is None else named.key_label,
        decided_by=_user_name(c, clearance.decider_id),
        address_name=None if entry is None else entry.name,
        address_added_ms=None if entry is None else entry.created_ms,
    )


def _named(c: Connection, withdrawal: Withdrawal, *, master: MasterKey) -> Named | None:
    """None where something of it was altered: that must not keep somebody from rejecting the withdrawal."""
    try:
        return named_by(c, withdrawal, master=master)
    except Tampered:
        return None


def _state(withdrawal: Withdrawal, clearance: Clearance, now_ms: int) -> str:
    if clearance.state is not ClearState.PENDING:
        return clearance.state.value
    # A state that was put back in the database brings nothing back that has ended.
    if withdrawal.state is WithdrawalState.AWAITING_APPROVAL and clearance.ended_ms is None:
        return EXPIRED if clearance.is_late(now_ms) else ClearState.PENDING.value
    return EXPIRED if (withdrawal.reason or "").startswith("approval_expired") else CLOSED


def _user_name(c: Connection, user_id: int | None) -> str | None:
    return None if user_id is None else c.execute(select(users.c.name).where(users.c.id == user_id)).scalar_one()
