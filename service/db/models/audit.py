"""The audit log (`service.audit`)."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, String, Table, Text

from service.db.models.base import metadata

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
