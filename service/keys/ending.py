"""Revoking keys, whoever does it: the key ends, and with it what it has open.

Guarantees: in one unit of work, so that a request accepted afterwards does not exist; what was queued under the key is
rejected and what was sent is to be closed (`service.control.revoking`). Revoking a key twice changes nothing more.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from contracts.deployments import load_deployments
from service.accounts.people import Role
from service.auth import keys
from service.auth.keys import ApiKey
from service.build import Services
from service.control.rejecting import Rejecter
from service.control.revoking import end_what_is_open
from service.keys.access import may_keep


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedKey:
    """A revoked key; how many resting orders were cancelled, plans rejected, and slots are to be closed."""

    key: ApiKey
    cancelled: int
    rejected: int
    closing: int


def rejecter_of(services: Services) -> Rejecter:
    """What rejects the plans of a key. Reads files: not for inside a unit of work."""
    return Rejecter(
        configs=services.configs,
        assets=services.assets,
        deployments=load_deployments(),
        master=services.master,
        clock=services.clock,
    )


def end_key(c: Connection, services: Services, key_id: str, *, rejecter: Rejecter, now_ms: int) -> EndedKey | None:
    """Revoke; None when there is no such key. `wake` is to follow the commit."""
    revoked = keys.revoke_key(c, key_id, master=services.master, now_ms=now_ms)
    if revoked is None:
        return None
    ended = end_what_is_open(c, key_id, rejecter=rejecter, now_ms=now_ms)
    return EndedKey(key=revoked, cancelled=ended.cancelled, rejected=ended.rejected, closing=ended.closing)


def end_keys_of(
    c: Connection,
    services: Services,
    user_id: int,
    *,
    account_id: int,
    role: Role | None,
    rejecter: Rejecter,
    now_ms: int,
) -> list[EndedKey]:
    """Revoke what a user made in an account and the role that they have there now does not allow; None: no role."""
    made = [
        key
        for key in keys.list_keys(c, account_id, master=services.master)
        if key.made_by == user_id and key.revoked_ms is None and not may_keep(role, key.permissions)
    ]
    ended = [end_key(c, services, key.id, rejecter=rejecter, now_ms=now_ms) for key in made]
    return [one for one in ended if one is not None]


def wake(services: Services) -> None:
    """The engines look now for what is to be closed."""
    for chain in services.chains.values():
        chain.engine.wake()
