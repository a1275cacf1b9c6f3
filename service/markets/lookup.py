"""Chains, markets, assets and amounts by the names that clients use for them."""

from typing import Annotated

from fastapi import Depends, Path, Request

from chains.config import ChainConfig, find_chain
from chains.units import InvalidAmount, parse_units
from contracts.assets import Asset, Market
from contracts.deployments import Venue
from contracts.errors import UnlistedAsset
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.markets.trades import Side, Trade


def services_of(request: Request) -> Services:
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
