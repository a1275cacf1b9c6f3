"""What a key is restricted to, as the owner says it and is shown it: names, dollars and whole units.

Guarantees: what is asked for is exactly what is stored, or refused; a new key with trade has the default budgets of
the settings, except where the owner gives a limit of his own or `none`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from chains.config import ChainConfig
from chains.types import ChainId, InvalidAddress, parse_address
from chains.units import format_units, parse_units
from contracts.assets import Asset, AssetId, AssetList
from contracts.errors import UnlistedAsset
from service.auth.keys import Permission
from service.auth.restrictions import USD_DECIMALS, AllowedCall, InvalidRestriction, MarketId, Restrictions
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.markets.abi_text import InvalidCall, parse_sent_function

NONE: Final = "none"
"""In place of a limit: there is none, whatever the default is."""


class RestrictionParams(Params):
    """Chains as keys; assets and markets as chain:SYMBOL; gas as chain=amount, withdrawn as chain:SYMBOL=amount.

    Calls as chain:contract:function(types), or with a selector in place of the function; then =amount, the most native
    value of one call, if any may be sent.
    """

    chains: list[str] | None = None
    assets: list[str] | None = None
    markets: list[str] | None = None
    max_order_usd: str | None = None
    daily_usd: str | None = None
    daily_orders: str | None = None
    daily_gas: list[str] | None = None
    daily_withdrawals: str | None = None
    daily_withdrawal_usd: str | None = None
    daily_withdrawn: list[str] | None = None
    calls: list[str] | None = None


def restrictions_of(
    services: Services, asked: RestrictionParams, *, permissions: frozenset[Permission]
) -> Restrictions:
    """Raises: ActFailed: a name or an amount that is none."""
    settings = services.settings
    trades = Permission.TRADE in permissions
    usd, orders, gas = settings.trade_key_daily_usd, settings.trade_key_daily_orders, settings.trade_key_daily_gas
    default_gas = [f"{chain}={amount}" for chain, amount in gas.items() if chain in services.configs] if trades else []
    try:
        return Restrictions(
            chains=_set(asked.chains, lambda text: _chain(services, text).chain_id),
            assets=_set(asked.assets, lambda text: _asset(services, text).id),
            markets=_set(asked.markets, lambda text: _market(services, text)),
            max_order_usd=_usd(asked.max_order_usd, default=0),
            daily_usd=_usd(asked.daily_usd, default=usd if trades else 0),
            daily_orders=_count(asked.daily_orders, default=orders if trades else 0),
            daily_gas=dict(_gas(services, text) for text in _listed(asked.daily_gas, default_gas)),
            daily_withdrawals=_count(asked.daily_withdrawals, default=0),
            daily_withdrawal_usd=_usd(asked.daily_withdrawal_usd, default=0),
            daily_withdrawn=dict(_withdrawn(services, text) for text in _listed(asked.daily_withdrawn, [])),
            calls=frozenset(_call(services, text) for text in asked.calls or ()),
        )
    except (InvalidRestriction, ValueError) as exc:
        raise ActFailed("bad_limit", str(exc)) from exc


def shown(services: Services, found: Restrictions) -> dict[str, Any]:
    """Only what is restricted, by name; what is not listed any more by its CAIP-19 id."""
    document: dict[str, Any] = {}
    if found.chains is not None:
        document["chains"] = sorted(_chain_key(services, chain) for chain in found.chains)
    if found.assets is not None:
        document["assets"] = sorted(_asset_name(services, asset) for asset in found.assets)
    if found.markets is not None:
        document["markets"] = sorted(_market_name(services, market) for market in found.markets)
    for name in ("max_order_usd", "daily_usd", "daily_withdrawal_usd"):
        if (micro := getattr(found, name)) is not None:
            document[name] = format_units(micro, USD_DECIMALS)
    for name in ("daily_orders", "daily_withdrawals"):
        if (count := getattr(found, name)) is not None:
            document[name] = count
    if found.daily_gas:
        document["daily_gas"] = {
            _chain_key(services, chain): format_units(wei, _native_decimals(services, chain))
            for chain, wei in found.daily_gas.items()
        }
    if found.daily_withdrawn:
        document["daily_withdrawn"] = {
            _asset_name(services, asset): _amount(services, asset, raw) for asset, raw in found.daily_withdrawn.items()
        }
    if found.calls:
        document["calls"] = sorted(_call_shown(services, call) for call in found.calls)
    return document


def _listed(asked: list[str] | None, default: list[str]) -> list[str]:
    if asked is None:
        return default
    return [] if asked == [NONE] else asked


def _set(asked: list[str] | None, read: Callable[[str], Any]) -> frozenset[Any] | None:
    return None if asked is None else frozenset(read(text) for text in asked)


def _usd(asked: str | None, *, default: int) -> int | None:
    """Micro-dollars; a default of 0 is none."""
    if asked is None:
        return default * 10**USD_DECIMALS if default else None
    return None if asked == NONE else parse_units(asked, USD_DECIMALS)


def _count(asked: str | None, *, default: int) -> int | None:
    if asked is None:
        return default or None
    return None if asked == NONE else parse_units(asked, 0)


def _gas(services: Services, text: str) -> tuple[ChainId, int]:
    name, amount = _halves(text, "=", "chain=amount")
    chain_id = _chain(services, name).chain_id
    return chain_id, parse_units(amount, _native_decimals(services, chain_id))


def _withdrawn(services: Services, text: str) -> tuple[AssetId, int]:
    name, amount = _halves(text, "=", "chain:SYMBOL=amount")
    asset = _asset(services, name)
    return asset.id, parse_units(amount, asset.decimals)


def _call(services: Services, text: str) -> AllowedCall:
    function, _, most = text.partition("=")
    parts = function.split(":", 2)
    if len(parts) != 3:
        raise ActFailed("bad_limit", f"{text!r} is not chain:contract:function(types) or chain:contract:0xselector")
    chain_id = _chain(services, parts[0]).chain_id
    try:
        contract = parse_address(parts[1])
        selector = parts[2].lower() if parts[2].startswith("0x") else _selector(parts[2])
    except (InvalidAddress, InvalidCall) as exc:
        raise ActFailed("bad_limit", f"{text!r}: {exc}") from exc
    value_wei = parse_units(most, _native_decimals(services, chain_id)) if most else 0
    return AllowedCall(chain_id=chain_id, contract=contract, selector=selector, max_value_wei=value_wei)


def _selector(signature: str) -> str:
    return "0x" + parse_sent_function(signature).selector.hex()


def _call_shown(services: Services, call: AllowedCall) -> str:
    most = format_units(call.max_value_wei, _native_decimals(services, call.chain_id)) if call.max_value_wei else ""
    return f"{_chain_key(services, call.chain_id)}:{call.contract}:{call.selector}" + (f"={most}" if most else "")


def _halves(text: str, separator: str, form: str) -> tuple[str, str]:
    before, found, after = text.partition(separator)
    if not found:
        raise ActFailed("bad_limit", f"{text!r} is not {form}")
    return before, after


def _chain(services: Services, name: str) -> ChainConfig:
    for config in services.configs.values():
        if name in (config.key, *config.aliases):
            return config
    raise ActFailed("bad_limit", f"no chain is called {name!r}; known: {', '.join(services.configs)}")


def _named(services: Services, text: str) -> tuple[AssetList, str]:
    name, symbol = _halves(text, ":", "chain:SYMBOL")
    config = _chain(services, name)
    listed = services.assets.get(config.chain_id)
    if listed is None:
        raise ActFailed("bad_limit", f"{config.key} has no list of assets")
    return listed, symbol


def _asset(services: Services, text: str) -> Asset:
    listed, symbol = _named(services, text)
    try:
        return listed.by_symbol(symbol)
    except UnlistedAsset as exc:
        raise ActFailed("bad_limit", str(exc)) from exc


def _market(services: Services, text: str) -> MarketId:
    listed, symbol = _named(services, text)
    market = listed.markets.get(symbol)
    if market is None:
        raise ActFailed("bad_limit", f"there is no market {text!r}")
    return MarketId(base=market.base.id, quote=market.quote.id)


def _chain_key(services: Services, chain_id: ChainId) -> str:
    return next((one.key for one in services.configs.values() if one.chain_id == chain_id), str(chain_id))


def _native_decimals(services: Services, chain_id: ChainId) -> int:
    listed = services.assets.get(chain_id)
    return 18 if listed is None else listed.native.decimals


def _find(services: Services, asset_id: AssetId) -> tuple[ChainId, Asset] | None:
    lists: Mapping[ChainId, AssetList] = services.assets
    return next(
        ((chain, asset) for chain, listed in lists.items() for asset in listed if asset.id == asset_id),
        None,
    )


def _asset_name(services: Services, asset_id: AssetId) -> str:
    found = _find(services, asset_id)
    return asset_id if found is None else f"{_chain_key(services, found[0])}:{found[1].symbol}"


def _amount(services: Services, asset_id: AssetId, raw: int) -> str:
    found = _find(services, asset_id)
    return f"{raw} base units" if found is None else format_units(raw, found[1].decimals)


def _market_name(services: Services, wanted: MarketId) -> str:
    for chain_id, listed in services.assets.items():
        for market in listed.markets.values():
            if (market.base.id, market.quote.id) == (wanted.base, wanted.quote):
                return f"{_chain_key(services, chain_id)}:{market.symbol}"
    return f"{wanted.base}/{wanted.quote}"
