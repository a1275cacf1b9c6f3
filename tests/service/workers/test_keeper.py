"""What an operator sees of resting orders: figures while this process keeps them, none when another one does."""

from prometheus_client import generate_latest

from chains.config import load_chains
from service.observability.metrics import Metrics
from service.orders.keeper.deciding import Why
from service.orders.keeper.looks import Looked
from service.workers.heartbeats import Heartbeats
from service.workers.keeper import KeeperFigures, keeper_loop
from tests.clock import FakeClock

ETHEREUM = load_chains()["ethereum"]


def shown(metrics: Metrics) -> dict[str, float]:
    """The keeper's figures on the page, but for times."""
    lines = generate_latest(metrics.registry).decode().splitlines()
    names = ("cambist_resting_orders", "cambist_orders_held_back", "cambist_keeper_orders", "cambist_keeper_quotes")
    found = [line.rpartition(" ") for line in lines if line.startswith(names) and "_created" not in line]
    return {name: float(value) for name, _, value in found if float(value)}


def test_figures_are_those_of_the_last_look_and_go_with_the_lease() -> None:
    metrics = Metrics()
    figures = KeeperFigures(metrics, Heartbeats(FakeClock()))
    done = Looked(resting=7, quoted=3, executed=1, expired=2)
    done.held_back[Why.GUARD] = 4
    figures.looked(ETHEREUM, done, seconds=0.2)
    figures.looked(ETHEREUM, Looked(resting=6, executed=1), seconds=0.1)
    assert shown(metrics) == {
        'cambist_resting_orders{chain="ethereum"}': 6,
        'cambist_keeper_quotes_total{chain="ethereum"}': 3,
        'cambist_keeper_orders_total{chain="ethereum",what="executed"}': 2,
        'cambist_keeper_orders_total{chain="ethereum",what="expired"}': 2,
    }
    figures.looked(ETHEREUM, done, seconds=0.2)
    assert shown(metrics)['cambist_orders_held_back{chain="ethereum",why="guard"}'] == 4
    figures.without_lease(ETHEREUM)
    assert not [name for name in shown(metrics) if "resting" in name or "held_back" in name]


def test_what_was_altered_is_counted_as_closed_and_is_no_reason_to_rest_on() -> None:
    metrics = Metrics()
    figures = KeeperFigures(metrics, Heartbeats(FakeClock()))
    figures.looked(ETHEREUM, Looked(resting=1, altered=2), seconds=0.1)
    assert shown(metrics)['cambist_keeper_orders_total{chain="ethereum",what="altered"}'] == 2
    page = generate_latest(metrics.registry).decode()
    assert 'cambist_orders_held_back{chain="ethereum",why="guard"}' in page
    assert 'why="altered"' not in page
    figures.without_lease(ETHEREUM)


def test_each_turn_is_a_sign_of_life() -> None:
    clock = FakeClock()
    beats = Heartbeats(clock)
    beats.expect(keeper_loop(ETHEREUM), within_s=10)
    clock.advance_ms(11_000)
    assert beats.late() == {"keeper-ethereum": True}
    KeeperFigures(Metrics(), beats).turned(ETHEREUM)
    assert beats.late() == {"keeper-ethereum": False}
