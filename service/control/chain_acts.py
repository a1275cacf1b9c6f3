"""Owner's acts on chains: thaw one that was frozen.

Guarantees: a chain is thawed only for the reason that the person looked at, in one unit of work with what is forgotten
of the chain before. Not guaranteed: that its nodes tell the truth now; whoever thaws has compared them.
"""

from typing import Any

from sqlalchemy import Connection

from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.db import txstory
from service.db.headstore import SqlHeadStore


class ThawChain(Params):
    chain: str
    freeze_reason: str
    """As it was shown: another one, come meanwhile, has to be looked at first."""


async def thaw(services: Services, params: ThawChain) -> dict[str, Any]:
    """Go on with the chain as it is now."""
    config = services.configs.get(params.chain)
    if config is None:
        raise ActFailed("no_such_chain", f"no chain is called {params.chain!r}; known: {', '.join(services.configs)}")
    heads = SqlHeadStore()

    def run(c: Connection) -> None:
        now = heads.frozen(c, config.chain_id)
        if now is None:
            raise ActFailed("not_frozen", f"{params.chain} is not frozen", hint="cambist tx list")
        if now != params.freeze_reason:
            raise ActFailed("other_reason", f"it is frozen for another reason now: {now}")
        heads.thaw(c, config.chain_id)

    await services.db.run(run)
    if (runtime := services.chains.get(params.chain)) is not None:
        runtime.engine.wake()
    return {"chain": params.chain, "freeze_reason": params.freeze_reason}


def frozen_chains(c: Connection, services: Services) -> list[dict[str, Any]]:
    """Those that wait for a person."""
    keys = {config.chain_id: key for key, config in services.configs.items()}
    return [
        {
            "chain": keys.get(row.chain_id, str(row.chain_id)),
            "freeze_reason": row.reason,
            "since_ms": row.since_ms,
        }
        for row in txstory.frozen_chains(c)
    ]
