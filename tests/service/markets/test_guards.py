"""Second opinions on a price: what refuses an order, and with which words."""

from dataclasses import replace

import pytest

from chains.types import Address, BlockHash, ChainId, Header
from contracts.assets import AssetList, Market, load_assets
from contracts.chainlink import FRESH_SLACK_S, FeedAnswer
from contracts.deployments import Venue
from contracts.pools import PoolKey
from contracts.ratio import Ratio
from contracts.twap import Twap
from service.errors import ApiError
from service.markets.bounds import Bounds, Required
from service.markets.guards import (
    Opinions,
    Reading,
    Source,
    check_price,
    check_price_impact,
    guarded_price,
    market_price,
    opinions_of,
)
from service.markets.trades import Side

ASSETS = load_assets(ChainId(1))
ETHUSDC = ASSETS.markets["ETHUSDC"]
NOW_S = 1_767_225_600
HEADER = Header(
    number=1,
    hash=BlockHash("0x" + "1" * 64),
    parent_hash=BlockHash("0x" + "0" * 64),
    timestamp_s=NOW_S,
    base_fee_wei=0,
    gas_limit=0,
)
FEED = Address("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419")
POOL = Address("0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640")
KEY = PoolKey.of(
    Venue.UNISWAP_V3,
    (ASSETS.wrapped.token_address, ASSETS.by_symbol("USDC").token_address),
    fee_pips=500,
)
BOUNDS = Bounds(max_deviation_bps=200)
HOUR_S = 3_600
DAY_S = 86_400
# USDC is token0 of that pool: 1.0001^196256 base units of WETH for one of USDC, 3,000 USDC for an ETH.
TICK_AT_3000 = 196_256


def usd(dollars: int, *, age_s: int = 10) -> FeedAnswer:
    return FeedAnswer(feed=FEED, answer=dollars * 10**8, decimals=8, updated_at_s=NOW_S - age_s)


def price(dollars: int) -> Ratio:
    """USDC base units for a wei."""
    return Ratio.of(dollars * 10**6, 10**18)


def read(
    *,
    base: FeedAnswer | None = None,
    quote: FeedAnswer | None = None,
    tick: int | None = None,
    market: Market = ETHUSDC,
    now_s: int = NOW_S,
    assets: AssetList = ASSETS,
) -> Opinions:
    twap = None if tick is None else (KEY, Twap(pool=POOL, window_s=1800, mean_tick=tick, mean_liquidity=1))
    reading = Reading(header=HEADER, base_usd=base, quote_usd=quote, twap=twap)
    return opinions_of(market, reading, assets=assets, now_s=now_s)


def refusal(opinions: Opinions, wanted: Ratio, bounds: Bounds = BOUNDS) -> ApiError:
    with pytest.raises(ApiError) as refused:
        check_price(opinions, price=wanted, bounds=bounds)
    return refused.value


def test_a_price_that_both_opinions_share_passes() -> None:
    opinions = read(base=usd(3000), quote=usd(1), tick=TICK_AT_3000)
    check_price(opinions, price=price(3000), bounds=Bounds(max_deviation_bps=10, required=Required.ALL))
    assert [one.source for one in opinions.found] == [Source.CHAINLINK, Source.TWAP]
    assert opinions.missing == ()


@pytest.mark.parametrize("dollars", [2939, 3061])
def test_a_price_that_is_too_far_from_chainlink_is_refused_on_either_side(dollars: int) -> None:
    refused = refusal(read(base=usd(3000), quote=usd(1)), price(dollars))
    assert refused.code == "price_deviates"
    assert refused.message == (
        f"the pools' price of ETHUSDC is {dollars}, but Chainlink says 3000 (10 s old): 204 basis points away,"
        " and the bound is 200"
    )


@pytest.mark.parametrize("dollars", [2940, 3060])
def test_a_price_at_the_bound_passes(dollars: int) -> None:
    check_price(read(base=usd(3000), quote=usd(1)), price=price(dollars), bounds=BOUNDS)


def test_the_cross_rate_follows_a_stablecoin_that_lost_its_peg() -> None:
    depegged = FeedAnswer(feed=FEED, answer=90_000_000, decimals=8, updated_at_s=NOW_S)
    check_price(read(base=usd(2700), quote=depegged), price=price(3000), bounds=Bounds(max_deviation_bps=0))


def test_where_all_are_required_one_that_agrees_does_not_outvote_one_that_does_not() -> None:
    opinions = read(base=usd(3000), quote=usd(1), tick=TICK_AT_3000 - 1000)
    refused = refusal(opinions, price(3000), replace(BOUNDS, required=Required.ALL))
    assert refused.code == "price_deviates"
    assert f"the average over 1800 s of pool {POOL} is 33" in refused.message


def test_where_one_is_enough_a_fresh_feed_decides_while_the_average_lags_behind() -> None:
    opinions = read(base=usd(3300), quote=usd(1), tick=TICK_AT_3000)
    check_price(opinions, price=price(3300), bounds=BOUNDS)
    assert refusal(opinions, price(3000)).code == "price_deviates"


@pytest.mark.parametrize(
    ("base_age_s", "quote_age_s", "stale"),
    [
        (HOUR_S + FRESH_SLACK_S, DAY_S + FRESH_SLACK_S, False),
        (HOUR_S + FRESH_SLACK_S + 1, 0, True),
        (0, DAY_S + FRESH_SLACK_S + 1, True),
    ],
)
def test_an_answer_is_stale_after_its_own_heartbeat_and_the_slack(
    base_age_s: int, quote_age_s: int, stale: bool
) -> None:
    opinions = read(base=usd(3000, age_s=base_age_s), quote=usd(1, age_s=quote_age_s))
    if not stale:
        check_price(opinions, price=price(3000), bounds=BOUNDS)
        return
    refused = refusal(opinions, price(3000))
    assert refused.code == "stale_price_source"
    assert "heartbeat" in refused.message
    assert guarded_price(opinions, price=price(3000), bounds=BOUNDS) is None


def test_an_answer_gets_stale_while_the_chain_stands_still() -> None:
    opinions = read(base=usd(3000), quote=usd(1), now_s=NOW_S + HOUR_S + FRESH_SLACK_S)
    assert refusal(opinions, price(3000)).code == "stale_price_source"


def test_an_answer_from_after_its_own_block_is_none() -> None:
    refused = refusal(read(base=usd(3000, age_s=-1), quote=usd(1)), price(3000))
    assert (refused.code, "after its own block" in refused.message) == ("no_second_opinion", True)


def test_an_answer_in_other_decimals_than_listed_is_none() -> None:
    refused = refusal(read(base=replace(usd(3000), decimals=18), quote=usd(1)), price(3000))
    assert (refused.code, "decimals" in refused.message) == ("no_second_opinion", True)


def test_a_stale_feed_leaves_the_average_to_speak_where_any_opinion_is_enough() -> None:
    opinions = read(base=usd(3000, age_s=DAY_S), quote=usd(1), tick=TICK_AT_3000)
    check_price(opinions, price=price(3000), bounds=BOUNDS)
    assert refusal(opinions, price(3000), replace(BOUNDS, required=Required.ALL)).code == "stale_price_source"
    assert refusal(opinions, price(3200)).code == "price_deviates"


def test_a_market_without_any_opinion_is_refused_unless_the_operator_said_otherwise() -> None:
    assert refusal(read(), price(3000)).code == "no_second_opinion"
    unguarded = replace(ETHUSDC, guarded=False)
    check_price(read(market=unguarded), price=price(3000), bounds=BOUNDS)
    assert guarded_price(read(market=unguarded), price=price(3000), bounds=BOUNDS) is None


def test_an_unguarded_market_still_heeds_the_opinion_that_there_is() -> None:
    opinions = read(market=replace(ETHUSDC, guarded=False), tick=TICK_AT_3000)
    assert refusal(opinions, price(3200)).code == "price_deviates"


def test_the_guarded_price_is_chainlinks_and_unknown_when_the_pools_disagree() -> None:
    both = read(base=usd(3001), quote=usd(1), tick=TICK_AT_3000)
    assert guarded_price(both, price=price(3000), bounds=BOUNDS) == price(3001)
    assert guarded_price(both, price=price(3100), bounds=BOUNDS) is None
    average = read(tick=TICK_AT_3000)
    assert guarded_price(average, price=price(3000), bounds=BOUNDS) == average.found[0].price
    assert guarded_price(average, price=price(3000), bounds=replace(BOUNDS, required=Required.ALL)) is None


def test_a_mid_price_is_turned_to_quote_for_base_on_both_sides() -> None:
    assert market_price(Side.SELL, price(3000)) == market_price(Side.BUY, price(3000).inverse) == price(3000)


def test_a_trade_that_moves_the_price_too_far_is_refused() -> None:
    check_price_impact(500, max_bps=500)
    with pytest.raises(ApiError) as refused:
        check_price_impact(501, max_bps=500)
    assert refused.value.code == "price_impact_too_high"
