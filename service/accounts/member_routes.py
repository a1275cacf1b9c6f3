"""Routes about who belongs to an account, and as what: owners change it, every member sees it, anyone may leave.

Guarantees: what lets somebody do more (adding, inviting, a role that allows what the one of before did not) is
confirmed with a code, and not by whoever is an owner for less than `SEASONED_MS`; what lets somebody do less is at once
and revokes the keys they made that their role of now does not allow, and needs a code only where the account loses a
watch: an owner or approver who is one for that long, and an owner who leaves. Who is new is removed without one, also
during a hold, so that what somebody else's hand on the session did can be undone. Each change and its audit entry are
one unit of work; of an account in which the caller has no role nothing is told.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, status
from sqlalchemy import Connection, select

from service.accounts import confirming, invitations, joining, memberships, people
from service.accounts.invitations import Into
from service.accounts.member_schemas import (
    Changed,
    InvitationOut,
    Invited,
    InviteIn,
    Joined,
    JoinIn,
    MemberIn,
    MemberOut,
    Members,
    RemoveIn,
    RoleIn,
    TakenBack,
)
from service.accounts.people import Membership, Role
from service.accounts.schemas import AccountName
from service.audit import acts
from service.audit.model import Subject
from service.audit.recording import record_by_person
from service.auth.authority import Sifted
from service.auth.callers import PersonCaller
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.db.models import users
from service.errors import ApiError
from service.keys import ending
from service.markets.lookup import Here

router = APIRouter(prefix="/v1", tags=["members"])
UserId = Annotated[int, Path(ge=1, lt=2**53, examples=[3])]
InvitationId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", examples=["9f86d081884c7d65"])]
AccountQuery = Annotated[AccountName | None, Query(description="Where you have a role in several.")]


@router.get("/members")
async def list_members(caller: PersonCaller, services: Here, account: AccountQuery = None) -> Members:
    """Who has which role in the account; for owners, also the invitations that wait."""
    now_ms, master = services.clock.now_ms(), services.master

    def read(c: Connection) -> tuple[Members, list[Sifted[Any]], int]:
        mine = memberships.require_role(c, caller, account, one_of=memberships.ANYONE, master=master)
        named = people.get_account(c, mine.account_id)
        assert named is not None  # a membership's foreign key
        found = people.sift_members(c, mine.account_id, master=master)
        waiting = invitations.waiting(c, mine.account_id, master=master, now_ms=now_ms)
        owns = mine.role is Role.OWNER
        shown = Members(
            account=named.name,
            members=[_shown(c, one, caller, master=master, now_ms=now_ms) for one in found.intact],
            invitations=[
                InvitationOut(id=one.id, role=one.into.role, created_ms=one.created_ms, expires_ms=one.expires_ms)
                for one in waiting.intact
                if owns
            ],
            unusable=[*found.unusable, *(waiting.unusable if owns else ())],
        )
        return shown, [found, waiting], mine.account_id

    shown, sifted, account_id = await services.db.read(read)
    for one in sifted:
        services.refusals.note_unusable(one, account_id=account_id)
    return shown


@router.post("/members", status_code=status.HTTP_201_CREATED)
async def add_member(body: MemberIn, caller: PersonCaller, services: Here) -> MemberOut:
    """Give a user who exists a role, with a code of the authenticator."""
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> MemberOut:
        mine = _owner(services, c, caller, body.account)
        # First: who has no code is not told who is a user here.
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        memberships.require_seasoned(c, mine, master=master, now_ms=now_ms)
        user_id = joining.user_id_of(c, body.user)
        made = joining.add(c, mine.account_id, user_id=user_id, role=Role(body.role), master=master, now_ms=now_ms)
        details = {"member": body.user, "role": body.role}
        _record(services, c, caller, act=acts.MEMBER_ADDED, member=made, details=details, now_ms=now_ms)
        return _shown(c, made, caller, master=master, now_ms=now_ms)

    return await services.db.run(write)


@router.patch("/members/{user_id}")
async def change_role(user_id: UserId, body: RoleIn, caller: PersonCaller, services: Here) -> Changed:
    """Another role. One that allows more needs a code; one that allows less revokes the keys it does not allow, and
    needs a code where an owner or approver has been one for 24 hours."""
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master, rejecter = services.clock.now_ms(), services.master, ending.rejecter_of(services)
    role = Role(body.role)

    def write(c: Connection) -> Changed:
        caller.check_open(c)
        mine = _owner(services, c, caller, body.account)
        too_new = memberships.why_too_new(c, mine, master=master, now_ms=now_ms)
        was, made = joining.set_role(c, mine.account_id, user_id=user_id, role=role, master=master, now_ms=now_ms)
        widens = memberships.widens(was.role, role)
        if widens or _watch_is_taken(was, role, by=mine, too_new=too_new, now_ms=now_ms):
            confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        if widens and too_new is not None:
            raise too_new
        ended = ending.end_keys_of(
            c, services, user_id, account_id=mine.account_id, role=role, rejecter=rejecter, now_ms=now_ms
        )
        shown, revoked = _shown(c, made, caller, master=master, now_ms=now_ms), [one.key.id for one in ended]
        if was.role is not role:
            details = {"member": shown.user, "was": str(was.role), "role": str(role), "keys": revoked}
            _record(services, c, caller, act="member.change", member=made, details=details, now_ms=now_ms)
        return Changed(member=shown, revoked_keys=revoked)

    changed = await services.db.run(write)
    ending.wake(services)
    return changed


@router.delete("/members/{user_id}")
async def remove_member(
    user_id: UserId,
    caller: PersonCaller,
    services: Here,
    account: AccountQuery = None,
    body: RemoveIn | None = None,
) -> Changed:
    """Take a member's role away, or leave. Their keys in the account are revoked. The last owner stays.

    Needs `totp_code` for an owner or approver who has been one for 24 hours, and for an owner who leaves.
    """
    offered = await confirming.offer(services, caller, None if body is None else body.totp_code)
    now_ms, master, rejecter = services.clock.now_ms(), services.master, ending.rejecter_of(services)

    def write(c: Connection) -> Changed:
        caller.check_open(c)
        leaving = user_id == caller.user_id
        allowed = memberships.ANYONE if leaving else memberships.OWNERS
        mine = memberships.require_role(c, caller, account, one_of=allowed, master=master)
        too_new = memberships.why_too_new(c, mine, master=master, now_ms=now_ms)
        was = joining.remove(c, mine.account_id, user_id=user_id, master=master, now_ms=now_ms)
        if _watch_is_taken(was, None, by=mine, too_new=too_new, now_ms=now_ms):
            confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        ended = ending.end_keys_of(
            c, services, user_id, account_id=mine.account_id, role=None, rejecter=rejecter, now_ms=now_ms
        )
        revoked = [one.key.id for one in ended]
        details = {
            "member": _shown(c, was, caller, master=master, now_ms=now_ms).user,
            "was": str(was.role),
            "keys": revoked,
        }
        _record(services, c, caller, act="member.remove", member=was, details=details, now_ms=now_ms)
        return Changed(member=None, revoked_keys=revoked)

    changed = await services.db.run(write)
    ending.wake(services)
    return changed


@router.post("/invitations", status_code=status.HTTP_201_CREATED)
async def invite_member(body: InviteIn, caller: PersonCaller, services: Here) -> Invited:
    """An invitation with a role, with a code: for a user who joins, or one who registers with it."""
    offered = await confirming.offer(services, caller, body.totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> Invited:
        mine = _owner(services, c, caller, body.account)
        account_id = mine.account_id
        into = Into(account_id=account_id, role=Role(body.role), invited_by=caller.user_id)
        token = joining.invite(c, into, master=master, now_ms=now_ms)
        confirming.confirm(c, caller, offered, master=master, now_ms=now_ms)
        memberships.require_seasoned(c, mine, master=master, now_ms=now_ms)
        shown = invitations.id_of(token)
        record_by_person(
            c,
            caller,
            act="member.invite",
            subject=Subject(kind="invitation", id=shown),
            details={"invitation": shown, "role": body.role},
            account_id=account_id,
            master=master,
            now_ms=now_ms,
        )
        return Invited(invitation=token, role=into.role, expires_ms=now_ms + invitations.LIFETIME_MS)

    return await services.db.run(write)


@router.delete("/invitations/{invitation_id}")
async def take_invitation_back(
    invitation_id: InvitationId, caller: PersonCaller, services: Here, account: AccountQuery = None
) -> TakenBack:
    """End an invitation that nobody used yet."""
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> TakenBack:
        caller.check_open(c)
        account_id = _owner(services, c, caller, account).account_id
        if not invitations.take_back(c, account_id, id_=invitation_id):
            raise ApiError("invitation_not_found", "there is no such invitation")
        record_by_person(
            c,
            caller,
            act="member.uninvite",
            subject=Subject(kind="invitation", id=invitation_id),
            details={"invitation": invitation_id},
            account_id=account_id,
            master=master,
            now_ms=now_ms,
        )
        return TakenBack(taken_back=True)

    return await services.db.run(write)


@router.post("/memberships", status_code=status.HTTP_201_CREATED)
async def join(body: JoinIn, caller: PersonCaller, services: Here) -> Joined:
    """Use an invitation into an account, as the user who is signed in."""
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> Joined:
        caller.check_open(c)
        used = invitations.use(c, body.invitation, master=master, now_ms=now_ms)
        if used.into is None:
            # Not used up: what is refused here is undone.
            raise ApiError("invitation_invalid", "this invitation is for registering")
        made = joining.join(c, used.into, user_id=caller.user_id, master=master, now_ms=now_ms)
        details = {"role": str(made.role), "invited_by": str(used.into.invited_by)}
        _record(services, c, caller, act=acts.MEMBER_JOINED, member=made, details=details, now_ms=now_ms)
        named = people.get_account(c, made.account_id)
        assert named is not None  # a membership's foreign key
        return Joined(account=named.name, role=made.role)

    return await services.db.run(write)


def _owner(services: Services, c: Connection, caller: SessionCaller, account: str | None) -> Membership:
    return memberships.require_role(c, caller, account, one_of=memberships.OWNERS, master=services.master)


def _watch_is_taken(
    was: Membership, role: Role | None, *, by: Membership, too_new: ApiError | None, now_ms: int
) -> bool:  # fmt: skip
    """Whether the change needs a code because the account loses a watch. Raises: ApiError: role_denied: `by` is new."""
    if not memberships.takes_watch(was.role, role):
        return False
    if was.user_id == by.user_id:
        return was.role is Role.OWNER
    if too_new is not None:
        raise too_new
    return was.is_seasoned(now_ms)


def _record(
    services: Services,
    c: Connection,
    caller: SessionCaller,
    *,
    act: str,
    member: Membership,
    details: Mapping[str, object],
    now_ms: int,
) -> None:
    record_by_person(
        c,
        caller,
        act=act,
        subject=Subject(kind="user", id=str(member.user_id)),
        details=details,
        account_id=member.account_id,
        master=services.master,
        now_ms=now_ms,
    )


def _shown(
    c: Connection, member: Membership, caller: SessionCaller, *, master: MasterKey, now_ms: int
) -> MemberOut:  # fmt: skip
    name = c.execute(select(users.c.name).where(users.c.id == member.user_id)).scalar_one()
    return MemberOut(
        user_id=member.user_id,
        user=name,
        role=member.role,
        since_ms=member.created_ms,
        new_until_ms=None if memberships.counts(c, member, master=master, now_ms=now_ms) else member.new_until_ms,
        is_you=member.user_id == caller.user_id,
    )
