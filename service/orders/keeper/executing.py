"""One order that is inside its limit, from the decision to a queued plan.

    may it be sent at all (rows)  ->  guards  ->  allowance, funds, the very transaction simulated from its wallet
    ->  ONE unit of work: the rows again, gas of another try, plan, hold from the order to the plan, try, event
    ->  the engine is woken

Guarantees: a try is committed as a whole or not at all, and only while the order rests as it was looked at, its key
stands, nothing of it is paused, and its lane and chain take work; its swap carries limits on the chain that are no
worse than the limit price (rule 9), and a deadline. So neither a reorg, a race nor a crash makes a fill worse than the
limit, or makes two of one. No two tries that take a nonce live on the same gas of their key's limits of a day: what was
counted when the order was accepted is for the first, and each other is counted, or not made. An order that is not as
the service wrote it is closed instead.
Not guaranteed: that the swap succeeds: pools move before it is mined.
"""

from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.crashpoints import reach
from chains.errors import ExecutionReverted, MethodUnavailable, RpcRefused
from chains.tx.leases import FencedUnitOfWork
from chains.tx.model import Lane
from chains.tx.store import Clock, DuplicateId, StaleState, UnusableRow
from chains.types import Address
from contracts.errors import UnsafeSwap
from contracts.swaps import SwapCall
from service import pauses
from service.accounts.wallets import get_wallet
from service.auth import budgets, keys
from service.auth.authority import Tampered, contained
from service.auth.caveats import Cost, Kind, limits
from service.auth.key_model import ApiKey, Permission
from service.auth.secrets import MasterKey
from service.db.headstore import SqlHeadStore
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.journal import reservations
from service.markets.firm import compiled, router_allowance, simulated
from service.markets.guards import check_price, check_price_impact, market_price
from service.markets.quotes import PricedTrade, snapshot
from service.orders import storage
from service.orders.altered import UNREAD, close_altered, why_altered
from service.orders.events import emit_order
from service.orders.keeper.deciding import HoldBack, Why
from service.orders.keeper.needs import KeeperPolicy, KeptChain
from service.orders.model import Order
from service.orders.pricing import MIN_DEADLINE_S, Ready, paid
from service.orders.trying import calls_of, queue_try
from service.plans.funds import balances_at

_log: Final = structlog.get_logger("cambist.keeper")


class NotTaken(Exception):
    """The rows do not allow it now: the unit of work is rolled back."""

    def __init__(self, held_back: HoldBack) -> None:
        super().__init__(f"{held_back.why}: {held_back.detail}")
        self.held_back: Final = held_back


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What an order that may be sent is, as it is stored now."""

    wallet: Address
    key: ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A try whose plan is durable."""

    order: Order
    swap: SwapCall


class Executor:
    """Sends orders of one chain. Used by one event loop."""

    def __init__(self, chain: KeptChain, *, clock: Clock, master: MasterKey, policy: KeeperPolicy) -> None:
        self._chain: Final = chain
        self._clock: Final = clock
        self._master: Final = master
        self._policy: Final = policy
        self._store: Final = SqlTxStore()
        self._heads: Final = SqlHeadStore()

    async def execute(self, order: Order, priced: PricedTrade, *, uow: FencedUnitOfWork[Connection]) -> Sent | HoldBack:
        """Try the order; `priced` has the limits that its swap is to carry.

        Raises:
            ChainError, BalanceUnknown: the node did not answer.
            LeaseLost: another process keeps this chain's orders. StoreUnavailable: the database did not answer.
        """
        try:
            wallet = (await uow.read(lambda c: self._stands(c, order))).wallet
            await self._guard(order, priced)
            ready = await self._ready(order, priced, wallet)
            reach("K18")
            sent = await uow.run(lambda c: self._take(c, order, ready, wallet=wallet))
        except UnusableRow as exc:
            return HoldBack(why=Why.UNUSABLE, detail=str(exc))
        except NotTaken as refused:
            if refused.held_back.why is Why.ALTERED:
                await self.close_altered(order.id, uow=uow, why=refused.held_back.detail)
            return refused.held_back
        reach("K19")
        self._chain.engine.wake()
        return sent

    async def close_altered(self, order_id: int, *, uow: FencedUnitOfWork[Connection], why: str | None = None) -> bool:
        """Close an order that rests and is not as the service wrote it; False: it is, or does not rest any more."""
        master, now_ms = self._master, self._clock.now_ms()

        def close(c: Connection) -> bool:
            with contained():
                return close_altered(c, order_id, why=why, master=master, now_ms=now_ms)

        try:
            return await uow.run(close)
        except UnusableRow as exc:
            _log.critical("an altered order cannot be closed", order=order_id, reason=str(exc))
            return False

    # -- private ------------------------------------------------------------------------------------------

    async def _check_market(self, priced: PricedTrade) -> None:
        """That the pools' price is what others say it is. Raises: ApiError, ChainError."""
        market = priced.trade.market
        opinions = await self._chain.opinions.read(self._chain, market, header=priced.header)
        price = market_price(priced.trade.side, priced.quote.mid_price)
        check_price(opinions, price=price, bounds=self._policy.bounds)
        # What is paid, too: pool fees are not in the impact, and several of them add up.
        most_bps = self._policy.bounds.max_deviation_bps + self._policy.max_price_impact_bps
        check_price(opinions, price=paid(priced), bounds=replace(self._policy.bounds, max_deviation_bps=most_bps))

    def _stands(self, c: Connection, order: Order) -> _Standing:
        with contained(but=(NotTaken,)):
            return self._standing(c, order)

    def _take(self, c: Connection, order: Order, ready: Ready, *, wallet: Address) -> Sent:
        with contained(but=(NotTaken,)):
            return self._commit(c, order, ready, wallet=wallet)

    def _standing(self, c: Connection, order: Order) -> _Standing:
        """Raises: NotTaken: the order may not be sent now."""
        try:
            now = storage.resting_now(c, order.id)
        except Tampered as exc:
            raise NotTaken(HoldBack(why=Why.ALTERED, detail=UNREAD)) from exc
        if now is not None and (altered := why_altered(c, now, master=self._master)) is not None:
            raise NotTaken(HoldBack(why=Why.ALTERED, detail=altered))
        if now is None or (now.triggered_ms, now.retry_after_ms) != (order.triggered_ms, order.retry_after_ms):
            raise NotTaken(HoldBack(why=Why.CHANGED))
        try:
            wallet = get_wallet(c, order.wallet_id, master=self._master)
            key = keys.load_key(c, order.key_id, master=self._master)
        except Tampered as exc:
            _log.error("an authority row was changed", order=order.id, reason=str(exc))
            raise NotTaken(HoldBack(why=Why.KEY, detail="its key or wallet row was changed")) from exc
        if wallet is None or key is None or key.revoked_ms is not None or key.wallet_id != order.wallet_id:
            raise NotTaken(HoldBack(why=Why.KEY, detail="its key was revoked"))
        if Permission.TRADE not in key.permissions:
            raise NotTaken(HoldBack(why=Why.KEY, detail="its key may not trade any more"))
        lane = Lane(chain_id=order.chain_id, wallet=wallet.address)
        paused = pauses.in_force(c, chain_id=lane.chain_id, wallet=lane.wallet, key_id=order.key_id)
        if paused is not None:
            raise NotTaken(HoldBack(why=Why.PAUSED, detail=paused.reason))
        state = self._store.lane(c, lane)
        if self._heads.frozen(c, lane.chain_id) is not None or (state is not None and state.hold_reason is not None):
            raise NotTaken(HoldBack(why=Why.LANE, detail="the wallet or the chain needs a person's eye first"))
        return _Standing(wallet=wallet.address, key=key)

    async def _guard(self, order: Order, priced: PricedTrade) -> None:
        bound = self._policy.max_price_impact_bps
        if order.max_price_impact_bps is not None:
            bound = min(bound, order.max_price_impact_bps)
        try:
            check_price_impact(priced.quote.price_impact_bps, max_bps=bound)
            await self._check_market(priced)
        except ApiError as exc:
            raise NotTaken(HoldBack(why=Why.GUARD, detail=exc.code)) from exc

    async def _ready(self, order: Order, priced: PricedTrade, wallet: Address) -> Ready:
        """The transaction, simulated. Raises: NotTaken; ChainError, BalanceUnknown: the node did not answer."""
        chain, limits = self._chain, priced.limits
        # Whichever is later: a local chain that stood still is behind, one whose time was moved is ahead.
        now_s = max(self._clock.now_ms() // 1000, priced.header.timestamp_s)
        deadline_s = now_s + self._policy.deadline_s
        if order.expires_ms is not None:
            deadline_s = max(now_s + MIN_DEADLINE_S, min(deadline_s, order.expires_ms // 1000))
        try:
            swap = compiled(chain, priced, wallet=wallet, deadline_s=deadline_s)
        except UnsafeSwap as exc:
            raise NotTaken(HoldBack(why=Why.SIMULATION, detail=str(exc))) from exc
        balances = await balances_at(chain, wallet, [priced.trade.sold, chain.assets.native], block=priced.header.ref)
        if balances[priced.trade.sold.id] < limits.max_sold:
            raise NotTaken(HoldBack(why=Why.FUNDS, detail=f"the wallet has too little {priced.trade.sold.symbol}"))
        allowance = await router_allowance(chain, priced, swap, wallet=wallet)
        ready = Ready(priced=priced, swap=swap, allowance=allowance, balances=balances, deadline_s=deadline_s)
        await self._simulate(ready, wallet)
        return ready

    async def _simulate(self, ready: Ready, wallet: Address) -> None:
        """Raises: NotTaken: it would fail, or move something else than its limits say."""
        limits = ready.priced.limits
        try:
            found = await simulated(self._chain, ready.priced, ready.swap, wallet=wallet, allowance=ready.allowance)
        except MethodUnavailable:
            # The lane has other ways to find out, and does before it takes a nonce.
            return
        except (ExecutionReverted, RpcRefused) as exc:
            raise NotTaken(HoldBack(why=Why.SIMULATION, detail=str(exc))) from exc
        if -found.changes[0] > limits.max_sold or found.changes[1] < limits.min_bought:
            raise NotTaken(HoldBack(why=Why.SIMULATION, detail="a token keeps a part of what is transferred"))

    def _commit(self, c: Connection, order: Order, ready: Ready, *, wallet: Address) -> Sent:
        """Raises: NotTaken: everything is rolled back."""
        standing = self._standing(c, order)
        if standing.wallet != wallet:
            raise NotTaken(HoldBack(why=Why.CHANGED))
        chain, now_ms = self._chain, self._clock.now_ms()
        if order.expires_ms is not None and now_ms >= order.expires_ms:
            raise NotTaken(HoldBack(why=Why.CHANGED, detail="its time is over"))
        if storage.last_try_took_nonce(c, order.id):
            # What a lane refused before has paid nothing: its gas is still counted for this one.
            self._charge_again(c, order, ready, key=standing.key, now_ms=now_ms)
        try:
            started = queue_try(
                c,
                order,
                ready,
                lane=Lane(chain_id=order.chain_id, wallet=wallet),
                assets=chain.assets,
                quote=snapshot(chain, ready.priced, deadline_s=ready.deadline_s),
                master=self._master,
                now_ms=now_ms,
            )
        except reservations.NotEnoughFree as short:
            asset = chain.assets.by_id(short.asset_id)
            raise NotTaken(HoldBack(why=Why.FUNDS, detail=f"too little {asset.symbol} is free")) from short
        except StaleState as exc:
            raise NotTaken(HoldBack(why=Why.CHANGED, detail=str(exc))) from exc
        except DuplicateId as exc:
            raise NotTaken(HoldBack(why=Why.ALTERED, detail=f"it had this try before: {exc}")) from exc
        emit_order(c, started, now_ms=now_ms)
        return Sent(order=started, swap=ready.swap)

    def _charge_again(self, c: Connection, order: Order, ready: Ready, *, key: ApiKey, now_ms: int) -> None:
        """Count the gas of one more try, and nothing else: the rest was counted once, when the order was accepted.

        Raises:
            NotTaken: the key's limit of the day does not have it.
        """
        approvals = calls_of(c, ready, wallet_id=order.wallet_id, own_order=order.id).approvals
        cost = Cost(
            kind=Kind.UPKEEP,
            chain_id=order.chain_id,
            amounts={},
            usd=0,
            gas_wei=ready.gas_wei(approvals=approvals),
            used={},
        )
        try:
            budgets.charge(c, key.id, caveats=limits(key), cost=cost, now_ms=now_ms)
        except ApiError as exc:
            raise NotTaken(HoldBack(why=Why.BUDGET, detail=str(exc))) from exc
