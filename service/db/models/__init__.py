"""All tables, a subject a module. The constraints carry the rules that must survive any bug in the code above them.

Conventions: integer ids; `_ms` is milliseconds UTC; amounts are `U256` base units; an asset is its CAIP-19 id;
rows that grant authority (users' memberships, wallets, keys, destinations) end in `mac`, a MAC over all their
other columns under a key derived from the master key (see `service.auth.authority`).
"""

from service.db.models.addresses import book_entries, book_rules
from service.db.models.approvals import approval_policies, clearances
from service.db.models.audit import audit_chains, audit_entries
from service.db.models.base import NOT_IN_MAC, NOT_IN_MAC_WHEN_NULL, metadata
from service.db.models.calls import transactions
from service.db.models.heads import canonical_blocks, chain_cursors, chain_freezes, finalized_blocks
from service.db.models.installation import chain_bindings, leases, process_beats, processes, write_turns
from service.db.models.journal import journal_entries, opening_balances, outbox, reservations
from service.db.models.keys import api_keys, key_destinations, key_usage, pauses, request_nonces, wallets
from service.db.models.limits import rate_bans, rate_leases
from service.db.models.market import (
    market_blocks,
    market_candles,
    market_gaps,
    market_heads,
    market_pairs,
    market_pools,
    market_trades,
)
from service.db.models.people import (
    accounts,
    invitations,
    memberships,
    recovery_codes,
    sessions,
    sign_in_counters,
    user_credentials,
    users,
)
from service.db.models.slots import attempts, intents, lanes, plans, tx_notes, tx_wishes, txs
from service.db.models.trading import fills, order_plans, orders, withdrawals

__all__ = [
    "NOT_IN_MAC",
    "NOT_IN_MAC_WHEN_NULL",
    "accounts",
    "api_keys",
    "approval_policies",
    "attempts",
    "audit_chains",
    "audit_entries",
    "book_entries",
    "book_rules",
    "canonical_blocks",
    "chain_bindings",
    "chain_cursors",
    "chain_freezes",
    "clearances",
    "fills",
    "finalized_blocks",
    "intents",
    "invitations",
    "journal_entries",
    "key_destinations",
    "key_usage",
    "lanes",
    "leases",
    "market_blocks",
    "market_candles",
    "market_gaps",
    "market_heads",
    "market_pairs",
    "market_pools",
    "market_trades",
    "memberships",
    "metadata",
    "opening_balances",
    "order_plans",
    "orders",
    "outbox",
    "pauses",
    "plans",
    "process_beats",
    "processes",
    "rate_bans",
    "rate_leases",
    "recovery_codes",
    "request_nonces",
    "reservations",
    "sessions",
    "sign_in_counters",
    "transactions",
    "tx_notes",
    "tx_wishes",
    "txs",
    "user_credentials",
    "users",
    "wallets",
    "withdrawals",
    "write_turns",
]
