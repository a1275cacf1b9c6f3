"""Withdrawals that need a second person (`service.approvals`): what an account wants, and what lets each be signed."""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, text

from service.db.models.base import NOT_IN_MAC_WHEN_NULL, Id, metadata
from service.db.types import U256, Hash32, Json

_PENDING: Final = text("state = 'pending'")

approval_policies: Final = Table(
    "approval_policies",
    metadata,
    Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    # The thresholds in force, and those that follow at a time; base units and micro-dollars as text.
    Column("rules", Json, nullable=False),
    Column("next_rules", Json, nullable=True),
    Column("next_from_ms", BigInteger, nullable=True),
    Column("changed_ms", BigInteger, nullable=False),
    Column("changed_by", Id, ForeignKey("users.id"), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    CheckConstraint("(next_rules IS NULL) = (next_from_ms IS NULL)", name="next"),
)

clearances: Final = Table(
    "clearances",
    metadata,
    # One a withdrawal: without it, or with another binding, nothing is signed for it.
    Column("withdrawal_id", Id, ForeignKey("withdrawals.id"), primary_key=True, autoincrement=False),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # SHA-256 over all that the withdrawal asks for.
    Column("binding", Hash32, nullable=False),
    Column("state", String(12), nullable=False),
    # Why a second person is needed; null: none is.
    Column("why", String(16), nullable=True),
    # Its worth when it was accepted, in micro-dollars, where that was known.
    Column("usd", U256, nullable=True),
    # Whose key asked for it; null: one made on the host, which is nobody's in particular.
    Column("requester_id", Id, ForeignKey("users.id"), nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("decided_ms", BigInteger, nullable=True),
    # The person who decided, and with what: `session:` or `key:` and its id.
    Column("decider_id", Id, ForeignKey("users.id"), nullable=True),
    Column("decided_with", String(80), nullable=True),
    # When its withdrawal ended without a transaction, or with a final one: nothing is signed for it any more.
    Column("ended_ms", BigInteger, nullable=True, info={NOT_IN_MAC_WHEN_NULL: True}),
    Column("mac", LargeBinary(32), nullable=False),
    CheckConstraint("state IN ('clear', 'pending', 'approved', 'rejected')", name="state"),
    CheckConstraint("(state = 'clear') = (why IS NULL)", name="why"),
    CheckConstraint("(state IN ('approved', 'rejected')) = (decider_id IS NOT NULL)", name="decider"),
    Index("ix_clearances_account", "account_id", "created_ms"),
    Index("ix_clearances_pending", "expires_ms", sqlite_where=_PENDING, postgresql_where=_PENDING),
)
