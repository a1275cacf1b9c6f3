"""A chain's WebSockets as hints to its engine: look now, there may be a new block.

Guarantees: as `chains.rpc.hints.listen` for each socket; one that is sick holds up neither the engine nor the others.
Not guaranteed: anything that polling does not give as well.
"""

import asyncio
from collections.abc import Callable, Sequence

from chains.rpc.hints import SocketAddress, listen


async def run_hints(sockets: Sequence[SocketAddress], hint: Callable[[], None], stop: asyncio.Event) -> None:
    """Listen at all of them until `stop`."""
    async with asyncio.TaskGroup() as listeners:
        listening = [listeners.create_task(listen(one, hint), name=f"hints-{one.name}") for one in sockets]
        await stop.wait()
        for task in listening:
            task.cancel()
