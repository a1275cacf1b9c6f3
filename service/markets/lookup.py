"""Chains, markets, assets and amounts by the names that clients use for them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request

from chains.config import ChainConfig, find_chain
from chains.units import InvalidAmount, parse_units
from contracts.assets import Asset, Market
from contracts.deployments import Venue
from contracts.errors import UnlistedAsset
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.schemas import VenueName
from service.markets.trades import Side, Trade


async def services_of(request: Request) -> Services:
    """The services that the app was made with."""
    services: Services = request.app.state.services
    return services


Here = Annotated[Services, Depends(services_of)]
ChainName = Annotated[str, Path(description="A chain's key, alias or id.", examples=["ethereum"])]


def chain_named(services: Services, name: str) -> ChainRuntime:
    """An active chain by key, alias or chain id in decimal.

    Raises:
        ApiError: unknown_chain, or chain_not_active: known, but without an RPC endpoint here.
    """
    config = config_named(services, name)
    runtime = services.chains.get(config.key)
    if runtime is None:
        raise ApiError("chain_not_active", f"{config.key} has no RPC endpoint configured on this service")
    return runtime


def config_named(services: Services, name: str) -> ChainConfig:
    """A known chain, active or not. Raises: ApiError: unknown_chain."""
    config = find_chain(services.configs, name) or next(
        (config for config in services.configs.values() if str(config.chain_id) == name), None
    )
    if config is None:
        raise ApiError("unknown_chain", f"no chain is called {name!r}; known are {', '.join(services.configs)}")
    return config


def market_named(runtime: ChainRuntime, symbol: str) -> Market:
    """Raises: ApiError: unknown_market."""
    market = runtime.assets.markets.get(symbol)
    if market is None:
        raise ApiError("unknown_market", f"{runtime.config.key} has no market {symbol!r}")
    return market


def asset_named(runtime: ChainRuntime, name: str) -> Asset:
    """A listed asset by symbol or CAIP-19 id. Raises: ApiError: unknown_asset."""
    try:
        return runtime.assets.by_id(name) if ":" in name else runtime.assets.by_symbol(name)
    except UnlistedAsset as exc:
        raise ApiError("unknown_asset", f"{name!r} is not a listed asset of {runtime.config.key}") from exc


def parse_amount(text: str, asset: Asset, *, field: str) -> int:
    """Base units. Raises: ApiError: invalid_amount, or amount_too_small for zero."""
    try:
        raw = parse_units(text, asset.decimals)
    except InvalidAmount as exc:
        raise ApiError("invalid_amount", f"{field}: {exc}; {asset.symbol} has {asset.decimals} decimals") from exc
    if raw == 0:
        raise ApiError("amount_too_small", f"{field}: an amount is more than zero")
    return raw


def parse_trade(
    market: Market, *, side: str, base_amount: str | None, quote_amount: str | None, venue: str | None
) -> Trade:
    """A trade from a request.

    Raises:
        ApiError: invalid_parameters when not exactly one amount is given; invalid_amount, amount_too_small.
    """
    if (base_amount is None) == (quote_amount is None):
        raise ApiError("invalid_parameters", "give exactly one of base_amount and quote_amount")
    return Trade(
        market=market,
        side=Side(side),
        base_amount=None if base_amount is None else parse_amount(base_amount, market.base, field="base_amount"),
        quote_amount=None if quote_amount is None else parse_amount(quote_amount, market.quote, field="quote_amount"),
        venue=None if venue is None else Venue(venue),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrade:
    """A trade as a client asks for it: by a market and a side, or by two assets; with one amount."""

    market: str | None
    side: str | None
    base_amount: str | None
    quote_amount: str | None
    sell: str | None
    buy: str | None
    sell_amount: str | None
    buy_amount: str | None
    venue: str | None


AmountQuery = Annotated[str | None, Query(max_length=160, examples=["0.25"])]


async def trade_query(
    market: Annotated[str | None, Query(max_length=48, examples=["ETHUSDC"])] = None,
    side: Literal["buy", "sell"] | None = None,
    base_amount: AmountQuery = None,
    quote_amount: AmountQuery = None,
    sell: Annotated[
        str | None,
        Query(max_length=80, description="An asset to sell, instead of a market and a side.", examples=["USDC"]),
    ] = None,
    buy: Annotated[str | None, Query(max_length=80, examples=["WBTC"])] = None,
    sell_amount: AmountQuery = None,
    buy_amount: AmountQuery = None,
    venue: Annotated[VenueName | None, Query(examples=["uniswap_v3"])] = None,
) -> AskedTrade:
    """The query parameters that say what is to be traded."""
    return AskedTrade(
        market=market,
        side=side,
        base_amount=base_amount,
        quote_amount=quote_amount,
        sell=sell,
        buy=buy,
        sell_amount=sell_amount,
        buy_amount=buy_amount,
        venue=venue,
    )


TradeQuery = Annotated[AskedTrade, Depends(trade_query)]


def asked_trade(runtime: ChainRuntime, asked: AskedTrade) -> Trade:
    """The trade that is meant. Two assets need not be a market: they are one for this trade.

    Raises:
        ApiError: invalid_parameters, unknown_market, unknown_asset, unsupported_pair, invalid_amount, amount_too_small.
    """
    by_market = (asked.market, asked.side, asked.base_amount, asked.quote_amount)
    by_assets = (asked.sell, asked.buy, asked.sell_amount, asked.buy_amount)
    if asked.market is not None and asked.side is not None and not any(part is not None for part in by_assets):
        return parse_trade(
            market_named(runtime, asked.market),
            side=asked.side,
            base_amount=asked.base_amount,
            quote_amount=asked.quote_amount,
            venue=asked.venue,
        )
    if asked.sell is None or asked.buy is None or any(part is not None for part in by_market):
        raise ApiError("invalid_parameters", "give market and side, or sell and buy, and one amount")
    sold, bought = asset_named(runtime, asked.sell), asset_named(runtime, asked.buy)
    if runtime.assets.token_of(sold) == runtime.assets.token_of(bought):
        raise ApiError("unsupported_pair", "an asset is not traded for itself, nor for its wrapped or native form")
    if (asked.sell_amount is None) == (asked.buy_amount is None):
        raise ApiError("invalid_parameters", "give exactly one of sell_amount and buy_amount")
    return Trade(
        market=Market(symbol=f"{sold.symbol}{bought.symbol}", base=sold, quote=bought),
        side=Side.SELL,
        base_amount=None if asked.sell_amount is None else parse_amount(asked.sell_amount, sold, field="sell_amount"),
        quote_amount=None if asked.buy_amount is None else parse_amount(asked.buy_amount, bought, field="buy_amount"),
        venue=None if asked.venue is None else Venue(asked.venue),
    )
