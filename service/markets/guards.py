"""What a price must satisfy before an order is taken on: a bound on its impact, and a second opinion that agrees.

Second opinions are Chainlink's cross rate (the base asset's USD feed over the quote asset's) and the time-weighted
average of the pair's deepest V3 pool. Neither moves with the pools of this block, as a quote does.

Where one opinion is enough, Chainlink's decides while it is fresh, and the average only in its absence: an average of
half an hour is behind when the whole market moves, which is when orders matter.

Guarantees: each check raises, so that a list of them fails closed; an opinion that is stale, or that nobody could give,
is no opinion. A refusal says which source said what, how old it is, and what the bound is.
Not guaranteed: that agreement means a fair price. All sources may be wrong together, within the bound always; and a
trade's own impact is bounded by itself.
"""

from dataclasses import dataclass
from enum import StrEnum

from chains.types import Address, BlockRef, Header
from chains.units import BPS, mul_div_up
from contracts.assets import AssetList, Market
from contracts.chainlink import FeedAnswer, check_fresh, cross_rate
from contracts.errors import FeedStale, FeedUnusable
from contracts.pools import PoolKey
from contracts.ratio import Ratio
from contracts.twap import Twap
from service.errors import ApiError
from service.markets.bounds import Bounds, Required
from service.markets.prices import ratio_text
from service.markets.trades import Side


class Source(StrEnum):
    """Who has an opinion."""

    CHAINLINK = "chainlink"
    TWAP = "uniswap_v3_twap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read for one market at one block: the answers of its feeds, and the average with its pool's key.

    None: not there, or no valid answer.
    """

    header: Header
    base_usd: FeedAnswer | None
    quote_usd: FeedAnswer | None
    twap: tuple[PoolKey, Twap] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """`price` is base units of the market's quote for one of its base.

    `age_s` is that of the older answer (Chainlink); `window_s` and `pool` are those of an average.
    """

    source: Source
    price: Ratio
    age_s: int | None = None
    window_s: int | None = None
    pool: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOpinion:
    """A source that has none, and why. `stale`: it had one, which is too old."""

    source: Source
    reason: str
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """What is said of a market's price apart from its pools' present state, as of a block."""

    market: Market
    block: BlockRef
    found: tuple[Opinion, ...]
    missing: tuple[NoOpinion, ...]


def check_price_impact(impact_bps: int, *, max_bps: int) -> None:
    """Raises: ApiError: price_impact_too_high."""
    if impact_bps > max_bps:
        raise ApiError(
            "price_impact_too_high",
            f"this trade would move the price by {impact_bps} basis points; the bound is {max_bps}",
        )


def check_price(opinions: Opinions, *, price: Ratio, bounds: Bounds) -> None:
    """`price` is base units of the market's quote for one of its base: a mid price, see `market_price`.

    Raises:
        ApiError: price_deviates: an opinion disagrees; stale_price_source, no_second_opinion: one that is required
        is not there.
    """
    market = opinions.market
    for opinion in opinions.found if bounds.required is Required.ALL else opinions.found[:1]:
        if deviates(price, opinion.price, bps=bounds.max_deviation_bps):
            raise ApiError(
                "price_deviates",
                f"the pools' price of {market.symbol} is {_text(market, price)}, but {_said(market, opinion)}:"
                f" {deviation_bps(price, opinion.price)} basis points away, and the bound is"
                f" {bounds.max_deviation_bps}",
            )
    if not opinions.found and not market.guarded:
        return
    if opinions.missing and not (opinions.found and bounds.required is Required.ANY):
        wanted = "all second opinions are" if bounds.required is Required.ALL else "a second opinion is"
        reasons = "; ".join(f"{missing.source}: {missing.reason}" for missing in opinions.missing)
        stale = any(missing.stale for missing in opinions.missing)
        raise ApiError(
            "stale_price_source" if stale else "no_second_opinion",
            f"{wanted} required on the price of {market.symbol}; {reasons}",
        )


def guarded_price(opinions: Opinions, *, price: Ratio, bounds: Bounds) -> Ratio | None:
    """The price that limits are computed with, base units of quote for one of base; None is unknown.

    Chainlink's, else the average, once the pools' own `price` agrees with it: two that disagree leave open which of
    them is wrong. A market's being unguarded does not make a price known.
    """
    try:
        check_price(opinions, price=price, bounds=bounds)
    except ApiError:
        return None
    return opinions.found[0].price if opinions.found else None


def market_price(side: Side, mid_price: Ratio) -> Ratio:
    """A quote's mid price (bought for sold base units) as quote base units for one of base."""
    return mid_price if side is Side.SELL else mid_price.inverse


def opinions_of(market: Market, reading: Reading, *, assets: AssetList, now_s: int) -> Opinions:
    """Judge what was read, at this moment: an answer that was fresh when it was read may be stale by now."""
    found: list[Opinion] = []
    missing: list[NoOpinion] = []
    for one in (_chainlink(market, reading, assets=assets, now_s=now_s), _average(market, reading, assets=assets)):
        if isinstance(one, Opinion):
            found.append(one)
        else:
            missing.append(one)
    return Opinions(market=market, block=reading.header.ref, found=tuple(found), missing=tuple(missing))


def deviates(price: Ratio, opinion: Ratio, *, bps: int) -> bool:
    """Whether the price is further from the opinion than so many basis points of it, exactly."""
    return abs(price.num * opinion.den - opinion.num * price.den) * BPS > bps * opinion.num * price.den


def deviation_bps(price: Ratio, opinion: Ratio) -> int:
    """How far the price is from the opinion, in basis points of it, rounded up."""
    return mul_div_up(abs(price.num * opinion.den - opinion.num * price.den), BPS, opinion.num * price.den)


def _chainlink(market: Market, reading: Reading, *, assets: AssetList, now_s: int) -> Opinion | NoOpinion:
    source = Source.CHAINLINK
    base, quote = assets.usd_feed(market.base), assets.usd_feed(market.quote)
    if base is None or quote is None:
        return NoOpinion(source=source, reason=f"{(market.base if base is None else market.quote).symbol} has no feed")
    if reading.base_usd is None or reading.quote_usd is None:
        silent = base if reading.base_usd is None else quote
        return NoOpinion(source=source, reason=f"{silent.description} has no valid answer")
    block_time_s = reading.header.timestamp_s
    try:
        for expected, answer in ((base, reading.base_usd), (quote, reading.quote_usd)):
            check_fresh(answer, expected, block_time_s=block_time_s, now_s=now_s)
    except FeedUnusable as exc:
        return NoOpinion(source=source, reason=str(exc), stale=isinstance(exc, FeedStale))
    oldest_s = min(reading.base_usd.updated_at_s, reading.quote_usd.updated_at_s)
    return Opinion(
        source=source,
        price=cross_rate(market.base, market.quote, base_usd=reading.base_usd, quote_usd=reading.quote_usd),
        age_s=max(block_time_s, now_s) - oldest_s,
    )


def _average(market: Market, reading: Reading, *, assets: AssetList) -> Opinion | NoOpinion:
    if reading.twap is None:
        return NoOpinion(source=Source.TWAP, reason="no V3 pool of the pair remembers its prices long enough")
    key, twap = reading.twap
    price = twap.price if key.token0 == assets.token_of(market.base).address else twap.price.inverse
    return Opinion(source=Source.TWAP, price=price, window_s=twap.window_s, pool=twap.pool)


def _said(market: Market, opinion: Opinion) -> str:
    price = _text(market, opinion.price)
    match opinion.source:
        case Source.CHAINLINK:
            return f"Chainlink says {price} ({opinion.age_s} s old)"
        case Source.TWAP:
            return f"the average over {opinion.window_s} s of pool {opinion.pool} is {price}"


def _text(market: Market, price: Ratio) -> str:
    return ratio_text(price.num * 10**market.base.decimals, price.den * 10**market.quote.decimals)
