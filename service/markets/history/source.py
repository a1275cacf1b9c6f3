"""The chain as history reads it: one block behind the head, with the trades of pools by block, and pools by tokens.

`CONFIRMATIONS` is 1, and so the newest block is the head's parent: what is written is published, and on a chain where
two nodes made a block at the same moment the loser is never seen. On a local chain that makes a block only for a
transaction, the newest swap shows once another block is there.

Guarantees: what a node answers wrongly is an `RpcError`. Reads are bounded: `BLOCKS_AT_ONCE` blocks a batch.
Not guaranteed: that a range of blocks asked by number is of one branch; who asks compares hashes with headers.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from chains.client import EvmClient
from chains.errors import RpcProtocolError
from chains.logs import LogQuery, logs_in, logs_of_blocks
from chains.recent import RecentHead
from chains.sizing import Portion
from chains.types import Address, BlockHash, BlockRef, BlockTag, Header, Log
from contracts import trades
from contracts.deployments import Deployments
from contracts.errors import AbiError
from contracts.pools import PoolDirectory, PoolKey, discover
from contracts.trades import PoolTrade
from service.markets.history.model import LOGS_A_BLOCK

CONFIRMATIONS: Final = 1
"""Blocks on top of one before its trades are published. More would be later news; a deeper reorg is corrected."""
BLOCKS_AT_ONCE: Final = 25
"""Blocks asked for their logs, or headers, in one batch: a quarter of what most hosted nodes take."""
HEAD_AGE_S: Final = 1.0
"""A head that the process read so short a time ago is not asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRange:
    """The trades of the blocks `first` to `last`, both included, oldest first."""

    first: int
    last: int
    trades: Sequence[PoolTrade]


class HistorySource(Protocol):
    """Where history comes from. All methods raise RpcError; `head` and the headers are as `chains.heads.HeadSource`."""

    async def head(self) -> Header: ...

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None: ...

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]: ...

    async def trades_of(self, pools: frozenset[Address], blocks: Sequence[BlockRef]) -> list[PoolTrade]:
        """All trades of these pools in these blocks, asked by their hashes, oldest first."""
        ...

    def trades_in(
        self, pools: frozenset[Address], *, first: int, last: int, span: Portion
    ) -> AsyncIterator[TradeRange]:
        """The same of a range, in parts that a node answers, oldest first."""
        ...

    async def pools(self, keys: Sequence[PoolKey], *, block: BlockRef) -> Mapping[PoolKey, Address]:
        """Those of the pools that exist."""
        ...


class ConfirmedChain:
    """`HistorySource` of a node, one block behind its head. Used by one event loop."""

    def __init__(self, client: EvmClient, *, deployments: Deployments, recent: RecentHead | None = None) -> None:
        self._client: Final = client
        self._deployments: Final = deployments
        self._recent: Final = recent
        self._directory: Final = PoolDirectory(client.config.chain_id)
        self._newest: Header | None = None
        self._confirmed: Header | None = None

    async def head(self) -> Header:
        """The parent of the newest block. Usually that is what was the newest before, and nothing more is asked."""
        newest = None if self._recent is None else self._recent.within(HEAD_AGE_S)
        newest = await self._client.head() if newest is None else newest
        before, self._newest = self._newest, newest
        wanted = newest.parent_hash
        if before is not None and before.hash == wanted:
            self._confirmed = before
        if self._confirmed is None or self._confirmed.hash != wanted:
            found = newest if newest.number == 0 else await self._client.header(wanted)
            if found is None:
                raise self._broken("eth_getBlockByHash", "the node does not have the parent of its head")
            self._confirmed = found
        return self._confirmed

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        return await self._client.header(block)

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]:
        found: list[Header | None] = []
        for start in range(0, len(numbers), BLOCKS_AT_ONCE):
            found += await self._client.headers(numbers[start : start + BLOCKS_AT_ONCE])
        return found

    async def trades_of(self, pools: frozenset[Address], blocks: Sequence[BlockRef]) -> list[PoolTrade]:
        if not pools:
            return []
        query, found = _query(pools), []
        for start in range(0, len(blocks), BLOCKS_AT_ONCE):
            part = blocks[start : start + BLOCKS_AT_ONCE]
            for logs in await logs_of_blocks(self._client.transport, query, part):
                found += self._decoded(logs)
        return found

    async def trades_in(
        self, pools: frozenset[Address], *, first: int, last: int, span: Portion
    ) -> AsyncIterator[TradeRange]:
        async for chunk in logs_in(self._client.transport, _query(pools), first=first, last=last, span=span):
            yield TradeRange(first=chunk.first, last=chunk.last, trades=self._decoded(chunk.logs))

    async def pools(self, keys: Sequence[PoolKey], *, block: BlockRef) -> Mapping[PoolKey, Address]:
        await discover(self._client, self._directory, deployments=self._deployments, keys=keys, block=block)
        found = {key: self._directory.address(key) for key in keys}
        return {key: address for key, address in found.items() if address is not None}

    def _decoded(self, logs: Sequence[Log]) -> list[PoolTrade]:
        try:
            found = [trade for log in logs if (trade := trades.decode(log)) is not None]
        except AbiError as exc:
            raise self._broken("eth_getLogs", f"a Swap log of another shape: {exc}") from exc
        if any(trade.log_index >= LOGS_A_BLOCK for trade in found):
            raise self._broken("eth_getLogs", "a log index that no block has")
        return found

    def _broken(self, method: str, message: str) -> RpcProtocolError:
        return RpcProtocolError(message, endpoint=self._client.transport.name, method=method)


def _query(pools: frozenset[Address]) -> LogQuery:
    return LogQuery(addresses=pools, topics=trades.topics())
