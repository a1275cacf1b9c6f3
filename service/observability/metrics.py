"""What this process counts and times, in a registry of its own.

Guarantees: names of chains and routes, states and codes are the only labels: no account, no address, no endpoint's URL.
Not guaranteed: that a count survives a restart, or that of a unit of work which was rolled back nothing was counted;
what must be exact is in the database.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

ACCEPT_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""A request that needs the chain takes some 10 to 500 ms."""
CONFIRM_BUCKETS_S: Final = (2, 5, 10, 20, 30, 45, 60, 120, 300, 900, 3600, 21_600)
"""Two Ethereum blocks are 24 s, sixteen on Polygon some 35 s; a low fee waits for hours."""


LOOK_BUCKETS_S: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""A look at resting orders: some milliseconds when nothing changed, a second with hundreds of exact quotes."""


class Metrics:
    """One a process. Thread-safe."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests: Final = Counter(
            "cambist_http_requests",
            "Requests answered, by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.accept_seconds: Final = Histogram(
            "cambist_accept_seconds",
            "From a request's arrival to the answer that it is accepted, which is after the commit.",
            ["route"],
            buckets=ACCEPT_BUCKETS_S,
            registry=self.registry,
        )
        self.confirm_seconds: Final = Histogram(
            "cambist_confirm_seconds",
            "From accepting an order or withdrawal to each of its transactions at confirmed depth.",
            ["chain", "outcome"],
            buckets=CONFIRM_BUCKETS_S,
            registry=self.registry,
        )
        self.attempts: Final = Counter(
            "cambist_attempts",
            "Signed attempts: the first of a slot, a bump or a cancel at the same nonce.",
            ["chain", "kind"],
            registry=self.registry,
        )
        self.history_block: Final = Gauge(
            "cambist_history_block",
            "The block up to which this process wrote trades and candles.",
            ["chain"],
            registry=self.registry,
        )
        self.history_age_seconds: Final = Gauge(
            "cambist_history_age_seconds",
            "How old that block was when it was last looked whether there is a newer one.",
            ["chain"],
            registry=self.registry,
        )
        self.history_missing_blocks: Final = Gauge(
            "cambist_history_missing_blocks",
            "Older blocks whose trades are wanted and not read yet.",
            ["chain"],
            registry=self.registry,
        )
        self.history_trades: Final = Counter(
            "cambist_history_trades",
            "Trades read, those of blocks that left the chain later included.",
            ["chain"],
            registry=self.registry,
        )
        self.history_removed_blocks: Final = Counter(
            "cambist_history_removed_blocks",
            "Blocks whose trades were taken back since they left the chain.",
            ["chain"],
            registry=self.registry,
        )
        self.resting_orders: Final = Gauge(
            "cambist_resting_orders",
            "Orders that rest, at the last look of the process that keeps them.",
            ["chain"],
            registry=self.registry,
        )
        self.orders_held_back: Final = Gauge(
            "cambist_orders_held_back",
            "Resting orders by why they went on resting at the last look.",
            ["chain", "why"],
            registry=self.registry,
        )
        self.keeper_orders: Final = Counter(
            "cambist_keeper_orders",
            "What was made of resting orders: executed (a try was queued), triggered (a stop was reached), expired,"
            " altered (closed: something else than the service wrote their rows).",
            ["chain", "what"],
            registry=self.registry,
        )
        self.keeper_quotes: Final = Counter(
            "cambist_keeper_quotes",
            "Resting orders that were quoted exactly.",
            ["chain"],
            registry=self.registry,
        )
        self.keeper_look_seconds: Final = Histogram(
            "cambist_keeper_look_seconds",
            "A look at all resting orders of a chain.",
            ["chain"],
            buckets=LOOK_BUCKETS_S,
            registry=self.registry,
        )
