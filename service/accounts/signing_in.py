"""Registering, signing in, and proving once more who one is before something of that changes.

    count the attempt (lockout) ──> hash in a thread ──> one unit of work: second factor, change, attempt forgiven

Guarantees: what is refused before the hash costs none, and whatever is hashed was counted first; an unknown name costs
and answers what a wrong password does; the password that was checked is still the stored one when something follows
from it; a session that ended meanwhile changes nothing.
Not here: rate limits by address (`routes`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from service.accounts import invitations, joining, lockout, passwords, people, recovery, sessions, users
from service.accounts.invitations import Into, Invitation
from service.accounts.lockout import Attempt
from service.accounts.people import Membership, Role, User
from service.accounts.sessions import Carrier, Lifetimes, Session
from service.accounts.users import Credential
from service.audit import acts
from service.audit.appending import append
from service.audit.model import INSTALLATION, NewEntry
from service.audit.recording import account_made, person
from service.auth.keys import IpAddress
from service.build import Services
from service.errors import ApiError, Told
from service.ids import new_id

USER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,63}")
"""Of users that register: no two look alike by their case or script. The operator may name others."""
HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000

_log: Final = structlog.get_logger("cambist.accounts")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor:
    """What is given beside the password: one of them, or none."""

    totp: str | None = field(default=None, repr=False)
    recovery_code: str | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Which it is, for the audit log."""
        return "totp" if self.totp is not None else "password" if self.recovery_code is None else "recovery code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A password that was right."""

    attempt: Attempt
    user_id: int
    client_ip: str | None
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A new session. Its token is shown now or never."""

    session: Session
    credential: Credential
    token: str = field(repr=False)


async def register(
    services: Services, name: str, password: str, *, invitation: str | None, client_ip: IpAddress | None
) -> Credential:
    """Make a user, with an account of the same name; or set the password of the user that an invitation is for.

    Raises:
        ApiError: registration_closed, invitation_invalid, weak_password, name_taken, busy, try_again.
    """
    rule = services.settings.registration
    if rule == "closed":
        raise ApiError("registration_closed", "nobody registers here")
    if rule == "invited" and invitation is None:
        raise ApiError("registration_closed", "registering needs an invitation")
    passwords.check_strength(password, name=name)
    hashed = await services.passwords.hash(password, master=services.master)
    now_ms, place = services.clock.now_ms(), None if client_ip is None else str(client_ip)

    def write(c: Connection) -> Credential:
        used = None if invitation is None else invitations.use(c, invitation, master=services.master, now_ms=now_ms)
        if used is not None and used.user_id is not None:
            credential, act = _set_invited(services, c, used.user_id, name=name, password_hash=hashed, now_ms=now_ms)
            _record(services, c, credential, act=act, client_ip=place, details={"invited": 1}, now_ms=now_ms)
            return credential
        try:
            with c.begin_nested():
                user, begun = _new_user(services, c, name, invitation=used, now_ms=now_ms)
                credential = users.make_credential(
                    c, user, password_hash=hashed, master=services.master, now_ms=now_ms
                )  # fmt: skip
        except IntegrityError:
            raise ApiError("try_again", "somebody else registered at the same moment") from None
        # The account's chain before the installation's, as everyone locks them.
        append(c, [begun], master=services.master, now_ms=now_ms, chain=begun.account_id or INSTALLATION)
        made = {"user": name, "owns_installation": int(credential.owns_installation)}
        made |= {} if invitation is None else {"invited": 1}
        _record(services, c, credential, act=acts.REGISTERED, client_ip=place, details=made, now_ms=now_ms)
        return credential

    made = await services.db.run(write)
    _log.info("registered", user=made.user_id, owns_installation=made.owns_installation)
    return made


async def sign_in(
    services: Services,
    name: str,
    password: str,
    *,
    factor: SecondFactor,
    carrier: Carrier,
    client_ip: IpAddress | None,
    agent: str,
) -> SignedIn:
    """A new session.

    Raises:
        ApiError: credentials_wrong, second_factor_required, sign_in_locked, busy.
    """
    proof = await prove_password(services, name, password, client_ip=client_ip)
    now_ms = services.clock.now_ms()
    session_id = new_id(services.clock)

    def write(c: Connection) -> SignedIn:
        credential = accept(services, c, proof, factor=factor, keep=None, now_ms=now_ms)
        session, token = sessions.create(
            c,
            session_id,
            user_id=credential.user_id,
            carrier=carrier,
            lifetimes=lifetimes(services),
            client_ip=str(client_ip or "unknown"),
            agent=agent,
            master=services.master,
            now_ms=now_ms,
        )
        opened = {
            "session": session_id,
            "carrier": "cookie" if carrier is Carrier.COOKIE else "bearer",
            "factor": factor.kind,
            "agent": session.agent,
        }
        _record(services, c, credential, act=acts.SIGNED_IN, client_ip=proof.client_ip, details=opened, now_ms=now_ms)
        return SignedIn(session=session, credential=credential, token=token)

    made = await services.db.run(write)
    _log.info("signed_in", user=proof.user_id, session=session_id, recovery=factor.recovery_code is not None)
    return made


async def prove_password(
    services: Services, name: str, password: str, *, client_ip: IpAddress | None
) -> Proof:  # fmt: skip
    """Count the attempt, then check the password.

    Raises:
        ApiError: credentials_wrong, sign_in_locked, busy.
    """
    now_ms = services.clock.now_ms()

    def count(c: Connection) -> tuple[Attempt, Credential | None]:
        found = users.credential_named(c, name, master=services.master)
        try:
            attempt = lockout.begin(c, name, address=client_ip, master=services.master, now_ms=now_ms)
        except ApiError as exc:
            exc.told = _told(found, "too many wrong attempts")
            raise
        return attempt, found

    attempt, credential = await services.db.run(count)
    stored = None if credential is None else credential.password_hash
    is_right = await services.passwords.verify(stored, password, master=services.master)
    if credential is None or not is_right:
        _log.warning("sign_in_refused", user=None if credential is None else credential.user_id)
        raise users.wrong(_told(credential, "the password was wrong"))
    return Proof(
        attempt=attempt,
        user_id=credential.user_id,
        client_ip=None if client_ip is None else str(client_ip),
        password_hash=credential.password_hash,
    )


def accept(
    services: Services, c: Connection, proof: Proof, *, factor: SecondFactor, keep: str | None, now_ms: int
) -> Credential:
    """In the unit of work that acts on a proof: the second factor is used up and the attempt forgiven.

    `keep` is the session that goes on where a recovery code ends the others.

    Raises:
        ApiError: credentials_wrong, second_factor_required.
    """
    master = services.master
    credential = users.credential_of(c, proof.user_id, master=master)
    if credential is None or credential.password_hash != proof.password_hash:
        raise users.wrong()
    if credential.has_totp:
        try:
            credential = _use_second(services, c, credential, factor=factor, keep=keep, now_ms=now_ms)
        except ApiError as exc:
            # What the owner must know and the client must not be told.
            exc.told = _told(credential, "the password was right, what was to come with it was not")
            raise
        if factor.recovery_code is not None:
            used = {"left": recovery.left(c, credential.user_id)}
            _record(
                services, c, credential, act=acts.RECOVERY_USED, client_ip=proof.client_ip, details=used, now_ms=now_ms
            )
    lockout.succeed(c, proof.attempt, now_ms=now_ms)
    return credential


def _use_second(
    services: Services, c: Connection, credential: Credential, *, factor: SecondFactor, keep: str | None, now_ms: int
) -> Credential:
    master = services.master
    if factor.totp is not None:
        return users.use_totp(c, credential, code=factor.totp, master=master, now_ms=now_ms)
    if factor.recovery_code is not None:
        return users.use_recovery_code(
            c, credential, code=factor.recovery_code, keep=keep, master=master, now_ms=now_ms
        )  # fmt: skip
    raise ApiError("second_factor_required", "the authenticator's code is needed, or a recovery code")


def lifetimes(services: Services) -> Lifetimes:
    """How long sessions last here."""
    settings = services.settings
    return Lifetimes(
        absolute_ms=settings.session_hours * HOUR_MS, idle_ms=settings.session_idle_minutes * MINUTE_MS
    )  # fmt: skip


def _told(credential: Credential | None, reason: str) -> Told | None:
    """For the audit log; nothing of a name that nobody has: it may be a password."""
    return None if credential is None else Told(user=person(credential.user_id, credential.name).id, reason=reason)


def _record(
    services: Services,
    c: Connection,
    credential: Credential,
    *,
    act: str,
    client_ip: str | None,
    details: Mapping[str, Any],
    now_ms: int,
) -> None:
    entry = NewEntry(
        act=act, actor=person(credential.user_id, credential.name), client_ip=client_ip, details=details
    )  # fmt: skip
    append(c, [entry], master=services.master, now_ms=now_ms)


def _new_user(
    services: Services, c: Connection, name: str, *, invitation: Invitation | None, now_ms: int
) -> tuple[User, NewEntry]:
    """A user with an account, and the entry that tells of it in that account's chain.

    The account is the one that the invitation is into; the one that `cambist init` made, for whoever the operator
    invited first; else one of the user's own.
    """
    if not USER_NAME.fullmatch(name):
        raise ApiError(
            "invalid_parameters", "a new user's name has 1 to 64 of a-z 0-9 . _ @ - and begins with a letter or digit"
        )
    master, into = services.master, None if invitation is None else invitation.into
    claimed = joining.unclaimed(c) if invitation is not None and into is None else None
    taken = claimed is None and into is None and people.account_by_name(c, name) is not None
    if users.user_named(c, name) is not None or taken:
        raise ApiError("name_taken", "a user or an account has this name")
    if into is not None:
        _check_may_invite(services, c, into)
        user = users.insert_user(c, name, now_ms=now_ms)
        member = joining.join(c, into, user_id=user.id, master=master, now_ms=now_ms)
        details = {"role": str(into.role), "invited_by": str(into.invited_by)}
        return user, _membership_begun(acts.MEMBER_JOINED, user, member, details=details)
    if claimed is not None:
        user = users.insert_user(c, name, now_ms=now_ms)
        member = joining.add(c, claimed.id, user_id=user.id, role=Role.OWNER, master=master, now_ms=now_ms)
        details = {"role": str(Role.OWNER), "member": name}
        return user, _membership_begun(acts.MEMBER_ADDED, user, member, details=details)
    account = people.ensure_account(c, name, owner=name, master=master, now_ms=now_ms)
    made = users.user_named(c, name)
    assert made is not None  # ensured above, in this unit of work
    return made, account_made(account, owner=name, actor=person(made.id, name))


def _check_may_invite(services: Services, c: Connection, into: Into) -> None:
    """Where registering takes an invitation, it takes one of the operator or of the installation's owner."""
    inviter = users.credential_of(c, into.invited_by, master=services.master)
    if services.settings.registration != "open" and not (inviter is not None and inviter.owns_installation):
        raise ApiError("registration_closed", "this invitation is for users who exist; registering needs another one")


def _membership_begun(act: str, user: User, member: Membership, *, details: Mapping[str, Any]) -> NewEntry:
    return NewEntry(act=act, actor=person(user.id, user.name), account_id=member.account_id, details=details)


def _set_invited(
    services: Services, c: Connection, user_id: int, *, name: str, password_hash: str, now_ms: int
) -> tuple[Credential, str]:
    """The user's credential, and the act that it was."""
    user = users.user_named(c, name)
    if user is None or user.id != user_id:
        raise ApiError("invitation_invalid", "this invitation is for another user")
    found = users.credential_of(c, user_id, master=services.master)
    master = services.master
    if found is None:
        made = users.make_credential(c, user, password_hash=password_hash, master=master, now_ms=now_ms)
        return made, acts.REGISTERED
    changed = users.set_password(c, found, password_hash=password_hash, keep=None, master=master, now_ms=now_ms)
    return changed, acts.PASSWORD_SET
