"""What a wallet signs besides orders and withdrawals (`service.transactions`)."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from service.db.models.base import Id, metadata
from service.db.types import U256, Addr, Hash32, Json

transactions: Final = Table(
    "transactions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("params_hash", Hash32, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    # The plan's last call, to the byte.
    Column("contract", Addr, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("value_wei", U256, nullable=False),
    # Of wrap and unwrap what is given, of revoke the token.
    Column("asset", String(96), nullable=True),
    Column("amount", U256, nullable=True),
    Column("spender", Addr, nullable=True),
    # Of contract: the signature, what the contract is approved for before, and the most that may leave; base units
    # as text by asset id, native coins that are sent along too.
    Column("function", Text, nullable=True),
    Column("approvals", Json, nullable=True),
    Column("max_out", Json, nullable=True),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False, unique=True),
    # The digest of all the plan's calls; null of those accepted before there was this column.
    Column("calls_hash", Hash32, nullable=True),
    # Until when it is placed, or not at all; null: it has no end, or is of before there was this column.
    Column("valid_until_ms", BigInteger, nullable=True),
    # Over all columns above: calldata that is edited here is not signed.
    Column("asked_mac", LargeBinary(32), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=True),
    Column("tx_hash", Hash32, nullable=True),
    # Micro-dollars that all of `max_out` was worth when it was accepted; null: not known, or nothing asked for it.
    Column("usd", U256, nullable=True),
    # What the receipts' logs show of it, signed base units as text by asset id.
    Column("moved", Json, nullable=True),
    Column("gas_wei", U256, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    # Client ids are unique for ever, per account and kind.
    UniqueConstraint("account_id", "kind", "client_id"),
    CheckConstraint("kind IN ('wrap', 'unwrap', 'revoke', 'contract')", name="kind"),
    CheckConstraint(
        "state IN ('processing', 'sent', 'confirmed', 'final', 'rejected', 'cancelled', 'failed', 'unknown')",
        name="state",
    ),
    CheckConstraint("(kind = 'contract') = (function IS NOT NULL)", name="contract"),
    CheckConstraint("(kind = 'revoke') = (spender IS NOT NULL)", name="revoke"),
    CheckConstraint("(kind IN ('wrap', 'unwrap')) = (amount IS NOT NULL)", name="amount"),
    Index("ix_transactions_wallet", "wallet_id", "id"),
)
