"""API keys and the addresses they may withdraw to: the rules a key obeys, and the queries.

Guarantees: an HMAC secret is answered once, when it is made, and stored sealed for its row; of an Ed25519 key only
the public half is ever here; a key with withdraw has destinations, an IP allowlist of narrow networks and an expiry;
rows without their MAC are refused (`authority.Tampered`). Revocation is for ever.
Not here: whether a request is signed by the key (`signature`), and whether the key may be used now (`callers`).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from chains.types import ZERO_ADDRESS, Address, ChainId
from service.accounts import names
from service.auth import authority, restrictions
from service.auth.restrictions import UNRESTRICTED, Restrictions
from service.auth.secrets import MasterKey
from service.db.models import api_keys, key_destinations

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

SECRET_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
WIDEST_WITHDRAW_PREFIX: Final = {4: 24, 6: 64}
"""By IP version: one office or one host's network, not a provider."""
MAX_WITHDRAW_LIFETIME_MS: Final = 90 * 24 * 3_600_000
"""90 days: who can move funds out is looked at again every quarter."""
MAX_NETWORKS: Final = 64
MAX_DESTINATIONS: Final = 256
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_FIELD_PRIME: Final = 2**255 - 19
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK_Y: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})
"""Ed25519 points of small order: anyone can sign for them (RFC 8032 does not exclude them)."""


class Permission(StrEnum):
    READ = "read"
    TRADE = "trade"
    WITHDRAW = "withdraw"


class Algorithm(StrEnum):
    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"


class InvalidKey(ValueError):
    """What was asked for would not be a safe key; the message says why."""


class KeyLabelTaken(Exception):
    """The account has a key with this label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An address that a key may withdraw to on one chain."""

    chain_id: ChainId
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What the owner asks for. `public_key` exactly for Ed25519. An empty `ip_allowlist` lets it come from anywhere."""

    account_id: int
    wallet_id: int
    label: str
    permissions: frozenset[Permission]
    algorithm: Algorithm = Algorithm.HMAC_SHA256
    public_key: bytes | None = None
    ip_allowlist: tuple[IpNetwork, ...] = ()
    destinations: tuple[Destination, ...] = ()
    expires_ms: int | None = None
    restrictions: Restrictions = UNRESTRICTED


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A stored key whose MAC was right. `sealed` is the HMAC secret's ciphertext."""

    id: str
    account_id: int
    wallet_id: int
    label: str
    algorithm: Algorithm
    permissions: frozenset[Permission]
    ip_allowlist: tuple[IpNetwork, ...]
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    restrictions: Restrictions
    sealed: bytes | None = field(repr=False)
    public_key: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A new key; `secret` is shown now or never, None for Ed25519."""

    key: ApiKey
    secret: str | None = field(repr=False)


def parse_network(text: str) -> IpNetwork:
    """`203.0.113.7/32`, or one address. Raises: InvalidKey."""
    try:
        network = ip_network(text)
    except ValueError as exc:
        raise InvalidKey(f"{text!r} is not a network: give it as 203.0.113.7/32 or 2001:db8::/64") from exc
    if isinstance(network, IPv6Network) and network.overlaps(_MAPPED):
        # Clients are compared by their IPv4 address: such an entry would never match, or match everyone.
        raise InvalidKey(f"{text!r} covers IPv4-mapped addresses: give the IPv4 network")
    return network


def create_key(c: Connection, new: NewKey, *, master: MasterKey, now_ms: int) -> Created:
    """Store a key and its destinations.

    Raises:
        InvalidKey: it would break a rule above. InvalidName: the label.
        KeyLabelTaken: the account has a key with this label, revoked ones included.
    """
    _check(new, now_ms=now_ms)
    same_label = (api_keys.c.account_id == new.account_id, api_keys.c.label == new.label)
    if c.execute(select(api_keys.c.id).where(*same_label)).first() is not None:
        raise KeyLabelTaken(f"the account has a key called {new.label!r} already")
    key_id = f"ck_{secrets.token_hex(8)}"
    secret = secrets.token_hex(SECRET_BYTES) if new.algorithm is Algorithm.HMAC_SHA256 else None
    row = {
        "id": key_id,
        "account_id": new.account_id,
        "wallet_id": new.wallet_id,
        "label": names.checked(new.label),
        "algorithm": str(new.algorithm),
        "secret_sealed": None if secret is None else master.seal(secret.encode(), identity=_identity(key_id)),
        "public_key": new.public_key,
        "can_read": Permission.READ in new.permissions,
        "can_trade": Permission.TRADE in new.permissions,
        "can_withdraw": Permission.WITHDRAW in new.permissions,
        "ip_allowlist": [str(network) for network in new.ip_allowlist],
        "created_ms": now_ms,
        "expires_ms": new.expires_ms,
        "revoked_ms": None,
        "restrictions": restrictions.document(new.restrictions),
        "made_by_user_id": None,
        "lapses_ms": None,
        "rotates_key_id": None,
        "rotation_overlap_ms": None,
        "last_used_ms": None,
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


def list_keys(c: Connection, account_id: int | None = None, *, master: MasterKey) -> Sequence[ApiKey]:
    """The keys of an account, or of all accounts, oldest first, revoked ones included. Raises: authority.Tampered."""
    statement = select(api_keys).order_by(api_keys.c.created_ms, api_keys.c.id)
    if account_id is not None:
        statement = statement.where(api_keys.c.account_id == account_id)
    return [_key(row, master) for row in c.execute(statement).mappings()]


def revoke_key(c: Connection, key_id: str, *, master: MasterKey, now_ms: int) -> ApiKey | None:
    """Revoke at once and for ever; None when there is no such key. Repeating it keeps the first time."""
    row = c.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().one_or_none()
    if row is None:
        return None
    key = _key(row, master)
    if key.revoked_ms is not None:
        return key
    revoked = {**row, "revoked_ms": now_ms}
    mac = authority.mac(master, api_keys, revoked)
    c.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_ms=now_ms, mac=mac))
    return load_key(c, key_id, master=master)


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


def hmac_secret(key: ApiKey, *, master: MasterKey) -> bytes:
    """The secret of an HMAC key. Raises: SealBroken; ValueError: an Ed25519 key has none here."""
    if key.sealed is None:
        raise ValueError("an Ed25519 key has no secret on this side")
    return master.unseal(key.sealed, identity=_identity(key.id))


def _identity(key_id: str) -> str:
    return f"api_keys/{key_id}/secret"


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
        sealed=row["secret_sealed"],
        public_key=row["public_key"],
    )


def _check(new: NewKey, *, now_ms: int) -> None:
    if not new.permissions:
        raise InvalidKey("a key has at least one permission")
    if (new.algorithm is Algorithm.ED25519) != (new.public_key is not None):
        raise InvalidKey("an Ed25519 key comes with its public key, an HMAC key without one")
    if new.public_key is not None:
        _check_public_key(new.public_key)
    if new.expires_ms is not None and new.expires_ms <= now_ms:
        raise InvalidKey("the expiry is not in the future")
    if len(new.ip_allowlist) > MAX_NETWORKS or len(new.destinations) > MAX_DESTINATIONS:
        raise InvalidKey(f"at most {MAX_NETWORKS} networks and {MAX_DESTINATIONS} destinations")
    if len(set(new.destinations)) != len(new.destinations):
        raise InvalidKey("a destination is given twice")
    if any(destination.address == ZERO_ADDRESS for destination in new.destinations):
        raise InvalidKey("the zero address belongs to nobody")
    if Permission.WITHDRAW not in new.permissions and new.restrictions.limits_withdrawals:
        raise InvalidKey("limits of withdrawals are for keys with the withdraw permission")
    if Permission.WITHDRAW not in new.permissions and new.restrictions.calls:
        raise InvalidKey("calls of contracts are for keys with the withdraw permission")
    if Permission.TRADE not in new.permissions and new.restrictions.limits_orders:
        raise InvalidKey("markets and limits of orders are for keys with the trade permission")
    if Permission.WITHDRAW in new.permissions:
        _check_withdraw(new, now_ms=now_ms)
    elif new.destinations:
        raise InvalidKey("destinations are for keys with the withdraw permission")


def _check_withdraw(new: NewKey, *, now_ms: int) -> None:
    if not new.destinations:
        raise InvalidKey("a key with withdraw needs the addresses that it may withdraw to")
    if not new.ip_allowlist:
        raise InvalidKey("a key with withdraw needs the networks that it may come from")
    if new.expires_ms is None:
        raise InvalidKey("a key with withdraw needs an expiry")
    if new.expires_ms - now_ms > MAX_WITHDRAW_LIFETIME_MS:
        raise InvalidKey("a key with withdraw lives for at most 90 days")
    for network in new.ip_allowlist:
        widest = WIDEST_WITHDRAW_PREFIX[network.version]
        if network.prefixlen < widest:
            raise InvalidKey(f"{network} is too wide for a key with withdraw: /{widest} at widest")


def _check_public_key(public_key: bytes) -> None:
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidKey(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes")
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME or y in _WEAK_Y:
        raise InvalidKey("this public key is a weak point: anyone could sign for it")
