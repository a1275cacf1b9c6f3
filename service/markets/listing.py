"""What is configured and listed: chains with their heads, assets and markets, as clients see them."""

import asyncio

from chains.config import ChainConfig
from chains.errors import ChainError
from chains.types import Header
from chains.units import format_units
from contracts.assets import Asset, Market
from service.build import ChainRuntime, Services
from service.markets.filters import Filters, base_step
from service.markets.schemas import AssetOut, Block, ChainOut, MarketOut


async def chain_documents(services: Services) -> list[ChainOut]:
    """All configured chains; a node that does not answer makes its chain `unknown`, no more."""
    heads = await asyncio.gather(*(_head(services.chains.get(key)) for key in services.configs))
    now_ms = services.clock.now_ms()
    return [
        _chain(config, head, active=key in services.chains, now_ms=now_ms)
        for (key, config), head in zip(services.configs.items(), heads, strict=True)
    ]


def asset_document(asset: Asset) -> AssetOut:
    return AssetOut(id=asset.id, symbol=asset.symbol, name=asset.name, decimals=asset.decimals, address=asset.address)


def market_document(market: Market, *, filters: Filters | None) -> MarketOut:
    base, quote = market.base, market.quote
    return MarketOut(
        symbol=market.symbol,
        base=base.symbol,
        quote=quote.symbol,
        base_id=base.id,
        quote_id=quote.id,
        base_decimals=base.decimals,
        quote_decimals=quote.decimals,
        tick=None if filters is None else filters.tick_text(),
        step=format_units(base_step(market), base.decimals),
        min_quote=None if filters is None else format_units(filters.least_quote, quote.decimals),
    )


def block_of(header: Header, *, now_ms: int) -> Block:
    age_ms = max(0, now_ms - header.timestamp_s * 1000)
    return Block(number=header.number, hash=header.hash, age_ms=age_ms)


async def _head(runtime: ChainRuntime | None) -> Header | None:
    if runtime is None:
        return None
    try:
        return await runtime.client.head()
    except ChainError:
        return None


def _chain(config: ChainConfig, head: Header | None, *, active: bool, now_ms: int) -> ChainOut:
    return ChainOut(
        key=config.key,
        chain_id=config.chain_id,
        name=config.name,
        aliases=list(config.aliases),
        native_asset=config.native_symbol,
        block_time_ms=config.block_time_ms,
        confirmed_depth=config.finality.confirmed_depth,
        status="not_active" if not active else "unknown" if head is None else "ok",
        head=None if head is None else block_of(head, now_ms=now_ms),
    )
