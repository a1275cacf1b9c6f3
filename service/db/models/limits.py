"""What of a rate limit's window is leased to processes (`service.ratelimits`)."""

from typing import Final

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, String, Table

from service.db.models.base import metadata

rate_leases: Final = Table(
    "rate_leases",
    metadata,
    # The window's begin, UTC; first in the key, since old windows are deleted by it.
    Column("window_ms", BigInteger, nullable=False),
    Column("limit", String(16), nullable=False),
    # An address or network, a key, an account; no reference: a window is gone before what it names.
    Column("client", String(80), nullable=False),
    Column("leased", BigInteger, nullable=False),
    PrimaryKeyConstraint("window_ms", "limit", "client"),
)

rate_bans: Final = Table(
    "rate_bans",
    metadata,
    # As in a lease. A ban is one row, written again where it is longer, and deleted hours after its end.
    Column("client", String(80), primary_key=True),
    Column("until_ms", BigInteger, nullable=False, index=True),
    Column("length_s", BigInteger, nullable=False),
)
