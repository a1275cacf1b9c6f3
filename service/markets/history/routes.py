"""Routes of market history: trades and candles, without a key."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.auth.callers import PublicCaller
from service.errors import ApiError
from service.markets.history import storage
from service.markets.history.candles import INTERVALS
from service.markets.history.documents import block_document, candle_document, head_of, trade_document
from service.markets.history.reading import MOST, CandlesWanted, TradesWanted, read_candles, read_trades
from service.markets.history.schemas import CandleOut, CandlesOut, IntervalName, TradeOut, TradesOut
from service.markets.lookup import ChainName, Here, chain_named, market_named
from service.markets.schemas import Block

router = APIRouter(prefix="/v1", tags=["markets"])

MAX_MS = 2**52
"""Later than any block; what is larger is no time."""

MarketSymbol = Annotated[str, Query(max_length=48, examples=["ETHUSDC"])]
Limit = Annotated[int, Query(ge=1, le=MOST, examples=[100])]
FromId = Annotated[
    int | None, Query(ge=0, lt=2**53, description="The oldest from this id on.", examples=[23_900_000_000_123])
]
StartMs = Annotated[int | None, Query(ge=0, le=MAX_MS, examples=[1_795_367_000_000])]
EndMs = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_MS,
        description="Included; without start_ms the newest up to it.",
        examples=[1_795_367_295_041],
    ),
]


@router.get("/{chain}/trades")
async def trades(
    chain: ChainName,
    caller: PublicCaller,
    services: Here,
    market: MarketSymbol,
    limit: Limit = 500,
    from_id: FromId = None,
    start_ms: StartMs = None,
    end_ms: EndMs = None,
) -> TradesOut:
    """Swaps in the market's pools, oldest first: the newest ones, or with from_id or start_ms the oldest from there."""
    runtime = chain_named(services, chain)
    listed = market_named(runtime, market)
    if from_id is not None and start_ms is not None:
        raise ApiError("invalid_parameters", "give from_id or start_ms, not both")
    _check_order(start_ms, end_ms)
    wanted = TradesWanted(limit=limit, from_id=from_id, start_ms=start_ms, end_ms=end_ms)
    page, pools = await services.db.read(
        lambda c: (read_trades(c, runtime.assets, listed, wanted), storage.pools_of(c, runtime.config.chain_id))
    )
    by_id = {pool.id: pool for pool in pools}
    return TradesOut(
        chain=runtime.config.key,
        market=listed.symbol,
        block=Block.model_validate(block_document(page.extent, now_ms=services.clock.now_ms())),
        complete_from_ms=page.extent.complete_from_ms,
        trades=[TradeOut.model_validate(trade_document(listed, one, pools=by_id)) for one in page.trades],
    )


@router.get("/{chain}/candles")
async def candles(
    chain: ChainName,
    caller: PublicCaller,
    services: Here,
    market: MarketSymbol,
    interval: IntervalName,
    limit: Limit = 500,
    start_ms: StartMs = None,
    end_ms: EndMs = None,
) -> CandlesOut:
    """Candles of a market, oldest first, the open one included: the newest ones, or with start_ms those from there."""
    runtime = chain_named(services, chain)
    listed = market_named(runtime, market)
    _check_order(start_ms, end_ms)
    wanted = CandlesWanted(seconds=INTERVALS[interval], limit=limit, start_ms=start_ms, end_ms=end_ms)
    now_ms = services.clock.now_ms()
    page = await services.db.read(lambda c: read_candles(c, runtime.assets, listed, wanted, now_ms=now_ms))
    head = head_of(page.extent)
    return CandlesOut(
        chain=runtime.config.key,
        market=listed.symbol,
        interval=interval,
        block=Block.model_validate(block_document(page.extent, now_ms=now_ms)),
        complete_from_ms=page.extent.complete_from_ms,
        candles=[CandleOut.model_validate(candle_document(listed, one, head=head)) for one in page.candles],
    )


def _check_order(start_ms: int | None, end_ms: int | None) -> None:
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError("invalid_parameters", "start_ms is after end_ms")
