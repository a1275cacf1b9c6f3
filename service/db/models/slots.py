"""Plans, slots and attempts (`chains.tx`), and what is wished and noted of them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from chains.tx.model import AttemptKind, AttemptState, IntentState, Outcome, TxState, Wish
from service.db.models.base import Id, metadata, one_of
from service.db.types import U256, Addr, Hash32

plans: Final = Table(
    "plans",
    metadata,
    # First in, first out within a lane.
    Column("sequence", Id, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("wallet", Addr, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=True),
    Index("ix_plans_lane", "chain_id", "wallet", "sequence"),
)

intents: Final = Table(
    "intents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("wallet", Addr, nullable=False),
    Column("to_address", Addr, nullable=False),
    Column("value_wei", U256, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("payload_hash", Hash32, nullable=False),
    Column("gas_limit", BigInteger, nullable=True),
    Column("max_gas_cost_wei", U256, nullable=True),
    Column("state", String(16), nullable=False),
    Column("reject_reason", Text, nullable=True),
    UniqueConstraint("plan_id", "position"),
    CheckConstraint(one_of("state", IntentState), name="state"),
    CheckConstraint("(state = 'rejected') = (reject_reason IS NOT NULL)", name="reason"),
    Index("ix_intents_open", "chain_id", "wallet", "state"),
)

lanes: Final = Table(
    "lanes",
    metadata,
    Column("chain_id", BigInteger, nullable=False),
    Column("wallet", Addr, nullable=False),
    Column("next_nonce", BigInteger, nullable=False),
    Column("hold_reason", Text, nullable=True),
    PrimaryKeyConstraint("chain_id", "wallet"),
    CheckConstraint("next_nonce >= 0", name="nonce"),
)

txs: Final = Table(
    "txs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("intent_id", String(64), ForeignKey("intents.id"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("wallet", Addr, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("gas_limit", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", String(16), nullable=False, server_default="none"),
    Column("block_number", BigInteger, nullable=True),
    Column("block_hash", Hash32, nullable=True),
    Column("mined_hash", Hash32, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("chain_id", "wallet", "nonce"),
    CheckConstraint(one_of("state", TxState), name="state"),
    CheckConstraint(one_of("outcome", Outcome), name="outcome"),
    # The state machine: a block and an outcome exactly while mined, confirmed or final.
    CheckConstraint(
        "(state IN ('mined', 'confirmed', 'final')) ="
        " (block_number IS NOT NULL AND block_hash IS NOT NULL AND mined_hash IS NOT NULL AND outcome <> 'none')",
        name="mined",
    ),
    CheckConstraint(
        "state IN ('mined', 'confirmed', 'final')"
        " OR (block_number IS NULL AND block_hash IS NULL AND mined_hash IS NULL AND outcome = 'none')",
        name="unmined",
    ),
    # One slot an intent, unless a foreign transaction took the first one.
    Index(
        "uq_txs_intent_id",
        "intent_id",
        unique=True,
        sqlite_where=text("state <> 'superseded'"),
        postgresql_where=text("state <> 'superseded'"),
    ),
    Index("ix_txs_open", "chain_id", "state"),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("hash", Hash32, primary_key=True),
    Column("tx_id", Id, ForeignKey("txs.id"), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("max_fee_wei", U256, nullable=False),
    Column("priority_fee_wei", U256, nullable=False),
    Column("gas_limit", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger, nullable=True),
    Column("node_answer", Text, nullable=True),
    CheckConstraint(one_of("kind", AttemptKind), name="kind"),
    CheckConstraint(one_of("state", AttemptState), name="state"),
    # At most one unsent attempt a tx.
    Index(
        "uq_attempts_unsent",
        "tx_id",
        unique=True,
        sqlite_where=text("state = 'signed'"),
        postgresql_where=text("state = 'signed'"),
    ),
)

tx_wishes: Final = Table(
    "tx_wishes",
    metadata,
    # What was asked for an unmined slot. A cancel stays for ever: no payload is signed for the slot any more.
    Column("tx_id", Id, ForeignKey("txs.id"), primary_key=True),
    Column("wish", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    CheckConstraint(one_of("wish", Wish), name="wish"),
)

tx_notes: Final = Table(
    "tx_notes",
    metadata,
    # Why a slot's price stays where it is; gone once it does not.
    Column("tx_id", Id, ForeignKey("txs.id"), primary_key=True),
    Column("note", Text, nullable=False),
)
