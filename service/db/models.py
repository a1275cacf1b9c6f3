"""All tables. The constraints carry the rules that must survive any bug in the code above them.

Conventions: integer ids; `_ms` is milliseconds UTC; amounts are `U256` base units; an asset is its CAIP-19 id;
rows that grant authority (users' memberships, wallets, keys, destinations) end in `mac`, a MAC over all their
other columns under a key derived from the master key (see `service.auth.authority`).
"""

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
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from chains.tx.model import AttemptKind, AttemptState, IntentState, Outcome, TxState, Wish
from service.db.types import U256, Addr, Hash32, Json, RatioText

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOT_IN_MAC_WHEN_NULL: Final = "not_in_mac_when_null"
"""Marks a column that came after rows with a MAC: null in it is as if it were not there."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite gives row ids only to a column declared INTEGER."""


def _one_of(column: str, values: "type[IntentState | TxState | Outcome | AttemptKind | AttemptState | Wish]") -> str:
    return f"{column} IN ({', '.join(repr(str(v)) for v in values)})"


# -- what this database belongs to ------------------------------------------------------------------------

chain_bindings: Final = Table(
    "chain_bindings",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("genesis_hash", Hash32, nullable=False),
    Column("checkpoint_number", BigInteger, nullable=False),
    Column("checkpoint_hash", Hash32, nullable=False),
    Column("bound_ms", BigInteger, nullable=False),
)

# -- people, accounts, wallets, keys ----------------------------------------------------------------------

users: Final = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
)

accounts: Final = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # The last event sequence given out; allocated under this row's lock.
    Column("event_seq", BigInteger, nullable=False, server_default="0"),
    Column("created_ms", BigInteger, nullable=False),
)

memberships: Final = Table(
    "memberships",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("user_id", "account_id"),
    CheckConstraint("role IN ('owner', 'trader', 'approver', 'viewer')", name="role"),
)

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

# -- signing in (service/accounts) --------------------------------------------------------------------------

user_credentials: Final = Table(
    "user_credentials",
    metadata,
    # What a user signs in with. A user without a row cannot sign in.
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    # The first user to register; one an installation (the index below).
    Column("owns_installation", Boolean, nullable=False),
    Column("password_hash", Text, nullable=False),
    # Seeds of authenticators, sealed with the row's identity: the one in use, and one that is not confirmed yet.
    Column("totp_sealed", LargeBinary, nullable=True),
    Column("totp_pending_sealed", LargeBinary, nullable=True),
    # The newest step whose code was used; older codes are refused.
    Column("totp_last_step", BigInteger, nullable=True),
    # Until then nothing is withdrawn or widened in a session of this user.
    Column("held_until_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    Index(
        "uq_user_credentials_owner",
        "owns_installation",
        unique=True,
        sqlite_where=text("owns_installation"),
        postgresql_where=text("owns_installation"),
    ),
)

recovery_codes: Final = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("code_hash", LargeBinary(32), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Column("mac", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("user_id", "code_hash"),
)

sessions: Final = Table(
    "sessions",
    metadata,
    # A session that ended has no row.
    Column("id", String(36), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False, index=True),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("carrier", String(8), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("client_ip", String(45), nullable=False),
    Column("agent", String(128), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    CheckConstraint("carrier IN ('cookie', 'bearer')", name="carrier"),
)

invitations: Final = Table(
    "invitations",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    # Whose password is to be set; null: whoever has it makes a user of their own.
    Column("user_id", Id, ForeignKey("users.id"), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=True),
    Column("mac", LargeBinary(32), nullable=False),
)

sign_in_counters: Final = Table(
    "sign_in_counters",
    metadata,
    # No MAC: a row here only slows down. `subject` is a keyed hash of name and address.
    Column("scope", String(8), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_ms", BigInteger, nullable=False, index=True),
    Column("locked_until_ms", BigInteger, nullable=False),
    Column("good_ms", BigInteger, nullable=True),
    PrimaryKeyConstraint("scope", "subject"),
    CheckConstraint("scope IN ('pair', 'address', 'account')", name="scope"),
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

# -- transactions (chains.tx) -----------------------------------------------------------------------------

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
    Column("state", String(16), nullable=False),
    Column("reject_reason", Text, nullable=True),
    UniqueConstraint("plan_id", "position"),
    CheckConstraint(_one_of("state", IntentState), name="state"),
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
    CheckConstraint(_one_of("state", TxState), name="state"),
    CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
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

# -- processes on this database, and who works on what ------------------------------------------------------

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

tx_wishes: Final = Table(
    "tx_wishes",
    metadata,
    # What was asked for an unmined slot. A cancel stays for ever: no payload is signed for the slot any more.
    Column("tx_id", Id, ForeignKey("txs.id"), primary_key=True),
    Column("wish", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    CheckConstraint(_one_of("wish", Wish), name="wish"),
)

tx_notes: Final = Table(
    "tx_notes",
    metadata,
    # Why a slot's price stays where it is; gone once it does not.
    Column("tx_id", Id, ForeignKey("txs.id"), primary_key=True),
    Column("note", Text, nullable=False),
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
    CheckConstraint(_one_of("kind", AttemptKind), name="kind"),
    CheckConstraint(_one_of("state", AttemptState), name="state"),
    # At most one unsent attempt a tx.
    Index(
        "uq_attempts_unsent",
        "tx_id",
        unique=True,
        sqlite_where=text("state = 'signed'"),
        postgresql_where=text("state = 'signed'"),
    ),
)

chain_cursors: Final = Table(
    "chain_cursors",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Hash32, nullable=False),
)

canonical_blocks: Final = Table(
    "canonical_blocks",
    metadata,
    # The newest blocks of each chain as they were worked off, without a gap; what a reorg is recognized by.
    Column("chain_id", BigInteger, nullable=False, autoincrement=False),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("hash", Hash32, nullable=False),
    PrimaryKeyConstraint("chain_id", "number"),
)

finalized_blocks: Final = Table(
    "finalized_blocks",
    metadata,
    # The newest block that the chain called final. Should it ever be another one, the chain is frozen.
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", Hash32, nullable=False),
)

chain_freezes: Final = Table(
    "chain_freezes",
    metadata,
    # A chain that did what it must not: nothing is signed or withdrawn on it until the operator ends this.
    # No MAC: a row here only takes away.
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

# -- orders and withdrawals -------------------------------------------------------------------------------

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

# -- the books --------------------------------------------------------------------------------------------

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
    # The plan that holds it; released exactly once.
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("released_ms", BigInteger, nullable=True),
    UniqueConstraint("plan_id", "asset"),
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

# -- the audit log (service/audit) -----------------------------------------------------------------------------

audit_chains: Final = Table(
    "audit_chains",
    metadata,
    # The end of each chain: 0 is the installation's, the others are their accounts'. Locked by whoever appends.
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
)

audit_entries: Final = Table(
    "audit_entries",
    metadata,
    # Appended only by service/audit/appending.py, never changed. No foreign keys: an entry outlives what it tells of.
    Column("chain", BigInteger, nullable=False, autoincrement=False),
    # From 1, without a gap.
    Column("seq", BigInteger, nullable=False, autoincrement=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("act", String(48), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("code", String(64), nullable=True),
    Column("actor_kind", String(16), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("subject_kind", String(24), nullable=True),
    Column("subject", String(128), nullable=True),
    Column("account_id", BigInteger, nullable=True),
    Column("request_id", String(36), nullable=True),
    Column("client_ip", String(45), nullable=True),
    # Canonical JSON: the text itself is hashed.
    Column("details", Text, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    Index("ix_audit_entries_time_ms", "time_ms"),
)

# -- market history (service/markets/history) -----------------------------------------------------------------

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
