"""Second opinions, read: the feeds and averages of a market at one block, in one node call, once a block.

Guarantees: everything read for a market is of the one block asked for; what is remembered is of one block a market;
staleness is judged anew at each look. Node calls: one for a market and block, one more for a pair whose pools were
never asked for. Two that ask at the same moment may both read.
Not guaranteed: an opinion. A feed or pool that fails is missing from it, with its reason (`service.markets.guards`).
"""

from collections.abc import Sequence
from typing import Any, Final

from chains.tx.store import Clock
from chains.types import Address, ChainId, Header
from contracts.assets import Asset, Market
from contracts.chainlink import feed_answers, feed_calls
from contracts.deployments import MULTICALL3, Venue
from contracts.multicall import Ok, Reverted, aggregate
from contracts.pools import PoolDirectory, PoolKey, discover, pool_keys
from contracts.twap import deepest_twap, twap_calls
from service.journal.needs import ChainParts
from service.markets.guards import Opinions, Reading, opinions_of


class OpinionBoard:
    """The newest readings of one chain's markets."""

    def __init__(self, chain_id: ChainId, *, clock: Clock) -> None:
        self._clock: Final = clock
        self._pools: Final = PoolDirectory(chain_id)
        self._readings: Final[dict[str, Reading]] = {}

    async def read(self, chain: ChainParts, market: Market, *, header: Header) -> Opinions:
        """What is said of the market's price, apart from its pools' state, at the header's block.

        Raises:
            ChainError: the node did not answer.
            UndecodableReturn: Multicall3's answer was not one.
        """
        reading = await self.reading(chain, market, header=header)
        return opinions_of(market, reading, assets=chain.assets, now_s=self._clock.now_ms() // 1000)

    async def reading(self, chain: ChainParts, market: Market, *, header: Header) -> Reading:
        """What `read` judges. Raises: as `read`."""
        reading = self._readings.get(market.symbol)
        if reading is None or reading.header != header:
            reading = await self._read(chain, market, header=header)
            self._readings[market.symbol] = reading
        return reading

    async def _read(self, chain: ChainParts, market: Market, *, header: Header) -> Reading:
        pools = await self._v3_pools(chain, market, header=header)
        feeds = {asset: address for asset in (market.base, market.quote) if (address := feed_address(chain, asset))}
        wanted = list(dict.fromkeys(feeds.values()))
        reads = feed_calls(wanted)
        answers: Sequence[Ok[Any] | Reverted] = await aggregate(
            chain.client,
            [*reads, *twap_calls([address for _, address in pools])],
            multicall=chain.deployments.address(chain.config.chain_id, MULTICALL3),
            block=header.ref,
        )
        rounds = feed_answers(wanted, answers[: len(reads)])
        twap = deepest_twap([address for _, address in pools], answers[len(reads) :])
        return Reading(
            header=header,
            base_usd=rounds[feeds[market.base]] if market.base in feeds else None,
            quote_usd=rounds[feeds[market.quote]] if market.quote in feeds else None,
            twap=None if twap is None else next((key, twap) for key, address in pools if address == twap.pool),
        )

    async def _v3_pools(self, chain: ChainParts, market: Market, *, header: Header) -> list[tuple[PoolKey, Address]]:
        tokens = tuple(chain.assets.token_of(asset).token_address for asset in (market.base, market.quote))
        offered = {found.venue for found in chain.deployments.venues(chain.config.chain_id)}
        keys = pool_keys({Venue.UNISWAP_V3} & offered, (tokens[0], tokens[1]))
        await discover(chain.client, self._pools, deployments=chain.deployments, keys=keys, block=header.ref)
        return [(key, address) for key in keys if (address := self._pools.address(key)) is not None]


def feed_address(chain: ChainParts, asset: Asset) -> Address | None:
    """Where the asset's USD feed is: the list's own word, else the registry's. None: it has no feed."""
    feed = chain.assets.usd_feed(asset)
    if feed is None:
        return None
    return feed.address or chain.deployments.contracts(chain.config.chain_id).get(feed.name)
