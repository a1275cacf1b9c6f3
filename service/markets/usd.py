"""What an amount is worth in micro-dollars (10**-6 USD) for the limits of a key, rounded up; None is not known.

Chainlink's USD feed of the asset says it, while it is fresh; of a market also the other asset's, over the guarded
price (`guards.guarded_price`). Guarantees: integers; an answer that is stale, without value, or that the pools of its
market contradict gives no worth, so that limits fail closed. Not guaranteed: that a feed is right.
"""

from chains.types import Header
from chains.units import mul_div_up
from contracts.assets import Asset, AssetList, Market
from contracts.chainlink import FeedAnswer, check_fresh, feed_answers, feed_calls
from contracts.deployments import MULTICALL3
from contracts.errors import FeedUnusable
from contracts.multicall import aggregate
from contracts.ratio import Ratio
from service.auth.restrictions import USD_DECIMALS
from service.journal.needs import ChainParts
from service.markets.guards import Reading
from service.markets.guards_reading import feed_address


def worth(
    asset: Asset, raw: int, *, answer: FeedAnswer | None, assets: AssetList, block_time_s: int, now_s: int
) -> int | None:
    """Of base units of the asset, by an answer of its feed; rounded up."""
    feed = assets.usd_feed(asset)
    if feed is None or answer is None:
        return None
    try:
        check_fresh(answer, feed, block_time_s=block_time_s, now_s=now_s)
    except FeedUnusable:
        return None
    return mul_div_up(raw, answer.answer * 10**USD_DECIMALS, 10 ** (asset.decimals + answer.decimals))


def order_worth(
    market: Market, sold: Asset, raw: int, *, guarded: Ratio | None, reading: Reading, assets: AssetList, now_s: int
) -> int | None:
    """Of what an order sells at most. `guarded` is base units of quote for one of base, None when not known."""
    if guarded is None:
        return None
    block_time_s = reading.header.timestamp_s
    answers = {market.base.id: reading.base_usd, market.quote.id: reading.quote_usd}
    direct = worth(sold, raw, answer=answers[sold.id], assets=assets, block_time_s=block_time_s, now_s=now_s)
    if direct is not None:
        return direct
    other, rate = (market.quote, guarded) if sold == market.base else (market.base, guarded.inverse)
    converted = mul_div_up(raw, rate.num, rate.den)
    return worth(other, converted, answer=answers[other.id], assets=assets, block_time_s=block_time_s, now_s=now_s)


async def asset_worth(chain: ChainParts, asset: Asset, raw: int, *, header: Header, now_s: int) -> int | None:
    """Of base units of an asset, read at the block in one node call. Raises: ChainError."""
    address = feed_address(chain, asset)
    if address is None:
        return None
    multicall = chain.deployments.address(chain.config.chain_id, MULTICALL3)
    answers = await aggregate(chain.client, feed_calls([address]), multicall=multicall, block=header.ref)
    answer = feed_answers([address], answers)[address]
    return worth(asset, raw, answer=answer, assets=chain.assets, block_time_s=header.timestamp_s, now_s=now_s)
