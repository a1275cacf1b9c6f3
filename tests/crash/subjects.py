"""What a trial asks for: requests over HTTP and what follows each, drawn from a trial's chance.

    withdrawal waiting          paid at once; above the account's threshold: until a second person decides
    buy sell ioc                market orders, and a limit order that takes what it can
    limit maker stop            orders that rest; the trial pushes the price by which some of them trade
    wrap unwrap revoke call     transactions
    entry                       into the address book, where it cools

Values that begin with `@` stand for what only a trial on its chain knows (`tests.crash.asking` puts it in): `@vault` an
address, `@+40` a price 40 basis points above the one at the beginning, `@1h` an hour from then.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

THRESHOLD: Final = 150 * 10**6
"""Of USDC: a second person is asked above it. The withdrawals below it stay below it together."""
PUSH_BPS: Final = 80
"""How far a trial moves the pools' price: less than what the guard of second opinions lets pass."""
NEAR_BPS: Final = 40
"""Reached by the push."""
FAR_BPS: Final = 400
CLIENT_IDS: Final = ("client_withdrawal_id", "client_order_id", "client_transaction_id", "name")
RESTING: Final = frozenset({"limit", "maker", "stop"})
ORDERS: Final = RESTING | {"buy", "sell", "ioc"}
WITHDRAWALS: Final = frozenset({"withdrawal", "waiting"})
TRANSACTIONS: Final = frozenset({"wrap", "unwrap", "revoke", "call"})
KINDS: Final = ORDERS | WITHDRAWALS | TRANSACTIONS | {"entry"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing asked for, again and again under one client id until it is answered.

    `then` follows once it was accepted: cancel, self_send, replace (with the order `new`), approve (by a key or in a
    session), reject, withhold. `asset` and `raw` are what a withdrawal pays.
    """

    kind: str
    body: Mapping[str, Any]
    asset: str = ""
    raw: int = 0
    then: str = ""
    new: Mapping[str, Any] | None = None

    @property
    def client_id(self) -> str:
        return next(str(self.body[name]) for name in CLIENT_IDS if name in self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all subjects of a trial share. `direction`: where its price is pushed, 1 up, -1 down."""

    chance: random.Random
    chain: str
    seed: int
    direction: int

    def raw(self, index: int) -> int:
        """Amounts differ, so that each effect on the chain can be told from the others."""
        return 10_000_000 + 10 * (self.seed % 100_000) + index

    @property
    def market(self) -> str:
        return "ETHUSDC" if self.chain == "ethereum" else "POLUSDC"

    @property
    def native(self) -> str:
        return "ETH" if self.chain == "ethereum" else "POL"

    def base(self, index: int) -> str:
        """An amount of the market's base."""
        raw = self.raw(index)
        return f"0.{raw}" if self.chain == "ethereum" else f"{raw // 10**5}.{raw}"


def draw_subject(setting: Setting, *, index: int, kind: str | None = None) -> Subject:
    """One of the kinds, or of this kind."""
    return _DRAWN[kind or setting.chance.choice(_OFTEN)](setting, index)


def bought_first(setting: Setting, *, raw: int) -> Subject:
    """A purchase of that much USDC: an approval, then the swap."""
    return _bought(setting, raw=raw, index=0)


def executed_first(setting: Setting) -> Subject:
    """An order that rests until the push, and then trades."""
    return Subject(kind="limit", body=_limit(setting, 0, bps=setting.direction * NEAR_BPS))


# -- private ----------------------------------------------------------------------------------------------


def _withdrawal(setting: Setting, index: int) -> Subject:
    raw, then = setting.raw(index), setting.chance.choice(("", "", "", "cancel", "self_send"))
    if setting.chance.random() < 0.5:
        return _paid(setting.native, f"0.{raw:018d}", raw=raw, index=index, then=then)
    return _paid("USDC", f"{raw // 10**6}.{raw % 10**6:06d}", raw=raw, index=index, then=then)


def _waiting(setting: Setting, index: int) -> Subject:
    raw = THRESHOLD + setting.raw(index)
    then = setting.chance.choice(("approve_by_key", "approve_in_session", "reject", "withhold", "cancel"))
    amount = f"{raw // 10**6}.{raw % 10**6:06d}"
    return _paid("USDC", amount, raw=raw, index=index, then=then, kind="waiting")


def _paid(asset: str, amount: str, *, raw: int, index: int, then: str, kind: str = "withdrawal") -> Subject:
    body = {
        "asset": asset,
        "amount": amount,
        "address": "@destination",
        "client_withdrawal_id": f"withdrawal-{index}",
    }
    return Subject(kind=kind, body=body, asset=asset, raw=raw, then=then)


def _sell(setting: Setting, index: int) -> Subject:
    body = {"market": setting.market, "side": "sell", "type": "market", "base_amount": setting.base(index)}
    return Subject(kind="sell", body=body | {"client_order_id": f"order-{index}"}, then=_seldom_cancelled(setting))


def _buy(setting: Setting, index: int) -> Subject:
    return _bought(setting, raw=setting.raw(index), index=index)


def _bought(setting: Setting, *, raw: int, index: int) -> Subject:
    amount = f"{raw // 10**6}.{raw % 10**6:06d}"
    body = {"market": setting.market, "side": "buy", "type": "market", "quote_amount": amount}
    return Subject(kind="buy", body=body | {"client_order_id": f"order-{index}"})


def _ioc(setting: Setting, index: int) -> Subject:
    """Inside its limit, or outside, where it expires at once."""
    bps = setting.chance.choice((-150, -150, 150))
    return Subject(kind="ioc", body=_limit(setting, index, bps=bps, side="sell") | {"time_in_force": "ioc"})


def _gtc(setting: Setting, index: int) -> Subject:
    near = setting.chance.random() < 0.6
    bps = setting.direction * (NEAR_BPS if near else FAR_BPS)
    body = _limit(setting, index, bps=bps)
    if not near and setting.chance.random() < 0.4:
        body["expires_ms"] = "@1h"
    return _followed(setting, "limit", body, index=index)


def _maker(setting: Setting, index: int) -> Subject:
    bps = setting.direction * setting.chance.choice((NEAR_BPS, FAR_BPS))
    body = _limit(setting, index, bps=bps) | {"type": "limit_maker"}
    del body["time_in_force"]
    return _followed(setting, "maker", body, index=index)


def _stop(setting: Setting, index: int) -> Subject:
    """Triggered where the push goes, with a limit that can be had there."""
    side = setting.chance.choice(("buy", "sell"))
    kind = "take_profit_limit" if (side == "sell") == (setting.direction > 0) else "stop_loss_limit"
    body = _limit(setting, index, bps=-FAR_BPS if side == "sell" else FAR_BPS, side=side)
    body |= {"type": kind, "stop_price": f"@{setting.direction * NEAR_BPS:+d}"}
    del body["time_in_force"]
    return _followed(setting, "stop", body, index=index)


def _limit(setting: Setting, index: int, *, bps: int, side: str | None = None) -> dict[str, Any]:
    """By itself on the side for which such a price is outside now."""
    return {
        "market": setting.market,
        "side": side or ("sell" if bps > 0 else "buy"),
        "type": "limit",
        "time_in_force": "gtc",
        "base_amount": setting.base(index),
        "price": f"@{bps:+d}",
        "count_gas": setting.chance.random() < 0.2,
        "client_order_id": f"order-{index}",
    }


def _followed(setting: Setting, kind: str, body: dict[str, Any], *, index: int) -> Subject:
    then = setting.chance.choice(("", "", "", "cancel", "replace", "replace_if_both"))
    if not then.startswith("replace"):
        return Subject(kind=kind, body=body, then=then)
    bps = setting.direction * setting.chance.choice((NEAR_BPS, FAR_BPS))
    new = _limit(setting, index, bps=bps) | {"client_order_id": f"order-{index}-new"}
    return Subject(kind=kind, body=body, then=then, new=new)


def _seldom_cancelled(setting: Setting) -> str:
    return setting.chance.choice(("", "", "", "cancel"))


def _wrap(setting: Setting, index: int) -> Subject:
    return _transaction("wrap", {"amount": f"0.{setting.raw(index):018d}"}, index)


def _unwrap(setting: Setting, index: int) -> Subject:
    return _transaction("unwrap", {"amount": f"0.{setting.raw(index):018d}"}, index)


def _revoke(setting: Setting, index: int) -> Subject:
    return _transaction("revoke", {"asset": "USDC", "spender": "@spender"}, index)


def _call(setting: Setting, index: int) -> Subject:
    raw = setting.raw(index)
    given = [{"asset": "USDC", "amount": f"{raw // 10**6}.{raw % 10**6:06d}"}]
    body = {
        "contract": "@vault",
        "function": "deposit(address,uint256)",
        "args": ["@usdc", str(raw)],
        "approvals": given,
        "max_out": given,
    }
    return _transaction("call", body, index)


def _transaction(kind: str, body: Mapping[str, Any], index: int) -> Subject:
    return Subject(kind=kind, body={**body, "client_transaction_id": f"transaction-{index}"})


def _entry(setting: Setting, index: int) -> Subject:
    return Subject(kind="entry", body={"chain": setting.chain, "address": "@cooling", "name": "entry-0"})


_DRAWN: Final[Mapping[str, Callable[[Setting, int], Subject]]] = {
    "withdrawal": _withdrawal,
    "waiting": _waiting,
    "sell": _sell,
    "buy": _buy,
    "ioc": _ioc,
    "limit": _gtc,
    "maker": _maker,
    "stop": _stop,
    "wrap": _wrap,
    "unwrap": _unwrap,
    "revoke": _revoke,
    "call": _call,
    "entry": _entry,
}
_OFTEN: Final = (*sorted(KINDS), "withdrawal", "withdrawal", "waiting", "sell", "buy", "buy", "limit", "limit", "stop")
"""Each kind, some more often."""
