"""Owner's acts on pauses: panic on, off and status.

Guarantees: "on" answers after the pause is durable, and the engines of this process are woken at once; others see it
when they look next, within a block's poll.
"""

from typing import Any

from pydantic import Field, model_validator

from service import pauses
from service.auth import keys
from service.build import Services
from service.control.params import NoParams, Params
from service.control.protocol import ActFailed
from service.control.wallet_acts import find_wallet
from service.pauses import EVERYTHING, Pause, Scope, Target


class PauseTarget(Params):
    """At most one; none is everything."""

    chain: str | None = None
    wallet: str | None = None
    key: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "PauseTarget":
        if sum(given is not None for given in (self.chain, self.wallet, self.key)) > 1:
            raise ValueError("one of chain, wallet and key at most")
        return self


class PanicOn(PauseTarget):
    reason: str = Field(default="panic", min_length=1, max_length=200)


async def on(services: Services, params: PanicOn) -> dict[str, Any]:
    """Pause, and close what is open."""
    target, now_ms = await _target(services, params), services.clock.now_ms()
    closing = await services.db.run(lambda c: pauses.pause(c, target, reason=params.reason, now_ms=now_ms))
    wake_all(services)
    return {"scope": str(target.scope), "subject": target.subject, "reason": params.reason, "closing": closing}


async def off(services: Services, params: PauseTarget) -> dict[str, Any]:
    """End the pause of exactly that scope."""
    target = await _target(services, params)
    if not await services.db.run(lambda c: pauses.resume(c, target)):
        raise ActFailed("not_paused", "there is no pause of that scope", hint="cambist panic status")
    wake_all(services)
    return {"scope": str(target.scope), "subject": target.subject}


async def status(services: Services, params: NoParams) -> dict[str, Any]:
    """All pauses."""
    found = await services.db.read(pauses.list_pauses)
    return {"pauses": [_document(one) for one in found]}


def wake_all(services: Services) -> None:
    """Let the engines of this process see it now."""
    for chain in services.chains.values():
        chain.engine.wake()


async def _target(services: Services, params: PauseTarget) -> Target:
    if params.chain is not None:
        for config in services.configs.values():
            if params.chain in (config.key, *config.aliases):
                return Target(scope=Scope.CHAIN, subject=str(config.chain_id))
        raise ActFailed("unknown_chain", f"no chain is called {params.chain!r}; known: {', '.join(services.configs)}")
    if params.wallet is not None:
        return Target(scope=Scope.WALLET, subject=(await find_wallet(services, params.wallet)).address)
    if params.key is not None:
        listed = await services.db.read(lambda c: keys.sift_keys(c, master=services.master))
        if params.key in listed.unusable:
            return Target(scope=Scope.KEY, subject=params.key)
        for key in listed.intact:
            if params.key in (key.id, key.label):
                return Target(scope=Scope.KEY, subject=key.id)
        raise ActFailed("no_such_key", f"there is no key {params.key!r}", hint="cambist key list")
    return EVERYTHING


def _document(one: Pause) -> dict[str, Any]:
    return {
        "scope": str(one.target.scope),
        "subject": one.target.subject,
        "reason": one.reason,
        "since_ms": one.since_ms,
    }
