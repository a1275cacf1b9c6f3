"""Old history: the stored gaps, read in ranges from the newest block down, so that what is wanted most is there first.

    gap ─> range of blocks, as many as the node answers ─> headers of those with trades ─> units of work, from the top

Ranges halve when a node refuses them and grow again (chains.sizing). A gap is narrowed in the unit of work that writes
its trades: a crash repeats a range and leaves no hole, and nothing is counted twice.

Guarantees: a turn is bounded: `SPAN_BLOCKS` read, `TRADES_AT_ONCE` written in one unit of work. Logs are believed only
as far as their block hashes are those of headers asked afterwards. Gaps below `Horizon` stay, and say what is missing.
Not guaranteed: that a node which says that there were no trades told the truth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from chains.errors import RpcError, RpcProtocolError
from chains.sizing import Portion
from chains.tx.store import Clock, UnitOfWork
from chains.types import ChainId
from service.markets.history import storage
from service.markets.history.candles import BASES, aligned
from service.markets.history.following import rows_of
from service.markets.history.model import FollowedPool, Gap, HistoryHead, Trade
from service.markets.history.source import HistorySource, TradeRange
from service.markets.history.writing import Touched, add_trades, rebuild

SPAN_BLOCKS: Final = 500
"""Blocks read in one turn at most; with a trade in each that is twenty batches of headers."""
TRADES_A_RANGE: Final = 2_000
"""Over so many in one answer a smaller range is asked next: their decoding keeps the event loop for some 20 ms."""
TRADES_AT_ONCE: Final = 250
"""Trades written in one unit of work, a block's at least: some 15 ms of the only writer that SQLite has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """How far back history is to go: so many blocks below its head, and no day whose trades are not kept."""

    blocks: int
    trades_kept_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What one turn did: how many blocks it came further down. `missing_blocks` are still to be read."""

    blocks: int
    trades: int
    missing_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Gaps that end with the same block, down to one of theirs."""

    gaps: Sequence[Gap]
    first: int
    last: int


class Backfill:
    """Fills one chain's gaps. `turn` is to be called by one task, while the chain's lease is held."""

    def __init__(
        self,
        source: HistorySource,
        *,
        chain_id: ChainId,
        horizon: Horizon,
        uow: UnitOfWork[Connection],
        clock: Clock,
    ) -> None:
        self._source: Final = source
        self._chain_id: Final = chain_id
        self._horizon: Final = horizon
        self._uow: Final = uow
        self._clock: Final = clock
        self._span: Final = Portion(SPAN_BLOCKS)
        self._oldest_wanted = 0
        """A block before this one is of a day whose trades are not kept."""

    async def turn(self) -> Filled | None:
        """Fill the newest blocks that are missing; None before the chain's first block was written.

        Raises: RpcError, StaleState: nothing is lost; call again.
        """
        head, gaps, pools = await self._uow.read(self._stored)
        if head is None:
            return None
        lowest = max(head.number - self._horizon.blocks, self._oldest_wanted, 0)
        wanted = self._next(gaps, lowest)
        if wanted is None:
            return Filled(blocks=0, trades=0, missing_blocks=0)
        written = 0
        # Ranges come oldest first; history is to grow from the top.
        for part in reversed(await self._read(wanted, pools)):
            times_ms = await self._times(part)
            if (first := self._first_kept(part, times_ms)) > part.last:
                break
            rows = rows_of([one for one in part.trades if one.block.number >= first], pools, times_ms=times_ms)
            for portion, first_written in _portions(rows, first):
                complete_from_ms = times_ms[first_written]
                wanted = await self._write(wanted, portion, first_written, complete_from_ms=complete_from_ms)
            written += len(rows)
            if first > part.first:
                break
        left = storage.missing_blocks([*wanted.gaps, *_others(gaps)], lowest=lowest)
        return Filled(blocks=gaps[0].last - wanted.last, trades=written, missing_blocks=left)

    # -- private ---------------------------------------------------------------------------------------------

    def _stored(self, c: Connection) -> tuple[HistoryHead | None, list[Gap], list[FollowedPool]]:
        chain_id = self._chain_id
        return storage.head_of(c, chain_id), storage.gaps_of(c, chain_id), storage.pools_of(c, chain_id)

    def _next(self, gaps: Sequence[Gap], lowest: int) -> _Range | None:
        """The newest missing blocks, of all pools that lack them, down to where other pools' gaps begin."""
        if not gaps or gaps[0].last < lowest:
            return None
        last = gaps[0].last
        together = [gap for gap in gaps if gap.last == last]
        below = max((gap.last + 1 for gap in gaps if gap.last < last), default=0)
        bounds = (lowest, below, last - self._span.size + 1, *(gap.first for gap in together))
        return _Range(gaps=together, first=max(bounds), last=last)

    async def _read(self, wanted: _Range, pools: Sequence[FollowedPool]) -> list[TradeRange]:
        ids = {gap.pool_id for gap in wanted.gaps}
        addresses = frozenset(pool.address for pool in pools if pool.id in ids)
        found = self._source.trades_in(addresses, first=wanted.first, last=wanted.last, span=self._span)
        parts = []
        async for part in found:
            if len(part.trades) > TRADES_A_RANGE:
                self._span.refused(part.last - part.first + 1)
            parts.append(part)
        return parts

    async def _times(self, part: TradeRange) -> Mapping[int, int]:
        """The time of each block with a trade, and of the first one. Raises: RpcError: a hash is not the trade's."""
        hashes = {one.block.number: one.block.hash for one in part.trades}
        numbers = sorted({part.first, *hashes})
        try:
            headers = await self._source.headers(numbers)
        except RpcError:
            self._span.refused(part.last - part.first + 1)
            raise
        for number, header in zip(numbers, headers, strict=True):
            if header is None or hashes.get(number, header.hash) != header.hash:
                message = f"block {number} is not there, or another one than its logs are of"
                raise RpcProtocolError(message, endpoint="history", method="eth_getBlockByNumber")
        return {header.number: header.timestamp_s * 1000 for header in headers if header is not None}

    def _first_kept(self, part: TradeRange, times_ms: Mapping[int, int]) -> int:
        """The part's first block of a day whose trades are kept, as far as the times known say."""
        oldest_s = (self._clock.now_ms() - self._horizon.trades_kept_ms) // 1000
        kept_from_ms = aligned(oldest_s, BASES[-1]) * 1000
        if times_ms[part.first] >= kept_from_ms:
            return part.first
        first = min((number for number, time_ms in times_ms.items() if time_ms >= kept_from_ms), default=part.last + 1)
        self._oldest_wanted = max(self._oldest_wanted, first)
        return first

    async def _write(
        self, wanted: _Range, trades: Sequence[Trade], first_written: int, *, complete_from_ms: int
    ) -> _Range:
        """Write these and narrow the gaps; what of the range is left."""

        def work(c: Connection) -> None:
            touched = Touched()
            for gap in wanted.gaps:
                storage.narrow(c, gap, first_written=first_written, complete_from_ms=complete_from_ms)
            add_trades(c, trades, touched)
            rebuild(c, touched)

        await self._uow.run(work)
        left = [
            replace(gap, last=first_written - 1, complete_from_ms=complete_from_ms)
            for gap in wanted.gaps
            if gap.first < first_written
        ]
        return replace(wanted, gaps=left, last=first_written - 1)


def _portions(rows: Sequence[Trade], first: int) -> Iterator[tuple[Sequence[Trade], int]]:
    """Whole blocks of trades from the top, each portion with the block from which on it is all; the last is `first`."""
    upto = len(rows)
    while upto > TRADES_AT_ONCE:
        start = upto - TRADES_AT_ONCE
        while start and rows[start - 1].block_number == rows[start].block_number:
            start -= 1
        if start == 0:
            break
        yield rows[start:upto], rows[start].block_number
        upto = start
    yield rows[:upto], first


def _others(gaps: Sequence[Gap]) -> list[Gap]:
    top = gaps[0].last
    return [gap for gap in gaps if gap.last != top]
