"""What a key is restricted to, as the operator says it on the command line: texts such as `ethereum=0.1`, or `none`.

Guarantees: what is asked for is exactly what is stored, or refused; a new key with trade has the default budgets of
the settings, except where the operator gives a limit of his own or `none`.
"""

from typing import Any, Final

from chains.units import parse_units
from service.auth.keys import Permission
from service.auth.restrictions import InvalidRestriction, Restrictions
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.keys import limits
from service.keys.limits import shown

__all__ = ["NONE", "RestrictionParams", "restrictions_of", "shown"]

NONE: Final = "none"
"""In place of a limit: there is none, whatever the default is."""


class RestrictionParams(Params):
    """Chains as keys; assets and markets as chain:SYMBOL; gas as chain=amount; what is sold and withdrawn as
    chain:SYMBOL=amount.

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
    daily_sold: list[str] | None = None
    daily_withdrawals: str | None = None
    daily_withdrawal_usd: str | None = None
    daily_withdrawn: list[str] | None = None
    calls: list[str] | None = None


def restrictions_of(
    services: Services, asked: RestrictionParams, *, permissions: frozenset[Permission]
) -> Restrictions:
    """Raises: ActFailed: a name or an amount that is none."""
    said = {name: value for name, value in asked.model_dump().items() if value is not None}
    try:
        given = {name: None if value in (NONE, [NONE]) else _value(name, value) for name, value in said.items()}
        return limits.read(services, given, base=limits.usual(services, permissions))
    except ValueError as exc:
        raise ActFailed("bad_limit", str(exc)) from exc


def _value(name: str, text: Any) -> Any:
    match name:
        case "daily_orders" | "daily_withdrawals":
            return parse_units(text, 0)
        case "daily_gas" | "daily_sold" | "daily_withdrawn":
            pairs = [_halves(one) for one in text]
            if len(dict(pairs)) != len(pairs):
                raise InvalidRestriction(f"{name}: a name is given twice")
            return dict(pairs)
        case _:
            return text


def _halves(text: str) -> tuple[str, str]:
    before, found, after = text.partition("=")
    if not found:
        raise InvalidRestriction(f"{text!r} is not name=amount")
    return before, after
