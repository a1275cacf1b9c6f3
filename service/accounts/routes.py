"""Routes of people: registering, signing in and out, sessions, password, authenticator, recovery codes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response, status
from sqlalchemy import Connection

from service.accounts import lockout, memberships, passwords, recovery, sessions, signing_in, totp, users
from service.accounts.schemas import (
    Done,
    Factor,
    Me,
    Membership,
    PasswordIn,
    ProofIn,
    RecoveryCodes,
    RegisterIn,
    SessionOut,
    Sessions,
    SignedInOut,
    SignedOut,
    SignInIn,
    TotpBegun,
    TotpConfirmIn,
    UserOut,
)
from service.accounts.sessions import Carrier, Session
from service.accounts.signing_in import Proof, SecondFactor
from service.accounts.users import Credential
from service.audit import acts
from service.audit.recording import record_by_person
from service.auth.authority import Sifted
from service.auth.callers import PersonCaller, PublicCaller
from service.auth.session_caller import COOKIE, SessionCaller, check_origin, csrf_token
from service.build import Services
from service.db.models import sessions as session_rows
from service.errors import ApiError
from service.markets.lookup import Here
from service.ratelimits.buckets import Buckets


async def spare_the_hasher(request: Request) -> None:
    """What may hash a password, or looks at a code, has a smaller bucket. Raises: ApiError: rate_limited."""
    rate: Buckets = request.app.state.sign_in_rate
    taken = rate.take(lockout.network_of(request.scope["state"].get("client_ip")))
    if not taken.passed:
        raise ApiError(
            "rate_limited",
            f"too many sign-ins from here; the next one passes in {taken.retry_after_s} s",
            retry_after_s=taken.retry_after_s,
        )


router = APIRouter(prefix="/v1/auth", tags=["people"])
Sparing = Annotated[None, Depends(spare_the_hasher)]
"""After the caller, whose refusals come first."""


@router.post("/register", status_code=status.HTTP_201_CREATED)
async def register(body: RegisterIn, caller: PublicCaller, sparing: Sparing, services: Here) -> UserOut:
    """Make a user and an account of the same name; the first user owns the installation.

    With an invitation for a user that exists, set its password.
    """
    invitation = None if body.invitation is None else body.invitation.get_secret_value()
    made = await signing_in.register(
        services, body.name, body.password.get_secret_value(), invitation=invitation, client_ip=caller.client_ip
    )
    return _user(made)


@router.post("/sign-in", status_code=status.HTTP_201_CREATED)
async def sign_in(
    body: SignInIn,
    request: Request,
    response: Response,
    caller: PublicCaller,
    sparing: Sparing,
    services: Here,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> SignedInOut:
    """A session: its token in the answer, or with `cookie` in a cookie, with a CSRF token beside it."""
    if body.cookie:
        # Nobody's page signs a browser in to an account of its own choosing.
        check_origin(request.scope["headers"])
    made = await signing_in.sign_in(
        services,
        body.name,
        body.password.get_secret_value(),
        factor=_factor(body),
        carrier=Carrier.COOKIE if body.cookie else Carrier.BEARER,
        client_ip=caller.client_ip,
        agent=user_agent,
    )
    if body.cookie:
        response.set_cookie(
            COOKIE,
            made.token,
            max_age=services.settings.session_hours * 3600,
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return SignedInOut(
        token=None if body.cookie else made.token,
        csrf_token=csrf_token(services.master, made.session.id) if body.cookie else None,
        held_until_ms=_held(services, made.credential.held_until_ms),
        session=_shown(made.session, current=made.session.id),
    )


@router.post("/sign-out")
async def sign_out(caller: PersonCaller, services: Here, response: Response) -> SignedOut:
    """End this session."""

    def write(c: Connection) -> bool:
        if ended := sessions.end(c, caller.session.id, user_id=caller.user_id):
            _record(services, c, caller, act=acts.SESSION_ENDED, ended=caller.session.id)
        return ended

    ended = await services.db.run(write)
    if caller.session.carrier is Carrier.COOKIE:
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return SignedOut(ended=ended)


@router.get("/me")
async def me(caller: PersonCaller, services: Here) -> Me:
    """Who is signed in, and what that user is in which account."""

    def read(c: Connection) -> tuple[list[Membership], int]:
        mine = memberships.accounts_of(c, caller.user_id, master=services.master)
        roles = [Membership(account=one.account.name, role=one.role) for one in mine]
        return roles, recovery.left(c, caller.user_id)

    roles, left = await services.db.read(read)
    in_cookie = caller.session.carrier is Carrier.COOKIE
    return Me(
        user=UserOut(id=caller.user_id, name=caller.name, owns_installation=caller.owns_installation),
        accounts=roles,
        totp=caller.has_totp,
        recovery_codes_left=left,
        held_until_ms=_held(services, caller.held_until_ms),
        csrf_token=csrf_token(services.master, caller.session.id) if in_cookie else None,
        session=_shown(caller.session, current=caller.session.id),
    )


@router.get("/sessions")
async def list_sessions(caller: PersonCaller, services: Here) -> Sessions:
    """The user's open sessions, newest first."""
    listed = await services.db.read(lambda c: _listed(services, c, caller))
    altered: Sifted[Session] = Sifted(table=session_rows.name, intact=[], unusable=listed.unusable)
    services.refusals.note_unusable(altered, account_id=None)
    return listed


@router.delete("/sessions/{session_id}")
async def end_session(
    session_id: Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", examples=["01936f2c-7d1e-7a52-9c40-2b9d1f0e5a77"])],
    caller: PersonCaller,
    services: Here,
) -> Sessions:
    """End one of the user's sessions at once; those that remain."""

    def write(c: Connection) -> Sessions:
        caller.check_open(c)
        if not sessions.end(c, session_id, user_id=caller.user_id):
            raise ApiError("session_not_found", "the user has no such session")
        _record(services, c, caller, act=acts.SESSION_ENDED, ended=session_id)
        return _listed(services, c, caller)

    return await services.db.run(write)


@router.delete("/sessions")
async def end_other_sessions(caller: PersonCaller, services: Here) -> Sessions:
    """End all sessions of the user but this one."""

    def write(c: Connection) -> Sessions:
        caller.check_open(c)
        ended = sessions.end_all(c, caller.user_id, but=caller.session.id)
        _record(services, c, caller, act=acts.SESSION_ENDED, ended=ended)
        return _listed(services, c, caller)

    return await services.db.run(write)


@router.post("/password")
async def change_password(body: PasswordIn, caller: PersonCaller, sparing: Sparing, services: Here) -> Done:
    """Set another password. Ends the other sessions, and holds withdrawals and widening for 24 hours."""
    new = body.new_password.get_secret_value()
    passwords.check_strength(new, name=caller.name)
    proof = await _prove(services, caller, body)
    hashed = await services.passwords.hash(new, master=services.master)
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> Credential:
        credential = _accept(services, c, caller, proof=proof, body=body, now_ms=now_ms)
        _record(services, c, caller, act=acts.PASSWORD_SET)
        return users.set_password(
            c,
            credential,
            password_hash=hashed,
            keep=caller.session.id,
            master=services.master,
            now_ms=now_ms,
        )

    return Done(held_until_ms=(await services.db.run(write)).held_until_ms)


@router.post("/totp")
async def begin_totp(body: ProofIn, caller: PersonCaller, sparing: Sparing, services: Here) -> TotpBegun:
    """A secret for an authenticator app, in place of the one in use as soon as a code of it is confirmed."""
    proof = await _prove(services, caller, body)
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> bytes:
        credential = _accept(services, c, caller, proof=proof, body=body, now_ms=now_ms)
        _record(services, c, caller, act=acts.TOTP_BEGUN)
        return users.begin_totp(c, credential, master=services.master, now_ms=now_ms)

    seed = await services.db.run(write)
    return TotpBegun(secret=totp.secret_text(seed), otpauth_uri=totp.otpauth_uri(seed, name=caller.name))


@router.post("/totp/confirm")
async def confirm_totp(body: TotpConfirmIn, caller: PersonCaller, sparing: Sparing, services: Here) -> RecoveryCodes:
    """Put the new authenticator in use. Ends the other sessions, and holds withdrawals and widening for 24 hours."""
    now_ms = services.clock.now_ms()
    master = services.master
    attempt = await services.db.run(
        lambda c: lockout.begin(c, caller.name, address=caller.client_ip, master=master, now_ms=now_ms)
    )

    def write(c: Connection) -> list[str]:
        caller.check_open(c)
        credential = users.credential_of(c, caller.user_id, master=master)
        if credential is None:
            raise users.wrong()
        codes = users.confirm_totp(
            c, credential, code=body.totp, keep=caller.session.id, master=master, now_ms=now_ms
        )  # fmt: skip
        lockout.succeed(c, attempt, now_ms=now_ms)
        _record(services, c, caller, act=acts.TOTP_CONFIRMED)
        return list(codes)

    return RecoveryCodes(recovery_codes=await services.db.run(write), held_until_ms=now_ms + users.HOLD_MS)


@router.post("/recovery-codes")
async def renew_recovery_codes(body: ProofIn, caller: PersonCaller, sparing: Sparing, services: Here) -> RecoveryCodes:
    """Ten new recovery codes in place of the old ones."""
    proof = await _prove(services, caller, body)
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> tuple[list[str], int]:
        credential = _accept(services, c, caller, proof=proof, body=body, now_ms=now_ms)
        if not credential.has_totp:
            raise ApiError("totp_not_begun", "recovery codes are for when an authenticator is lost; there is none")
        codes = recovery.renew(c, caller.user_id, master=services.master, now_ms=now_ms)
        _record(services, c, caller, act=acts.RECOVERY_RENEWED)
        return list(codes), credential.held_until_ms

    codes, held_until_ms = await services.db.run(write)
    return RecoveryCodes(recovery_codes=codes, held_until_ms=_held(services, held_until_ms))


def _record(
    services: Services, c: Connection, caller: SessionCaller, *, act: str, ended: str | int | None = None
) -> None:
    record_by_person(
        c, caller, act=act, details={"ended": ended}, master=services.master, now_ms=services.clock.now_ms()
    )  # fmt: skip


async def _prove(services: Services, caller: SessionCaller, body: ProofIn) -> Proof:
    return await signing_in.prove_password(
        services, caller.name, body.password.get_secret_value(), client_ip=caller.client_ip
    )


def _accept(
    services: Services, c: Connection, caller: SessionCaller, *, proof: Proof, body: ProofIn, now_ms: int
) -> Credential:
    caller.check_open(c)
    return signing_in.accept(
        services, c, proof, factor=_factor(body), keep=caller.session.id, now_ms=now_ms
    )  # fmt: skip


def _factor(body: Factor) -> SecondFactor:
    if body.totp is not None and body.recovery_code is not None:
        raise ApiError("invalid_parameters", "give `totp` or `recovery_code`, not both")
    return SecondFactor(totp=body.totp, recovery_code=body.recovery_code)


def _user(credential: Credential) -> UserOut:
    return UserOut(id=credential.user_id, name=credential.name, owns_installation=credential.owns_installation)


def _listed(services: Services, c: Connection, caller: SessionCaller) -> Sessions:
    idle_ms = signing_in.lifetimes(services).idle_ms
    found = sessions.list_of(
        c, caller.user_id, master=services.master, now_ms=services.clock.now_ms(), idle_ms=idle_ms
    )  # fmt: skip
    return Sessions(
        sessions=[_shown(one, current=caller.session.id) for one in found.intact], unusable=list(found.unusable)
    )


def _shown(session: Session, *, current: str) -> SessionOut:
    return SessionOut(
        id=session.id,
        carrier="cookie" if session.carrier is Carrier.COOKIE else "bearer",
        created_ms=session.created_ms,
        last_seen_ms=session.last_seen_ms,
        expires_ms=session.expires_ms,
        client_ip=session.client_ip,
        agent=session.agent,
        current=session.id == current,
    )


def _held(services: Services, held_until_ms: int) -> int | None:
    return held_until_ms if held_until_ms > services.clock.now_ms() else None
