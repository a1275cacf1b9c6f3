"""Taking an order on: judged at the head (`deciding`), and written in one unit of work (`service.plans.accepting`).

Guarantees: after `place` returns the order is durable, and its funds are held for its plan, or for itself while it
rests; the same client id gives one order, however many requests race; whatever is refused has reserved and queued
nothing; an account has no more open orders than the settings allow. Not guaranteed: that the swap succeeds. The lane
simulates it again before it takes a nonce.
"""

from typing import Any

from sqlalchemy import Connection

from chains.tx.model import Lane
from contracts.assets import Asset
from service.audit.acts import ORDER_PLACED
from service.audit.model import Subject
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import Cost, Kind, Target, caveats_of, limits, require
from service.auth.restrictions import MarketId
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.ids import new_id
from service.journal import reservations
from service.orders import storage
from service.orders.deciding import Decision, decide
from service.orders.events import emit_order
from service.orders.model import Order, OrderDraft, OrderState
from service.orders.terms import Asked
from service.orders.trying import amounts_of, calls_of, queue_try
from service.plans.accepting import Accepted, Funds, accept_once
from service.plans.params import params_hash
from service.plans.recording import record_placed
from service.plans.refusals import client_id_conflict, not_enough


async def place(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Accepted[Order]:
    """Accept the order, or answer with the one that the same client id made before.

    Raises:
        ApiError: refused; nothing was reserved or queued.
        QuoteError, ChainError, BalanceUnknown: it cannot be priced now.
    """
    digest = digest_of(runtime, caller, asked)
    client_id = asked.client_id or f"cambist-{new_id(services.clock)}"

    def accept(c: Connection, lane: Lane, decision: Decision) -> Order:
        return write(services, runtime, caller, c=c, lane=lane, decision=decision, client_id=client_id, digest=digest)

    return await accept_once(
        services,
        runtime,
        caller,
        known=lambda c: known(c, caller, asked, digest=digest),
        prepare=lambda: prepare(services, runtime, caller, asked=asked),
        accept=accept,
    )


async def prepare(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Decision:
    """Judge the order at the head. Raises: as `place`."""
    require(caveats_of(caller.key), _target(runtime, caller, asked))
    return await decide(services, runtime, caller, asked=asked)


def write(
    services: Services,
    runtime: ChainRuntime,
    caller: Caller,
    *,
    c: Connection,
    lane: Lane,
    decision: Decision,
    client_id: str,
    digest: str,
) -> Order:
    """All rows of what was decided, in the unit of work that accepts. Raises: ApiError: a limit is reached."""
    now_ms = services.clock.now_ms()
    _refuse_too_many(c, services, runtime, caller, decision=decision)
    cost = _cost(c, runtime, caller, decision=decision)
    budgets.charge(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
    draft = _draft(runtime, caller, decision, client_id=client_id, digest=digest)
    order = storage.insert_order(c, draft, master=services.master, now_ms=now_ms)
    if decision.expired is not None:
        order = storage.close_resting(c, order, state=OrderState.EXPIRED, reason=decision.expired, now_ms=now_ms)
    else:
        _hold(c, runtime, caller, order=order, funds=_funds(c, runtime, caller, decision=decision), now_ms=now_ms)
    if decision.now is not None:
        order = queue_try(
            c,
            order,
            decision.now,
            lane=lane,
            assets=runtime.assets,
            quote=decision.quote,
            master=services.master,
            now_ms=now_ms,
        )
    record_placed(
        c,
        caller,
        act=ORDER_PLACED,
        subject=Subject(kind="order", id=str(order.id)),
        details=recorded(order),
        master=services.master,
        now_ms=now_ms,
    )
    emit_order(c, order, now_ms=now_ms)
    return order


def recorded(order: Order) -> dict[str, Any]:
    """What the audit log keeps of a placed order."""
    given = {
        "time_in_force": order.time_in_force,
        "price": order.price_text,
        "stop_price": order.stop_price_text,
        "expires_ms": order.expires_ms,
        "reason": order.reason,
        "plan": order.plan_id,
    }
    return {
        "client_id": order.client_id,
        "market": order.market,
        "side": order.side.value,
        "type": order.type.value,
        "base_raw": order.base_amount,
        "quote_raw": order.quote_amount,
        "max_sold_raw": order.max_sold,
        "min_bought_raw": order.min_bought,
        "params_hash": order.params_hash,
        **{name: str(value) for name, value in given.items() if value is not None},
    }


async def try_out(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Decision:
    """Everything that `place` checks, and a simulation of the whole plan of what would trade now; nothing is written
    or sent.

    Raises:
        ApiError: it would be refused, or would revert.
    """
    decision = await prepare(services, runtime, caller, asked=asked)

    def check(c: Connection) -> None:
        _refuse_too_many(c, services, runtime, caller, decision=decision)
        cost = _cost(c, runtime, caller, decision=decision)
        budgets.check(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=services.clock.now_ms())
        if decision.expired is not None:
            return
        funds = _funds(c, runtime, caller, decision=decision)
        held = reservations.still_held(
            reservations.holds(c, caller.wallet.id, runtime.config.chain_id), at=funds.height
        )
        for asset_id, wanted in funds.wanted.items():
            free = max(0, funds.balances.get(asset_id, 0) - held.get(asset_id, 0))
            if wanted > free:
                raise not_enough(runtime, asset_id, wanted=wanted, free=free)

    await services.db.read(check)
    if decision.now is not None:
        sent = decision.now
        calls = await services.db.read(lambda c: calls_of(c, sent, wallet_id=caller.wallet.id))
        head = sent.priced.header.ref
        for result in await runtime.client.simulate(calls.calls, sender=caller.wallet.address, block=head):
            if not result.succeeded:
                reason = result.reason or "no reason given"
                raise ApiError("would_revert", f"the order would fail on the chain: {reason}")
    return decision


def known(c: Connection, caller: Caller, asked: Asked, *, digest: str) -> Order | None:
    """The account's order with this client id. Raises: ApiError: it was made with other parameters."""
    if asked.client_id is None:
        return None
    order = storage.order_by_client_id(c, asked.client_id, account_id=caller.account_id)
    if order is not None and order.params_hash != digest:
        raise client_id_conflict("order", asked.client_id)
    return order


def digest_of(runtime: ChainRuntime, caller: Caller, asked: Asked) -> str:
    """The fingerprint of what was asked for; what was not given is left out of it."""
    given = (asked.price, asked.stop_price)
    price, stop_price = (None if one is None else one.text for one in given)
    return params_hash(
        "order",
        {
            "chain_id": runtime.config.chain_id,
            "wallet_id": caller.wallet.id,
            "market": asked.market.symbol,
            "side": asked.trade.side.value,
            "type": asked.type.value,
            "base_amount": asked.trade.base_amount,
            "quote_amount": asked.trade.quote_amount,
            "venue": None if asked.trade.venue is None else asked.trade.venue.value,
            "slippage_bps": asked.slippage_bps,
            "max_price_impact_bps": asked.max_price_impact_bps,
            "time_in_force": None if asked.time_in_force is None else asked.time_in_force.value,
            "price": price,
            "stop_price": stop_price,
            "expires_ms": asked.expires_ms,
            "count_gas": None if asked.count_gas is None else str(asked.count_gas),
            "replaces": asked.replaces,
        },
    )


def _hold(c: Connection, runtime: ChainRuntime, caller: Caller, *, order: Order, funds: Funds, now_ms: int) -> None:
    try:
        reservations.hold_for_order(
            c,
            account_id=caller.account_id,
            wallet_id=caller.wallet.id,
            chain_id=runtime.config.chain_id,
            order_id=order.id,
            amounts=funds.wanted,
            now_ms=now_ms,
            available=funds.balances,
            available_at=funds.height,
        )
    except reservations.NotEnoughFree as short:
        raise not_enough(runtime, short.asset_id, wanted=short.wanted, free=short.free) from short


def _funds(c: Connection, runtime: ChainRuntime, caller: Caller, *, decision: Decision) -> Funds:
    """What is held: of an order that may rest again no less than its limit takes, whatever its first try does."""
    sent = decision.now
    if sent is None:
        if decision.rests is None:
            raise ValueError("an order that has expired holds nothing")
        return decision.rests
    approvals = calls_of(c, sent, wallet_id=caller.wallet.id).approvals
    wanted = amounts_of(sent, runtime.assets, approvals=approvals)
    if decision.asked.rests:
        sold = sent.swap.spend
        wanted[sold.asset.id] += decision.limits.max_sold - sold.raw
    return Funds(wanted=wanted, balances=sent.balances, height=sent.priced.header.number)


def _refuse_too_many(
    c: Connection, services: Services, runtime: ChainRuntime, caller: Caller, *, decision: Decision
) -> None:
    """Raises: ApiError: too_many_open_orders."""
    if decision.expired is not None:
        return
    settings, market = services.settings, decision.asked.market.symbol
    chain_id = runtime.config.chain_id
    of_market = storage.count_open(c, caller.account_id, chain_id=chain_id, market=market)
    for count, most, where in (
        (of_market, settings.max_open_orders_market, f" on {market}"),
        (storage.count_open(c, caller.account_id), settings.max_open_orders, ""),
    ):
        if count >= most:
            raise ApiError("too_many_open_orders", f"the account has {count} open orders{where}; {most} are allowed")


def _target(runtime: ChainRuntime, caller: Caller, asked: Asked) -> Target:
    base, quote = asked.market.base.id, asked.market.quote.id
    return Target(
        wallet_id=caller.wallet.id,
        chain_id=runtime.config.chain_id,
        assets=frozenset({base, quote}),
        market=MarketId(base=base, quote=quote),
        destination=None,
    )


def _cost(c: Connection, runtime: ChainRuntime, caller: Caller, *, decision: Decision) -> Cost:
    """What it takes of the key's limits: one that has expired already is an order, and moves nothing."""
    sold: Asset = decision.asked.trade.sold
    amount, usd, gas_wei = decision.limits.max_sold, decision.usd, 0
    if decision.expired is not None:
        amount, usd = 0, 0
    elif decision.now is not None:
        approvals = calls_of(c, decision.now, wallet_id=caller.wallet.id).approvals
        gas_wei = decision.now.gas_wei(approvals=approvals)
    elif decision.rests is not None:
        native = runtime.assets.native.id
        gas_wei = decision.rests.wanted.get(native, 0) - (amount if sold.id == native else 0)
    return Cost(
        kind=Kind.ORDER,
        chain_id=runtime.config.chain_id,
        amounts=budgets.counted(runtime.assets, {sold.id: amount}),
        usd=usd,
        gas_wei=gas_wei,
        used={},
    )


def _draft(runtime: ChainRuntime, caller: Caller, decision: Decision, *, client_id: str, digest: str) -> OrderDraft:
    asked, trade = decision.asked, decision.asked.trade
    return OrderDraft(
        account_id=caller.account_id,
        wallet_id=caller.wallet.id,
        key_id=caller.key_id,
        client_id=client_id,
        params_hash=digest,
        chain_id=runtime.config.chain_id,
        market=trade.market.symbol,
        base_asset=trade.market.base.id,
        quote_asset=trade.market.quote.id,
        side=trade.side,
        type=asked.type,
        base_amount=trade.base_amount,
        quote_amount=trade.quote_amount,
        slippage_bps=decision.slippage_bps,
        max_sold=decision.limits.max_sold,
        min_bought=decision.limits.min_bought,
        quote=decision.quote,
        time_in_force=asked.time_in_force,
        price=None if asked.price is None else asked.price.ratio,
        price_text=None if asked.price is None else asked.price.text,
        stop_price=None if asked.stop_price is None else asked.stop_price.ratio,
        stop_price_text=None if asked.stop_price is None else asked.stop_price.text,
        count_gas=decision.count_gas,
        max_price_impact_bps=asked.max_price_impact_bps,
        venue=trade.venue,
        expires_ms=decision.expires_ms,
    )
