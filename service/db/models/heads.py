"""How far each chain was worked off."""

from typing import Final

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text

from service.db.models.base import metadata
from service.db.types import Hash32

chain_cursors: Final = Table(
    "chain_cursors",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Hash32, nullable=False),
)

canonical_blocks: Final = Table(
    "canonical_blocks",
    metadata,
    # The newest blocks of each chain as they were worked off, without a gap; what a reorg is recognized by.
    Column("chain_id", BigInteger, nullable=False, autoincrement=False),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("hash", Hash32, nullable=False),
    PrimaryKeyConstraint("chain_id", "number"),
)

finalized_blocks: Final = Table(
    "finalized_blocks",
    metadata,
    # The newest block that the chain called final. Should it ever be another one, the chain is frozen.
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
)

chain_freezes: Final = Table(
    "chain_freezes",
    metadata,
    # A chain that did what it must not: nothing is signed or withdrawn on it until the operator ends this.
    # No MAC: a row here only takes away.
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)
