"""The books (`service.journal`)."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from service.db.models.base import Id, metadata
from service.db.types import U256, Hash32, Json

opening_balances: Final = Table(
    "opening_balances",
    metadata,
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(96), nullable=False),
    Column("raw", U256, nullable=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Hash32, nullable=False),
    PrimaryKeyConstraint("wallet_id", "asset"),
)

journal_entries: Final = Table(
    "journal_entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(96), nullable=False),
    # Unsigned; the direction says whether the wallet gained or lost it.
    Column("raw", U256, nullable=False),
    Column("direction", String(3), nullable=False),
    # trade | gas | withdrawal | reversal ...; with `cause_id` the order, withdrawal or intent behind it.
    Column("cause", String(24), nullable=False),
    Column("cause_id", String(64), nullable=False),
    Column("tx_hash", Hash32, nullable=True),
    Column("block_number", BigInteger, nullable=True),
    Column("block_hash", Hash32, nullable=True),
    # The outbox event of the same unit of work.
    Column("event_seq", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    Index("ix_journal_entries_wallet_asset", "wallet_id", "asset", "id"),
)

reservations: Final = Table(
    "reservations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(96), nullable=False),
    Column("raw", U256, nullable=False),
    # Who holds it: a plan, or an order that rests; released exactly once.
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=True),
    Column("order_id", Id, ForeignKey("orders.id"), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("released_ms", BigInteger, nullable=True),
    UniqueConstraint("plan_id", "asset"),
    UniqueConstraint("order_id", "asset"),
    CheckConstraint("(plan_id IS NULL) <> (order_id IS NULL)", name="one_holder"),
    Index(
        "ix_reservations_held",
        "wallet_id",
        "asset",
        sqlite_where=text("released_ms IS NULL"),
        postgresql_where=text("released_ms IS NULL"),
    ),
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # Gapless per account.
    Column("seq", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("payload", Json, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "seq"),
)
