"""What amounts are worth in dollars: rounded up, and not known when a feed is stale or nothing guards the price."""

from contracts.chainlink import FRESH_SLACK_S
from contracts.ratio import Ratio
from service.markets.guards import Reading
from service.markets.usd import order_worth, worth
from tests.service.markets.test_guards import ASSETS, DAY_S, ETHUSDC, HEADER, HOUR_S, NOW_S, price, usd

ETH, USDC = ETHUSDC.base, ETHUSDC.quote
E18, E6 = 10**18, 10**6
STALE_ETH = usd(3_000, age_s=HOUR_S + FRESH_SLACK_S + 1)
STALE_USDC = usd(1, age_s=DAY_S + FRESH_SLACK_S + 1)


def of_order(
    sold_raw: int, reading: Reading, *, sells_base: bool = True, guarded: Ratio | None = price(3_000)
) -> int | None:
    sold = ETH if sells_base else USDC
    return order_worth(ETHUSDC, sold, sold_raw, guarded=guarded, reading=reading, assets=ASSETS, now_s=NOW_S)


def reading(*, base: object = None, quote: object = None) -> Reading:
    return Reading(header=HEADER, base_usd=base, quote_usd=quote, twap=None)  # type: ignore[arg-type]


def test_an_amount_is_worth_its_feeds_price_and_a_fraction_counts_whole() -> None:
    for raw, micro in ((E18, 3_000 * E6), (1, 1), (0, 0), (E18 + 1, 3_000 * E6 + 1)):
        assert worth(ETH, raw, answer=usd(3_000), assets=ASSETS, block_time_s=NOW_S, now_s=NOW_S) == micro


def test_f99_a_stale_or_missing_answer_gives_no_worth() -> None:
    for answer in (STALE_ETH, None):
        assert worth(ETH, E18, answer=answer, assets=ASSETS, block_time_s=NOW_S, now_s=NOW_S) is None
    # A node that stands still does not keep a price fresh.
    later_s = NOW_S + HOUR_S + FRESH_SLACK_S
    assert worth(ETH, E18, answer=usd(3_000), assets=ASSETS, block_time_s=NOW_S, now_s=later_s) is None


def test_an_asset_without_a_feed_in_the_list_has_no_worth() -> None:
    unfed = next((asset for asset in ASSETS if ASSETS.usd_feed(asset) is None), None)
    if unfed is not None:
        assert worth(unfed, 1, answer=usd(1), assets=ASSETS, block_time_s=NOW_S, now_s=NOW_S) is None


def test_an_order_is_worth_what_it_sells() -> None:
    both = reading(base=usd(3_000), quote=usd(1))
    assert of_order(2 * E18, both) == 6_000 * E6
    assert of_order(50 * E6, both, sells_base=False) == 50 * E6


def test_where_the_sold_asset_has_no_fresh_answer_the_other_one_and_the_guarded_price_say_it() -> None:
    assert of_order(2 * E18, reading(base=STALE_ETH, quote=usd(1))) == 6_000 * E6
    assert of_order(3_000 * E6, reading(base=usd(2_500), quote=STALE_USDC), sells_base=False) == 2_500 * E6


def test_f99_without_a_fresh_answer_or_a_guarded_price_an_orders_worth_is_not_known() -> None:
    assert of_order(E18, reading(base=STALE_ETH, quote=STALE_USDC)) is None
    assert of_order(E18, reading()) is None
    assert of_order(E18, reading(base=usd(3_000), quote=usd(1)), guarded=None) is None
