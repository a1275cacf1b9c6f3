"""Orders, fills and withdrawals."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from service.db.models.base import Id, metadata
from service.db.types import U256, Addr, Hash32, Json

orders: Final = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("params_hash", Hash32, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("market", String(48), nullable=False),
    Column("base_asset", String(96), nullable=False),
    Column("quote_asset", String(96), nullable=False),
    Column("side", String(4), nullable=False),
    Column("type", String(24), nullable=False),
    # Exactly one of the two is what the client fixed.
    Column("base_amount", U256, nullable=True),
    Column("quote_amount", U256, nullable=True),
    Column("slippage_bps", Integer, nullable=False),
    # The on-chain limit: the most that leaves and the least that arrives, in base units of sold and bought asset.
    Column("max_sold", U256, nullable=False),
    Column("min_bought", U256, nullable=False),
    Column("quote", Json, nullable=False),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=True),
    Column("filled_base", U256, nullable=False),
    Column("filled_quote", U256, nullable=False),
    Column("gas_wei", U256, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("account_id", "client_id"),
    CheckConstraint("(base_amount IS NULL) <> (quote_amount IS NULL)", name="one_amount"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    CheckConstraint("state IN ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')", name="state"),
    Index("ix_orders_account", "account_id", "id"),
)

fills: Final = Table(
    "fills",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", Id, ForeignKey("orders.id"), nullable=False, index=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("tx_hash", Hash32, nullable=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Hash32, nullable=False),
    Column("base", U256, nullable=False),
    Column("quote", U256, nullable=False),
    # Gas paid, in the chain's native asset: the commission an exchange would show.
    Column("gas_wei", U256, nullable=False),
    # Set on the appended reversal when a deeper reorg undoes a fill; the fill itself is never edited.
    Column("reverses", Id, ForeignKey("fills.id"), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
)

withdrawals: Final = Table(
    "withdrawals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("params_hash", Hash32, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(96), nullable=False),
    Column("amount", U256, nullable=False),
    Column("destination", Addr, nullable=False),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=True),
    Column("tx_hash", Hash32, nullable=True),
    Column("gas_wei", U256, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    # Client ids are unique for ever, per account and kind.
    UniqueConstraint("account_id", "client_id"),
    CheckConstraint(
        "state IN ('awaiting_approval', 'processing', 'sent', 'confirmed', 'final',"
        " 'rejected', 'cancelled', 'failed', 'unknown')",
        name="state",
    ),
    Index("ix_withdrawals_account", "account_id", "id"),
)
