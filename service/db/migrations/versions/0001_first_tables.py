"""first tables

Revision 0001, after nothing.
"""

# ruff: noqa: E501 - the text of a constraint is written on one line

import sqlalchemy as sa
from alembic import op

from service.db.types import U256, Addr, Hash32, Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "chain_bindings",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("genesis_hash", Hash32(), nullable=False),
        sa.Column("checkpoint_number", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_hash", Hash32(), nullable=False),
        sa.Column("bound_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_chain_bindings")),
    )
    op.create_table(
        "chain_cursors",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", Hash32(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_chain_cursors")),
    )
    op.create_table(
        "lanes",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", Addr(), nullable=False),
        sa.Column("next_nonce", sa.BigInteger(), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("next_nonce >= 0", name=op.f("ck_lanes_nonce")),
        sa.PrimaryKeyConstraint("chain_id", "wallet", name=op.f("pk_lanes")),
    )
    op.create_table(
        "plans",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", Addr(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_plans")),
        sa.UniqueConstraint("id", name=op.f("uq_plans_id")),
    )
    op.create_index("ix_plans_lane", "plans", ["chain_id", "wallet", "sequence"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "intents",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", Addr(), nullable=False),
        sa.Column("to_address", Addr(), nullable=False),
        sa.Column("value_wei", U256(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("payload_hash", Hash32(), nullable=False),
        sa.Column("gas_limit", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reject_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'rejected') = (reject_reason IS NOT NULL)", name=op.f("ck_intents_reason")),
        sa.CheckConstraint("state IN ('accepted', 'queued', 'placed', 'rejected')", name=op.f("ck_intents_state")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_intents_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intents")),
        sa.UniqueConstraint("plan_id", "position", name=op.f("uq_intents_plan_id_position")),
    )
    op.create_index("ix_intents_open", "intents", ["chain_id", "wallet", "state"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'trader', 'approver', 'viewer')", name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_memberships_account_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("user_id", "account_id", name=op.f("pk_memberships")),
    )
    op.create_table(
        "outbox",
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", Json(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_outbox_account_id")),
        sa.PrimaryKeyConstraint("account_id", "seq", name=op.f("pk_outbox")),
    )
    op.create_table(
        "wallets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("address", Addr(), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("signer", sa.String(length=32), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_wallets_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
        sa.UniqueConstraint("account_id", "label", name=op.f("uq_wallets_account_id_label")),
        sa.UniqueConstraint("address", name=op.f("uq_wallets_address")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("can_read", sa.Boolean(), nullable=False),
        sa.Column("can_trade", sa.Boolean(), nullable=False),
        sa.Column("can_withdraw", sa.Boolean(), nullable=False),
        sa.Column("ip_allowlist", Json(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint(
            "(algorithm = 'hmac-sha256' AND secret_sealed IS NOT NULL AND public_key IS NULL) OR (algorithm = 'ed25519' AND secret_sealed IS NULL AND public_key IS NOT NULL)",
            name=op.f("ck_api_keys_credential"),
        ),
        sa.CheckConstraint("algorithm IN ('hmac-sha256', 'ed25519')", name=op.f("ck_api_keys_algorithm")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_api_keys_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("account_id", "label", name=op.f("uq_api_keys_account_id_label")),
    )
    op.create_table(
        "journal_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=False),
        sa.Column("raw", U256(), nullable=False),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("cause", sa.String(length=24), nullable=False),
        sa.Column("cause_id", sa.String(length=64), nullable=False),
        sa.Column("tx_hash", Hash32(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", Hash32(), nullable=True),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_journal_entries_direction")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_journal_entries_account_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_journal_entries_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entries")),
    )
    op.create_index("ix_journal_entries_wallet_asset", "journal_entries", ["wallet_id", "asset", "id"], unique=False)
    op.create_table(
        "opening_balances",
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=False),
        sa.Column("raw", U256(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", Hash32(), nullable=False),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_opening_balances_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", "asset", name=op.f("pk_opening_balances")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=False),
        sa.Column("raw", U256(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("released_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reservations_account_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_reservations_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_reservations_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
        sa.UniqueConstraint("plan_id", "asset", name=op.f("uq_reservations_plan_id_asset")),
    )
    op.create_index(
        "ix_reservations_held",
        "reservations",
        ["wallet_id", "asset"],
        unique=False,
        sqlite_where=sa.text("released_ms IS NULL"),
        postgresql_where=sa.text("released_ms IS NULL"),
    )
    op.create_table(
        "txs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("intent_id", sa.String(length=64), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", Addr(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("gas_limit", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), server_default="none", nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", Hash32(), nullable=True),
        sa.Column("mined_hash", Hash32(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('mined', 'confirmed', 'final')) = (block_number IS NOT NULL AND block_hash IS NOT NULL AND mined_hash IS NOT NULL AND outcome <> 'none')",
            name=op.f("ck_txs_mined"),
        ),
        sa.CheckConstraint("outcome IN ('none', 'succeeded', 'reverted', 'cancelled')", name=op.f("ck_txs_outcome")),
        sa.CheckConstraint(
            "state IN ('mined', 'confirmed', 'final') OR (block_number IS NULL AND block_hash IS NULL AND mined_hash IS NULL AND outcome = 'none')",
            name=op.f("ck_txs_unmined"),
        ),
        sa.CheckConstraint(
            "state IN ('reserved', 'signed', 'broadcast', 'mined', 'confirmed', 'final', 'superseded')",
            name=op.f("ck_txs_state"),
        ),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name=op.f("fk_txs_intent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_txs")),
        sa.UniqueConstraint("chain_id", "wallet", "nonce", name=op.f("uq_txs_chain_id_wallet_nonce")),
    )
    op.create_index("ix_txs_open", "txs", ["chain_id", "state"], unique=False)
    op.create_index(
        "uq_txs_intent_id",
        "txs",
        ["intent_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'superseded'"),
        postgresql_where=sa.text("state <> 'superseded'"),
    )
    op.create_table(
        "attempts",
        sa.Column("hash", Hash32(), nullable=False),
        sa.Column("tx_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("max_fee_wei", U256(), nullable=False),
        sa.Column("priority_fee_wei", U256(), nullable=False),
        sa.Column("gas_limit", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("sent_ms", sa.BigInteger(), nullable=True),
        sa.Column("node_answer", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('real', 'cancel')", name=op.f("ck_attempts_kind")),
        sa.CheckConstraint("state IN ('signed', 'sent', 'refused', 'mined', 'lost')", name=op.f("ck_attempts_state")),
        sa.ForeignKeyConstraint(["tx_id"], ["txs.id"], name=op.f("fk_attempts_tx_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_tx_id"), "attempts", ["tx_id"], unique=False)
    op.create_index(
        "uq_attempts_unsent",
        "attempts",
        ["tx_id"],
        unique=True,
        sqlite_where=sa.text("state = 'signed'"),
        postgresql_where=sa.text("state = 'signed'"),
    )
    op.create_table(
        "key_destinations",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", Addr(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_key_destinations_key_id")),
        sa.PrimaryKeyConstraint("key_id", "chain_id", "address", name=op.f("pk_key_destinations")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("params_hash", Hash32(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("market", sa.String(length=48), nullable=False),
        sa.Column("base_asset", sa.String(length=96), nullable=False),
        sa.Column("quote_asset", sa.String(length=96), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("type", sa.String(length=24), nullable=False),
        sa.Column("base_amount", U256(), nullable=True),
        sa.Column("quote_amount", U256(), nullable=True),
        sa.Column("slippage_bps", sa.Integer(), nullable=False),
        sa.Column("max_sold", U256(), nullable=False),
        sa.Column("min_bought", U256(), nullable=False),
        sa.Column("quote", Json(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("filled_base", U256(), nullable=False),
        sa.Column("filled_quote", U256(), nullable=False),
        sa.Column("gas_wei", U256(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("ck_orders_side")),
        sa.CheckConstraint(
            "state IN ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')",
            name=op.f("ck_orders_state"),
        ),
        sa.CheckConstraint("(base_amount IS NULL) <> (quote_amount IS NULL)", name=op.f("ck_orders_one_amount")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_orders_account_id")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_orders_key_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_orders_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_orders_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("account_id", "client_id", name=op.f("uq_orders_account_id_client_id")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_orders_plan_id")),
    )
    op.create_index("ix_orders_account", "orders", ["account_id", "id"], unique=False)
    op.create_table(
        "request_nonces",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_request_nonces_key_id")),
        sa.PrimaryKeyConstraint("key_id", "nonce", name=op.f("pk_request_nonces")),
    )
    op.create_index(op.f("ix_request_nonces_timestamp_ms"), "request_nonces", ["timestamp_ms"], unique=False)
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("params_hash", Hash32(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.String(length=96), nullable=False),
        sa.Column("amount", U256(), nullable=False),
        sa.Column("destination", Addr(), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tx_hash", Hash32(), nullable=True),
        sa.Column("gas_wei", U256(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('awaiting_approval', 'processing', 'sent', 'confirmed', 'final', 'rejected', 'cancelled', 'failed', 'unknown')",
            name=op.f("ck_withdrawals_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_withdrawals_account_id")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_withdrawals_key_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_withdrawals_plan_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_withdrawals_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawals")),
        sa.UniqueConstraint("account_id", "client_id", name=op.f("uq_withdrawals_account_id_client_id")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_withdrawals_plan_id")),
    )
    op.create_index("ix_withdrawals_account", "withdrawals", ["account_id", "id"], unique=False)
    op.create_table(
        "fills",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tx_hash", Hash32(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", Hash32(), nullable=False),
        sa.Column("base", U256(), nullable=False),
        sa.Column("quote", U256(), nullable=False),
        sa.Column("gas_wei", U256(), nullable=False),
        sa.Column("reverses", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_fills_account_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_fills_order_id")),
        sa.ForeignKeyConstraint(["reverses"], ["fills.id"], name=op.f("fk_fills_reverses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fills")),
    )
    op.create_index(op.f("ix_fills_order_id"), "fills", ["order_id"], unique=False)
