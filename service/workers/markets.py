"""The loops that keep each chain's pools in memory current, in processes that answer clients.

Guarantees: those of `service.markets.state.states`: a chain nobody asks about costs no node call; each loop runs until
`stop`, and shows signs of life. Not guaranteed: that the state is fresh; every view says how old it is.
"""

import asyncio
from functools import partial

from chains.config import ChainConfig
from service.build import ChainRuntime, Services


async def run_markets(services: Services, stop: asyncio.Event) -> None:
    """Follow every chain until `stop`. Raises: ExceptionGroup: a loop failed; the others were cancelled."""
    async with asyncio.TaskGroup() as loops:
        for chain in services.chains.values():
            loops.create_task(_follow(services, chain, stop=stop), name=markets_loop(chain.config))
        # A service without a chain yet has no loops, and goes on all the same.
        await stop.wait()


def markets_loop(config: ChainConfig) -> str:
    """What the loop of a chain's pools is called."""
    return f"markets-{config.key}"


async def _follow(services: Services, chain: ChainRuntime, *, stop: asyncio.Event) -> None:
    name = markets_loop(chain.config)
    services.heartbeats.expect(name)
    await chain.states.run(stop, partial(services.heartbeats.beat, name))
    services.heartbeats.forget(name)
