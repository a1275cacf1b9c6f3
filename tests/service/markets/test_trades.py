"""Which swap a trade is, and the limits it carries."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import ChainId
from chains.units import BPS
from contracts.assets import load_assets
from contracts.deployments import Venue
from service.markets.schemas import VenueName
from service.markets.trades import Side, Trade, in_base_and_quote, limits

MARKET = load_assets(ChainId(1)).markets["ETHUSDC"]


@pytest.mark.parametrize(
    ("side", "fixed", "sold", "exact"),
    [
        (Side.SELL, "base", "ETH", "in"),
        (Side.SELL, "quote", "ETH", "out"),
        (Side.BUY, "base", "USDC", "out"),
        (Side.BUY, "quote", "USDC", "in"),
    ],
)
def test_side_and_fixed_amount_decide_the_swap(side: Side, fixed: str, sold: str, exact: str) -> None:
    trade = Trade(
        market=MARKET,
        side=side,
        base_amount=7 if fixed == "base" else None,
        quote_amount=9 if fixed == "quote" else None,
    )
    assert (trade.sold.symbol, trade.exact) == (sold, exact)
    assert trade.amount == (7 if fixed == "base" else 9)
    assert {trade.sold, trade.bought} == {MARKET.base, MARKET.quote}


@pytest.mark.parametrize(("base", "quote"), [(None, None), (1, 1)])
def test_a_trade_has_exactly_one_fixed_amount(base: int | None, quote: int | None) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Trade(market=MARKET, side=Side.BUY, base_amount=base, quote_amount=quote)


@given(st.integers(1, 2**128), st.integers(1, 2**128), st.integers(0, 300))
def test_limits_are_never_looser_than_the_slippage_bound(amount_in: int, amount_out: int, bps: int) -> None:
    exact_in = limits("in", amount_in=amount_in, amount_out=amount_out, slippage_bps=bps)
    assert exact_in.max_sold == amount_in
    assert 0 < exact_in.min_bought <= amount_out
    assert exact_in.min_bought * BPS >= amount_out * (BPS - bps)
    exact_out = limits("out", amount_in=amount_in, amount_out=amount_out, slippage_bps=bps)
    assert exact_out.min_bought == amount_out
    assert amount_in <= exact_out.max_sold
    assert exact_out.max_sold * BPS <= amount_in * (BPS + bps)


def test_what_was_sold_is_base_when_selling_and_quote_when_buying() -> None:
    assert in_base_and_quote(Side.SELL, sold_raw=1, bought_raw=2) == (1, 2)
    assert in_base_and_quote(Side.BUY, sold_raw=1, bought_raw=2) == (2, 1)


def test_a_client_can_name_every_venue_and_no_other() -> None:
    assert set(get_args(VenueName)) == set(Venue)
