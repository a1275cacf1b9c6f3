"""What a user signs in with, and what changes of it do: password, authenticator, recovery, and the hold after them.

Guarantees: a row without its MAC is refused (`authority.Tampered`), as is a seed that was sealed for another row; each
change is one guarded update of exactly the row that was read, so that of two at once one is refused; a code of an
authenticator works once; setting the password or an authenticator up or anew, and using a recovery code, ends the
user's other sessions and the invitations they gave out, and holds withdrawals and widening for `HOLD_MS`; so does
forgetting the authenticator.
Not here: whether a password is right (`passwords`), and how often one may try (`lockout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from service.accounts import invitations, recovery, sessions, totp
from service.accounts.people import User
from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import user_credentials, users
from service.errors import ApiError, Told

HOLD_MS: Final = 24 * 3_600_000
"""Time for the owner to notice, and to stop what someone else set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user who can sign in; the MAC of the row was right."""

    user_id: int
    name: str
    owns_installation: bool
    has_totp: bool
    held_until_ms: int
    password_hash: str = field(repr=False)
    row: RowMapping = field(repr=False)

    def check_not_held(self, now_ms: int) -> None:
        """For what moves funds out or widens what somebody may do. Raises: ApiError: held."""
        if now_ms < self.held_until_ms:
            hours = -(-(self.held_until_ms - now_ms) // 3_600_000)
            raise ApiError("held", f"password or authenticator were changed; this goes on in {hours} h at most")


def user_named(c: Connection, name: str) -> User | None:
    row = c.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
    return None if row is None else User(**row)


def insert_user(c: Connection, name: str, *, now_ms: int) -> User:
    """Raises: IntegrityError: the name is taken."""
    made = {"name": name, "created_ms": now_ms}
    return User(**c.execute(insert(users).returning(users), made).mappings().one())


def credential_of(c: Connection, user_id: int, *, master: MasterKey) -> Credential | None:
    """Raises: authority.Tampered."""
    return _credential(c, user_credentials.c.user_id == user_id, master)


def credential_named(c: Connection, name: str, *, master: MasterKey) -> Credential | None:
    """Raises: authority.Tampered."""
    return _credential(c, users.c.name == name, master)


def make_credential(c: Connection, user: User, *, password_hash: str, master: MasterKey, now_ms: int) -> Credential:
    """Let a user sign in who could not; the first one owns the installation."""
    row = {
        "user_id": user.id,
        "owns_installation": c.execute(select(func.count()).select_from(user_credentials)).scalar_one() == 0,
        "password_hash": password_hash,
        "totp_sealed": None,
        "totp_pending_sealed": None,
        "totp_last_step": None,
        "held_until_ms": 0,
        "changed_ms": now_ms,
    }
    c.execute(insert(user_credentials), row | {"mac": authority.mac(master, user_credentials, row)})
    made = credential_of(c, user.id, master=master)
    assert made is not None  # written above, in this unit of work
    return made


def set_password(
    c: Connection, credential: Credential, *, password_hash: str, keep: str | None, master: MasterKey, now_ms: int
) -> Credential:
    """Another password. `keep` is the id of the session that goes on."""
    return _changed(c, credential, master=master, now_ms=now_ms, keep=keep, password_hash=password_hash)


def begin_totp(c: Connection, credential: Credential, *, master: MasterKey, now_ms: int) -> bytes:
    """A new seed, not in use until `confirm_totp`; one that waited to be confirmed is forgotten."""
    seed = totp.new_seed()
    sealed = master.seal(seed, identity=_identity(credential.user_id, "totp_pending"))
    _write(c, credential, {"totp_pending_sealed": sealed}, master=master, now_ms=now_ms)
    return seed


def confirm_totp(
    c: Connection, credential: Credential, *, code: str, keep: str, master: MasterKey, now_ms: int
) -> Sequence[str]:
    """Put the pending seed in use, proved by one of its codes; new recovery codes.

    Raises:
        ApiError: totp_not_begun, credentials_wrong.
        SealBroken: the seed is another row's.
    """
    sealed = credential.row["totp_pending_sealed"]
    if sealed is None:
        raise ApiError("totp_not_begun", "there is no authenticator to confirm")
    seed = master.unseal(sealed, identity=_identity(credential.user_id, "totp_pending"))
    step = totp.matching_step(seed, code, now_ms=now_ms, after=None)
    if step is None:
        raise wrong()
    _changed(
        c,
        credential,
        master=master,
        now_ms=now_ms,
        keep=keep,
        totp_sealed=master.seal(seed, identity=_identity(credential.user_id, "totp")),
        totp_pending_sealed=None,
        totp_last_step=step,
    )
    return recovery.renew(c, credential.user_id, master=master, now_ms=now_ms)


def use_totp(c: Connection, credential: Credential, *, code: str, master: MasterKey, now_ms: int) -> Credential:
    """Use a code up. Raises: ApiError: credentials_wrong: it is wrong, or was used. SealBroken."""
    sealed = credential.row["totp_sealed"]
    if sealed is None:
        raise wrong()
    seed = master.unseal(sealed, identity=_identity(credential.user_id, "totp"))
    step = totp.matching_step(seed, code, now_ms=now_ms, after=credential.row["totp_last_step"])
    if step is None:
        raise wrong()
    return _write(c, credential, {"totp_last_step": step}, master=master, now_ms=now_ms)


def use_recovery_code(
    c: Connection, credential: Credential, *, code: str, keep: str | None, master: MasterKey, now_ms: int
) -> Credential:
    """Use a recovery code up in place of the authenticator's. Raises: ApiError: credentials_wrong."""
    used = credential.has_totp and recovery.use(c, credential.user_id, code=code, master=master, now_ms=now_ms)
    if not used:
        raise wrong()
    return _changed(c, credential, master=master, now_ms=now_ms, keep=keep)


def reset_totp(c: Connection, credential: Credential, *, master: MasterKey, now_ms: int) -> Credential:
    """Forget the authenticator and the recovery codes of a user who lost both; all sessions end, and the hold begins.

    Who has the password signs in with it alone until another authenticator is set up, which begins the hold anew.
    """
    recovery.forget(c, credential.user_id)
    return _changed(c, credential, master=master, now_ms=now_ms, keep=None, totp_sealed=None, totp_last_step=None)


def wrong(told: Told | None = None) -> ApiError:
    """The one answer for an unknown name, a wrong password, a wrong code and a used one."""
    return ApiError("credentials_wrong", "name, password or code is wrong", told=told)


def _changed(
    c: Connection, credential: Credential, *, master: MasterKey, now_ms: int, keep: str | None, **values: Any
) -> Credential:
    """A change after which the other sessions end, and the hold begins."""
    sessions.end_all(c, credential.user_id, but=keep)
    # Whoever had one of those sessions may have let themselves in by another door.
    invitations.end_all_of(c, credential.user_id)
    # What waited to be confirmed may be what somebody else began, before they were shut out.
    always = {"totp_pending_sealed": None, "held_until_ms": now_ms + HOLD_MS}
    return _write(c, credential, always | values, master=master, now_ms=now_ms)


def _write(
    c: Connection, credential: Credential, values: dict[str, Any], *, master: MasterKey, now_ms: int
) -> Credential:
    t = user_credentials
    row = {column.name: credential.row[column.name] for column in t.columns}
    after = row | values | {"changed_ms": now_ms}
    written = c.execute(
        update(t)
        .where(t.c.user_id == credential.user_id, t.c.mac == row["mac"])
        .values({**values, "changed_ms": now_ms, "mac": authority.mac(master, t, after)})
    )
    if written.rowcount != 1:
        # Changed since it was read: by another use of the same code, say.
        raise wrong()
    found = credential_of(c, credential.user_id, master=master)
    assert found is not None  # written above, in this unit of work
    return found


def _credential(c: Connection, where: Any, master: MasterKey) -> Credential | None:
    statement = select(user_credentials, users.c.name.label("user_name")).join(users).where(where)
    row = c.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    authority.verify(master, user_credentials, row)
    return Credential(
        user_id=row["user_id"],
        name=row["user_name"],
        owns_installation=row["owns_installation"],
        has_totp=row["totp_sealed"] is not None,
        held_until_ms=row["held_until_ms"],
        password_hash=row["password_hash"],
        row=row,
    )


def _identity(user_id: int, column: str) -> str:
    return f"user_credentials/{user_id}/{column}"
