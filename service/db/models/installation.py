"""What this database belongs to, who works on what of it, and what its writers take turns by."""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table

from service.db.models.base import metadata
from service.db.types import Hash32, Json

chain_bindings: Final = Table(
    "chain_bindings",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("genesis_hash", Hash32, nullable=False),
    Column("checkpoint_number", BigInteger, nullable=False),
    Column("checkpoint_hash", Hash32, nullable=False),
    Column("bound_ms", BigInteger, nullable=False),
)

processes: Final = Table(
    "processes",
    metadata,
    # Made anew at each start and each return from the dead: the fencing token. A row that is gone writes nothing more.
    Column("id", String(64), primary_key=True),
    # Addresses it can sign for.
    Column("wallets", Json, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
)

process_beats: Final = Table(
    "process_beats",
    metadata,
    # Apart from `processes`, whose rows every write of a worker locks against their removal.
    Column("process_id", String(64), ForeignKey("processes.id"), primary_key=True),
    Column("beat", BigInteger, nullable=False),
)

write_turns: Final = Table(
    "write_turns",
    metadata,
    # Never written. PostgreSQL's writers lock it: beside others, or alone after a conflict (service/db/postgres.py).
    Column("id", Integer, primary_key=True),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", String(96), primary_key=True),
    # Null: free.
    Column("process_id", String(64), ForeignKey("processes.id"), nullable=True),
    # How often it changed hands.
    Column("fence", BigInteger, nullable=False),
    Column("taken_ms", BigInteger, nullable=False),
    Index("ix_leases_process_id", "process_id"),
)
