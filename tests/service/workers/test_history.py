"""What an operator sees of a chain's history: figures while this process keeps it, none when another one does."""

from prometheus_client import generate_latest

from chains.config import load_chains
from chains.types import BlockHash, Header
from service.markets.history.backfill import Filled
from service.markets.history.following import Followed
from service.observability.metrics import Metrics
from service.workers.heartbeats import Heartbeats
from service.workers.history import HistoryFigures, history_loop
from tests.clock import FakeClock

ETHEREUM = load_chains()["ethereum"]
HEAD = Header(
    number=77,
    hash=BlockHash("0x" + "01" * 32),
    parent_hash=BlockHash("0x" + "02" * 32),
    timestamp_s=1_000,
    base_fee_wei=1,
    gas_limit=30_000_000,
)


def shown(metrics: Metrics) -> dict[str, float]:
    """The figures of history on the page, by name."""
    lines = generate_latest(metrics.registry).decode().splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith("cambist_history") and "_created" not in line]
    return {name.partition("{")[0]: float(value) for name, _, value in found}


def test_figures_are_those_of_the_last_turns_and_go_with_the_lease() -> None:
    metrics, clock = Metrics(), FakeClock()
    figures = HistoryFigures(metrics, Heartbeats(clock))
    figures.without_lease(ETHEREUM)
    assert shown(metrics) == {}
    figures.followed(ETHEREUM, Followed(head=HEAD, trades=5, removed_blocks=2), now_ms=1_012_500)
    figures.filled(ETHEREUM, Filled(blocks=100, trades=30, missing_blocks=400))
    assert shown(metrics) == {
        "cambist_history_block": 77,
        "cambist_history_age_seconds": 12,
        "cambist_history_missing_blocks": 400,
        "cambist_history_trades_total": 35,
        "cambist_history_removed_blocks_total": 2,
    }
    figures.without_lease(ETHEREUM)
    assert set(shown(metrics)) == {"cambist_history_trades_total", "cambist_history_removed_blocks_total"}


def test_a_turn_is_a_sign_of_life() -> None:
    clock = FakeClock()
    beats = Heartbeats(clock)
    beats.expect(history_loop(ETHEREUM), within_s=10)
    clock.advance_ms(11_000)
    assert beats.late() == {"history-ethereum": True}
    HistoryFigures(Metrics(), beats).turned(ETHEREUM)
    assert beats.late() == {"history-ethereum": False}
