"""Who decides about a withdrawal that needs a second person, and what becomes of it.

    a session       of an owner or approver of the account; to approve also a code of the authenticator
    a key           with withdraw, that an owner or approver of the account made in a session: it counts as that person

Guarantees: nobody decides about what they asked for themselves, with whatever key: the requester is the person who made
the key that asked, and a key that was made on the host asks for every owner; somebody who has the role for less than
`SEASONED_MS` approves nothing, so that whoever takes an owner's session over cannot bring a second person along; what
is approved is exactly what was seen (`binding`); plan, withdrawal, clearance, event and audit entry are one unit of
work, and are decided once.
Not guaranteed: that two users are two people.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chains.tx.store import StaleState
from service.accounts.holds import refuse_if_maker_held
from service.accounts.memberships import APPROVERS, require_role
from service.accounts.people import SEASONED_MS, Membership, Role, members, membership_of
from service.accounts.users import credential_of
from service.approvals import clearances
from service.approvals.clearances import Clearance, binding_of
from service.approvals.model import ClearState
from service.approvals.named import named_by
from service.audit.acts import APPROVAL_REJECTED, APPROVED
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.authority import Tampered
from service.auth.callers import Caller
from service.auth.caveats import caveats_of, require
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.db.models import withdrawals
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.plans.recording import record_placed
from service.withdrawals import storage
from service.withdrawals.ending import lifecycle_of, reject_waiting
from service.withdrawals.model import Withdrawal, WithdrawalState, target_of

REJECTED: Final = "approval_rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """A person who may decide in the account, and with what: `session:` or `key:` and its id."""

    membership: Membership
    key_id: str | None
    decided_with: str

    @property
    def account_id(self) -> int:
        return self.membership.account_id

    @property
    def user_id(self) -> int:
        return self.membership.user_id


def decider_of(c: Connection, services: Services, caller: Caller | SessionCaller, account: str | None) -> Decider:
    """Who asks, as somebody who decides.

    Raises:
        ApiError: session_ended, account_not_found, account_required, role_denied.
        Tampered.
    """
    if isinstance(caller, SessionCaller):
        caller.check_open(c)
        mine = require_role(c, caller, account, one_of=APPROVERS, master=services.master)
        return Decider(membership=mine, key_id=None, decided_with=caller.id)
    maker = caller.key.made_by
    found = None if maker is None else membership_of(c, maker, account_id=caller.account_id, master=services.master)
    if found is None or found.role not in APPROVERS:
        raise ApiError("role_denied", "a key decides for the owner or approver who made it in a session")
    return Decider(membership=found, key_id=caller.key_id, decided_with=f"key:{caller.key_id}")


def approvers(c: Connection, account_id: int, *, master: MasterKey, now_ms: int) -> int:
    """How many people of the account could approve what somebody else asked for: with the role for long enough, and an
    authenticator, without which nobody approves anything. The operator's own user of an installation has none."""
    found = [one for one in members(c, account_id, master=master) if one.role in APPROVERS and one.is_seasoned(now_ms)]
    return sum(_has_authenticator(c, one.user_id, master=master) for one in found)


def _has_authenticator(c: Connection, user_id: int, *, master: MasterKey) -> bool:
    try:
        credential = credential_of(c, user_id, master=master)
    except Tampered:
        return False
    return credential is not None and credential.has_totp


def why_not_theirs(decider: Decider, withdrawal: Withdrawal, clearance: Clearance, *, now_ms: int) -> ApiError | None:
    """Why this person does not approve this withdrawal; None: they may."""
    if decider.user_id == clearance.requester_id or decider.key_id == withdrawal.key_id:
        return ApiError("own_request", "you asked for this withdrawal yourself")
    if clearance.requester_id is None and decider.membership.role is Role.OWNER:
        return ApiError("own_request", "the key that asked was made on the host, for the owners: an approver decides")
    if not decider.membership.is_seasoned(now_ms):
        hours = SEASONED_MS // 3_600_000
        return ApiError(
            "role_denied", f"who joined the account or got another role approves {hours} h later, not before"
        )
    return None


def approve(
    c: Connection,
    services: Services,
    caller: Caller | SessionCaller,
    *,
    decider: Decider,
    withdrawal_id: int,
    binding: str,
) -> Withdrawal:
    """Let the withdrawal be sent; as it is then.

    Raises:
        ApiError: approval_not_found, approval_closed, approval_differs, own_request, role_denied, held,
            key_restricted.
        Tampered: what was accepted is not what is stored, or what it names was altered.
    """
    now_ms = services.clock.now_ms()
    withdrawal, clearance = _pending(c, services, decider, withdrawal_id, now_ms=now_ms)
    if clearance.binding != binding_of(withdrawal):
        raise Tampered(withdrawals)
    named_by(c, withdrawal, master=services.master)
    if isinstance(caller, Caller):
        refuse_if_maker_held(c, caller.key, master=services.master, now_ms=now_ms)
        _require_for(caller, withdrawal)
    if binding != clearance.binding:
        raise ApiError("approval_differs", "the withdrawal is not the one with this `binding`")
    if (refusal := why_not_theirs(decider, withdrawal, clearance, now_ms=now_ms)) is not None:
        raise refusal
    try:
        SqlTxStore().queue_plan(c, withdrawal.plan_id)
        _decide(c, services, decider, clearance, ClearState.APPROVED, now_ms=now_ms)
    except StaleState as exc:
        raise _closed(withdrawal) from exc
    lifecycle = lifecycle_of(services, withdrawal, now_ms=now_ms)
    lifecycle.approved(c)
    _record(c, services, caller, clearance, act=APPROVED, reason=None, now_ms=now_ms)
    return lifecycle.withdrawal


def reject(
    c: Connection,
    services: Services,
    caller: Caller | SessionCaller,
    *,
    decider: Decider,
    withdrawal_id: int,
    reason: str,
) -> Withdrawal:
    """End the withdrawal, its funds released. Whoever decides may reject, what they asked for themselves too.

    Raises:
        ApiError: approval_not_found, approval_closed, key_restricted.
    """
    now_ms = services.clock.now_ms()
    withdrawal, clearance = _pending(c, services, decider, withdrawal_id, now_ms=now_ms)
    if isinstance(caller, Caller):
        _require_for(caller, withdrawal)
    try:
        # First: with the withdrawal its clearance ends, and is another row then.
        _decide(c, services, decider, clearance, ClearState.REJECTED, now_ms=now_ms)
        after = reject_waiting(c, services, withdrawal, why=f"{REJECTED}: {reason}", now_ms=now_ms)
    except StaleState as exc:
        raise _closed(withdrawal) from exc
    _record(c, services, caller, clearance, act=APPROVAL_REJECTED, reason=reason, now_ms=now_ms)
    return after


def _require_for(caller: Caller, withdrawal: Withdrawal) -> None:
    """Where the funds go is what the key that asked was judged by. Raises: ApiError: key_restricted."""
    require(caveats_of(caller.key), target_of(withdrawal))


def _pending(
    c: Connection, services: Services, decider: Decider, withdrawal_id: int, *, now_ms: int
) -> tuple[Withdrawal, Clearance]:
    withdrawal = storage.withdrawal_of_account(c, withdrawal_id, account_id=decider.account_id)
    found = None if withdrawal is None else clearances.clearance_of(c, withdrawal_id, master=services.master)
    if withdrawal is None or found is None or found.state is ClearState.CLEAR:
        raise ApiError("approval_not_found", f"no withdrawal {withdrawal_id} of the account needs an approval")
    waits = withdrawal.state is WithdrawalState.AWAITING_APPROVAL and found.state is ClearState.PENDING
    if not waits or found.ended_ms is not None or found.is_late(now_ms):
        raise _closed(withdrawal)
    return withdrawal, found


def _closed(withdrawal: Withdrawal) -> ApiError:
    return ApiError("approval_closed", f"withdrawal {withdrawal.id} does not wait for an approval any more")


def _decide(
    c: Connection, services: Services, decider: Decider, clearance: Clearance, state: ClearState, *, now_ms: int
) -> None:
    clearances.decide(
        c,
        clearance,
        state,
        decider_id=decider.user_id,
        decided_with=decider.decided_with,
        master=services.master,
        now_ms=now_ms,
    )


def _record(
    c: Connection,
    services: Services,
    caller: Caller | SessionCaller,
    clearance: Clearance,
    *,
    act: str,
    reason: str | None,
    now_ms: int,
) -> None:
    subject = Subject(kind="withdrawal", id=str(clearance.withdrawal_id))
    details = {
        "binding": clearance.binding,
        "why": None if clearance.why is None else str(clearance.why),
        "requester": clearance.requester_id,
        "reason": reason,
    }
    if isinstance(caller, Caller):
        record_placed(c, caller, act=act, subject=subject, details=details, master=services.master, now_ms=now_ms)
        return
    record_by_person(
        c,
        caller,
        act=act,
        subject=subject,
        details=details,
        account_id=clearance.account_id,
        master=services.master,
        now_ms=now_ms,
    )
