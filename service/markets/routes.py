"""Routes of market data: public ones without a key, quotes and contract calls with a read key."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from service.auth.callers import PublicCaller, ReadCaller
from service.errors import ApiError
from service.markets import contract_call
from service.markets.book import MAX_LEVELS
from service.markets.documents import depth_document, pools_document
from service.markets.explaining import routes_document
from service.markets.firm import is_firm
from service.markets.history.days import day_documents
from service.markets.listing import asset_document, block_of, chain_documents, market_document
from service.markets.lookup import ChainName, Here, TradeQuery, asked_trade, chain_named, market_named
from service.markets.quotes import explain_trade, price_trade, quote_document
from service.markets.schemas import (
    Assets,
    Chains,
    ContractCallIn,
    ContractCallOut,
    ContractValue,
    DepthOut,
    Markets,
    Pong,
    PoolsOut,
    QuoteOut,
    RoutesOut,
    Time,
)
from service.markets.ticker import ticker_document
from service.markets.ticker_schemas import TickerOut, Tickers

router = APIRouter(prefix="/v1", tags=["markets"])

MarketSymbol = Annotated[str, Query(max_length=48, examples=["ETHUSDC"])]
Bps = Annotated[int | None, Query(ge=0, le=10_000, examples=[50])]


@router.get("/ping")
async def ping(caller: PublicCaller) -> Pong:
    """Whether the service answers."""
    return Pong()


@router.get("/time")
async def time(caller: PublicCaller, services: Here) -> Time:
    """The server's time, UTC in milliseconds: what a request's timestamp is compared with."""
    return Time(server_time_ms=services.clock.now_ms())


@router.get("/chains")
async def chains(caller: PublicCaller, services: Here) -> Chains:
    """The configured chains and their heads."""
    return Chains(chains=await chain_documents(services))


@router.get("/{chain}/assets")
async def assets(chain: ChainName, caller: PublicCaller, services: Here) -> Assets:
    """The listed assets of a chain, the native one first."""
    runtime = chain_named(services, chain)
    return Assets(chain=runtime.config.key, assets=[asset_document(asset) for asset in runtime.assets])


@router.get("/{chain}/markets")
async def markets(chain: ChainName, caller: PublicCaller, services: Here) -> Markets:
    """What can be traded on a chain, in which steps."""
    runtime = chain_named(services, chain)
    listed = list(runtime.assets.markets.values())
    filters = await runtime.board.filters(runtime, listed)
    return Markets(
        chain=runtime.config.key, markets=[market_document(one, filters=filters[one.symbol]) for one in listed]
    )


@router.get("/{chain}/ticker")
async def ticker(chain: ChainName, caller: PublicCaller, services: Here, market: MarketSymbol | None = None) -> Tickers:
    """Best bid and ask, mid price and the last 24 hours of one market or of all, at one block."""
    runtime = chain_named(services, chain)
    wanted = list(runtime.assets.markets.values()) if market is None else [market_named(runtime, market)]
    found, view = await runtime.board.tickers(runtime, wanted)
    now_ms = services.clock.now_ms()
    days = await services.db.read(lambda c: day_documents(c, runtime.assets, wanted, now_ms=now_ms))
    return Tickers(
        chain=runtime.config.key,
        block=block_of(view.header, now_ms=now_ms),
        checked_ms=view.checked_ms,
        tickers=[
            TickerOut.model_validate(ticker_document(one, day=days[one.market.symbol], now_ms=now_ms)) for one in found
        ],
    )


@router.get("/{chain}/depth")
async def depth(
    chain: ChainName,
    caller: PublicCaller,
    services: Here,
    market: MarketSymbol,
    limit: Annotated[int, Query(ge=1, le=MAX_LEVELS, description="Levels a side.", examples=[100])] = 100,
    aggregate: Annotated[Literal["1", "10", "100", "1000"], Query(description="Ticks that a level spans.")] = "1",
) -> DepthOut:
    """The order book that the market's direct pools amount to: what they trade up to each price, fees inside."""
    runtime = chain_named(services, chain)
    book, look = await runtime.board.book(
        runtime, market_named(runtime, market), levels=limit, ticks_a_level=int(aggregate)
    )
    if not look.pools:
        raise ApiError("no_route", f"{market} has no pool of its own; a quote may still find a way")
    return DepthOut.model_validate(depth_document(runtime, book, look=look, now_ms=services.clock.now_ms()))


@router.get("/{chain}/pools")
async def pools(chain: ChainName, caller: PublicCaller, services: Here, market: MarketSymbol) -> PoolsOut:
    """The pools of a market's pair, as they are at the head."""
    runtime = chain_named(services, chain)
    look = await runtime.board.look(runtime, market_named(runtime, market))
    return PoolsOut.model_validate(pools_document(runtime, look, now_ms=services.clock.now_ms()))


@router.get("/{chain}/quote")
async def quote(
    chain: ChainName,
    caller: ReadCaller,
    services: Here,
    asked: TradeQuery,
    slippage_bps: Bps = None,
    firm: Annotated[
        bool, Query(description="Simulate it from the key's wallet, as an order would be sent, before answering.")
    ] = False,
) -> QuoteOut:
    """What a trade would give right now, by the best route, and the limits it would carry."""
    runtime = chain_named(services, chain)
    trade = asked_trade(runtime, asked)
    settings = services.settings
    bps = settings.default_slippage_bps if slippage_bps is None else slippage_bps
    if bps > settings.max_slippage_bps:
        raise ApiError("slippage_too_high", f"at most {settings.max_slippage_bps} basis points, not {bps}")
    priced = await price_trade(runtime, trade, slippage_bps=bps)
    was_firm: bool | None = None
    if firm:
        was_firm = await is_firm(
            runtime,
            priced,
            wallet=caller.wallet.address,
            clock=services.clock,
            deadline_s=settings.order_deadline_s,
        )
    return QuoteOut.model_validate(quote_document(runtime, priced, firm=was_firm, clock=services.clock))


@router.get("/{chain}/routes")
async def routes(chain: ChainName, caller: ReadCaller, services: Here, asked: TradeQuery) -> RoutesOut:
    """The ways that a trade could go, each alone, the split that was found, and why the chosen one won."""
    runtime = chain_named(services, chain)
    trade = asked_trade(runtime, asked)
    found, view = await explain_trade(runtime, trade)
    document = routes_document(runtime, trade, found, view=view, now_ms=services.clock.now_ms())
    return RoutesOut.model_validate(document)


@router.post("/{chain}/contracts/call")
async def call_contract(chain: ChainName, body: ContractCallIn, caller: ReadCaller, services: Here) -> ContractCallOut:
    """Read a contract: one `eth_call` at one block. Nothing is signed or sent."""
    runtime = chain_named(services, chain)
    wanted = contract_call.wanted(
        runtime, to=body.to, function=body.function, abi=body.abi, arguments=body.args, block=body.block
    )
    answer = await contract_call.read(runtime, wanted)
    return ContractCallOut(
        chain=runtime.config.key,
        to=wanted.to,
        function=answer.function.signature,
        outputs=[ContractValue.model_validate(value) for value in contract_call.result_document(answer)],
        block=block_of(answer.header, now_ms=services.clock.now_ms()),
    )
