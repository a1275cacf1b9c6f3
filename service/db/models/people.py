"""People, accounts, and what people sign in with (`service.accounts`)."""

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
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from service.db.models.base import NOT_IN_MAC_WHEN_NULL, Id, metadata

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
    # Of an invitation into an account: with which role, and the owner who gave it out. SQLite adds no foreign keys.
    Column("account_id", Id, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("role", String(16), nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("invited_by", Id, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
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
