"""Books and pools over the API, and that walking the book says what a quote says."""

import random
from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from contracts.assets import Market
from contracts.errors import QuoteError
from contracts.routing.gas import GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import RoutedSwap
from contracts.routing.search import find_route
from scripts.devnet.network import LocalChain
from service.build import ChainRuntime
from service.markets.book import MAX_LEVELS, Book, Level
from service.markets.filters import tick_ratio
from service.markets.state.model import MarketView
from tests.e2e.harness import Stack, running

FUNDS = {"ethereum": {"ETH": 10**18}, "polygon": {"POL": 10**18}}
SIZES = 6
"""Random sizes a market and side."""


@pytest.fixture
async def stack(ethereum: LocalChain, polygon: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum, "polygon": polygon}, funds=FUNDS) as found:
        yield found


@pytest.mark.parametrize("chain", ["ethereum", "polygon"])
async def test_walking_the_book_gives_the_price_of_a_quote_of_that_size_within_a_tick(stack: Stack, chain: str) -> None:
    """Over the direct pair, gas left out; a level's price is rounded against who trades."""
    runtime, rng = stack.chain(chain), random.Random(7)
    compared = 0
    for market in runtime.assets.markets.values():
        book, look = await runtime.board.book(runtime, market, levels=MAX_LEVELS, ticks_a_level=1)
        if not look.pools:
            continue
        step = tick_ratio(market, book.filters)
        tick = Fraction(step.num, step.den)
        for levels, is_purchase in ((book.asks, True), (book.bids, False)):
            assert len(levels) > 10, market.symbol
            for _ in range(SIZES):
                size = rng.randrange(
                    _least(market), sum(level.base for level in levels[: rng.randrange(1, len(levels))]) + 2
                )
                walked = _walked(book, levels, size, tick=tick)
                quoted = await _quoted(runtime, market, size, is_purchase=is_purchase)
                if walked is None or quoted is None:
                    continue
                price = Fraction(quoted.amount_in if is_purchase else quoted.amount_out, size)
                # A base unit of quote that is rounded is a part of the price too, of a small trade a visible one.
                assert abs(price - walked) <= tick + Fraction(len(quoted.legs) + 1, size), (
                    market.symbol,
                    size,
                    is_purchase,
                )
                compared += 1
    assert compared > 40


async def test_a_book_is_shown_with_its_tick_block_and_age(stack: Stack) -> None:
    answer = await stack.get("/v1/ethereum/depth", key=None, market="ETHUSDC", limit="5")
    shown = answer.json()
    assert answer.status_code == 200, answer.text
    assert (shown["base"], shown["quote"], shown["tick"], shown["synthetic"]) == ("ETH", "USDC", "0.01", True)
    assert (len(shown["bids"]), len(shown["asks"])) == (5, 5)
    assert shown["block"]["number"] == (await stack.chain().client.head()).number
    (ticker,) = (await stack.get("/v1/ethereum/ticker", key=None, market="ETHUSDC")).json()["tickers"]
    assert [ticker["bid"], ticker["bid_amount"]] == shown["bids"][0]
    assert [ticker["ask"], ticker["ask_amount"]] == shown["asks"][0]


async def test_a_coarser_book_reaches_farther_in_as_many_levels(stack: Stack) -> None:
    fine, coarse = [
        (await stack.get("/v1/ethereum/depth", key=None, market="ETHUSDC", limit="20", aggregate=by)).json()
        for by in ("1", "100")
    ]
    assert coarse["tick"] == "1"
    assert sum(Fraction(amount) for _, amount in coarse["asks"]) > 20 * sum(
        Fraction(amount) for _, amount in fine["asks"]
    )


async def test_the_pools_of_a_market_are_shown_as_they_are(stack: Stack) -> None:
    shown = (await stack.get("/v1/ethereum/pools", key=None, market="ETHUSDC")).json()
    venues = {pool["venue"] for pool in shown["pools"]}
    assert venues == {"uniswap_v2", "uniswap_v3"}
    for pool in shown["pools"]:
        assert abs(Fraction(pool["price"]) / 3_000 - 1) < Fraction(2, 100), pool
        assert (pool["reserves"] is None) == (pool["venue"] == "uniswap_v3")


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("depth", {"market": "ETHNOPE"}, "unknown_market"),
        ("depth", {"market": "ETHDAI"}, "no_route"),
        ("depth", {"market": "ETHUSDC", "limit": "1001"}, "invalid_request"),
        ("depth", {"market": "ETHUSDC", "aggregate": "7"}, "invalid_request"),
        ("pools", {"market": "nope"}, "unknown_market"),
        ("ticker", {"market": "nope"}, "unknown_market"),
        ("quote", {"market": "ETHUSDC", "side": "sell"}, "invalid_parameters"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "0"}, "amount_too_small"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "-1"}, "invalid_amount"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "1e3"}, "invalid_amount"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "0.0000000000000000001"}, "invalid_amount"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "9" * 40}, "invalid_amount"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "9" * 18}, "no_liquidity"),
        ("quote", {"market": "ETHUSDC", "side": "buy", "base_amount": "9" * 18}, "no_liquidity"),
        ("quote", {"market": "WBTCETH", "side": "sell", "quote_amount": "0.000000000000000001"}, None),
        ("quote", {"sell": "ETH", "buy": "ETH", "sell_amount": "1"}, "unsupported_pair"),
        ("quote", {"sell": "ETH", "buy": "WETH", "sell_amount": "1"}, "unsupported_pair"),
        ("quote", {"sell": "ETH", "buy": "SHIB", "sell_amount": "1"}, "unknown_asset"),
        ("quote", {"sell": "ETH", "buy": "eip155:1/erc20:0x" + "0" * 39 + "1", "sell_amount": "1"}, "unknown_asset"),
        ("quote", {"sell": "DAI", "buy": "WBTC", "sell_amount": "100", "buy_amount": "1"}, "invalid_parameters"),
        ("quote", {"sell": "DAI", "buy": "WBTC"}, "invalid_parameters"),
        ("quote", {"market": "ETHUSDC", "side": "sell", "sell": "ETH", "base_amount": "1"}, "invalid_parameters"),
        ("quote", {"sell": "USDC", "buy": "WBTC", "sell_amount": "0.000001"}, "amount_too_small"),
        ("quote", {"sell": "DAI", "buy": "WBTC", "sell_amount": "100"}, None),
    ],
)
async def test_bad_input_has_a_clear_code_and_leaves_nothing_wrong_behind(
    stack: Stack, path: str, params: dict[str, str], code: str | None
) -> None:
    good = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5"}
    before = (await stack.get("/v1/ethereum/quote", **good)).json()
    answer = await stack.get(f"/v1/ethereum/{path}", **params)
    assert (answer.json().get("code"), answer.status_code < 500) == (code, True), answer.text
    after = (await stack.get("/v1/ethereum/quote", **good)).json()
    assert (after["sell"], after["buy"], after["route"]) == (before["sell"], before["buy"], before["route"])


def _walked(book: Book, levels: Sequence[Level], size: int, *, tick: Fraction) -> Fraction | None:
    """The average price of taking that much base off the book; None where the book does not hold it."""
    left, paid = size, Fraction(0)
    for level in levels:
        taken = min(left, level.base)
        paid += taken * level.ticks * tick
        left -= taken
        if not left:
            return paid / size
    return None


async def _quoted(runtime: ChainRuntime, market: Market, size: int, *, is_purchase: bool) -> RoutedSwap | None:
    sold, bought = (market.quote, market.base) if is_purchase else (market.base, market.quote)

    def work(view: MarketView) -> RoutedSwap:
        return find_route(
            PoolGraph.of(view.pools.values()),
            assets=runtime.assets,
            deployments=runtime.deployments,
            sold=sold,
            bought=bought,
            amount=size,
            exact="out" if is_purchase else "in",
            gas=GasPricing.free(),
            block=view.block,
            max_hops=1,
        )

    tokens = [runtime.assets.token_of(asset).token_address for asset in (sold, bought)]
    try:
        return await runtime.states.ask(tokens, work)
    except QuoteError:
        return None


def _least(market: Market) -> int:
    """A trade of a thousandth of a unit at least."""
    least: int = 10 ** max(0, market.base.decimals - 3)
    return least


async def test_routes_are_explained_and_the_chosen_one_is_the_quotes(stack: Stack) -> None:
    trade = {"market": "ETHUSDC", "side": "sell", "base_amount": "300"}
    explained = (await stack.get("/v1/ethereum/routes", **trade)).json()
    quote = (await stack.get("/v1/ethereum/quote", **trade)).json()
    chosen = [one for one in explained["candidates"] if one["chosen"]]
    assert len(chosen) == 1
    assert explained["route"] == quote["route"]
    assert Fraction(chosen[0]["amount"]) == Fraction(quote["buy"]["amount"])
    assert Fraction(chosen[0]["net"]) == max(Fraction(one["net"]) for one in explained["candidates"])
    assert len(explained["candidates"]) > 5
    assert explained["reason"]


async def test_a_firm_quote_was_simulated_from_the_keys_wallet(stack: Stack) -> None:
    trade = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.25", "firm": "true"}
    quote = (await stack.get("/v1/ethereum/quote", **trade)).json()
    assert quote["firm"] is True
    assert (await stack.get("/v1/ethereum/quote", **(trade | {"firm": "false"}))).json()["firm"] is None
    # Without the coins there is nothing firm to say.
    refused = await stack.get("/v1/ethereum/quote", **(trade | {"base_amount": "300"}))
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_gas")
