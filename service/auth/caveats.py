"""What a key may do, as caveats: small frozen objects, each of which allows or denies with a reason.

    caveats_of(key)  --->  (NotExpired, FromNetworks, HasPermission, ...)  --- decide(caveats, facts) ---> Denied | None

Facts come in kinds, as a request goes on: `Arrival` (where and when), `Use` (the permission that a route needs),
`Target` (what it is about), `Call` (which function of which contract), and `Cost` or `CallCost` (what it takes, beside
what the day has taken so far). A caveat is about one kind and says nothing on the others; facts have no defaults, so
that none is forgotten.

Guarantees: pure; a request is allowed only if every caveat allows it, so that one more never allows more; what is not
known (a worth in USD that nothing confirms) is denied by each limit that counts it.
Not here: what was used of a limit, and counting it (`budgets`); pauses and holds, which are about wallets and chains.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from chains.types import Address, ChainId
from chains.units import format_units
from contracts.assets import AssetId
from service.auth.keys import ApiKey, Destination, IpAddress, IpNetwork, Permission
from service.auth.restrictions import USD_DECIMALS, AllowedCall, MarketId, Restrictions
from service.errors import ApiError


class Counter(StrEnum):
    """What is counted a key and UTC day. Stored: the values keep their meaning."""

    ORDERS = "orders"
    ORDER_USD = "order_usd"
    GAS = "gas"
    SOLD = "sold"
    WITHDRAWALS = "withdrawals"
    WITHDRAWAL_USD = "withdrawal_usd"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A counter and what it is of: a chain's id for gas, an asset's for sold and withdrawn base units, else nothing."""

    counter: Counter
    of: str = ""


class Kind(StrEnum):
    """What takes from the limits."""

    ORDER = "order"
    WITHDRAWAL = "withdrawal"
    UPKEEP = "upkeep"
    """Wraps, unwraps, revoked allowances, and an order that is tried again: nothing is counted but gas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request was signed right, and is here."""

    now_ms: int
    client_ip: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The permission that the route asks for."""

    permission: Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked for is about. `market` of an order, `destination` of a withdrawal, else None."""

    wallet_id: int
    chain_id: ChainId
    assets: frozenset[AssetId]
    market: MarketId | None
    destination: Address | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What it takes at most, and `used`: what the same UTC day has taken, 0 where nothing is there.

    `usd` in micro-dollars, None when no guarded price says it; `amounts` in base units leave the wallet, by each asset
    whose limits count them (`budgets.counted`).
    """

    kind: Kind
    chain_id: ChainId
    amounts: Mapping[AssetId, int]
    usd: int | None
    gas_wei: int
    used: Mapping[Tally, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function of a contract, by its selector (`0x` and eight hex digits), and the native value sent with it."""

    chain_id: ChainId
    contract: Address
    selector: str
    value_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """What a contract call takes at most: `amounts` leave the wallet, worth `usd` together.

    Counted as a withdrawal: who may call a contract may send it all that, and it may keep it. Its fields as in `Cost`.
    """

    chain_id: ChainId
    amounts: Mapping[AssetId, int]
    usd: int | None
    gas_wei: int
    used: Mapping[Tally, int]


Facts = Arrival | Use | Target | Call | Cost | CallCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """`code` is one of `service.errors`; `reason` is for the owner of the key, and holds nothing of others."""

    code: str
    reason: str


class Caveat(Protocol):
    def check(self, facts: Facts) -> Denied | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """Of a key that waits for its activation: nothing is allowed."""

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Arrival):
            return Denied(code="key_inactive", reason="this key is not activated")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIdle:
    """Until `end_ms`, when it will not have been used for too long."""

    end_ms: int

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Arrival) and self.end_ms <= facts.now_ms:
            reason = "this key was not used for so long that it ended; one with an IP allowlist does not"
            return Denied(code="key_expired", reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotExpired:
    expires_ms: int

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Arrival) and self.expires_ms <= facts.now_ms:
            return Denied(code="key_expired", reason="this key has expired")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FromNetworks:
    networks: tuple[IpNetwork, ...]

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Arrival) and not any(facts.client_ip in network for network in self.networks):
            return Denied(code="ip_not_allowed", reason=f"this key may not be used from {facts.client_ip}")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HasPermission:
    permissions: frozenset[Permission]

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Use) and facts.permission not in self.permissions:
            reason = f"this key does not have the {facts.permission} permission"
            return Denied(code="permission_denied", reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfWallet:
    wallet_id: int

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Target) and facts.wallet_id != self.wallet_id:
            return Denied(code="key_restricted", reason="this key is for another wallet")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChains:
    chains: frozenset[ChainId]

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Target) and facts.chain_id not in self.chains:
            return Denied(code="key_restricted", reason=f"this key is not for chain {facts.chain_id}")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class WithAssets:
    assets: frozenset[AssetId]

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Target) and (others := sorted(facts.assets - self.assets)):
            return Denied(code="key_restricted", reason=f"this key is not for {', '.join(others)}")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnMarkets:
    markets: frozenset[MarketId]

    def check(self, facts: Facts) -> Denied | None:
        if isinstance(facts, Target) and facts.market is not None and facts.market not in self.markets:
            reason = f"this key is not for the market of {facts.market.base} and {facts.market.quote}"
            return Denied(code="key_restricted", reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDestinations:
    """No destination is allowed where none is listed."""

    destinations: frozenset[Destination]

    def check(self, facts: Facts) -> Denied | None:
        if not isinstance(facts, Target) or facts.destination is None:
            return None
        if Destination(chain_id=facts.chain_id, address=facts.destination) in self.destinations:
            return None
        reason = f"{facts.destination} is not in this key's allowlist on chain {facts.chain_id}"
        return Denied(code="destination_not_allowed", reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfCalls:
    """No call is allowed where none is listed."""

    calls: frozenset[AllowedCall]

    def check(self, facts: Facts) -> Denied | None:
        if not isinstance(facts, Call):
            return None
        wanted = (facts.chain_id, facts.contract, facts.selector)
        listed = next((call for call in self.calls if call.function == wanted), None)
        if listed is None:
            reason = f"{facts.selector} of {facts.contract} is not among this key's calls on chain {facts.chain_id}"
            return Denied(code="call_not_allowed", reason=reason)
        if facts.value_wei > listed.max_value_wei:
            reason = f"this key may send at most {listed.max_value_wei} wei with this call, not {facts.value_wei}"
            return Denied(code="call_not_allowed", reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUsd:
    """At most so much an order, in micro-dollars."""

    limit: int

    def check(self, facts: Facts) -> Denied | None:
        if not isinstance(facts, Cost) or facts.kind is not Kind.ORDER:
            return None
        if facts.usd is None:
            return _unknown_worth()
        if facts.usd > self.limit:
            reason = f"the order is worth {_usd(facts.usd)}, and this key's limit an order is {_usd(self.limit)}"
            return Denied(code="key_limit_reached", reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """At most so much of a counter a UTC day."""

    tally: Tally
    limit: int

    def check(self, facts: Facts) -> Denied | None:
        if not isinstance(facts, Cost | CallCost):
            return None
        taken = takes(facts).get(self.tally, 0)
        if taken is None:
            return _unknown_worth()
        used = facts.used.get(self.tally, 0)
        # What takes nothing of it is none of its business, even when the limit is used up.
        if not taken or used + taken <= self.limit:
            return None
        shown = _usd if self.tally.counter in _IN_USD else str
        unit = f" {_UNITS[self.tally.counter]}".rstrip() + (f" of {self.tally.of}" if self.tally.of else "")
        reason = (
            f"this key's limit a day is {shown(self.limit)}{unit}: {shown(used)} used since 00:00 UTC,"
            f" and this takes {shown(taken)}"
        )
        return Denied(code="key_limit_reached", reason=reason)


_IN_USD = frozenset({Counter.ORDER_USD, Counter.WITHDRAWAL_USD})
_UNITS: Mapping[Counter, str] = {
    Counter.ORDERS: "orders",
    Counter.ORDER_USD: "in orders",
    Counter.GAS: "wei for gas on chain",
    Counter.SOLD: "base units sold",
    Counter.WITHDRAWALS: "withdrawals",
    Counter.WITHDRAWAL_USD: "in withdrawals",
    Counter.WITHDRAWN: "base units withdrawn",
}


def takes(cost: Cost | CallCost) -> Mapping[Tally, int | None]:
    """What counters go up by; None is not known."""
    gas: dict[Tally, int | None] = {Tally(counter=Counter.GAS, of=str(cost.chain_id)): cost.gas_wei}
    if isinstance(cost, Cost) and cost.kind is Kind.UPKEEP:
        return gas
    if isinstance(cost, Cost) and cost.kind is Kind.ORDER:
        gas |= {Tally(counter=Counter.ORDERS): 1, Tally(counter=Counter.ORDER_USD): cost.usd}
        return gas | {Tally(counter=Counter.SOLD, of=asset): raw for asset, raw in cost.amounts.items()}
    gas |= {Tally(counter=Counter.WITHDRAWALS): 1, Tally(counter=Counter.WITHDRAWAL_USD): cost.usd}
    return gas | {Tally(counter=Counter.WITHDRAWN, of=asset): raw for asset, raw in cost.amounts.items()}


def caveats_of(
    key: ApiKey, destinations: Iterable[Destination] = (), *, idle_ms: int | None = None
) -> tuple[Caveat, ...]:
    """All caveats of a key, in the order in which they are looked at. Without destinations it withdraws to nobody.

    `idle_ms`: how long a key without networks lasts unused; needed where its arrival is judged.
    """
    found: list[Caveat] = [] if key.lapses_ms is None else [NotYet()]
    if key.expires_ms is not None:
        found.append(NotExpired(expires_ms=key.expires_ms))
    if idle_ms is not None and (end_ms := key.idle_end_ms(idle_ms)) is not None:
        found.append(NotIdle(end_ms=end_ms))
    if key.ip_allowlist:
        found.append(FromNetworks(networks=key.ip_allowlist))
    found += [HasPermission(permissions=key.permissions), OfWallet(wallet_id=key.wallet_id)]
    found += [*_named(key.restrictions), ToDestinations(destinations=frozenset(destinations))]
    return (*found, OfCalls(calls=key.restrictions.calls), *limits(key))


def limits(key: ApiKey) -> tuple[Caveat, ...]:
    """Those caveats of a key that look at what something takes."""
    limit = key.restrictions.max_order_usd
    an_order = () if limit is None else (OrderUsd(limit=limit),)
    return (*an_order, *daily(key.restrictions))


def daily(r: Restrictions) -> tuple[Daily, ...]:
    """The limits of a day: the only ones for which anything is counted."""
    one = {
        Counter.ORDERS: r.daily_orders,
        Counter.ORDER_USD: r.daily_usd,
        Counter.WITHDRAWALS: r.daily_withdrawals,
        Counter.WITHDRAWAL_USD: r.daily_withdrawal_usd,
    }
    found = [Daily(tally=Tally(counter=counter), limit=limit) for counter, limit in one.items() if limit is not None]
    found += [Daily(tally=Tally(counter=Counter.GAS, of=str(chain)), limit=r.daily_gas[chain]) for chain in r.daily_gas]
    for counter, by_asset in ((Counter.SOLD, r.daily_sold), (Counter.WITHDRAWN, r.daily_withdrawn)):
        found += [Daily(tally=Tally(counter=counter, of=asset), limit=by_asset[asset]) for asset in by_asset]
    return tuple(found)


def denials(caveats: Iterable[Caveat], *facts: Facts) -> Sequence[Denied]:
    """All that deny one of the facts, in their order: each reason once."""
    checked = (caveat.check(fact) for caveat in caveats for fact in facts)
    return list(dict.fromkeys(denied for denied in checked if denied is not None))


def decide(caveats: Iterable[Caveat], *facts: Facts) -> Denied | None:
    """None: allowed. Else the first caveat's word that denies any of the facts."""
    for caveat in caveats:
        for fact in facts:
            if (denied := caveat.check(fact)) is not None:
                return denied
    return None


def require(caveats: Iterable[Caveat], *facts: Facts) -> None:
    """Raises: ApiError: denied, with its code and reason."""
    if (denied := decide(caveats, *facts)) is not None:
        raise ApiError(denied.code, denied.reason)


def _named(r: Restrictions) -> list[Caveat]:
    found: list[Caveat] = []
    if r.chains is not None:
        found.append(OnChains(chains=r.chains))
    if r.assets is not None:
        found.append(WithAssets(assets=r.assets))
    if r.markets is not None:
        found.append(OnMarkets(markets=r.markets))
    return found


def _unknown_worth() -> Denied:
    reason = "this key has a limit in USD, and no guarded price says what this is worth now"
    return Denied(code="limit_price_unknown", reason=reason)


def _usd(micro: int) -> str:
    return f"{format_units(micro, USD_DECIMALS)} USD"
