"""Changing a key in a session: its label, and what it may do.

Guarantees: whatever widens needs the authenticator's code and no hold, and whatever does not needs neither
(`widening`), but for another label of a key with withdraw, by which people know it who approve, or of one that waits,
by which they know it who activate; a change that does both is one that widens. A key with withdraw is widened by who
made it only (`access`). A key that has ended stays as it is. A key that gets the trade permission gets the usual limits
for what nobody limits. What it may call cools as an address does, all of it, where it is more than before, or the key
is used from more networks or may withdraw where it did not.
The change and its entry in the audit log commit together. A permission that is taken ends what it was needed for and
was not signed: resting orders here, plans right before they would be signed (`service.workers.presign`).
Not guaranteed: that what was accepted before another right was narrowed does not happen; revoking ends that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from service.accounts.confirming import confirm, offer
from service.addresses import cooling
from service.audit.acts import KEY_CHANGED
from service.auth import keys
from service.auth.keys import ApiKey, KeyState, Permission, Rights
from service.auth.restrictions import Restrictions
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.errors import ApiError
from service.keys import access, limits
from service.keys.making import described
from service.keys.outcomes import record, refusals
from service.keys.schemas import KeyOut, KeyPatch
from service.keys.view import idle_ms, shown
from service.keys.widening import Direction, judge, wider_fields
from service.orders.closing import cancel_of_key
from service.orders.reasons import PERMISSION_TAKEN


async def change(services: Services, caller: SessionCaller, key_id: str, asked: KeyPatch) -> KeyOut:
    """The key as it is after the change.

    Raises:
        ApiError: session_ended, key_not_found, role_denied, key_ended, invalid_key, invalid_parameters, label_taken,
            and where it widens those of `confirm`.
    """
    _check_nulls(asked)
    now_ms, master = services.clock.now_ms(), services.master

    def widens(c: Connection) -> bool:
        key, _ = access.managed(c, caller, key_id, master=master)
        return bool(wider_fields(key.rights, _wanted(services, key, asked))) or _renames(key, asked)

    with refusals():
        # A code that is not looked at counts as no attempt.
        needed = asked.totp_code is not None and await services.db.read(widens)
    offered = await offer(services, caller, asked.totp_code if needed else None)

    def write(c: Connection) -> KeyOut:
        key, role = access.managed(c, caller, key_id, master=master)
        state = key.state(now_ms, idle_ms=idle_ms(services))
        if state not in (KeyState.ACTIVE, KeyState.WAITING):
            raise ApiError("key_ended", f"this key is {state}")
        rights = _wanted(services, key, asked)
        access.check_may_give(role, rights.permissions)
        judged = judge(key.rights, rights)
        wider = [name for name, direction in judged.items() if direction is Direction.WIDER]
        narrower = [name for name, direction in judged.items() if direction is Direction.NARROWER]
        label = key.label if asked.label is None else asked.label
        cools = _cools(key, rights, wider)
        changed = keys.change_key(
            c,
            key,
            label=label,
            rights=rights,
            calls_from_ms=cooling.end_of(c, key.account_id, now_ms=now_ms, master=master) if cools else None,
            master=master,
            now_ms=now_ms,
        )
        if wider:
            access.check_widens(c, caller, key, rights.permissions, master=master, now_ms=now_ms)
        if _renames(key, asked):
            access.check_not_new(c, caller, key, master=master, now_ms=now_ms)
        if wider or _renames(key, asked):
            what = f"widening {', '.join(wider)}" if wider else "another label of a key that waits or withdraws"
            confirm(c, caller, offered, master=master, now_ms=now_ms, what=what)
        details = {"wider": wider, "narrower": narrower, **described(services, changed)}
        if Permission.TRADE in key.permissions - rights.permissions:
            # They would be carried out long after the key was told not to trade.
            details["cancelled"] = cancel_of_key(c, key.id, reason=PERMISSION_TAKEN, master=master, now_ms=now_ms)
        record(c, services, caller, changed, act=KEY_CHANGED, now_ms=now_ms, details=details)
        return shown(c, services, changed)

    with refusals():
        return await services.db.run(write)


def _cools(key: ApiKey, after: Rights, wider: Sequence[str]) -> bool:
    """Whether its calls wait anew: there are more of them, or more from where or with which they are reached."""
    if not after.restrictions.calls:
        return False
    withdraws = Permission.WITHDRAW in after.permissions - key.permissions
    return withdraws or "limits.calls" in wider or "ip_allowlist" in wider


def _renames(key: ApiKey, asked: KeyPatch) -> bool:
    """Whether whoever approves would know the key by another name, or whoever activates one: two that wait, with their
    names changed over, are how a session alone has a key of its own activated in place of its owner's."""
    named_by = Permission.WITHDRAW in key.permissions or key.lapses_ms is not None
    return asked.label not in (None, key.label) and named_by


def _check_nulls(asked: KeyPatch) -> None:
    """Only an expiry can be none. Raises: ApiError: invalid_parameters."""
    given = asked.model_fields_set - {"expires_ms", "totp_code"}
    if nulls := sorted(name for name in given if getattr(asked, name) is None):
        raise ApiError("invalid_parameters", f"leave out what is to stay: {', '.join(nulls)} cannot be null")
    if not asked.model_fields_set - {"totp_code"}:
        raise ApiError("invalid_parameters", "there is nothing to change in this request")


def _wanted(services: Services, key: ApiKey, asked: KeyPatch) -> Rights:
    before = key.rights
    given = asked.model_fields_set
    permissions = (
        before.permissions if asked.permissions is None else frozenset(Permission(one) for one in asked.permissions)
    )
    networks = asked.ip_allowlist
    return Rights(
        permissions=permissions,
        ip_allowlist=before.ip_allowlist if networks is None else tuple(keys.parse_network(one) for one in networks),
        expires_ms=asked.expires_ms if "expires_ms" in given else before.expires_ms,
        restrictions=_limits(services, key, asked, permissions=permissions),
    )


def _limits(
    services: Services, key: ApiKey, asked: KeyPatch, *, permissions: frozenset[Permission]
) -> Restrictions:  # fmt: skip
    base = key.restrictions
    if Permission.TRADE in permissions - key.permissions:
        usual = limits.usual(services, permissions)
        unlimited: dict[str, Any] = {name: getattr(usual, name) for name in limits.OF_TRADE if _is_none(base, name)}
        base = replace(base, **unlimited)
    said = {} if asked.limits is None else asked.limits.model_dump(exclude_unset=True)
    return limits.read(services, said, base=base)


def _is_none(base: Restrictions, name: str) -> bool:
    """Nothing is limited; 0 is a limit."""
    return getattr(base, name) in (None, {})
