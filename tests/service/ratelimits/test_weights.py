"""Every route has a weight, and what is more work weighs more."""

import pytest

from service.app import OPENAPI_PATH, declared_permissions
from service.ratelimits.routetable import RouteTable, weight_of
from service.ratelimits.weights import NO_ROUTE, WEIGHTS
from service.routers import ROUTERS

ROUTES = set(declared_permissions()) | {("GET", OPENAPI_PATH)}


def test_every_route_has_a_weight() -> None:
    assert ROUTES - set(WEIGHTS) == set()


def test_no_weight_is_of_a_route_that_is_gone() -> None:
    assert set(WEIGHTS) - ROUTES == set()


@pytest.mark.parametrize("query", [{}, {"limit": "x"}, {"limit": "-1"}, {"limit": "9" * 50}, {"interval": "3m"}])
def test_weights_are_positive_whatever_is_asked(query: dict[str, str]) -> None:
    assert all(1 <= weight.of(query) <= 100 for weight in WEIGHTS.values())


def test_deep_books_all_tickers_and_derived_candles_weigh_more() -> None:
    depth, ticker = WEIGHTS["GET", "/v1/{chain}/depth"], WEIGHTS["GET", "/v1/{chain}/ticker"]
    candles = WEIGHTS["GET", "/v1/{chain}/candles"]
    assert [depth.of({"limit": text}) for text in ("5", "100", "500", "1000")] == [5, 5, 25, 50]
    assert ticker.of({}) > ticker.of({"market": "ETHUSDC"})
    for interval in ("3m", "5m"):
        assert candles.of({"interval": interval}) == 4 * candles.of({"interval": "1m"})
    assert candles.of({"interval": "1m", "limit": "1000"}) > candles.of({"interval": "1m"})


def test_what_is_no_route_weighs_one() -> None:
    table = RouteTable(ROUTERS)
    for method, path in (("GET", "/v1/nothing/at/all"), ("PATCH", "/v1/ping"), ("GET", "/")):
        assert weight_of(table.find(method, path)[0], method).weight == NO_ROUTE


def test_the_table_finds_templates_in_the_routes_own_order() -> None:
    table = RouteTable(ROUTERS)
    for path, template in (("/v1/orders/7", "/v1/orders/{order_id}"), ("/v1/ethereum/ticker", "/v1/{chain}/ticker")):
        for _ in range(2):
            found, _ = table.find("GET", path)
            assert found is not None
            assert found.path == template
