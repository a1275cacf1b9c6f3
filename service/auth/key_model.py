"""What an API key is, and the rules it obeys. Pure; its rows are `keys`'s.

Guarantees: a key with withdraw has an IP allowlist of narrow networks and an expiry of at most 90 days, and one that
the operator made has its own destinations; an Ed25519 public key is not one that anybody can sign for.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from chains.types import ZERO_ADDRESS, Address, ChainId
from service.auth.restrictions import UNRESTRICTED, Restrictions
from service.auth.secrets import MasterKey

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

PUBLIC_KEY_BYTES: Final = 32
WIDEST_WITHDRAW_PREFIX: Final = {4: 24, 6: 64}
"""By IP version: one office or one host's network, not a provider."""
MAX_WITHDRAW_LIFETIME_MS: Final = 90 * 24 * 3_600_000
"""90 days: who can move funds out is looked at again every quarter."""
MAX_LIFETIME_MS: Final = 10 * 366 * 24 * 3_600_000
"""Of any key that expires."""
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
    made_by: int | None = None
    """The user who makes it in a session; None: the operator."""
    lapses_ms: int | None = None
    """Until when it waits to be activated; None: it is in use at once."""
    rotation: "Rotation | None" = None
    calls_from_ms: int | None = None
    """From when on it may call what it lists; None: at once."""

    @property
    def rights(self) -> "Rights":
        return Rights(
            permissions=self.permissions,
            ip_allowlist=self.ip_allowlist,
            expires_ms=self.expires_ms,
            restrictions=self.restrictions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What a key is made in place of: that key ends `overlap_ms` after this one is activated, or before."""

    key_id: str
    overlap_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What of a key may be changed, and decides what it may do."""

    permissions: frozenset[Permission]
    ip_allowlist: tuple[IpNetwork, ...]
    expires_ms: int | None
    restrictions: Restrictions


class KeyState(StrEnum):
    ACTIVE = "active"
    WAITING = "waiting"
    """For its activation."""
    LAPSED = "lapsed"
    """It was not activated in time."""
    EXPIRED = "expired"
    IDLE = "idle"
    """It was not used for too long."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A stored key whose MAC was right. `sealed` is the HMAC secret's ciphertext. Times as in `NewKey`.

    `last_used_ms` is coarse; None: not since that is kept.
    """

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
    made_by: int | None = None
    lapses_ms: int | None = None
    rotation: Rotation | None = None
    last_used_ms: int | None = None
    calls_from_ms: int | None = None
    sealed: bytes | None = field(repr=False)
    public_key: bytes | None = field(repr=False)
    mac: bytes | None = field(default=None, repr=False, compare=False)
    """Of the row as it was loaded, by which that is known; of no other meaning."""

    @property
    def rights(self) -> Rights:
        return Rights(
            permissions=self.permissions,
            ip_allowlist=self.ip_allowlist,
            expires_ms=self.expires_ms,
            restrictions=self.restrictions,
        )

    def idle_end_ms(self, idle_ms: int) -> int | None:
        """When it ends if it is not used until then; None: it does not, since it is held to networks."""
        if self.ip_allowlist or self.last_used_ms is None:
            return None
        return self.last_used_ms + idle_ms

    def state(self, now_ms: int, *, idle_ms: int) -> KeyState:
        """What the key is at that time."""
        if self.revoked_ms is not None:
            return KeyState.REVOKED
        if self.lapses_ms is not None:
            return KeyState.LAPSED if self.lapses_ms <= now_ms else KeyState.WAITING
        if self.expires_ms is not None and self.expires_ms <= now_ms:
            return KeyState.EXPIRED
        idle_end_ms = self.idle_end_ms(idle_ms)
        return KeyState.IDLE if idle_end_ms is not None and idle_end_ms <= now_ms else KeyState.ACTIVE


def parse_network(text: str) -> IpNetwork:
    """`203.0.113.7/32`, or one address. Raises: InvalidKey."""
    try:
        network = ip_network(text)
    except ValueError as exc:
        raise InvalidKey(f"{text!r} is not a network: give it as 203.0.113.7/32 or 2001:db8::/64") from exc
    if "%" in text:
        # A scope means something on one machine only, and no client's address has one.
        raise InvalidKey(f"{text!r} has a scope: give the address alone")
    if isinstance(network, IPv6Network) and network.overlaps(_MAPPED):
        # Clients are compared by their IPv4 address: such an entry would never match, or match everyone.
        raise InvalidKey(f"{text!r} covers IPv4-mapped addresses: give the IPv4 network")
    return network


def hmac_secret(key: ApiKey, *, master: MasterKey) -> bytes:
    """The secret of an HMAC key. Raises: SealBroken; ValueError: an Ed25519 key has none here."""
    if key.sealed is None:
        raise ValueError("an Ed25519 key has no secret on this side")
    return master.unseal(key.sealed, identity=sealed_as(key.id))


def sealed_as(key_id: str) -> str:
    """What its ciphertext is bound to: that of another key does not open."""
    return f"api_keys/{key_id}/secret"


def check_new(new: NewKey, *, now_ms: int) -> None:
    """Raises: InvalidKey."""
    check_rights(new.rights, now_ms=now_ms)
    if (new.algorithm is Algorithm.ED25519) != (new.public_key is not None):
        raise InvalidKey("an Ed25519 key comes with its public key, an HMAC key without one")
    if new.public_key is not None:
        _check_public_key(new.public_key)
    if len(new.destinations) > MAX_DESTINATIONS:
        raise InvalidKey(f"at most {MAX_DESTINATIONS} destinations")
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
    if Permission.WITHDRAW not in new.permissions:
        if new.destinations:
            raise InvalidKey("destinations are for keys with the withdraw permission")
    elif not new.destinations and new.made_by is None:
        # One that was made in a session has its account's address book.
        raise InvalidKey("a key with withdraw needs the addresses that it may withdraw to")


def check_rights(rights: Rights, *, now_ms: int) -> None:
    """What holds for a key whenever its rights are written. Raises: InvalidKey."""
    if not rights.permissions:
        raise InvalidKey("a key has at least one permission")
    if rights.expires_ms is not None and rights.expires_ms <= now_ms:
        raise InvalidKey("the expiry is not in the future")
    if rights.expires_ms is not None and rights.expires_ms - now_ms > MAX_LIFETIME_MS:
        raise InvalidKey("a key expires within ten years, or not at all")
    if len(rights.ip_allowlist) > MAX_NETWORKS:
        raise InvalidKey(f"at most {MAX_NETWORKS} networks")
    if Permission.WITHDRAW in rights.permissions:
        _check_withdraw(rights, now_ms=now_ms)


def _check_withdraw(rights: Rights, *, now_ms: int) -> None:
    if not rights.ip_allowlist:
        raise InvalidKey("a key with withdraw needs the networks that it may come from")
    if rights.expires_ms is None:
        raise InvalidKey("a key with withdraw needs an expiry")
    if rights.expires_ms - now_ms > MAX_WITHDRAW_LIFETIME_MS:
        raise InvalidKey("a key with withdraw lives for at most 90 days")
    for network in rights.ip_allowlist:
        widest = WIDEST_WITHDRAW_PREFIX[network.version]
        if network.prefixlen < widest:
            raise InvalidKey(f"{network} is too wide for a key with withdraw: /{widest} at widest")


def _check_public_key(public_key: bytes) -> None:
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidKey(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes")
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME or y in _WEAK_Y:
        raise InvalidKey("this public key is a weak point: anyone could sign for it")
