"""Routes of keys: `/v1/keys` for people in a session, `/v1/key` for a key about itself."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, status
from sqlalchemy import Connection

from service.accounts import memberships
from service.audit.acts import KEY_REVOKED
from service.auth import keys
from service.auth.authority import Sifted, Tampered
from service.auth.callers import KeyCaller, PersonCaller
from service.auth.keys import ApiKey, KeyState
from service.keys import access, changing, ending, making, own
from service.keys.outcomes import record
from service.keys.schemas import (
    ActivateIn,
    Checked,
    CheckIn,
    KeyIn,
    KeyMade,
    KeyOut,
    KeyPatch,
    Keys,
    OwnKey,
    Revoked,
    RotateIn,
)
from service.keys.view import idle_ms, shown
from service.markets.lookup import Here

router = APIRouter(prefix="/v1", tags=["keys"])
KeyName = Annotated[str, Path(pattern=r"^ck_[0-9a-f]{16}$", examples=["ck_0123456789abcdef"])]
AccountQuery = Annotated[
    str | None, Query(max_length=64, description="Needed by a member of several.", examples=["main"])
]


@router.post("/keys", status_code=status.HTTP_201_CREATED)
async def make_key(body: KeyIn, caller: PersonCaller, services: Here) -> KeyMade:
    """A new key, which does nothing until it is activated. Its secret is in this answer and nowhere else."""
    return await making.make(services, caller, body)


@router.get("/keys")
async def list_keys(caller: PersonCaller, services: Here, account: AccountQuery = None, ended: bool = False) -> Keys:
    """The keys of an account, oldest first; with `ended` also those that are over."""

    def read(c: Connection) -> tuple[list[KeyOut], Sifted[ApiKey], int]:
        master = services.master
        member = memberships.require_role(c, caller, account, one_of=memberships.ANYONE, master=master)
        now_ms, idle = services.clock.now_ms(), idle_ms(services)
        live = (KeyState.ACTIVE, KeyState.WAITING)
        found = keys.sift_keys(c, member.account_id, master=master)
        listed, unusable = [], list(found.unusable)
        for key in found.intact:
            if ended or key.state(now_ms, idle_ms=idle) in live:
                try:
                    listed.append(shown(c, services, key))
                except Tampered:
                    # Its wallet or its destinations.
                    unusable.append(key.id)
        return listed, replace(found, unusable=unusable), member.account_id

    listed, found, account_id = await services.db.read(read)
    services.refusals.note_unusable(found, account_id=account_id)
    return Keys(keys=listed, unusable=list(found.unusable))


@router.get("/keys/{key_id}")
async def show_key(key_id: KeyName, caller: PersonCaller, services: Here) -> KeyOut:
    """One key, without its secret."""
    return await services.db.read(
        lambda c: shown(c, services, access.seen(c, caller, key_id, master=services.master)[0])
    )


@router.patch("/keys/{key_id}")
async def change_key(key_id: KeyName, body: KeyPatch, caller: PersonCaller, services: Here) -> KeyOut:
    """Change label, rights or limits. What widens any of them needs `totp_code`; narrowing needs nothing."""
    return await changing.change(services, caller, key_id, body)


@router.post("/keys/{key_id}/activate")
async def activate_key(key_id: KeyName, body: ActivateIn, caller: PersonCaller, services: Here) -> KeyOut:
    """Put a key in use, with an authenticator's code. The key that it rotates ends after the overlap."""
    return await making.activate(services, caller, key_id, totp_code=body.totp_code)


@router.post("/keys/{key_id}/rotate", status_code=status.HTTP_201_CREATED)
async def rotate_key(key_id: KeyName, body: RotateIn, caller: PersonCaller, services: Here) -> KeyMade:
    """A new key with the same rights, to be activated; the old one goes on until then, and for the overlap."""
    return await making.rotate(services, caller, key_id, body)


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: KeyName, caller: PersonCaller, services: Here) -> Revoked:
    """End a key at once and for ever, and what it has open with it. Repeating it changes nothing."""
    rejecter = ending.rejecter_of(services)
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> Revoked:
        key, _ = access.managed(c, caller, key_id, master=services.master)
        ended = ending.end_key(c, services, key.id, rejecter=rejecter, now_ms=now_ms)
        assert ended is not None  # read above, in this unit of work
        counts = {"cancelled": ended.cancelled, "rejected": ended.rejected, "closing": ended.closing}
        if key.revoked_ms is None:
            record(c, services, caller, key, act=KEY_REVOKED, now_ms=now_ms, details=counts)
        return Revoked(key=shown(c, services, ended.key), **counts)

    answer = await services.db.run(write)
    ending.wake(services)
    return answer


@router.get("/key")
async def own_key(caller: KeyCaller, services: Here) -> OwnKey:
    """What this key may do, and what is used of its limits today."""
    return await own.own_key(services, caller)


@router.post("/key/check")
async def check_request(body: CheckIn, caller: KeyCaller, services: Here) -> Checked:
    """What the key's restrictions would say to a request; nothing is done or counted."""
    return await own.check(services, caller, body)
