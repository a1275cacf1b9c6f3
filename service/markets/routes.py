"""Routes of market data: public ones without a key, quotes and contract calls with a read key."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from service.auth.callers import PublicCaller, ReadCaller
from service.errors import ApiError
from service.markets import contract_call
from service.markets.listing import asset_document, block_of, chain_documents, market_document
from service.markets.lookup import ChainName, Here, chain_named, market_named, parse_trade
from service.markets.quotes import gas_in_quote, price_trade, quote_document
from service.markets.schemas import (
    Assets,
    Chains,
    ContractCallIn,
    ContractCallOut,
    ContractValue,
    Markets,
    Pong,
    QuoteOut,
    TickerOut,
    Tickers,
    Time,
    VenueName,
)
from service.markets.ticker import ticker_document

router = APIRouter(prefix="/v1", tags=["markets"])

MarketSymbol = Annotated[str, Query(max_length=48, examples=["ETHUSDC"])]
AmountQuery = Annotated[str | None, Query(max_length=160, examples=["0.25"])]
Bps = Annotated[int | None, Query(ge=0, le=10_000, examples=[50])]
VenueQuery = Annotated[VenueName | None, Query(examples=["uniswap_v3"])]


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
    """What can be traded on a chain."""
    runtime = chain_named(services, chain)
    listed = [market_document(market) for market in runtime.assets.markets.values()]
    return Markets(chain=runtime.config.key, markets=listed)


@router.get("/{chain}/ticker")
async def ticker(chain: ChainName, caller: PublicCaller, services: Here, symbol: MarketSymbol | None = None) -> Tickers:
    """Bid, ask and mid price of one market or of all, at one block. A market that cannot be read is `unknown`."""
    runtime = chain_named(services, chain)
    wanted = list(runtime.assets.markets.values()) if symbol is None else [market_named(runtime, symbol)]
    header = await runtime.client.head()
    found = await runtime.tickers.read(runtime, wanted, header=header)
    now_ms = services.clock.now_ms()
    return Tickers(
        chain=runtime.config.key,
        block=block_of(header, now_ms=now_ms),
        tickers=[TickerOut.model_validate(ticker_document(one, now_ms=now_ms)) for one in found],
    )


@router.get("/{chain}/quote")
async def quote(
    chain: ChainName,
    caller: ReadCaller,
    services: Here,
    market: MarketSymbol,
    side: Literal["buy", "sell"],
    base_amount: AmountQuery = None,
    quote_amount: AmountQuery = None,
    slippage_bps: Bps = None,
    venue: VenueQuery = None,
) -> QuoteOut:
    """What a market order would trade right now, and the limits it would carry. Exactly one amount is given."""
    runtime = chain_named(services, chain)
    trade = parse_trade(
        market_named(runtime, market), side=side, base_amount=base_amount, quote_amount=quote_amount, venue=venue
    )
    settings = services.settings
    bps = settings.default_slippage_bps if slippage_bps is None else slippage_bps
    if bps > settings.max_slippage_bps:
        raise ApiError("slippage_too_high", f"at most {settings.max_slippage_bps} basis points, not {bps}")
    priced = await price_trade(runtime, trade, slippage_bps=bps)
    worth = await gas_in_quote(runtime, priced)
    return QuoteOut.model_validate(quote_document(runtime, priced, gas_quote_raw=worth, clock=services.clock))


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
