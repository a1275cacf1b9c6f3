"""Wallets, API keys and what keys have used (`service.auth`)."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from service.db.models.base import NOT_IN_MAC_WHEN_NULL, Id, metadata
from service.db.types import U256, Addr, Json

wallets: Final = Table(
    "wallets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # An address belongs to one account of an installation.
    Column("address", Addr, nullable=False, unique=True),
    Column("label", String(64), nullable=False),
    Column("signer", String(32), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    UniqueConstraint("account_id", "label"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    # The public half that goes into the key header.
    Column("id", String(64), primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("wallet_id", Id, ForeignKey("wallets.id"), nullable=False),
    Column("label", String(64), nullable=False),
    Column("algorithm", String(16), nullable=False),
    # HMAC secret, sealed with the row's identity as authenticated data; or the Ed25519 public key.
    Column("secret_sealed", LargeBinary, nullable=True),
    Column("public_key", LargeBinary(32), nullable=True),
    Column("can_read", Boolean, nullable=False),
    Column("can_trade", Boolean, nullable=False),
    Column("can_withdraw", Boolean, nullable=False),
    Column("ip_allowlist", Json, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("revoked_ms", BigInteger, nullable=True),
    # `service.auth.restrictions`; null is none, and then the MAC is the one of before there was this column.
    Column("restrictions", Json, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    # Whose it is: a user that made it in a session; null for the operator's, and then of nobody but the owner.
    Column("made_by_user_id", Id, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    # Until when it waits to be activated; null: it is in use.
    Column("lapses_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    # Made in place of that key, which ends so long after this one is activated.
    Column("rotates_key_id", String(64), nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("rotation_overlap_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    # Coarse (`service.auth.last_use`); null: not since there is this column.
    Column("last_used_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    # From when on it may call what it lists (`service.addresses.cooling`); null: at once.
    Column("calls_from_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("mac", LargeBinary(32), nullable=False),
    UniqueConstraint("account_id", "label"),
    CheckConstraint("algorithm IN ('hmac-sha256', 'ed25519')", name="algorithm"),
    CheckConstraint(
        "(algorithm = 'hmac-sha256' AND secret_sealed IS NOT NULL AND public_key IS NULL)"
        " OR (algorithm = 'ed25519' AND secret_sealed IS NULL AND public_key IS NOT NULL)",
        name="credential",
    ),
)

key_destinations: Final = Table(
    "key_destinations",
    metadata,
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Addr, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("key_id", "chain_id", "address"),
)

request_nonces: Final = Table(
    "request_nonces",
    metadata,
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False, index=True),
    PrimaryKeyConstraint("key_id", "nonce"),
)

# What a key has taken of its limits, by UTC day (days since 1970) and counter (`service.auth.budgets`).
key_usage: Final = Table(
    "key_usage",
    metadata,
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False),
    Column("day", BigInteger, nullable=False),
    Column("counter", String(32), nullable=False),
    Column("of", String(128), nullable=False),
    Column("used", U256, nullable=False),
    PrimaryKeyConstraint("key_id", "day", "counter", "of"),
)

pauses: Final = Table(
    "pauses",
    metadata,
    # What takes no work until the operator ends it. `subject`: chain id, wallet address or key; empty for all.
    # No MAC: a row here only takes away.
    Column("scope", String(8), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "subject"),
    CheckConstraint("scope IN ('all', 'chain', 'wallet', 'key')", name="scope"),
    CheckConstraint("(scope = 'all') = (subject = '')", name="subject"),
)
