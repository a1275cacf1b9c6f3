"""A chain with trades that a test extends and rewrites, as a source of history; and what its history should be."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence

from sqlalchemy import Connection

from chains.config import ChainConfig, load_chains
from chains.errors import RpcRefused
from chains.sizing import Portion
from chains.tx.leases import Leases, SoleLeases
from chains.types import Address, BlockHash, BlockRef, BlockTag, Header, TxHash, address_from_bytes
from contracts.deployments import Venue, load_deployments
from contracts.pools import PoolKey
from contracts.trades import PoolTrade
from service.db.engine import Database
from service.markets.history.backfill import Filled
from service.markets.history.following import Followed
from service.markets.history.ingester import HistoryPolicy, Ingester, policy_of_hours
from service.markets.history.source import TradeRange
from tests.chains.forkable import ForkableChain
from tests.clock import FakeClock
from tests.service.markets.history.rows import ASSETS, DAI, USDC, WETH

CONFIG = load_chains()["ethereum"]
POLICY = policy_of_hours(backfill_hours=24, trades_days=7, minutes_days=90, quarters_days=730)
KEYS: Mapping[PoolKey, Address] = {
    PoolKey.of(Venue.UNISWAP_V3, (WETH, USDC), fee_pips=500): address_from_bytes(b"\x01" * 20),
    PoolKey.of(Venue.UNISWAP_V3, (WETH, USDC), fee_pips=3_000): address_from_bytes(b"\x02" * 20),
    PoolKey.of(Venue.UNISWAP_V2, (WETH, DAI), fee_pips=3_000): address_from_bytes(b"\x03" * 20),
}
TIME_S = 1_767_225_600
"""Of the first block."""


class TradingChain(ForkableChain):
    """`HistorySource` over blocks of `block_s` with up to three trades each, by the blocks' hashes. Its head counts as
    confirmed. `hidden` pools are traded in, and the factories do not tell of them."""

    def __init__(self, length: int, *, seed: int = 1, block_s: int = 12) -> None:
        self.block_s = block_s
        self.known_pools = dict(KEYS)
        self.hidden: set[PoolKey] = set()
        self.chance = random.Random(seed)
        self.trades: dict[BlockHash, tuple[PoolTrade, ...]] = {}
        self.range_limit: int | None = None
        """A range of more blocks is refused."""
        self.ranges: list[tuple[int, int]] = []
        """As they were answered."""
        super().__init__(length)

    def mine(self, count: int = 1) -> None:
        super().mine(count)
        for header in self.blocks[-count:] if count else ():
            addresses = list(self.known_pools.values())
            self.trades[header.hash] = tuple(
                PoolTrade(
                    pool=self.chance.choice(addresses),
                    block=header.ref,
                    log_index=log_index,
                    tx_hash=TxHash("0x" + "11" * 32),
                    zero_for_one=self.chance.random() < 0.5,
                    amount0=self.chance.randrange(10**9, 10**10),
                    amount1=self.chance.randrange(10**18, 10**19),
                )
                for log_index in sorted(self.chance.sample(range(50), self.chance.randrange(4)))
            )

    def canonical(self, *, first: int = 0) -> list[PoolTrade]:
        """All trades of the chain as it is now, from a block on."""
        return [one for header in self.blocks[first:] for one in self.trades[header.hash]]

    def time_s(self, number: int) -> int:
        """Of that block."""
        return TIME_S + self.block_s * number

    async def head(self) -> Header:
        return self._timed(await super().head())

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        found = await super().header(block)
        return None if found is None else self._timed(found)

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]:
        return [None if one is None else self._timed(one) for one in await super().headers(numbers)]

    async def trades_of(self, pools: frozenset[Address], blocks: Sequence[BlockRef]) -> list[PoolTrade]:
        return [one for block in blocks for one in self.trades[block.hash] if one.pool in pools]

    async def trades_in(
        self, pools: frozenset[Address], *, first: int, last: int, span: Portion
    ) -> AsyncIterator[TradeRange]:
        while first <= last:
            upto = min(last, first + span.size - 1)
            if self.range_limit is not None and upto - first + 1 > self.range_limit:
                if not span.refused(upto - first + 1):
                    raise RpcRefused("block range too large", endpoint="a", method="eth_getLogs", code=-32602)
                continue
            span.answered(upto - first + 1)
            self.ranges.append((first, upto))
            found = [one for header in self.blocks[first : upto + 1] for one in self.trades[header.hash]]
            yield TradeRange(first=first, last=upto, trades=[one for one in found if one.pool in pools])
            first = upto + 1

    async def pools(self, keys: Sequence[PoolKey], *, block: BlockRef) -> Mapping[PoolKey, Address]:
        return {key: address for key, address in self.known_pools.items() if key in keys and key not in self.hidden}

    def _timed(self, header: Header) -> Header:
        return Header(
            number=header.number,
            hash=header.hash,
            parent_hash=header.parent_hash,
            timestamp_s=self.time_s(header.number),
            base_fee_wei=header.base_fee_wei,
            gas_limit=header.gas_limit,
        )


class Silent:
    """A `HistoryWatcher` that keeps what it was told."""

    def __init__(self) -> None:
        self.done: list[Followed | Filled] = []

    def turned(self, config: ChainConfig) -> None: ...

    def without_lease(self, config: ChainConfig) -> None: ...

    def followed(self, config: ChainConfig, done: Followed, *, now_ms: int) -> None:
        self.done.append(done)

    def filled(self, config: ChainConfig, done: Filled) -> None:
        self.done.append(done)


def ingester(
    db: Database,
    chain: TradingChain,
    *,
    leases: Leases[Connection] | None = None,
    policy: HistoryPolicy = POLICY,
    clock: FakeClock | None = None,
    config: ChainConfig = CONFIG,
) -> Ingester:
    """As a process has it that has just begun."""
    return Ingester(
        chain,
        config=config,
        assets=ASSETS,
        deployments=load_deployments(),
        uow=db,
        leases=SoleLeases() if leases is None else leases,
        policy=policy,
        watcher=Silent(),
        clock=clock or clock_at(chain),
    )


def clock_at(chain: TradingChain) -> FakeClock:
    """A clock at the time of the chain's head."""
    clock = FakeClock()
    clock.advance_ms(chain.time_s(len(chain.blocks)) * 1000 - clock.now_ms())
    return clock
