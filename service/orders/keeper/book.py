"""One chain's resting orders in memory, and which of its swaps are on their way: read from rows, never the only place.

Guarantees: after `apply` the book has exactly the orders that rested at one moment and are as the service wrote them,
each as it was then, and `altered` the ids of the others; of thousands that did not change only a few columns are read.
An order that left the book comes back by a try of it, or never: one that rests again and has not been tried since is an
older row put back (`PUT_BACK`), as right as its MAC is.
Not guaranteed: that an order still rests a moment later: whoever acts on one looks again in its unit of work; nor that
one which left before this process kept the chain's orders, or many thousands ago, is remembered.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, or_, select, type_coerce
from sqlalchemy.types import NullType

from chains.tx.model import UNMINED_TX_STATES, IntentState, TxState
from chains.types import CallRequest, ChainId
from contracts.assets import AssetList
from contracts.decoding import decode_call
from contracts.deployments import Deployments
from contracts.swaps import Swap
from service.auth.authority import sift
from service.auth.secrets import MasterKey
from service.db.models import intents, plans, txs, wallets
from service.db.txloading import address_of
from service.markets.trades import Side
from service.orders import storage
from service.orders.keeper.deciding import Terms, terms_of
from service.orders.keeper.rates import rate_asked
from service.orders.model import Order
from service.orders.sealing import is_intact

PUT_BACK: Final = "it had stopped resting, and rests again without having been tried"
MOST_LEFT: Final = 100_000
"""Orders remembered that left, the last ones: some 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a book finds: the stamps of all that rests, those that are new or changed, and those not to be acted on."""

    stamps: Mapping[int, storage.RestingStamp]
    orders: Sequence[Order]
    altered: Mapping[int, str | None]
    """With why, where their rows do not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A resting order with what is compared at every head. `rate` is what its limit price asks for (`rates`)."""

    order: Order
    terms: Terms
    rate: int

    @classmethod
    def of(cls, order: Order) -> "Resting":
        terms = terms_of(order)
        return cls(order=order, terms=terms, rate=rate_asked(terms.price, sells_base=terms.side is Side.SELL))

    @property
    def waits_for_stop(self) -> bool:
        return self.terms.stop is not None and self.order.triggered_ms is None


class RestingBook:
    """Used by one event loop; `read_changes` runs in the database's threads, and touches nothing else."""

    def __init__(self, chain_id: ChainId, master: MasterKey) -> None:
        self._chain_id: Final = chain_id
        self._master: Final = master
        self.altered: Mapping[int, str | None] = {}
        self._left: OrderedDict[int, int] = OrderedDict()
        """How often an order had been tried when it was last seen to rest, and did not any more."""
        self._stamps: dict[int, storage.RestingStamp] = {}
        self._orders: dict[int, Resting] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Resting]:
        """Oldest first."""
        return iter(self._orders.values())

    def forget(self) -> None:
        """Remember nothing of what rests: another process may have kept the orders meanwhile. What had left, has."""
        self._stamps, self._orders, self.altered = {}, {}, {}

    @property
    def ids(self) -> Collection[int]:
        return self._orders.keys()

    def read_changes(self, c: Connection) -> Changes:
        """For `apply`."""
        stamps = storage.resting_stamps(c, self._chain_id)
        changed = [order_id for order_id, stamp in stamps.items() if self._stamps.get(order_id) != stamp]
        found, unread = storage.resting_of(c, changed)
        orders = [order for order in found if is_intact(self._master, order)]
        wrong = {order.id for order in found} - {order.id for order in orders}
        altered: dict[int, str | None] = dict.fromkeys(sorted(wrong.union(unread)))
        for order_id in changed:
            # Of one that makes no sense the number may be none.
            if order_id not in altered and stamps[order_id].tries <= self._left.get(order_id, -1):
                altered[order_id] = PUT_BACK
        return Changes(stamps=stamps, orders=orders, altered=altered)

    def apply(self, found: Changes) -> None:
        fresh = {order.id: Resting.of(order) for order in found.orders}
        known, altered = self._orders, found.altered
        self.altered = found.altered
        for order_id in self._stamps.keys() - found.stamps.keys():
            self._left[order_id] = self._stamps[order_id].tries
        while len(self._left) > MOST_LEFT:
            self._left.popitem(last=False)
        # Others are not remembered, and so looked at again until they are closed.
        stamps = {order_id: stamp for order_id, stamp in found.stamps.items() if order_id not in altered}
        self._orders = {order_id: fresh.get(order_id) or known[order_id] for order_id in stamps}
        self._stamps = stamps


def on_its_way(
    c: Connection, chain_id: ChainId, *, above: int, assets: AssetList, deployments: Deployments
) -> list[Swap]:
    """Our swaps, of all wallets, that are queued, sent, or mined above that height: oldest first."""
    columns = (intents.c.to_address, intents.c.value_wei, intents.c.data)
    is_later = and_(txs.c.state.in_([TxState.MINED, TxState.CONFIRMED]), txs.c.block_number > above)
    sent = (
        select(intents.c.id, *columns)
        .join(txs, txs.c.intent_id == intents.c.id)
        .where(txs.c.chain_id == chain_id, or_(txs.c.state.in_(sorted(UNMINED_TX_STATES)), is_later))
        .order_by(txs.c.id)
    )
    queued = (
        select(intents.c.id, *columns)
        .join(plans, plans.c.id == intents.c.plan_id)
        .where(intents.c.chain_id == chain_id, intents.c.state == IntentState.QUEUED)
        .order_by(plans.c.sequence, intents.c.position)
    )
    # What makes no sense is signed by nobody any more.
    found = [sift(c, query, table=intents, id_=intents.c.id, make=lambda row: row) for query in (sent, queued)]
    calls = [
        CallRequest(to=row["to_address"], data=bytes(row["data"]), value_wei=row["value_wei"])
        for rows in found
        for row in rows.intact
    ]
    decoded = [decode_call(deployments, assets, chain_id, call) for call in calls]
    return [one for one in decoded if isinstance(one, Swap)]


def busy_wallets(c: Connection, chain_id: ChainId) -> frozenset[int]:
    """Wallets of which something is queued or not mined on the chain."""
    wallet = type_coerce(intents.c.wallet, NullType()), type_coerce(txs.c.wallet, NullType())
    queued = select(wallet[0]).where(intents.c.chain_id == chain_id, intents.c.state == IntentState.QUEUED)
    unmined = select(wallet[1]).where(txs.c.chain_id == chain_id, txs.c.state.in_(sorted(UNMINED_TX_STATES)))
    stored = {*c.execute(queued).scalars(), *c.execute(unmined).scalars()}
    addresses = {address for one in stored if (address := address_of(one)) is not None}
    if not addresses:
        return frozenset()
    return frozenset(c.execute(select(wallets.c.id).where(wallets.c.address.in_(sorted(addresses)))).scalars())
