"""A key as it sees itself: what it may do, what is used of its limits, and what its restrictions would say.

A request that was not made is judged by the caveats and counters that judge one that is, so that both say the same for
the same facts. A refused request has the reason in its answer anyhow; this is for asking before, and for all reasons at
once. Nothing of it is kept or counted.

Not guaranteed: that what is allowed here is accepted: balances, markets and pauses are not looked at, and what it is
worth is what the request says.
"""

from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.types import Address, InvalidAddress, parse_address
from chains.units import InvalidAmount, format_units, parse_units
from contracts.assets import Asset, AssetList
from contracts.errors import UnlistedAsset
from service.addresses import reach
from service.auth import budgets, keys
from service.auth.budgets import DAY_MS
from service.auth.callers import Caller
from service.auth.caveats import Arrival, Caveat, Cost, Counter, Daily, Facts, Kind, Target, Use, caveats_of, daily
from service.auth.caveats import denials as all_denials
from service.auth.keys import IpAddress, Permission
from service.auth.restrictions import USD_DECIMALS, MarketId
from service.build import Services
from service.errors import ApiError
from service.keys import limits
from service.keys.schemas import Checked, CheckIn, DenialOut, OwnKey, Usage
from service.keys.view import idle_ms, shown
from service.markets.lookup import config_named

_NEEDED: Final = {
    "read": frozenset[str](),
    "order": frozenset({"chain", "market", "usd"}),
    "withdrawal": frozenset({"chain", "asset", "amount", "destination", "usd"}),
}
_SOLD: Final = frozenset({"asset", "amount"})
"""What an order may name beside: needed where the key's day has a limit on what is sold."""
_LIMITS: Final = {
    Counter.ORDERS: "daily_orders",
    Counter.ORDER_USD: "daily_usd",
    Counter.GAS: "daily_gas",
    Counter.SOLD: "daily_sold",
    Counter.WITHDRAWALS: "daily_withdrawals",
    Counter.WITHDRAWAL_USD: "daily_withdrawal_usd",
    Counter.WITHDRAWN: "daily_withdrawn",
}


async def own_key(services: Services, caller: Caller) -> OwnKey:
    """The key that asks, and its day so far."""
    now_ms = services.clock.now_ms()

    def read(c: Connection) -> OwnKey:
        # Read anew: what the caller remembers of itself may be of a second ago.
        key = keys.load_key(c, caller.key_id, master=services.master) or caller.key
        used = budgets.used(c, key.id, now_ms=now_ms)
        today = [_usage(services, limit, used.get(limit.tally, 0)) for limit in daily(key.restrictions)]
        return OwnKey(key=shown(c, services, key), today=today, resets_ms=(now_ms // DAY_MS + 1) * DAY_MS)

    return await services.db.read(read)


async def check(services: Services, caller: Caller, asked: CheckIn) -> Checked:
    """What the key's restrictions say to a request that was not made.

    Raises:
        ApiError: invalid_parameters, invalid_amount, invalid_address, unknown_chain, unknown_asset, unknown_market.
    """
    now_ms = services.clock.now_ms()
    arrival = Arrival(now_ms=now_ms, client_ip=_address(caller, asked))
    facts = _facts(services, caller, asked)

    def read(c: Connection) -> Checked:
        key = keys.load_key(c, caller.key_id, master=services.master) or caller.key
        used = budgets.used(c, key.id, now_ms=now_ms)
        target = next((fact for fact in facts if isinstance(fact, Target)), None)
        reached = (
            reach.destinations_of(c, key, chain_id=target.chain_id, now_ms=now_ms, master=services.master)
            if target is not None and target.destination is not None
            else frozenset()
        )
        known = [replace(fact, used=used) if isinstance(fact, Cost) else fact for fact in facts]
        caveats: tuple[Caveat, ...] = caveats_of(key, reached, idle_ms=idle_ms(services))
        found = all_denials(caveats, arrival, *known)
        return Checked(allowed=not found, denials=[DenialOut(code=one.code, reason=one.reason) for one in found])

    return await services.db.read(read)


def _facts(services: Services, caller: Caller, asked: CheckIn) -> list[Facts]:
    _check_given(asked)
    if asked.kind == "read":
        return [Use(permission=Permission.READ)]
    order = asked.kind == "order"
    config = config_named(services, asked.chain or "")
    listed = services.assets.get(config.chain_id)
    if listed is None:
        raise ApiError("unknown_chain", f"{config.key} has no list of assets")
    market = _market(config, listed, asked.market or "") if order else None
    if market is not None and asked.asset is None:
        _refuse_unsaid(caller, listed, market)
    asset = listed.native if asked.asset is None else _asset(config, listed, asked.asset)
    if market is not None and asked.asset is not None and asset.id not in (market.base, market.quote):
        raise ApiError("invalid_parameters", f"{asset.symbol} is not what an order of {asked.market} sells")
    amount = 0 if asked.amount is None else _units(asked.amount, asset.decimals, field="amount")
    assets = frozenset({asset.id}) if market is None else frozenset({market.base, market.quote})
    return [
        Use(permission=Permission.TRADE if order else Permission.WITHDRAW),
        Target(
            wallet_id=caller.wallet.id,
            chain_id=config.chain_id,
            assets=assets,
            market=market,
            destination=None if order else _destination(asked.destination or ""),
        ),
        Cost(
            kind=Kind.ORDER if order else Kind.WITHDRAWAL,
            chain_id=config.chain_id,
            amounts=budgets.counted(listed, {asset.id: amount}),
            usd=_units(asked.usd or "", USD_DECIMALS, field="usd"),
            gas_wei=_units(asked.gas or "0", listed.native.decimals, field="gas"),
            used={},
        ),
    ]


def _check_given(asked: CheckIn) -> None:
    """Raises: ApiError: invalid_parameters."""
    names = ("chain", "market", "asset", "amount", "destination", "usd", "gas")
    given = {name for name in names if getattr(asked, name) is not None}
    needed = _NEEDED[asked.kind]
    optional = {"gas"} if needed else set[str]()
    if given - optional == needed or (asked.kind == "order" and given - optional == needed | _SOLD):
        return
    what = ", ".join(name for name in names if name in needed | optional) or "nothing of these"
    beside = ", and may take asset and amount: what it sells at most" if asked.kind == "order" else ""
    raise ApiError("invalid_parameters", f"kind {asked.kind} takes {what}{beside}")


def _refuse_unsaid(caller: Caller, listed: AssetList, market: MarketId) -> None:
    """An amount that is not said would pass a limit that counts it. Raises: ApiError: invalid_parameters."""
    sold = budgets.counted(listed, {market.base: 1, market.quote: 1})
    if set(sold) & set(caller.key.restrictions.daily_sold):
        detail = "this key has a limit on what a day's orders sell: give asset and amount, what it would sell at most"
        raise ApiError("invalid_parameters", detail)


def _address(caller: Caller, asked: CheckIn) -> IpAddress:
    if asked.client_ip is None:
        return caller.client_ip
    try:
        return ip_address(asked.client_ip)
    except ValueError as exc:
        raise ApiError("invalid_parameters", "client_ip: this is no IP address") from exc


def _market(config: ChainConfig, listed: AssetList, symbol: str) -> MarketId:
    found = listed.markets.get(symbol)
    if found is None:
        raise ApiError("unknown_market", f"{config.key} has no market {symbol!r}")
    return MarketId(base=found.base.id, quote=found.quote.id)


def _asset(config: ChainConfig, listed: AssetList, symbol: str) -> Asset:
    try:
        return listed.by_symbol(symbol)
    except UnlistedAsset as exc:
        raise ApiError("unknown_asset", f"{config.key} lists no asset {symbol!r}") from exc


def _destination(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", f"destination: {exc}") from exc


def _units(text: str, decimals: int, *, field: str) -> int:
    try:
        return parse_units(text, decimals)
    except InvalidAmount as exc:
        raise ApiError("invalid_amount", f"{field}: {exc}") from exc


def _usage(services: Services, limit: Daily, used: int) -> Usage:
    counter, of = limit.tally.counter, limit.tally.of
    name, decimals = limits.counted(services, counter, of)
    left = max(0, limit.limit - used)
    allowed, taken, rest = (format_units(raw, decimals) for raw in (limit.limit, used, left))
    return Usage(limit=_LIMITS[counter], of=name, allowed=allowed, used=taken, left=rest)
