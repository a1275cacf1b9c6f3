"""What the owner restricts a key to beyond its permissions, as data, and its form in the key's row.

    chains, assets, markets         only these; None: all
    max_order_usd, daily_usd        an order's worth, and that of all orders of a UTC day
    daily_orders                    accepted orders of a UTC day
    daily_gas                       by chain: wei of the native asset set aside for what is sent on a UTC day
    daily_sold                      by asset: base units that a UTC day's orders sell at most
    daily_withdrawals, daily_withdrawal_usd
    daily_withdrawn                 by asset: base units of a UTC day
    calls                           functions of contracts that it may call, each with the most native value; none: none

USD are micro-dollars (10**-6). Guarantees: `document` and `parse` are each other's inverse; money is text in the
document; a name or form that is not known is refused, so that an older service does not overlook a newer limit.
Not here: what they mean for a request (`caveats`), and what was used of them (`budgets`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from chains.types import Address, ChainId, parse_address
from chains.units import MAX_UINT256
from contracts.assets import AssetId

USD_DECIMALS: Final = 6
MAX_NAMED: Final = 256
"""Chains, assets, markets or calls of one key."""
_SELECTOR: Final = re.compile(r"0x[0-9a-f]{8}", re.ASCII)


class InvalidRestriction(ValueError):
    """A limit that is no limit, or a document that is not one of restrictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketId:
    """A market by what it trades: symbols may be given to something else later."""

    base: AssetId
    quote: AssetId


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCall:
    """A function of a contract that a key may call: `selector` is `0x` and the first four bytes of its calldata.

    `max_value_wei` is the most native value of one call.
    """

    chain_id: ChainId
    contract: Address
    selector: str
    max_value_wei: int

    @property
    def function(self) -> tuple[ChainId, Address, str]:
        """What is called, whatever the value."""
        return (self.chain_id, self.contract, self.selector)

    def __post_init__(self) -> None:
        if not _SELECTOR.fullmatch(self.selector):
            raise InvalidRestriction("a selector is 0x and eight lower-case hex digits")
        if type(self.max_value_wei) is not int or not 0 <= self.max_value_wei <= MAX_UINT256:
            raise InvalidRestriction("a limit is an integer from 0 to 2^256 - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """None, and no entry, is no restriction; but of `calls`, no entry is no call at all.

    So of everything else an added entry or a lower number narrows, and of `calls` an added entry or a higher
    `max_value_wei` widens.
    """

    chains: frozenset[ChainId] | None = None
    assets: frozenset[AssetId] | None = None
    markets: frozenset[MarketId] | None = None
    max_order_usd: int | None = None
    daily_usd: int | None = None
    daily_orders: int | None = None
    daily_gas: Mapping[ChainId, int] = field(default_factory=dict)
    daily_sold: Mapping[AssetId, int] = field(default_factory=dict)
    daily_withdrawals: int | None = None
    daily_withdrawal_usd: int | None = None
    daily_withdrawn: Mapping[AssetId, int] = field(default_factory=dict)
    calls: frozenset[AllowedCall] = frozenset()

    def __post_init__(self) -> None:
        for name in ("chains", "assets", "markets"):
            named = getattr(self, name)
            if named is not None and not 0 < len(named) <= MAX_NAMED:
                raise InvalidRestriction(f"{name}: 1 to {MAX_NAMED} of them, or none given")
        if len(self.calls) > MAX_NAMED or len({call.function for call in self.calls}) != len(self.calls):
            raise InvalidRestriction(f"calls: at most {MAX_NAMED} of them, each function of a contract once")
        amounts = [getattr(self, name) for name in _AMOUNTS]
        by_name = [amount for name in _BY_NAME for amount in getattr(self, name).values()]
        for amount in [*amounts, *by_name]:
            if amount is not None and (type(amount) is not int or not 0 <= amount <= MAX_UINT256):
                raise InvalidRestriction("a limit is an integer from 0 to 2^256 - 1")

    @property
    def needs_order_usd(self) -> bool:
        """Whether an order's worth in USD must be known."""
        return self.max_order_usd is not None or self.daily_usd is not None

    @property
    def limits_orders(self) -> bool:
        named = self.markets is not None or bool(self.daily_sold)
        return named or self.needs_order_usd or self.daily_orders is not None

    @property
    def limits_withdrawals(self) -> bool:
        return self.needs_withdrawal_usd or self.daily_withdrawals is not None or bool(self.daily_withdrawn)

    @property
    def needs_withdrawal_usd(self) -> bool:
        return self.daily_withdrawal_usd is not None


_AMOUNTS: Final = ("max_order_usd", "daily_usd", "daily_orders", "daily_withdrawals", "daily_withdrawal_usd")
_BY_NAME: Final = ("daily_gas", "daily_sold", "daily_withdrawn")
_NAMES: Final = frozenset(one.name for one in fields(Restrictions))
UNRESTRICTED: Final = Restrictions()


def document(restrictions: Restrictions) -> dict[str, Any] | None:
    """The form that is stored and covered by the row's MAC; None for no restriction at all."""
    found: dict[str, Any] = {}
    if restrictions.chains is not None:
        found["chains"] = sorted(restrictions.chains)
    if restrictions.assets is not None:
        found["assets"] = sorted(restrictions.assets)
    if restrictions.markets is not None:
        found["markets"] = sorted([one.base, one.quote] for one in restrictions.markets)
    found |= {name: str(value) for name in _AMOUNTS if (value := getattr(restrictions, name)) is not None}
    for name in _BY_NAME:
        if by_name := getattr(restrictions, name):
            found[name] = {str(of): str(raw) for of, raw in by_name.items()}
    if restrictions.calls:
        found["calls"] = sorted(
            [call.chain_id, call.contract, call.selector, str(call.max_value_wei)] for call in restrictions.calls
        )
    return found or None


def parse(found: Mapping[str, Any] | None) -> Restrictions:
    """From a stored document. Raises: InvalidRestriction."""
    if found is None:
        return UNRESTRICTED
    if unknown := sorted(set(found) - _NAMES):
        raise InvalidRestriction(f"unknown restrictions: {', '.join(unknown)}")
    try:
        amounts = {name: int(found[name]) for name in _AMOUNTS if name in found}
        return Restrictions(
            chains=_named(found.get("chains"), ChainId),
            assets=_named(found.get("assets"), AssetId),
            markets=_named(found.get("markets"), lambda pair: MarketId(base=AssetId(pair[0]), quote=AssetId(pair[1]))),
            daily_gas={ChainId(int(chain)): int(raw) for chain, raw in found.get("daily_gas", {}).items()},
            daily_sold=_by_asset(found.get("daily_sold", {})),
            daily_withdrawn=_by_asset(found.get("daily_withdrawn", {})),
            calls=_named(found.get("calls", []), _call) or frozenset(),
            **amounts,
        )
    except (TypeError, ValueError, IndexError, AttributeError) as exc:
        raise InvalidRestriction("the stored restrictions are not in their form") from exc


def _named(found: Sequence[Any] | None, make: Any) -> frozenset[Any] | None:
    return None if found is None else frozenset(make(one) for one in found)


def _by_asset(found: Mapping[str, str]) -> dict[AssetId, int]:
    return {AssetId(asset): int(raw) for asset, raw in found.items()}


def _call(found: Sequence[Any]) -> AllowedCall:
    chain_id, contract, selector, most = found
    return AllowedCall(
        chain_id=ChainId(chain_id), contract=parse_address(contract), selector=selector, max_value_wei=int(most)
    )
