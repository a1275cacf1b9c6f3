"""A chain's endpoints as one pool, bound to the chain that the database belongs to.

Guarantees: nothing is read from, or sent to, an endpoint of another chain id or genesis than the database's; why none
can be used is said as what it is (`WrongChain`, `WrongDatabase`); logs name endpoints, never their addresses.
Not guaranteed: that an endpoint answers later on; the pool sees to that (chains/rpc/pool.py).
"""

from collections.abc import Sequence

import structlog

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.errors import RpcUnavailable, WrongGenesis
from chains.rpc.addresses import EndpointAddress
from chains.rpc.health import State
from chains.rpc.pool import RpcPool
from chains.tx.store import Clock
from service.db.bindings import binding, check_binding
from service.db.engine import Database
from service.db.errors import WrongDatabase


async def pool_of(config: ChainConfig, endpoints: Sequence[EndpointAddress], *, db: Database, clock: Clock) -> RpcPool:
    """The pool, still without a connection. A database that was used before names the genesis it has to find."""
    known = await db.read(lambda c: binding(c, config.chain_id))
    log = structlog.get_logger("cambist.endpoints")

    def changed(name: str, old: State, new: State) -> None:
        is_well = new in (State.ALIVE, State.FINALIZED_LAGGING)
        (log.info if is_well else log.warning)("endpoint", chain=config.key, endpoint=name, was=str(old), now=str(new))

    return RpcPool(
        [endpoint.config() for endpoint in endpoints],
        name=config.key,
        chain_id=config.chain_id,
        clock=clock,
        genesis=None if known is None else known.genesis_hash,
        node_errors=config.node_errors,
        on_change=changed,
    )


async def check_chain(pool: RpcPool, client: EvmClient, *, db: Database, clock: Clock) -> None:
    """Meet the chain through the pool, and bind the database to it at first sight.

    Raises:
        WrongChain: every endpoint serves another chain id.
        WrongDatabase: the chain is not the one that the database was made on.
        RpcError: no endpoint answers.
    """
    try:
        await check_binding(db, client, clock=clock)
    except RpcUnavailable as exc:
        wrong = pool.wrong_chain()
        if isinstance(wrong, WrongGenesis):
            raise WrongDatabase(f"{client.config.key}: the database belongs to another chain: {wrong}") from exc
        if wrong is not None:
            raise wrong from exc
        raise
