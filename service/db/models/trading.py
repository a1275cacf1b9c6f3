"""Orders, their tries, fills and withdrawals."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from service.db.models.base import NOT_IN_MAC, Id, metadata
from service.db.types import U256, Addr, Hash32, Json, RatioText

_OPEN: Final = text("state IN ('NEW', 'PARTIALLY_FILLED')")
_RESTING: Final = text("state = 'NEW' AND plan_id IS NULL")

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
    # None: a market order, which is done at once or not at all.
    Column("time_in_force", String(8), nullable=True),
    # Exactly one of the two is what the client fixed.
    Column("base_amount", U256, nullable=True),
    Column("quote_amount", U256, nullable=True),
    # Quote base units for one base base unit, exactly, and as the client wrote them.
    Column("price", RatioText, nullable=True),
    Column("price_text", String(64), nullable=True),
    Column("stop_price", RatioText, nullable=True),
    Column("stop_price_text", String(64), nullable=True),
    # Whether the gas, valued in quote, counts as part of the price. None: there is no limit price.
    Column("count_gas", Boolean, nullable=True),
    Column("slippage_bps", Integer, nullable=False),
    Column("max_price_impact_bps", Integer, nullable=True),
    Column("venue", String(24), nullable=True),
    # The most that leaves and the least that arrives, in base units of sold and bought asset. Of a limit order by its
    # price; each try carries what is stricter on the chain.
    Column("max_sold", U256, nullable=False),
    Column("min_bought", U256, nullable=False),
    Column("quote", Json, nullable=False),
    # The plan that carries it out now, or did at last; none while it rests.
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=True, unique=True),
    # When it stops resting by itself.
    Column("expires_ms", BigInteger, nullable=True),
    Column("triggered_ms", BigInteger, nullable=True),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("retry_after_ms", BigInteger, nullable=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=True, info={NOT_IN_MAC: True}),
    Column("filled_base", U256, nullable=False, info={NOT_IN_MAC: True}),
    Column("filled_quote", U256, nullable=False, info={NOT_IN_MAC: True}),
    Column("gas_wei", U256, nullable=False, info={NOT_IN_MAC: True}),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False, info={NOT_IN_MAC: True}),
    # Of an open order; null: it has ended, or is from before orders had one, and nothing is signed for it.
    Column("mac", LargeBinary(32), nullable=True),
    UniqueConstraint("account_id", "client_id"),
    CheckConstraint("(base_amount IS NULL) <> (quote_amount IS NULL)", name="one_amount"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    CheckConstraint(
        "type IN ('market', 'limit', 'limit_maker', 'stop_loss_limit', 'take_profit_limit')",
        name="type",
    ),
    CheckConstraint("time_in_force IN ('gtc', 'ioc', 'fok')", name="time_in_force"),
    CheckConstraint("(type = 'market') = (price IS NULL)", name="price"),
    CheckConstraint(
        "(type IN ('stop_loss_limit', 'take_profit_limit')) = (stop_price IS NOT NULL)",
        name="stop_price",
    ),
    CheckConstraint("(type = 'market') = (time_in_force IS NULL)", name="in_force"),
    CheckConstraint("state IN ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')", name="state"),
    Index("ix_orders_account", "account_id", "id"),
    Index("ix_orders_open", "account_id", "market", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("ix_orders_resting", "chain_id", "id", sqlite_where=_RESTING, postgresql_where=_RESTING),
)

order_plans: Final = Table(
    "order_plans",
    metadata,
    # All plans that an order ever had: one a try, with the limits that its swap carries on the chain.
    Column("plan_id", String(64), ForeignKey("plans.id"), primary_key=True),
    Column("order_id", Id, ForeignKey("orders.id"), nullable=False, index=True),
    Column("max_sold", U256, nullable=False),
    Column("min_bought", U256, nullable=False),
    Column("deadline_s", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # Which try of its order it is, from 1, and the digest of the plan's calls; null, and no MAC, in those of before.
    Column("number", Integer, nullable=True),
    Column("calls_hash", Hash32, nullable=True),
    Column("mac", LargeBinary(32), nullable=True),
    Index("uq_order_plans_order_id_number", "order_id", "number", unique=True),
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
    # What the client's amount was: what arrives, or what leaves; `amount` is what arrives.
    Column("amount_is", String(8), nullable=False, server_default="net"),
    # What its transaction may use, and what is set aside for that; null of those accepted before there was this column.
    Column("gas_limit", BigInteger, nullable=True),
    Column("max_fee_wei", U256, nullable=True),
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
    # Each destination once, without a look at every withdrawal to it (`service.addresses.book`).
    Index("ix_withdrawals_destination", "account_id", "destination"),
)
