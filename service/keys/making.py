"""Making keys in a session, activating them, and making one in another's place.

    make ── waiting ── activate, with the authenticator's code ──> active
               └── LAPSE_MS ──> lapsed, for good

Guarantees: a key made here does nothing until it is activated, and is activated once, however many ask at once, with
withdraw by who made it, as whom it acts; what it may call cools from then on, as an address does; it has no right that
its maker's role may not give; members who are no owners use the account's number of keys up neither each nor all
together, so that an owner can make one; a successor has exactly the rights of the key that it is made for, and that key
goes on until the successor is activated and the overlap has passed; what that key may call at that moment, its maker's
own successor may from when it may, and all else cools anew. Each is in the audit log, with its commit.
Not guaranteed: that limits of a day are shared while two keys overlap: each has its own.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from service.accounts import memberships, people, wallets
from service.accounts.confirming import confirm, offer
from service.accounts.people import Role
from service.accounts.wallets import Wallet
from service.addresses import cooling
from service.audit.acts import KEY_ACTIVATED, KEY_MADE, KEY_ROTATED
from service.auth import keys
from service.auth.budgets import DAY_MS
from service.auth.key_model import MAX_WITHDRAW_LIFETIME_MS
from service.auth.keys import (
    Algorithm,
    ApiKey,
    Created,
    InvalidKey,
    KeyState,
    NewKey,
    Permission,
    Rotation,
)
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.errors import ApiError
from service.keys import access, limits, naming
from service.keys.outcomes import record, refusals
from service.keys.schemas import KeyIn, KeyMade, KeyOut, RotateIn
from service.keys.view import idle_ms, shown
from service.keys.widening import wider_fields

HOUR_MS: Final = 3_600_000
LAPSE_MS: Final = 7 * 24 * HOUR_MS
"""Longer than the hold after an authenticator was set up."""
MAX_LIVE: Final = 100
"""Keys of an account that have not ended."""
MAX_A_DAY: Final = 200
"""Keys made in an account within 24 hours: rows are kept for ever."""
MAX_LIVE_A_MEMBER: Final = 25
MAX_A_DAY_A_MEMBER: Final = 50
"""The same of one who is no owner."""
MAX_LIVE_OF_MEMBERS: Final = 75
MAX_A_DAY_OF_MEMBERS: Final = 150
"""And of all who are none, together: the rest is the owners'."""


async def make(services: Services, caller: SessionCaller, asked: KeyIn) -> KeyMade:
    """A new key, waiting for its activation. Its secret is in this answer and nowhere else.

    Raises:
        ApiError: session_ended, account_not_found, account_required, role_denied, wallet_not_found, invalid_key,
            invalid_parameters, label_taken, too_many_keys.
    """
    now_ms, master = services.clock.now_ms(), services.master
    permissions = frozenset(Permission(name) for name in asked.permissions)

    def write(c: Connection) -> KeyMade:
        caller.check_open(c)
        member = memberships.require_role(c, caller, asked.account, one_of=memberships.TRADERS, master=master)
        access.check_may_give(member.role, permissions)
        wallet = _wallet(wallets.intact_wallets(c, member.account_id, master=master), asked.wallet)
        new = NewKey(
            account_id=member.account_id,
            wallet_id=wallet.id,
            label=asked.label,
            permissions=permissions,
            algorithm=Algorithm(asked.algorithm),
            public_key=None if asked.public_key is None else naming.public_key(asked.public_key),
            ip_allowlist=tuple(keys.parse_network(text) for text in asked.ip_allowlist),
            expires_ms=asked.expires_ms,
            restrictions=limits.read(
                services, asked.limits.model_dump(exclude_unset=True), base=limits.usual(services, permissions)
            ),
            made_by=caller.user_id,
            lapses_ms=now_ms + LAPSE_MS,
        )
        made = _create(c, services, new, role=member.role, now_ms=now_ms)
        details = {"wallet": wallet.label, **described(services, made.key)}
        record(c, services, caller, made.key, act=KEY_MADE, now_ms=now_ms, details=details)
        return KeyMade(key=shown(c, services, made.key), secret=made.secret)

    with refusals():
        return await services.db.run(write)


async def activate(services: Services, caller: SessionCaller, key_id: str, *, totp_code: str | None) -> KeyOut:
    """Put a waiting key in use.

    Raises:
        ApiError: session_ended, key_not_found, role_denied, key_not_waiting, and those of `confirm`.
    """
    offered = await offer(services, caller, totp_code)
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> KeyOut:
        key, role = access.managed(c, caller, key_id, master=master)
        access.check_may_give(role, key.permissions)
        state = key.state(now_ms, idle_ms=idle_ms(services))
        if state is not KeyState.WAITING:
            raise ApiError("key_not_waiting", f"this key is {state}")
        access.check_activates(caller, key)
        confirm(c, caller, offered, master=master, now_ms=now_ms, what="activating a key")
        calls_from_ms = _calls_from(c, services, caller, key, now_ms=now_ms)
        activated = keys.activate_key(c, key, calls_from_ms=calls_from_ms, master=master, now_ms=now_ms)
        record(c, services, caller, activated, act=KEY_ACTIVATED, now_ms=now_ms, details=described(services, activated))
        return shown(c, services, activated)

    with refusals():
        return await services.db.run(write)


async def rotate(services: Services, caller: SessionCaller, key_id: str, asked: RotateIn) -> KeyMade:
    """A key with the same rights in place of another, waiting for its activation, with which the overlap begins.

    Raises:
        ApiError: session_ended, key_not_found, role_denied, key_ended, invalid_key, label_taken, too_many_keys.
    """
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> KeyMade:
        old, role = access.managed(c, caller, key_id, master=master)
        access.check_may_give(role, old.permissions)
        state = old.state(now_ms, idle_ms=idle_ms(services))
        if state is not KeyState.ACTIVE:
            raise ApiError("key_ended" if state is not KeyState.WAITING else "key_inactive", f"this key is {state}")
        access.check_not_new(c, caller, old, master=master, now_ms=now_ms)
        given = None if asked.public_key is None else naming.public_key(asked.public_key)
        if given is not None and given == old.public_key:
            raise InvalidKey("rotating is for a new pair of keys: this is the old one's public key")
        taken = {key.label for key in keys.list_keys(c, old.account_id, master=master)}
        new = NewKey(
            account_id=old.account_id,
            wallet_id=old.wallet_id,
            label=naming.next_label(old.label, taken=taken) if asked.label is None else asked.label,
            permissions=old.permissions,
            algorithm=old.algorithm,
            public_key=given,
            ip_allowlist=old.ip_allowlist,
            destinations=tuple(keys.list_destinations(c, old.id, master=master)),
            expires_ms=_end_of_successor(old, asked.expires_ms, now_ms=now_ms),
            restrictions=old.restrictions,
            # Who gets the secret, not who made the old one: by its maker a key approves, is held and is revoked.
            made_by=caller.user_id,
            lapses_ms=now_ms + LAPSE_MS,
            rotation=Rotation(key_id=old.id, overlap_ms=asked.overlap_hours * HOUR_MS),
            # As long as at least; `activate` says whether longer.
            calls_from_ms=old.calls_from_ms,
        )
        made = _create(c, services, new, role=role, now_ms=now_ms)
        details = {"successor": made.key.id, "overlap_hours": asked.overlap_hours}
        record(c, services, caller, old, act=KEY_ROTATED, now_ms=now_ms, details=details)
        return KeyMade(key=shown(c, services, made.key), secret=made.secret)

    with refusals():
        return await services.db.run(write)


def _calls_from(
    c: Connection, services: Services, caller: SessionCaller, key: ApiKey, *, now_ms: int
) -> int | None:  # fmt: skip
    """From when on a key that is activated now calls what it lists: a contract is a way out as an address is.

    And who has the secret says what a contract is called with: calls that cooled for one person have not for another.
    Where the same person could call the same with the key that this one takes the place of, nothing new is let out: as
    on an exchange, whose new keys withdraw to the addresses that the account has. It calls no sooner than that key.
    """
    if not key.restrictions.calls:
        return key.calls_from_ms
    old = _goes_on_from(c, services, caller, key, now_ms=now_ms)
    if old is None:
        return max(key.calls_from_ms or 0, cooling.end_of(c, key.account_id, now_ms=now_ms, master=services.master))
    return max(key.calls_from_ms or 0, old.calls_from_ms or 0) or None


def _goes_on_from(
    c: Connection, services: Services, caller: SessionCaller, key: ApiKey, *, now_ms: int
) -> ApiKey | None:
    """The key that it takes the place of, where that is in use still, is of the same person, who is not new in the
    account, and calls as much from as many networks; as it is now: what was taken from it meanwhile, for a reason, is
    not given back by what waited."""
    master = services.master
    old = None if key.rotation is None else keys.load_key(c, key.rotation.key_id, master=master)
    mine = people.membership_of(c, caller.user_id, account_id=key.account_id, master=master)
    if old is None or mine is None or old.made_by != caller.user_id:
        return None
    wider = wider_fields(old.rights, key.rights)
    could = (
        old.state(now_ms, idle_ms=idle_ms(services)) is KeyState.ACTIVE
        and Permission.WITHDRAW in old.permissions
        and not {"limits.calls", "ip_allowlist"} & set(wider)
        and memberships.counts(c, mine, master=master, now_ms=now_ms)
    )
    return old if could else None


def _end_of_successor(old: ApiKey, asked_ms: int | None, *, now_ms: int) -> int | None:
    if asked_ms is not None or old.expires_ms is None:
        return asked_ms
    lifetime_ms = old.expires_ms - old.created_ms
    if Permission.WITHDRAW in old.permissions:
        lifetime_ms = min(lifetime_ms, MAX_WITHDRAW_LIFETIME_MS)
    return now_ms + lifetime_ms


def described(services: Services, key: ApiKey) -> dict[str, Any]:
    """What the audit log keeps of a key's rights."""
    shown_limits = limits.shown(services, key.restrictions)
    return {
        "limits": [f"{name}={_text(value)}" for name, value in shown_limits.items()] or None,
        "permissions": [str(one) for one in Permission if one in key.permissions],
        "ip_allowlist": [str(network) for network in key.ip_allowlist],
        "expires_ms": key.expires_ms,
        "algorithm": str(key.algorithm),
        "rotates": None if key.rotation is None else key.rotation.key_id,
    }


def _text(value: Any) -> str:
    match value:
        case dict():
            return ",".join(f"{of}:{limit}" for of, limit in value.items())
        case list():
            return ",".join(value)
        case other:
            return str(other)


def _create(c: Connection, services: Services, new: NewKey, *, role: Role, now_ms: int) -> Created:
    found = keys.sift_keys(c, new.account_id, master=services.master)
    all_of = found.intact
    # What is not to be read counts as one that has not ended.
    room = MAX_LIVE - len(found.unusable)
    _check_room(services, all_of, "the account has", live=room, a_day=MAX_A_DAY, now_ms=now_ms)
    if role is not Role.OWNER:
        members = people.members(c, new.account_id, master=services.master)
        owners = {None, *(one.user_id for one in members if one.role is Role.OWNER)}
        own = [key for key in all_of if key.made_by == new.made_by]
        theirs = [key for key in all_of if key.made_by not in owners]
        _check_room(services, own, "you have", live=MAX_LIVE_A_MEMBER, a_day=MAX_A_DAY_A_MEMBER, now_ms=now_ms)
        whose = "members who are no owners have"
        _check_room(services, theirs, whose, live=MAX_LIVE_OF_MEMBERS, a_day=MAX_A_DAY_OF_MEMBERS, now_ms=now_ms)
    return keys.create_key(c, new, master=services.master, now_ms=now_ms)


def _check_room(services: Services, found: Sequence[ApiKey], whose: str, *, live: int, a_day: int, now_ms: int) -> None:
    """Raises: ApiError: too_many_keys."""
    idle = idle_ms(services)
    ended = (KeyState.REVOKED, KeyState.EXPIRED, KeyState.IDLE, KeyState.LAPSED)
    if sum(key.state(now_ms, idle_ms=idle) not in ended for key in found) >= live:
        raise ApiError("too_many_keys", f"{whose} {live} keys that have not ended")
    if sum(now_ms - key.created_ms < DAY_MS for key in found) >= a_day:
        raise ApiError("too_many_keys", f"{whose} made {a_day} keys within 24 hours; wait")


def _wallet(found: Sequence[Wallet], named: str | None) -> Wallet:
    if named is None and len(found) == 1:
        return found[0]
    for wallet in found:
        if named is not None and (wallet.label == named or wallet.address.lower() == named.lower()):
            return wallet
    if named is None and found:
        raise ApiError("invalid_parameters", "the account has several wallets; name one as `wallet`")
    raise ApiError("wallet_not_found", "the account has no such wallet")
