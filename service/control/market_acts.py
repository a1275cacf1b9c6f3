"""Owner's acts on market state: compare the pools in this process's memory with the chain, now.

Guarantees: each pool is compared with the chain at the block that it is held at; what differs is told and counted, and
all are loaded anew then. Not guaranteed: other processes of the API. Each holds its own, and checks one at random now
and then.
"""

from typing import Any

from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed


class CheckPools(Params):
    chain: str


async def check(services: Services, params: CheckPools) -> dict[str, Any]:
    """All pools of a chain that are held."""
    runtime = services.chains.get(params.chain)
    if runtime is None:
        active = ", ".join(services.chains)
        raise ActFailed("no_such_chain", f"{params.chain!r} is not an active chain; active: {active}")
    held = runtime.states.figures()
    differences = await runtime.states.check()
    return {
        "chain": params.chain,
        "block": held.head,
        "pools": held.pools,
        "differing": len(differences),
        "differences": [str(difference) for difference in differences],
    }
