"""Limits of a key as people write and read them: names, dollars and whole units; and those that a new key has anyhow.

    {"chains": ["ethereum"], "markets": ["ethereum:ETHUSDC"], "daily_usd": "500", "daily_orders": 100,
     "daily_gas": {"ethereum": "0.1"}, "daily_sold": {"ethereum:ETH": "2"}, ...}

Guarantees: what is asked for is exactly what is stored, or refused (a limit on what is sold or withdrawn of a wrapped
native asset is one of the native asset: they count together); `shown` is such a document again, with only what is
limited in it; a name that is left out keeps the limit that there was, and null lifts it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from chains.config import ChainConfig
from chains.types import ChainId, InvalidAddress, parse_address
from chains.units import format_units, parse_units
from contracts.assets import Asset, AssetId, AssetList
from contracts.errors import UnlistedAsset
from service.auth.budgets import limited_as
from service.auth.caveats import Counter
from service.auth.keys import Permission
from service.auth.restrictions import (
    UNRESTRICTED,
    USD_DECIMALS,
    AllowedCall,
    InvalidRestriction,
    MarketId,
    Restrictions,
)
from service.build import Services
from service.markets.abi_text import InvalidCall, parse_sent_function

K = TypeVar("K", ChainId, AssetId)

OF_TRADE: Final = ("daily_usd", "daily_orders", "daily_gas")
"""The limits that a key with trade has where nothing else is said."""


def usual(services: Services, permissions: frozenset[Permission]) -> Restrictions:
    """What a new key with those permissions is restricted to where nothing is said: the budgets of the settings."""
    if Permission.TRADE not in permissions:
        return UNRESTRICTED
    settings = services.settings
    gas = [(chain, amount) for chain, amount in settings.trade_key_daily_gas.items() if chain in services.configs]
    return Restrictions(
        daily_usd=settings.trade_key_daily_usd * 10**USD_DECIMALS or None,
        daily_orders=settings.trade_key_daily_orders or None,
        daily_gas=dict(_gas(services, chain, amount) for chain, amount in gas),
    )


def read(services: Services, given: Mapping[str, Any], *, base: Restrictions) -> Restrictions:
    """`base` with what is given in place of it. Raises: InvalidRestriction: a name or an amount that is none."""
    readers: dict[str, Callable[[Any], Any]] = {
        "chains": lambda names: frozenset(_chain(services, name).chain_id for name in names),
        "assets": lambda names: frozenset(_asset(services, name).id for name in names),
        "markets": lambda names: frozenset(_market(services, name) for name in names),
        "max_order_usd": _usd,
        "daily_usd": _usd,
        "daily_orders": int,
        "daily_gas": lambda by: _once(_gas(services, chain, amount) for chain, amount in by.items()),
        "daily_sold": lambda by: _once(_of_asset(services, name, amount) for name, amount in by.items()),
        "daily_withdrawals": int,
        "daily_withdrawal_usd": _usd,
        "daily_withdrawn": lambda by: _once(_of_asset(services, name, amount) for name, amount in by.items()),
        "calls": lambda calls: frozenset(_call(services, text) for text in calls),
    }
    lifted = {one.name: getattr(UNRESTRICTED, one.name) for one in fields(Restrictions)}
    try:
        changed = {name: lifted[name] if value is None else readers[name](value) for name, value in given.items()}
        return replace(base, **changed)
    except InvalidRestriction:
        raise
    except ValueError as exc:
        raise InvalidRestriction(str(exc)) from exc


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
    for name in ("daily_sold", "daily_withdrawn"):
        if by_asset := getattr(found, name):
            document[name] = {
                _asset_name(services, asset): _amount(services, asset, raw) for asset, raw in by_asset.items()
            }
    if found.calls:
        document["calls"] = sorted(_call_shown(services, call) for call in found.calls)
    return document


def counted(services: Services, counter: Counter, of: str) -> tuple[str | None, int]:
    """What a counter is of, by its name, and the decimals of its amounts."""
    match counter:
        case Counter.ORDERS | Counter.WITHDRAWALS:
            return None, 0
        case Counter.ORDER_USD | Counter.WITHDRAWAL_USD:
            return None, USD_DECIMALS
        case Counter.GAS:
            chain_id = ChainId(int(of))
            return _chain_key(services, chain_id), _native_decimals(services, chain_id)
        case Counter.SOLD | Counter.WITHDRAWN:
            found = _find(services, AssetId(of))
            return _asset_name(services, AssetId(of)), 0 if found is None else found[1].decimals


def _once(pairs: Iterable[tuple[K, int]]) -> dict[K, int]:
    """Two names of one chain or asset would leave open which limit counts. Raises: InvalidRestriction."""
    found: dict[K, int] = {}
    for of, limit in pairs:
        if of in found:
            raise InvalidRestriction(f"there are two limits for {of}")
        found[of] = limit
    return found


def _usd(text: str) -> int:
    return parse_units(text, USD_DECIMALS)


def _gas(services: Services, chain: str, amount: str) -> tuple[ChainId, int]:
    chain_id = _chain(services, chain).chain_id
    return chain_id, parse_units(amount, _native_decimals(services, chain_id))


def _of_asset(services: Services, name: str, amount: str) -> tuple[AssetId, int]:
    asset = _asset(services, name)
    return limited_as(_named(services, name)[0], asset).id, parse_units(amount, asset.decimals)


def _call(services: Services, text: str) -> AllowedCall:
    function, _, most = text.partition("=")
    parts = function.split(":", 2)
    if len(parts) != 3:
        raise InvalidRestriction(f"{text!r} is not chain:contract:function(types) or chain:contract:0xselector")
    chain_id = _chain(services, parts[0]).chain_id
    try:
        contract = parse_address(parts[1])
        selector = parts[2].lower() if parts[2].startswith("0x") else _selector(parts[2])
    except (InvalidAddress, InvalidCall) as exc:
        raise InvalidRestriction(f"{text!r}: {exc}") from exc
    value_wei = parse_units(most, _native_decimals(services, chain_id)) if most else 0
    return AllowedCall(chain_id=chain_id, contract=contract, selector=selector, max_value_wei=value_wei)


def _selector(signature: str) -> str:
    return "0x" + parse_sent_function(signature).selector.hex()


def _call_shown(services: Services, call: AllowedCall) -> str:
    most = format_units(call.max_value_wei, _native_decimals(services, call.chain_id)) if call.max_value_wei else ""
    return f"{_chain_key(services, call.chain_id)}:{call.contract}:{call.selector}" + (f"={most}" if most else "")


def _chain(services: Services, name: str) -> ChainConfig:
    for config in services.configs.values():
        if name in (config.key, *config.aliases):
            return config
    raise InvalidRestriction(f"no chain is called {name!r}; known: {', '.join(services.configs)}")


def _named(services: Services, text: str) -> tuple[AssetList, str]:
    name, separator, symbol = text.partition(":")
    if not separator:
        raise InvalidRestriction(f"{text!r} is not chain:SYMBOL")
    config = _chain(services, name)
    listed = services.assets.get(config.chain_id)
    if listed is None:
        raise InvalidRestriction(f"{config.key} has no list of assets")
    return listed, symbol


def _asset(services: Services, text: str) -> Asset:
    listed, symbol = _named(services, text)
    try:
        return listed.by_symbol(symbol)
    except UnlistedAsset as exc:
        raise InvalidRestriction(str(exc)) from exc


def _market(services: Services, text: str) -> MarketId:
    listed, symbol = _named(services, text)
    market = listed.markets.get(symbol)
    if market is None:
        raise InvalidRestriction(f"there is no market {text!r}")
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
