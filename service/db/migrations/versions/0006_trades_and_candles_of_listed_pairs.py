"""trades and candles of listed pairs

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

from service.db.types import U256, Addr, Hash32, RatioText

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "market_blocks",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", Hash32(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number", name=op.f("pk_market_blocks")),
    )
    op.create_table(
        "market_heads",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", Hash32(), nullable=False),
        sa.Column("block_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_market_heads")),
    )
    op.create_table(
        "market_pairs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("token0", Addr(), nullable=False),
        sa.Column("token1", Addr(), nullable=False),
        sa.CheckConstraint("token0 < token1", name=op.f("ck_market_pairs_order")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_market_pairs")),
        sa.UniqueConstraint("chain_id", "token0", "token1", name=op.f("uq_market_pairs_chain_id_token0_token1")),
    )
    op.create_table(
        "market_candles",
        sa.Column("pair_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("open", RatioText(), nullable=False),
        sa.Column("high", RatioText(), nullable=False),
        sa.Column("low", RatioText(), nullable=False),
        sa.Column("close", RatioText(), nullable=False),
        sa.Column("volume0", U256(), nullable=False),
        sa.Column("volume1", U256(), nullable=False),
        sa.Column("sold0", U256(), nullable=False),
        sa.Column("sold1", U256(), nullable=False),
        sa.Column("trades", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["market_pairs.id"], name=op.f("fk_market_candles_pair_id")),
        sa.PrimaryKeyConstraint("pair_id", "seconds", "start_s", name=op.f("pk_market_candles")),
    )
    op.create_table(
        "market_pools",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("pair_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", Addr(), nullable=False),
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("fee_pips", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["market_pairs.id"], name=op.f("fk_market_pools_pair_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_market_pools")),
        sa.UniqueConstraint("chain_id", "address", name=op.f("uq_market_pools_chain_id_address")),
    )
    op.create_index(op.f("ix_market_pools_pair_id"), "market_pools", ["pair_id"], unique=False)
    op.create_table(
        "market_gaps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("pool_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_block", sa.BigInteger(), nullable=False),
        sa.Column("last_block", sa.BigInteger(), nullable=False),
        sa.Column("complete_from_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("0 <= first_block AND first_block <= last_block", name=op.f("ck_market_gaps_blocks")),
        sa.ForeignKeyConstraint(["pool_id"], ["market_pools.id"], name=op.f("fk_market_gaps_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_market_gaps")),
    )
    op.create_index(op.f("ix_market_gaps_pool_id"), "market_gaps", ["pool_id"], unique=False)
    op.create_table(
        "market_trades",
        sa.Column("pair_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pool_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", Hash32(), nullable=False),
        sa.Column("zero_for_one", sa.Boolean(), nullable=False),
        sa.Column("amount0", U256(), nullable=False),
        sa.Column("amount1", U256(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["market_pairs.id"], name=op.f("fk_market_trades_pair_id")),
        sa.ForeignKeyConstraint(["pool_id"], ["market_pools.id"], name=op.f("fk_market_trades_pool_id")),
        sa.PrimaryKeyConstraint("pair_id", "id", name=op.f("pk_market_trades")),
    )
    op.create_index("ix_market_trades_time", "market_trades", ["pair_id", "time_ms"], unique=False)
