"""Market history (`service.markets.history`)."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from service.db.models.base import Id, metadata
from service.db.types import U256, Addr, Hash32, RatioText

market_pairs: Final = Table(
    "market_pairs",
    metadata,
    # Two tokens, whichever markets there are of them: ETHUSDC, WETHUSDC and USDCWETH are one pair.
    Column("id", Id, primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("token0", Addr, nullable=False),
    Column("token1", Addr, nullable=False),
    UniqueConstraint("chain_id", "token0", "token1"),
    CheckConstraint("token0 < token1", name="order"),
)

market_pools: Final = Table(
    "market_pools",
    metadata,
    # Whose trades are kept. A pool that is followed stays so, listed or not: its history has no hole.
    Column("id", Id, primary_key=True),
    Column("pair_id", Id, ForeignKey("market_pairs.id"), nullable=False, index=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Addr, nullable=False),
    Column("venue", String(32), nullable=False),
    Column("fee_pips", Integer, nullable=False),
    UniqueConstraint("chain_id", "address"),
)

market_blocks: Final = Table(
    "market_blocks",
    metadata,
    # The newest blocks of each chain whose trades are written, without a gap; what a reorg is recognized by.
    Column("chain_id", BigInteger, nullable=False, autoincrement=False),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("hash", Hash32, nullable=False),
    PrimaryKeyConstraint("chain_id", "number"),
)

market_heads: Final = Table(
    "market_heads",
    metadata,
    # The newest of them: history goes up to there.
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Hash32, nullable=False),
    Column("block_time_ms", BigInteger, nullable=False),
)

market_gaps: Final = Table(
    "market_gaps",
    metadata,
    # Blocks up to the head whose trades of this pool are not written, both included; what is in none of them is.
    # Worked off from the top; what is older than history is to go back stays as a gap.
    Column("id", Id, primary_key=True),
    Column("pool_id", Id, ForeignKey("market_pools.id"), nullable=False, index=True),
    Column("first_block", BigInteger, nullable=False),
    Column("last_block", BigInteger, nullable=False),
    # Time of the block after the last one: from when on history is complete, if this is the newest gap.
    Column("complete_from_ms", BigInteger, nullable=False),
    CheckConstraint("0 <= first_block AND first_block <= last_block", name="blocks"),
)

market_trades: Final = Table(
    "market_trades",
    metadata,
    Column("pair_id", Id, ForeignKey("market_pairs.id"), nullable=False, autoincrement=False),
    # Block number and log index in one: the order on the chain, and one row a log.
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("pool_id", Id, ForeignKey("market_pools.id"), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("tx_hash", Hash32, nullable=False),
    # token0 was paid for token1.
    Column("zero_for_one", Boolean, nullable=False),
    Column("amount0", U256, nullable=False),
    Column("amount1", U256, nullable=False),
    PrimaryKeyConstraint("pair_id", "id"),
    Index("ix_market_trades_time", "pair_id", "time_ms"),
)

market_candles: Final = Table(
    "market_candles",
    metadata,
    # Only intervals in which something was traded. Prices are base units of token1 for one of token0.
    Column("pair_id", Id, ForeignKey("market_pairs.id"), nullable=False, autoincrement=False),
    Column("seconds", Integer, nullable=False, autoincrement=False),
    Column("start_s", BigInteger, nullable=False, autoincrement=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("open", RatioText, nullable=False),
    Column("high", RatioText, nullable=False),
    Column("low", RatioText, nullable=False),
    Column("close", RatioText, nullable=False),
    Column("volume0", U256, nullable=False),
    Column("volume1", U256, nullable=False),
    # Of these, what was moved by trades that sold token0.
    Column("sold0", U256, nullable=False),
    Column("sold1", U256, nullable=False),
    Column("trades", Integer, nullable=False),
    PrimaryKeyConstraint("pair_id", "seconds", "start_s"),
)
