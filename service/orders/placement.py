"""Taking an order on: priced at the head, bounded, funded, and queued in one unit of work (`service.plans.accepting`).

Quote, fees, allowance and balances are of one block. The limit that the swap carries is the quote less the slippage
bound, fixed here for good.

Guarantees: after `place` returns the order is durable and its funds are held; the same client id gives one order,
however many requests race; whatever is refused has reserved and queued nothing.
Not guaranteed: that the swap succeeds. The lane simulates it again before it takes a nonce.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection

from chains.errors import ExecutionReverted, RpcRefused
from chains.tx.model import Lane, PlanId
from chains.types import CallRequest
from chains.units import format_units
from contracts.assets import AssetId, Market
from contracts.ratio import Ratio
from contracts.swaps import SwapCall
from service.audit.acts import ORDER_PLACED
from service.audit.model import Subject
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import Cost, Kind, Target, caveats_of, limits, require
from service.auth.restrictions import MarketId
from service.build import ChainRuntime, Services
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.ids import new_id, order_plan_id
from service.journal import books, reservations
from service.markets.firm import compiled, refuse_taxed, router_allowance, simulated
from service.markets.guards import check_price, check_price_impact, guarded_price, market_price
from service.markets.quotes import APPROVE_GAS, PricedTrade, price_trade, snapshot
from service.markets.state.model import require_fresh
from service.markets.trades import Trade, in_base_and_quote
from service.markets.usd import order_worth
from service.orders import storage
from service.orders.approvals import approvals
from service.orders.events import EVENT
from service.orders.model import Order, OrderDraft, OrderType
from service.orders.view import order_document
from service.plans.accepting import Accepted, Funds, accept_once, hold_funds
from service.plans.building import queued_plan
from service.plans.funds import balances_at, needs
from service.plans.params import params_hash
from service.plans.recording import record_placed
from service.plans.refusals import client_id_conflict, not_enough

PLAN_MARGIN_MS: Final = 15_000
"""A plan that was not placed this long before its on-chain deadline is not placed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed order request. `client_id` None lets the service choose one, and then nothing is idempotent."""

    trade: Trade
    slippage_bps: int | None
    max_price_impact_bps: int | None
    client_id: str | None

    @property
    def market(self) -> Market:
        return self.trade.market


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An order that could be accepted: what the chain said about it, and the draft of its row."""

    asked: Asked
    priced: PricedTrade
    swap: SwapCall
    allowance: int
    balances: dict[AssetId, int]
    deadline_s: int
    usd: int | None
    """What it sells at most, in micro-dollars; None: not known, or no limit asks for it."""


async def place(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Accepted[Order]:
    """Accept the order, or answer with the one that the same client id made before.

    Raises:
        ApiError: refused; nothing was reserved or queued.
        QuoteError, ChainError, BalanceUnknown: it cannot be priced now.
    """
    digest = _digest(runtime, caller, asked)
    plan_id = order_plan_id(services.clock)
    client_id = asked.client_id or f"cambist-{new_id(services.clock)}"

    def accept(c: Connection, lane: Lane, prepared: Prepared) -> Order:
        now_ms = services.clock.now_ms()
        calls = _calls(c, caller, prepared)
        valid_until_ms = prepared.deadline_s * 1000 - PLAN_MARGIN_MS
        funds = _funds(runtime, prepared, approvals=len(calls) - 1)
        cost = _cost(runtime, prepared, approvals=len(calls) - 1)
        budgets.charge(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=now_ms)
        plan = queued_plan(plan_id, lane, calls=calls, created_ms=now_ms, valid_until_ms=valid_until_ms)
        SqlTxStore().add_plan(c, plan)
        hold_funds(c, runtime, caller, plan_id=plan_id, funds=funds, now_ms=now_ms)
        draft = _draft(runtime, caller, prepared, client_id=client_id, digest=digest, plan_id=plan_id)
        order = storage.insert_order(c, draft, now_ms=now_ms)
        record_placed(
            c,
            caller,
            act=ORDER_PLACED,
            subject=Subject(kind="order", id=str(order.id)),
            details=_recorded(order, plan_id=plan_id),
            master=services.master,
            now_ms=now_ms,
        )
        books.emit(c, account_id=caller.account_id, kind=EVENT, payload=order_document(order), now_ms=now_ms)
        return order

    return await accept_once(
        services,
        runtime,
        caller,
        known=lambda c: _known(c, caller, asked, digest),
        prepare=lambda: prepare(services, runtime, caller, asked=asked),
        accept=accept,
    )


def _recorded(order: Order, *, plan_id: PlanId) -> dict[str, Any]:
    """What the audit log keeps of it."""
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
        "plan": str(plan_id),
    }


async def try_out(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Prepared:
    """Everything that `place` checks, and a simulation of the whole plan; nothing is written or sent.

    Raises:
        ApiError: it would be refused, or would revert.
    """
    prepared = await prepare(services, runtime, caller, asked=asked)

    def check(c: Connection) -> Sequence[CallRequest]:
        calls = _calls(c, caller, prepared)
        cost = _cost(runtime, prepared, approvals=len(calls) - 1)
        budgets.check(c, caller.key_id, caveats=limits(caller.key), cost=cost, now_ms=services.clock.now_ms())
        holds = reservations.holds(c, caller.wallet.id, runtime.config.chain_id)
        funds = _funds(runtime, prepared, approvals=len(calls) - 1)
        held = reservations.still_held(holds, at=funds.height)
        for asset_id, wanted in funds.wanted.items():
            free = max(0, funds.balances.get(asset_id, 0) - held.get(asset_id, 0))
            if wanted > free:
                raise not_enough(runtime, asset_id, wanted=wanted, free=free)
        return calls

    calls = await services.db.read(check)
    results = await runtime.client.simulate(calls, sender=caller.wallet.address, block=prepared.priced.header.ref)
    for result in results:
        if not result.succeeded:
            raise ApiError("would_revert", f"the order would fail on the chain: {result.reason or 'no reason given'}")
    return prepared


async def prepare(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Prepared:
    """Price the order at the head and check its bounds."""
    require(caveats_of(caller.key), _target(runtime, caller, asked))
    settings = services.settings
    slippage_bps = settings.default_slippage_bps if asked.slippage_bps is None else asked.slippage_bps
    if slippage_bps > settings.max_slippage_bps:
        raise ApiError(
            "slippage_too_high",
            f"at most {settings.max_slippage_bps} basis points of slippage are allowed, not {slippage_bps}",
        )
    # Of a head that is looked at now: allowance and balances are of its block, and the wallet may just have traded.
    priced = await price_trade(runtime, asked.trade, slippage_bps=slippage_bps, max_age_s=0)
    bound = settings.max_price_impact_bps
    if asked.max_price_impact_bps is not None:
        bound = min(bound, asked.max_price_impact_bps)
    check_price_impact(priced.quote.price_impact_bps, max_bps=bound)
    require_fresh(priced.view, services.clock, max_block_age_s=settings.max_block_age_s)
    opinions = await runtime.opinions.read(runtime, asked.market, header=priced.header)
    price = market_price(asked.trade.side, priced.quote.mid_price)
    check_price(opinions, price=price, bounds=settings.price_bounds)
    # What is paid, too: pool fees are not in the impact, and several of them add up.
    most_bps = settings.max_price_deviation_bps + settings.max_price_impact_bps
    check_price(opinions, price=_paid(priced), bounds=replace(settings.price_bounds, max_deviation_bps=most_bps))
    await _check_least(runtime, asked.market, priced)
    # Whichever is later: a local chain that stood still is behind, one whose time was moved is ahead.
    now_s = services.clock.now_ms() // 1000
    deadline_s = max(now_s, priced.header.timestamp_s) + settings.order_deadline_s
    wallet = caller.wallet.address
    swap = compiled(runtime, priced, wallet=wallet, deadline_s=deadline_s)
    allowance = await router_allowance(runtime, priced, swap, wallet=wallet)
    usd = None
    if caller.key.restrictions.needs_order_usd:
        usd = order_worth(
            asked.market,
            swap.spend.asset,
            swap.spend.raw,
            guarded=guarded_price(opinions, price=price, bounds=settings.price_bounds),
            reading=await runtime.opinions.reading(runtime, asked.market, header=priced.header),
            assets=runtime.assets,
            now_s=now_s,
        )
    balances = await balances_at(runtime, wallet, [asked.trade.sold, runtime.assets.native], block=priced.header.ref)
    if balances[swap.spend.asset.id] >= swap.spend.raw:
        # What reverts is the lane's to judge, on the state that it is sent on.
        with contextlib.suppress(ExecutionReverted, RpcRefused):
            refuse_taxed(priced, await simulated(runtime, priced, swap, wallet=wallet, allowance=allowance))
    return Prepared(
        asked=asked, priced=priced, swap=swap, allowance=allowance, balances=balances, deadline_s=deadline_s, usd=usd
    )


def _paid(priced: PricedTrade) -> Ratio:
    """What the trade pays or gets for one base unit of base, in quote base units, fees inside."""
    quote = priced.quote
    base, in_quote = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    return Ratio.of(in_quote, base)


async def _check_least(runtime: ChainRuntime, market: Market, priced: PricedTrade) -> None:
    """That the order is worth what the market's filters ask for. Raises: ApiError: amount_too_small."""
    filters = (await runtime.board.filters(runtime, [market]))[market.symbol]
    quote = priced.quote
    _, worth = in_base_and_quote(priced.trade.side, sold_raw=quote.amount_in, bought_raw=quote.amount_out)
    if filters is not None and worth < filters.least_quote:
        least = format_units(filters.least_quote, market.quote.decimals)
        raise ApiError(
            "amount_too_small", f"an order on {market.symbol} is worth {least} {market.quote.symbol} or more"
        )


def _calls(c: Connection, caller: Caller, prepared: Prepared) -> Sequence[CallRequest]:
    others_open = storage.sells_already(c, caller.wallet.id, asset_id=prepared.asked.trade.sold.id)
    before = approvals(prepared.swap, allowance=prepared.allowance, others_open=others_open)
    return (*before, prepared.swap.call)


def _target(runtime: ChainRuntime, caller: Caller, asked: Asked) -> Target:
    base, quote = asked.market.base.id, asked.market.quote.id
    return Target(
        wallet_id=caller.wallet.id,
        chain_id=runtime.config.chain_id,
        assets=frozenset({base, quote}),
        market=MarketId(base=base, quote=quote),
        destination=None,
    )


def _cost(runtime: ChainRuntime, prepared: Prepared, *, approvals: int) -> Cost:
    spend = prepared.swap.spend
    return Cost(
        kind=Kind.ORDER,
        chain_id=runtime.config.chain_id,
        asset=spend.asset.id,
        amount=spend.raw,
        usd=prepared.usd,
        gas_wei=_gas_wei(prepared, approvals=approvals),
        used={},
    )


def _gas_wei(prepared: Prepared, *, approvals: int) -> int:
    return (prepared.priced.swap_gas + approvals * APPROVE_GAS) * prepared.priced.fees.max_fee_wei


def _funds(runtime: ChainRuntime, prepared: Prepared, *, approvals: int) -> Funds:
    gas_wei = _gas_wei(prepared, approvals=approvals)
    spend = prepared.swap.spend
    return Funds(
        wanted=needs((spend.asset.id, spend.raw), (runtime.assets.native.id, gas_wei)),
        balances=prepared.balances,
        height=prepared.priced.header.number,
    )


def _known(c: Connection, caller: Caller, asked: Asked, digest: str) -> Order | None:
    """The account's order with this client id. Raises: ApiError: it was made with other parameters."""
    if asked.client_id is None:
        return None
    order = storage.order_by_client_id(c, asked.client_id, account_id=caller.account_id)
    if order is not None and order.params_hash != digest:
        raise client_id_conflict("order", asked.client_id)
    return order


def _digest(runtime: ChainRuntime, caller: Caller, asked: Asked) -> str:
    return params_hash(
        "order",
        {
            "chain_id": runtime.config.chain_id,
            "wallet_id": caller.wallet.id,
            "market": asked.market.symbol,
            "side": asked.trade.side.value,
            "type": OrderType.MARKET.value,
            "base_amount": asked.trade.base_amount,
            "quote_amount": asked.trade.quote_amount,
            "venue": None if asked.trade.venue is None else asked.trade.venue.value,
            "slippage_bps": asked.slippage_bps,
            "max_price_impact_bps": asked.max_price_impact_bps,
        },
    )


def _draft(
    runtime: ChainRuntime, caller: Caller, prepared: Prepared, *, client_id: str, digest: str, plan_id: PlanId
) -> OrderDraft:
    trade, priced = prepared.asked.trade, prepared.priced
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
        type=OrderType.MARKET,
        base_amount=trade.base_amount,
        quote_amount=trade.quote_amount,
        slippage_bps=priced.slippage_bps,
        max_sold=priced.limits.max_sold,
        min_bought=priced.limits.min_bought,
        quote=snapshot(runtime, priced, deadline_s=prepared.deadline_s),
        plan_id=plan_id,
    )
