"""The fingerprint of a request keeps its value over versions, or a repeated request would be a conflict."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.assets import load_assets
from contracts.deployments import Venue
from service.auth.callers import Caller
from service.build import ChainRuntime
from service.markets.trades import Side, Trade
from service.orders.model import OrderType, TimeInForce
from service.orders.placement import digest_of
from service.orders.terms import Asked, parse_price
from tests.service.books_seed import ETHEREUM

MARKET = load_assets(ETHEREUM).markets["ETHUSDC"]
RUNTIME = cast("ChainRuntime", SimpleNamespace(config=SimpleNamespace(chain_id=1)))
CALLER = cast("Caller", SimpleNamespace(wallet=SimpleNamespace(id=7)))


def asked(*, venue: Venue | None = None, slippage_bps: int | None = None, **more: Any) -> Asked:
    return Asked(
        trade=Trade(market=MARKET, side=Side.SELL, base_amount=5 * 10**17, quote_amount=None, venue=venue),
        slippage_bps=slippage_bps,
        max_price_impact_bps=None,
        client_id="one",
        **more,
    )


LIMIT: dict[str, Any] = {
    "type": OrderType.LIMIT,
    "time_in_force": TimeInForce.GTC,
    "price": parse_price("3000", MARKET, field="price"),
}


@pytest.mark.parametrize(
    ("order", "digest"),
    [
        (asked(), "0x8c8805a934e3d5b5a0530fdc55a87a1bb341fa89dc4c216fd0c565a4cc5c129c"),
        (
            asked(venue=Venue.UNISWAP_V3, slippage_bps=50),
            "0x642cdd1a3a20609c79d168d16c38aa8b3fcc4bdd73338b7438bb464bd3994428",
        ),
    ],
)
def test_a_market_order_has_the_fingerprint_that_it_had_before_there_were_others(order: Asked, digest: str) -> None:
    assert digest_of(RUNTIME, CALLER, order) == digest


def test_each_parameter_is_in_the_fingerprint() -> None:
    other = parse_price("3000.1", MARKET, field="price")
    variants: list[dict[str, Any]] = [
        LIMIT,
        LIMIT | {"price": other},
        LIMIT | {"time_in_force": TimeInForce.FOK},
        LIMIT | {"type": OrderType.LIMIT_MAKER},
        LIMIT | {"stop_price": other},
        LIMIT | {"expires_ms": 1},
        LIMIT | {"count_gas": True},
        LIMIT | {"count_gas": False},
        LIMIT | {"replaces": 3},
    ]
    assert len({digest_of(RUNTIME, CALLER, asked(**more)) for more in variants}) == len(variants)
    same = parse_price("3000.00", MARKET, field="price")
    assert digest_of(RUNTIME, CALLER, asked(**LIMIT | {"price": same})) == digest_of(RUNTIME, CALLER, asked(**LIMIT))
