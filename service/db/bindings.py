"""Which chains a database belongs to: their genesis and a checkpoint block, kept from the first start on.

Guarantees: a database never runs against another chain by mistake: another network, a test network with the same
chain id, a local chain built anew, or (by the cursor) a fork where it was the real network before.
Not guaranteed: that two chains which share all blocks up to the cursor are told apart; nothing was done on either.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from chains.client import EvmClient
from chains.tx.store import Clock, UnusableRow
from chains.types import BlockHash, BlockRef, ChainId
from service.db.engine import Database
from service.db.errors import WrongDatabase
from service.db.headstore import SqlHeadStore
from service.db.models import chain_bindings
from service.db.txstore import SqlTxStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a chain is recognized by."""

    chain_id: ChainId
    genesis_hash: BlockHash
    checkpoint: BlockRef


def binding(c: Connection, chain_id: ChainId) -> Binding | None:
    """The chain's binding, None before its first start. Raises: WrongDatabase: its row makes no sense."""
    stored = select(chain_bindings).where(chain_bindings.c.chain_id == chain_id)
    try:
        row = c.execute(stored).mappings().one_or_none()
    except UnusableRow as exc:
        raise WrongDatabase(f"chain {chain_id}: what is stored of which chain this is makes no sense: {exc}") from exc
    if row is None:
        return None
    return Binding(
        chain_id=chain_id,
        genesis_hash=BlockHash(row["genesis_hash"]),
        checkpoint=BlockRef(number=row["checkpoint_number"], hash=BlockHash(row["checkpoint_hash"])),
    )


def bind(c: Connection, bound: Binding, *, now_ms: int) -> Binding:
    """Store a chain's binding, once; the answer is the one that is stored: of processes that start together, the
    first one's."""
    row = {
        "chain_id": bound.chain_id,
        "genesis_hash": bound.genesis_hash,
        "checkpoint_number": bound.checkpoint.number,
        "checkpoint_hash": bound.checkpoint.hash,
        "bound_ms": now_ms,
    }
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    c.execute(dialect.insert(chain_bindings).on_conflict_do_nothing(), row)
    return binding(c, bound.chain_id) or bound


async def check_binding(db: Database, client: EvmClient, *, clock: Clock) -> None:
    """Bind the database to the chain at first sight; afterwards check that it is the same one.

    Raises:
        WrongChain: the endpoint serves another chain id.
        WrongDatabase: the chain is not the one the database was made on.
    """
    await client.verify_chain()
    chain_id = client.config.chain_id
    genesis = await client.genesis_hash()
    known = await db.read(lambda c: binding(c, chain_id))
    if known is None:
        fresh = Binding(chain_id=chain_id, genesis_hash=genesis, checkpoint=await _checkpoint(client))
        known = await db.run(lambda c: bind(c, fresh, now_ms=clock.now_ms()))
        if known == fresh:
            return
    if known.genesis_hash != genesis:
        raise WrongDatabase(f"{client.config.key}: the database belongs to a chain with another genesis block")
    at_checkpoint = await client.header(known.checkpoint.number)
    if at_checkpoint is None or at_checkpoint.hash != known.checkpoint.hash:
        raise WrongDatabase(
            f"{client.config.key}: block {known.checkpoint.number} is not the one the database knows; is this another"
            " network, or a local chain that was built anew? Use the endpoint of before, or a new data directory"
        )
    await _check_cursor(db, client)


async def _checkpoint(client: EvmClient) -> BlockRef:
    """A block that no reorg takes away: the finalized one, or the genesis block of a young chain."""
    head = await client.head()
    finalized = await client.header("finalized")
    depth = client.config.finality.min_final_depth
    number = min(head.number if finalized is None else finalized.number, max(0, head.number - depth))
    found = await client.header(number)
    return head.ref if found is None else found.ref


async def _check_cursor(db: Database, client: EvmClient) -> None:
    """Everything up to the cursor is booked, so its block must still be there once it is final.

    That it is not there may be known already: of a frozen chain nothing is believed, and the other chains go on.
    """
    chain_id = client.config.chain_id
    cursor, frozen = await db.read(lambda c: (SqlTxStore().cursor(c, chain_id), SqlHeadStore().frozen(c, chain_id)))
    if cursor is None or frozen is not None:
        return
    here, finalized = await client.header(cursor.number), await client.header("finalized")
    is_final = finalized is not None and finalized.number >= cursor.number
    if is_final and (here is None or here.hash != cursor.hash):
        raise WrongDatabase(
            f"{client.config.key}: everything up to block {cursor.number} is booked, but this chain has another block"
            " there; is it a fork, or the network that a fork was made of?"
        )
