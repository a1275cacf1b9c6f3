"""API keys and the addresses they may withdraw to: the queries, each inside the caller's unit of work.

Guarantees: an HMAC secret is answered once, when it is made, and stored sealed for its row; of an Ed25519 key only
the public half is ever here; what is stored obeys the rules of `key_model`; rows without their MAC are refused
(`authority.Tampered`), and every change is one guarded update of the row that was read. Revocation is for ever.
Not here: whether a request is signed by the key (`signature`), and whether the key may be used now (`callers`).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from chains.types import Address, ChainId
from service.accounts import names
from service.auth import authority, key_model, restrictions
from service.auth.authority import Sifted
from service.auth.key_model import (
    Algorithm,
    ApiKey,
    Destination,
    InvalidKey,
    IpAddress,
    IpNetwork,
    KeyState,
    NewKey,
    Permission,
    Rights,
    Rotation,
    hmac_secret,
    parse_network,
    sealed_as,
)
from service.auth.secrets import MasterKey
from service.db.models import api_keys, key_destinations
from service.errors import ApiError

__all__ = [
    "SECRET_BYTES",
    "Algorithm",
    "ApiKey",
    "Created",
    "Destination",
    "InvalidKey",
    "IpAddress",
    "IpNetwork",
    "KeyLabelTaken",
    "KeyState",
    "NewKey",
    "Permission",
    "Rights",
    "Rotation",
    "activate_key",
    "change_key",
    "create_key",
    "destinations",
    "hmac_secret",
    "list_destinations",
    "list_keys",
    "load_key",
    "load_or_stand_in",
    "note_use",
    "parse_network",
    "refuse_if_changed",
    "revoke_key",
    "sift_keys",
]

SECRET_BYTES: Final = 32
_STANDS: Final = select(api_keys.c.revoked_ms, api_keys.c.mac).where(api_keys.c.id == bindparam("key_id"))

_OR_STAND_IN: Final = (
    select(api_keys)
    .where(api_keys.c.id.in_([bindparam("key_id"), select(func.max(api_keys.c.id)).scalar_subquery()]))
    .order_by((api_keys.c.id == bindparam("key_id")).desc())
    .limit(1)
)


class KeyLabelTaken(Exception):
    """The account has a key with this label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A new key; `secret` is shown now or never, None for Ed25519."""

    key: ApiKey
    secret: str | None = field(repr=False)


def create_key(c: Connection, new: NewKey, *, master: MasterKey, now_ms: int) -> Created:
    """Store a key and its destinations.

    Raises:
        InvalidKey: it would break a rule above. InvalidName: the label.
        KeyLabelTaken: the account has a key with this label, revoked ones included.
    """
    key_model.check_new(new, now_ms=now_ms)
    _check_label(c, new.account_id, new.label)
    key_id = f"ck_{secrets.token_hex(8)}"
    secret = secrets.token_hex(SECRET_BYTES) if new.algorithm is Algorithm.HMAC_SHA256 else None
    row = {
        "id": key_id,
        "account_id": new.account_id,
        "wallet_id": new.wallet_id,
        "label": names.checked(new.label),
        "algorithm": str(new.algorithm),
        "secret_sealed": None if secret is None else master.seal(secret.encode(), identity=sealed_as(key_id)),
        "public_key": new.public_key,
        "created_ms": now_ms,
        "revoked_ms": None,
        "made_by_user_id": new.made_by,
        "lapses_ms": new.lapses_ms,
        "rotates_key_id": None if new.rotation is None else new.rotation.key_id,
        "rotation_overlap_ms": None if new.rotation is None else new.rotation.overlap_ms,
        "last_used_ms": now_ms,
        "calls_from_ms": new.calls_from_ms,
        **_stored_rights(new.rights),
    }
    stored = row | {"mac": authority.mac(master, api_keys, row)}
    c.execute(insert(api_keys), stored)
    for destination in new.destinations:
        entry = {
            "key_id": key_id,
            "chain_id": destination.chain_id,
            "address": destination.address,
            "created_ms": now_ms,
        }
        c.execute(insert(key_destinations), entry | {"mac": authority.mac(master, key_destinations, entry)})
    written = c.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().one()
    return Created(key=_key(written, master), secret=secret)


def load_key(c: Connection, key_id: str, *, master: MasterKey) -> ApiKey | None:
    """Raises: authority.Tampered."""
    row = c.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().one_or_none()
    return None if row is None else _key(row, master)


def load_or_stand_in(c: Connection, key_id: str, *, master: MasterKey) -> ApiKey | None:
    """The key, or another one in its place where there is none by that id: the same work for whoever measures it. None:
    there is no key at all. Raises: authority.Tampered, of the key that was asked for."""
    row = c.execute(_OR_STAND_IN, {"key_id": key_id}).mappings().one_or_none()
    if row is None:
        return None
    try:
        return _key(row, master)
    except (authority.Tampered, *authority.UNREADABLE):
        if row["id"] == key_id:
            raise
        return None


def list_keys(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sequence[ApiKey]:
    """The keys of an account, or of all accounts, oldest first, revoked ones included; none whose MAC is wrong."""
    return sift_keys(c, account_id, master=master).intact


def sift_keys(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sifted[ApiKey]:
    """The same, and the ids of those whose MAC is wrong: nobody can use them."""
    statement = select(api_keys).order_by(api_keys.c.created_ms, api_keys.c.id)
    if account_id is not None:
        statement = statement.where(api_keys.c.account_id == account_id)
    return authority.sift(c, statement, table=api_keys, id_=api_keys.c.id, make=lambda row: _key(row, master))


def revoke_key(c: Connection, key_id: str, *, master: MasterKey, now_ms: int) -> ApiKey | None:
    """Revoke at once and for ever; None when there is no such key. Repeating it keeps the first time."""
    key = load_key(c, key_id, master=master)
    return (
        key if key is None or key.revoked_ms is not None else _write(c, key_id, {"revoked_ms": now_ms}, master=master)
    )


def change_key(
    c: Connection,
    key: ApiKey,
    *,
    label: str,
    rights: Rights,
    calls_from_ms: int | None = None,
    master: MasterKey,
    now_ms: int,
) -> ApiKey:
    """Give a key other rights and another label. Whether it needs a confirmation is `service.keys.changing`'s to say.

    `calls_from_ms`: from when on it calls what it lists, where that changes.

    Raises:
        InvalidKey: it would break a rule above. InvalidName: the label. KeyLabelTaken.
    """
    key_model.check_rights(rights, now_ms=now_ms)
    if label != key.label:
        _check_label(c, key.account_id, label)
    values = {"label": names.checked(label), **_stored_rights(rights)}
    cooling = {} if calls_from_ms is None else {"calls_from_ms": calls_from_ms}
    return _write(c, key.id, values | cooling, master=master)


def activate_key(
    c: Connection, key: ApiKey, *, calls_from_ms: int | None = None, master: MasterKey, now_ms: int
) -> ApiKey:
    """Put a key in use that waits for it; the key that it is made in place of ends after the overlap.

    `calls_from_ms` as in `change_key`. The caller has seen that it waits; of two that have, the second one's unit of
    work is refused.
    """
    if key.rotation is not None and (old := load_key(c, key.rotation.key_id, master=master)) is not None:
        end_ms = now_ms + key.rotation.overlap_ms
        if old.revoked_ms is None and (old.expires_ms is None or end_ms < old.expires_ms):
            _write(c, old.id, {"expires_ms": end_ms}, master=master)
    cooling = {} if calls_from_ms is None else {"calls_from_ms": calls_from_ms}
    return _write(c, key.id, {"lapses_ms": None, "last_used_ms": now_ms} | cooling, master=master)


def note_use(c: Connection, key_id: str, *, used_ms: int, master: MasterKey) -> None:
    """Keep that it was used then, unless later is kept. Nothing for a key that is not there."""
    key = load_key(c, key_id, master=master)
    if key is not None and (key.last_used_ms is None or key.last_used_ms < used_ms):
        _write(c, key_id, {"last_used_ms": used_ms}, master=master)


def refuse_if_changed(c: Connection, key: ApiKey) -> None:
    """In the unit of work of a request that this key's rights were checked for: they are the same, and it is not over.

    The row that was loaded is known by its MAC; where that is another one, what the key may do is compared with it.

    Raises: ApiError: key_revoked, try_again.
    """
    found = c.execute(_STANDS, {"key_id": key.id}).one_or_none()
    if found is None or found.revoked_ms is not None:
        raise ApiError("key_revoked", "this key was revoked")
    if key.mac is not None and bytes(found.mac) == key.mac:
        return
    row = c.execute(select(api_keys).where(api_keys.c.id == key.id)).mappings().one()
    loaded = _stored_rights(key.rights) | {"lapses_ms": key.lapses_ms, "calls_from_ms": key.calls_from_ms}
    if any(row[name] != value for name, value in loaded.items()):
        raise ApiError("try_again", "what this key may do was changed while the request was looked at")


def destinations(c: Connection, key_id: str, *, chain_id: ChainId, master: MasterKey) -> frozenset[Address]:
    """Where the key may withdraw to on that chain. Raises: authority.Tampered."""
    listed = list_destinations(c, key_id, master=master)
    return frozenset(entry.address for entry in listed if entry.chain_id == chain_id)


def list_destinations(c: Connection, key_id: str, *, master: MasterKey) -> Sequence[Destination]:
    """All destinations of a key, by chain. Raises: authority.Tampered."""
    t = key_destinations
    found: list[Destination] = []
    for row in c.execute(select(t).where(t.c.key_id == key_id).order_by(t.c.chain_id, t.c.address)).mappings():
        authority.verify(master, t, row)
        found.append(Destination(chain_id=ChainId(row["chain_id"]), address=row["address"]))
    return found


def _write(c: Connection, key_id: str, values: dict[str, Any], *, master: MasterKey) -> ApiKey:
    """Change a row whose MAC is right, if it is still the one that was read."""
    before = c.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().one()
    _key(before, master)
    mac = authority.mac(master, api_keys, {**before, **values})
    same = (api_keys.c.id == key_id, api_keys.c.mac == before["mac"])
    written = c.execute(update(api_keys).where(*same).values({**values, "mac": mac}))
    if written.rowcount != 1:
        raise ApiError("try_again", "the key was changed at the same moment")
    return _key(c.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().one(), master)


def _stored_rights(rights: Rights) -> dict[str, Any]:
    return {
        "can_read": Permission.READ in rights.permissions,
        "can_trade": Permission.TRADE in rights.permissions,
        "can_withdraw": Permission.WITHDRAW in rights.permissions,
        "ip_allowlist": [str(network) for network in rights.ip_allowlist],
        "expires_ms": rights.expires_ms,
        "restrictions": restrictions.document(rights.restrictions),
    }


def _check_label(c: Connection, account_id: int, label: str) -> None:
    """Raises: KeyLabelTaken."""
    same_label = (api_keys.c.account_id == account_id, api_keys.c.label == label)
    if c.execute(select(api_keys.c.id).where(*same_label)).first() is not None:
        raise KeyLabelTaken(f"the account has a key called {label!r} already")


def _key(row: RowMapping, master: MasterKey) -> ApiKey:
    authority.verify(master, api_keys, row)
    granted = {
        Permission.READ: row["can_read"],
        Permission.TRADE: row["can_trade"],
        Permission.WITHDRAW: row["can_withdraw"],
    }
    return ApiKey(
        id=row["id"],
        account_id=row["account_id"],
        wallet_id=row["wallet_id"],
        label=row["label"],
        algorithm=Algorithm(row["algorithm"]),
        permissions=frozenset(permission for permission, may in granted.items() if may),
        ip_allowlist=tuple(ip_network(text) for text in row["ip_allowlist"]),
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"],
        restrictions=restrictions.parse(row["restrictions"]),
        made_by=row["made_by_user_id"],
        lapses_ms=row["lapses_ms"],
        rotation=None
        if row["rotates_key_id"] is None
        else Rotation(key_id=row["rotates_key_id"], overlap_ms=row["rotation_overlap_ms"]),
        last_used_ms=row["last_used_ms"],
        calls_from_ms=row["calls_from_ms"],
        sealed=row["secret_sealed"],
        public_key=row["public_key"],
        mac=bytes(row["mac"]),
    )
