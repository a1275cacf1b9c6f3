"""The last look before a signature: the calldata, decoded again, against what the stored row says.

Guarantees: nothing is signed unless the payload has its hash; what it does is what the stored row asked for, to the
last base unit; the recipient of a swap is the wallet itself and its router the registry's; approvals are exact and
go to a router of the registry; the destination of a withdrawal is still where its key reaches
(`service.addresses.reach`), and its clearance and its key's limits still let it (`service.withdrawals.rechecking`);
key, wallet and destination rows, orders, their tries and transactions have their MAC, so that rows edited or written in
the database grant nothing; a plan's calls are those that were accepted, each of them for one nonce; and what none of
these asked for is refused. A row that makes no sense has its own plan refused, and no other.
Not guaranteed: that the swap's limit is a good one; that was decided when the order was accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import structlog
from sqlalchemy import Connection, select

from chains.tx.model import Intent, payload_hash
from chains.tx.store import Clock, PreSignPaused, PreSignRefused
from chains.types import Address, ChainId
from contracts.assets import AssetList
from contracts.decoding import Approve, NativeTransfer, Swap, Transfer, decode_call
from contracts.deployments import Deployments
from service import pauses
from service.accounts.wallets import get_wallet
from service.addresses import reach
from service.auth import keys
from service.auth.authority import UNREADABLE, Tampered, sift
from service.auth.keys import Destination, Permission
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import attempts, txs, wallets
from service.markets.trades import Side
from service.orders import sealing
from service.orders.model import Order, OrderState, OrderTry, TimeInForce
from service.orders.storage import order_by_plan, try_by_plan
from service.plans.binding import calls_hash, stored_calls, why_unbound
from service.transactions.presigning import check_transaction
from service.transactions.storage import transaction_by_plan
from service.withdrawals.model import Withdrawal, WithdrawalState
from service.withdrawals.rechecking import recheck
from service.withdrawals.storage import withdrawal_by_plan

_log: Final = structlog.get_logger("cambist.integrity")


def check_try(order: Order, tried: OrderTry) -> None:
    """That a try is not looser than its order, whose own limits are what the client asked for.

    Raises: PreSignRefused.
    """
    too_much = tried.max_sold > order.max_sold
    if order.price is None:
        too_little = tried.min_bought < order.min_bought
    elif order.side is Side.SELL:
        too_little = tried.min_bought < order.price.times_up(tried.max_sold)
    else:
        too_little = tried.max_sold > order.price.times(tried.min_bought) or tried.min_bought > order.min_bought
    if too_much or too_little:
        raise PreSignRefused(f"the try's limits are looser than those of order {order.id}")
    size = tried.max_sold if order.exact == "in" else tried.min_bought
    if order.price is not None and order.time_in_force is not TimeInForce.IOC and size != order.base_amount:
        raise PreSignRefused(f"the try is not of the whole size of order {order.id}")


class _Snapshot:
    """One look at the database: what many intents have in common is read, and its MAC verified, once in it."""

    def __init__(self, *, c: Connection, master: MasterKey, now_ms: int) -> None:
        self.c = c
        self.wallet = cache(lambda wallet_id: get_wallet(c, wallet_id, master=master))
        self.key = cache(lambda key_id: keys.load_key(c, key_id, master=master))
        self.wallets = cache(self._wallets)
        self.pause = cache(
            lambda lane, key_id: pauses.in_force(c, chain_id=lane.chain_id, wallet=lane.wallet, key_id=key_id)
        )
        self._now_ms: Final = now_ms
        self._master: Final = master
        self.destinations = cache(self._destinations)
        self.order = cache(lambda plan_id: order_by_plan(c, plan_id))
        self.calls = cache(lambda plan_id: stored_calls(c, plan_id))

    def _wallets(self) -> frozenset[Address]:
        # An altered one that is no address is nobody's, and keeps no other from being signed for.
        query = select(wallets.c.id, wallets.c.address).order_by(wallets.c.id)
        found = sift(self.c, query, table=wallets, id_=wallets.c.id, make=lambda row: Address(row["address"]))
        return frozenset(found.intact)

    def is_last(self, intent: Intent) -> bool:
        """Whether its plan has no intent after it: of an order that is the swap itself."""
        return all(call.position <= intent.position for call in self.calls(intent.plan_id))

    def is_signed(self, intent: Intent) -> bool:
        """Whether bytes of it are stored; that they are its own, at this nonce, the engine looks at."""
        slots = attempts.join(txs, txs.c.id == attempts.c.tx_id)
        query = select(attempts.c.hash).select_from(slots).where(txs.c.intent_id == intent.id).limit(1)
        return self.c.execute(query).first() is not None

    def check_bound(self, intent: Intent, *, calls: str | None) -> None:
        """That it is one of its plan's calls, which are those that were accepted. Raises: PreSignRefused.

        `calls` is the digest that what asked for the plan has under its MAC; None: it has none.
        """
        stored = self.calls(intent.plan_id)
        why = why_unbound(self.c, intent, stored)
        if why is None and calls is not None and calls != calls_hash(intent.plan_id, stored):
            why = "the plan's calls are not those that were accepted"
        if why is not None:
            raise PreSignRefused(why)

    def _destinations(self, key_id: str, chain_id: ChainId) -> frozenset[Destination]:
        key = self.key(key_id)
        if key is None:
            return frozenset()
        return reach.destinations_of(self.c, key, chain_id=chain_id, now_ms=self._now_ms, master=self._master)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreSign:
    """`PreSignCheck` of one chain."""

    db: Database
    assets: AssetList
    deployments: Deployments
    master: MasterKey
    clock: Clock

    async def check(self, intent: Intent) -> None:
        """Raises: PreSignRefused."""
        [refused] = await self.check_all([intent])
        if refused is not None:
            raise refused

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        """`check` of each, in one snapshot: what it would have raised, in its place."""

        def read(c: Connection) -> list[PreSignRefused | None]:
            one = _Snapshot(c=c, master=self.master, now_ms=self.clock.now_ms())
            return [self._told(one, intent) for intent in intents]

        return await self.db.read(read)

    def _told(self, one: "_Snapshot", intent: Intent) -> PreSignRefused | None:
        try:
            if payload_hash(intent.lane, intent.call) != intent.payload_hash:
                raise PreSignRefused("the payload is not the one that was accepted")
            self._check(one, intent)
        except PreSignRefused as refused:
            return refused
        except (Tampered, *UNREADABLE) as exc:
            # In one place for all that is read here: no row keeps the others of the snapshot, or ends a worker.
            _log.critical("not signed: a row makes no sense, something else wrote it", intent=intent.id, exc_info=True)
            return PreSignRefused(f"a row makes no sense: {type(exc).__name__}")
        return None

    def _check(self, one: "_Snapshot", intent: Intent) -> None:
        c = one.c
        try:
            order = one.order(intent.plan_id)
        except Tampered as exc:
            raise PreSignRefused(str(exc)) from exc
        if order is not None:
            self._check_authority(
                one, intent, key_id=order.key_id, wallet_id=order.wallet_id, permission=Permission.TRADE
            )
            if order.state is not OrderState.NEW or order.chain_id != intent.lane.chain_id:
                raise PreSignRefused(f"order {order.id} is {order.state}")
            tried = self._tried(one, intent, order)
            if tried.deadline_s * 1000 <= self.clock.now_ms():
                raise PreSignRefused("the order's deadline has passed")
            check_try(order, tried)
            if one.is_last(intent):
                self._check_swap(intent, order, tried)
            else:
                self._check_approval(intent, order, tried)
            one.check_bound(intent, calls=tried.calls_hash)
            return
        withdrawal = withdrawal_by_plan(c, intent.plan_id)
        if withdrawal is not None:
            self._check_authority(
                one,
                intent,
                key_id=withdrawal.key_id,
                wallet_id=withdrawal.wallet_id,
                permission=Permission.WITHDRAW,
            )
            self._check_withdrawal(one, intent, withdrawal)
            if len(one.calls(intent.plan_id)) != 1:
                raise PreSignRefused("a withdrawal has one call, and its plan another number of them")
            one.check_bound(intent, calls=None)
            return
        transaction = transaction_by_plan(c, intent.plan_id)
        if transaction is None:
            raise PreSignRefused("neither an order nor a withdrawal nor a transaction asked for this")
        terms = transaction.terms
        self._check_authority(one, intent, key_id=terms.key_id, wallet_id=terms.wallet_id, permission=None)
        key = one.key(terms.key_id)
        if key is None:
            raise PreSignRefused("the key that asked for this was revoked")
        check_transaction(
            intent,
            transaction,
            key=key,
            wallets=one.wallets(),
            assets=self.assets,
            deployments=self.deployments,
            master=self.master,
            last=one.is_last(intent),
        )
        late = terms.valid_until_ms is not None and terms.valid_until_ms <= self.clock.now_ms()
        # What has bytes may be mined at any time: then it is signed with higher fees as before.
        if late and not one.is_signed(intent):
            raise PreSignRefused("the call's time has passed")
        one.check_bound(intent, calls=terms.calls_hash)

    def _check_authority(
        self, one: "_Snapshot", intent: Intent, *, key_id: str, wallet_id: int, permission: Permission | None
    ) -> None:
        """The key still stands, with that permission, nothing is paused, and the wallet is the one whose lane this is.

        Expiry only refuses new requests.
        """
        try:
            wallet, key = one.wallet(wallet_id), one.key(key_id)
        except Tampered as exc:
            raise PreSignRefused(str(exc)) from exc
        if wallet is None or wallet.address != intent.lane.wallet:
            raise PreSignRefused("the wallet is not the one that was asked to act")
        if key is None or key.revoked_ms is not None or key.wallet_id != wallet_id:
            raise PreSignRefused("the key that asked for this was revoked")
        if permission is not None and permission not in key.permissions:
            raise PreSignRefused(f"the key that asked for this does not have the {permission} permission any more")
        paused = one.pause(intent.lane, key_id)
        if paused is not None:
            raise PreSignPaused(f"paused: {paused.reason}")

    def _tried(self, one: "_Snapshot", intent: Intent, order: Order) -> OrderTry:
        """The order's last try, both as the service wrote them. Raises: PreSignRefused."""
        if not sealing.is_intact(self.master, order):
            raise PreSignRefused(f"order {order.id} is not as it was accepted")
        try:
            tried = try_by_plan(one.c, intent.plan_id)
        except Tampered as exc:
            raise PreSignRefused(str(exc)) from exc
        if tried is None or order.plan_id != intent.plan_id:
            raise PreSignRefused(f"order {order.id} is not carried out by this plan any more")
        if not sealing.is_try_intact(self.master, tried) or tried.number != order.tries:
            raise PreSignRefused(f"the try of order {order.id} is not as it was made")
        return tried

    def _check_swap(self, intent: Intent, order: Order, tried: OrderTry) -> None:
        decoded = decode_call(self.deployments, self.assets, intent.lane.chain_id, intent.call)
        if not isinstance(decoded, Swap):
            raise PreSignRefused(f"the order's last call is no swap that we know: {decoded}")
        # What the decoder answers has a router of the registry and re-encodes to the same bytes.
        wanted = (order.sold_asset, order.bought_asset, order.exact, tried.max_sold, tried.min_bought)
        got = (decoded.sold.id, decoded.bought.id, decoded.exact, decoded.max_in, decoded.min_out)
        if got != wanted or decoded.recipient != intent.lane.wallet:
            raise PreSignRefused("the swap's assets, limits or recipient are not the order's")
        if decoded.deadline_s != tried.deadline_s:
            raise PreSignRefused("the swap's deadline is not the order's")

    def _check_approval(self, intent: Intent, order: Order, tried: OrderTry) -> None:
        decoded = decode_call(self.deployments, self.assets, intent.lane.chain_id, intent.call)
        if not isinstance(decoded, Approve):
            raise PreSignRefused(f"a call before the swap is no approval: {decoded}")
        if decoded.asset.id != order.sold_asset or decoded.amount not in (0, tried.max_sold):
            raise PreSignRefused("the approval is not of exactly what the order sells")
        if decoded.spender not in self.deployments.spenders(intent.lane.chain_id):
            raise PreSignRefused("the approval is not for a router of the registry")

    def _check_withdrawal(self, one: "_Snapshot", intent: Intent, withdrawal: Withdrawal) -> None:
        # SENT as well: a replacement at the same nonce is signed again.
        waiting = withdrawal.state in (WithdrawalState.PROCESSING, WithdrawalState.SENT)
        if not waiting or withdrawal.chain_id != intent.lane.chain_id:
            raise PreSignRefused(f"withdrawal {withdrawal.id} is {withdrawal.state}")
        decoded = decode_call(self.deployments, self.assets, intent.lane.chain_id, intent.call)
        if not isinstance(decoded, Transfer | NativeTransfer):
            raise PreSignRefused(f"the withdrawal's call is no transfer that we know: {decoded}")
        wanted = (withdrawal.asset, withdrawal.amount, withdrawal.destination)
        if (decoded.asset.id, decoded.amount, decoded.recipient) != wanted:
            raise PreSignRefused("the transfer's asset, amount or recipient is not the withdrawal's")
        try:
            allowed = one.destinations(withdrawal.key_id, intent.lane.chain_id)
        except Tampered as exc:
            raise PreSignRefused(str(exc)) from exc
        if Destination(chain_id=intent.lane.chain_id, address=withdrawal.destination) not in allowed:
            raise PreSignRefused("the destination is no longer where the key may withdraw to")
        key = one.key(withdrawal.key_id)
        if key is None:
            raise PreSignRefused("the key that asked for this was revoked")
        recheck(one.c, intent, withdrawal, key=key, assets=self.assets, master=self.master)
