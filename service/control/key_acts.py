"""Owner's acts on API keys: create, list, revoke.

Guarantees: a secret is in the answer of its creation and nowhere else; a key is revoked in the same unit of work in
which that is durable, so that a request accepted afterwards does not exist, and what the key has open is to be closed.
What a key is restricted to is `key_limits`.
"""

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from chains.types import ChainId, InvalidAddress, parse_address
from service.accounts import wallets
from service.accounts.names import InvalidName
from service.auth import keys
from service.auth.authority import Sifted, Tampered
from service.auth.budgets import DAY_MS
from service.auth.keys import Algorithm, ApiKey, Destination, InvalidKey, KeyLabelTaken, NewKey, Permission
from service.build import Services
from service.control import key_limits
from service.control.key_limits import RestrictionParams
from service.control.params import Params
from service.control.protocol import ActFailed
from service.control.wallet_acts import find_wallet
from service.keys import ending, naming

HOUR_MS = 3_600_000


class DestinationParam(Params):
    chain: str
    address: str


class CreateKey(Params):
    label: str = Field(max_length=64)
    wallet: str
    permissions: list[Literal["read", "trade", "withdraw"]] = Field(min_length=1)
    ip_allowlist: list[str] = Field(default_factory=list)
    destinations: list[DestinationParam] = Field(default_factory=list)
    lifetime_hours: int | None = Field(default=None, ge=1, le=10 * 366 * 24)
    algorithm: Literal["hmac-sha256", "ed25519"] = "hmac-sha256"
    public_key: str | None = None
    limits: RestrictionParams = Field(default_factory=RestrictionParams)


class RevokeKey(Params):
    key: str


async def create(services: Services, params: CreateKey) -> dict[str, Any]:
    """A new key, with its secret."""
    wallet = await find_wallet(services, params.wallet)
    now_ms = services.clock.now_ms()
    permissions = frozenset(Permission(name) for name in params.permissions)
    try:
        new = NewKey(
            account_id=wallet.account_id,
            wallet_id=wallet.id,
            label=params.label,
            permissions=permissions,
            algorithm=Algorithm(params.algorithm),
            public_key=None if params.public_key is None else naming.public_key(params.public_key),
            ip_allowlist=tuple(keys.parse_network(text) for text in params.ip_allowlist),
            destinations=tuple(_destination(services, entry) for entry in params.destinations),
            expires_ms=None if params.lifetime_hours is None else now_ms + params.lifetime_hours * HOUR_MS,
            restrictions=key_limits.restrictions_of(services, params.limits, permissions=permissions),
        )
        made = await services.db.run(lambda c: keys.create_key(c, new, master=services.master, now_ms=now_ms))
    except InvalidKey as exc:
        raise ActFailed("invalid_key", str(exc)) from exc
    except InvalidName as exc:
        raise ActFailed("bad_label", str(exc)) from exc
    except KeyLabelTaken as exc:
        raise ActFailed("label_taken", str(exc)) from exc
    document = await services.db.read(lambda c: _document(c, services, made.key, now_ms=now_ms))
    return document | {"secret": made.secret}


async def list_(services: Services, params: Params) -> dict[str, Any]:
    """All keys, without secrets."""
    now_ms = services.clock.now_ms()

    def read(c: Connection) -> dict[str, Any]:
        found = keys.sift_keys(c, master=services.master)
        listed, unusable = [], list(found.unusable)
        for key in found.intact:
            try:
                listed.append(_document(c, services, key, now_ms=now_ms))
            except Tampered:
                # Its wallet or its destinations.
                unusable.append(key.id)
        return {"keys": listed, "unusable": unusable}

    return await services.db.read(read)


async def revoke(services: Services, params: RevokeKey) -> dict[str, Any]:
    """Revoke by key or label, reject what the key has queued, and ask for a self-send at each of its open slots."""
    now_ms = services.clock.now_ms()
    rejecter = ending.rejecter_of(services)

    def run(c: Connection) -> dict[str, Any]:
        found = keys.sift_keys(c, master=services.master)
        named = [key for key in found.intact if params.key in (key.id, key.label)]
        if not named:
            _refuse_unusable(found, params.key)
            raise ActFailed("no_such_key", f"there is no key {params.key!r}", hint="cambist key list")
        ended = ending.end_key(c, services, named[0].id, rejecter=rejecter, now_ms=now_ms)
        assert ended is not None  # read above, in this unit of work
        document = _document(c, services, ended.key, now_ms=now_ms)
        return document | {"closing": ended.closing, "rejected": ended.rejected, "cancelled": ended.cancelled}

    answer = await services.db.run(run)
    ending.wake(services)
    return answer


def _refuse_unusable(found: Sifted[ApiKey], named: str) -> None:
    if named in found.unusable:
        raise ActFailed(
            "record_tampered",
            f"the row of {named} is not as the service wrote it: no request of the key is accepted",
            hint=f"What it has open: cambist panic on --key {named}. Then look into the database.",
        )


def _document(c: Connection, services: Services, key: ApiKey, *, now_ms: int) -> dict[str, Any]:
    wallet = wallets.get_wallet(c, key.wallet_id, master=services.master)
    chains = {config.chain_id: config.key for config in services.configs.values()}
    return {
        "key": key.id,
        "label": key.label,
        "wallet": None if wallet is None else {"label": wallet.label, "address": wallet.address},
        "permissions": [str(permission) for permission in Permission if permission in key.permissions],
        "algorithm": str(key.algorithm),
        "ip_allowlist": [str(network) for network in key.ip_allowlist],
        "destinations": [
            {"chain": chains.get(to.chain_id, str(to.chain_id)), "address": to.address}
            for to in keys.list_destinations(c, key.id, master=services.master)
        ],
        "limits": key_limits.shown(services, key.restrictions),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
        "state": str(key.state(now_ms, idle_ms=services.settings.key_idle_days * DAY_MS)),
    }


def _destination(services: Services, entry: DestinationParam) -> Destination:
    try:
        address = parse_address(entry.address)
    except InvalidAddress as exc:
        raise ActFailed("bad_destination", f"{entry.address}: {exc}") from exc
    for config in services.configs.values():
        if entry.chain in (config.key, *config.aliases):
            return Destination(chain_id=ChainId(config.chain_id), address=address)
    known = ", ".join(services.configs)
    raise ActFailed("bad_destination", f"no chain is called {entry.chain!r}; known: {known}")
