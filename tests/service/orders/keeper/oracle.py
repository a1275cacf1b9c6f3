"""What must hold of resting orders, judged from rows and the chain's state alone, by arithmetic of its own.

    safe     what an order sold and bought, by each receipt, is its whole size inside its limit price
    prompt   an order that one plain path fills inside its limit, at three heads in a row, does not rest any more

A path is enough to be sure: the keeper's routes are at least as good. Only what is certain counts as executable: gas at
its dearest, guards with a margin, the pools both as they are and after all that is on its way.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, permutations
from typing import Any, Final

from sqlalchemy import select

from chains.types import Address
from contracts.errors import ContractError
from contracts.ratio import Ratio
from contracts.swaps import decode_swap
from service.db.models import fills, journal_entries, lanes, order_plans, reservations
from service.markets.trades import Side
from tests.service.markets.state.v2chain import ASSETS, DEPLOYMENTS, Reserves
from tests.service.orders.keeper import chain as on_chain
from tests.service.orders.keeper.chain import NATIVE, Reverted, pair_of, token
from tests.service.orders.keeper.world import (
    FEED_NAMES,
    GAS_PRICE_WEI,
    USD,
    Mined,
    World,
    all_orders,
    calls_under_way,
    resting_orders,
)

MOST_HEADS: Final = 3
MOST_GAS: Final = 900_000
"""More than any route here is estimated at, approvals included."""
SAFE_DEVIATION: Final = Fraction(15, 1000)
"""The bound is 2 %."""
SAFE_IMPACT: Final = Fraction(3, 100)
"""The bound is 5 %."""

Pools = dict[Address, Reserves]


class Oracle:
    def __init__(self, world: World) -> None:
        self.world = world
        self.heads: Counter[int] = Counter()
        """Heads in a row at which an order could have been executed, and rests."""
        self.longest = 0
        self.seen_executable = 0
        """Orders that could be executed when the keeper came to look."""

    async def before_look(self) -> None:
        """Count what the keeper finds to do."""
        self.seen_executable += len(await self._executable())

    async def after_look(self) -> None:
        """To be asked once a head, after the keeper looked."""
        inside = await self._executable()
        self.heads = Counter({order_id: self.heads[order_id] + 1 for order_id in inside})
        self.longest = max(self.longest, *self.heads.values(), 0)
        late = [order_id for order_id, count in self.heads.items() if count >= MOST_HEADS]
        assert not late, f"orders {late} rest although they could be executed at {MOST_HEADS} heads in a row"

    @property
    def reverted(self) -> int:
        return sum(not one.succeeded for one in self.world.mined)

    @property
    def traded(self) -> int:
        return sum(one.succeeded and one.swap is not None for one in self.world.mined)

    async def at_end(self, mined: Sequence[Mined]) -> None:
        """Once all is confirmed: fills inside the limits, one an order; books and holds."""
        world = self.world
        orders = {row.id: row for row in await all_orders(world.db)}
        rows, plans, held, entries, on_hold = await world.db.read(
            lambda c: (
                list(c.execute(select(fills))),
                list(c.execute(select(order_plans))),
                list(c.execute(select(reservations).where(reservations.c.released_ms.is_(None)))),
                list(c.execute(select(journal_entries))),
                list(c.execute(select(lanes).where(lanes.c.hold_reason.is_not(None)))),
            )
        )
        assert not on_hold, "nothing happens here that a person has to look at"
        by_hash = {one.tx_hash: one for one in mined}
        for fill in rows:
            order, receipt = orders[fill.order_id], by_hash[fill.tx_hash]
            base, quote = _in_base(order, receipt.sold, receipt.bought)
            assert (fill.base, fill.quote) == (base, quote)
            assert is_inside(order, base=base, quote=quote), f"order {order.id} was filled outside its limit"
            # Of an exact output a pair gives at times a unit more than was asked for.
            over = base - order.base_amount if order.base_amount is not None else quote - order.quote_amount
            assert 0 <= over <= order.min_bought // 10**6 + 10, f"order {order.id} was not filled as a whole"
        assert max(Counter(fill.order_id for fill in rows).values(), default=0) <= 1
        assert {fill.order_id for fill in rows} == {row.id for row in orders.values() if row.state == "FILLED"}
        self._check_tries(orders, plans)
        self._check_holds(orders, held)
        self._check_books(entries)

    # -- private ------------------------------------------------------------------------------------------

    async def _executable(self) -> set[int]:
        """Resting orders that surely can be executed at the head."""
        world = self.world
        under_way = await calls_under_way(world.db)
        busy = {wallet for wallet, _, _ in under_way}
        now = world.chain.state.reserves
        later = dict(now)
        for _, call, _ in under_way:
            try:
                on_chain.swapped(later, decode_swap(call, deployments=DEPLOYMENTS, assets=ASSETS))
            except (ContractError, Reverted):
                continue
        resting = await resting_orders(world.db)
        return {row.id for row in resting if self._is_executable(row, now, later, busy)}

    def _is_executable(self, row: Any, now: Pools, later: Pools, busy: set[Address]) -> bool:
        world, now_ms = self.world, self.world.clock.now_ms()
        party = next(one for one in world.parties if one.wallet_id == row.wallet_id)
        if party.address in busy or (row.retry_after_ms is not None and now_ms < row.retry_after_ms):
            return False
        if row.expires_ms is not None and now_ms >= row.expires_ms:
            return False
        if row.stop_price is not None and row.triggered_ms is None:
            return False
        sold_id, bought_id = _sides(row)
        sold, bought = ASSETS.by_id(sold_id), ASSETS.by_id(bought_id)
        balances = world.chain.state.balances
        if balances[sold.token_address, party.address] < row.max_sold:
            return False
        if balances[NATIVE, party.address] < 10 * MOST_GAS * GAS_PRICE_WEI * 20:
            return False
        paths = _paths(now, sold.symbol, bought.symbol)
        return all(
            all(self._is_guarded(row, _mid(pools, path)) for path in paths)
            and any(self._path_fills(row, dict(pools), path) for path in paths)
            for pools in (now, later)
        )

    def _path_fills(self, row: Any, pools: Pools, path: list[Address]) -> bool:
        mid = _mid(pools, path)
        fixed = row.base_amount if row.base_amount is not None else row.quote_amount
        exact_in = (row.base_amount is not None) == (row.side == Side.SELL)
        try:
            paid = fixed if exact_in else on_chain.cost(pools, path, fixed)
            got = on_chain.sell(pools, path, paid) if exact_in else fixed
        except Reverted:
            return False
        base, quote = _in_base(row, paid, got)
        if row.count_gas:
            gas = self._gas_worth(row)
            quote += -gas if row.side == Side.SELL else gas
        return is_inside(row, base=base, quote=quote) and 1 - Fraction(got, paid) / mid <= SAFE_IMPACT

    def _is_guarded(self, row: Any, mid: Fraction) -> bool:
        """Whatever way the trade goes, its price is surely what the feeds say."""
        price = mid if row.side == Side.SELL else 1 / mid
        base, quote = ASSETS.by_id(row.base_asset), ASSETS.by_id(row.quote_asset)
        feeds = self.world.chain.feeds
        names = [f"chainlink_{FEED_NAMES[asset.symbol]}_usd" for asset in (base, quote)]
        said = Fraction(feeds[names[0]], feeds[names[1]]) * Fraction(10**quote.decimals, 10**base.decimals)
        return abs(price / said - 1) <= SAFE_DEVIATION

    def _gas_worth(self, row: Any) -> int:
        """In quote base units, at the dearest, by the fair price."""
        quote = ASSETS.by_id(row.quote_asset)
        eth, unit = self.world.usd["WETH"], self.world.usd[quote.symbol]
        wei = MOST_GAS * 2 * GAS_PRICE_WEI
        worth = Fraction(wei * 10**quote.decimals, 10**18) * _fraction(eth) / _fraction(unit)
        return int(worth * 11 / 10) + 1

    def _check_tries(self, orders: dict[int, Any], plans: Sequence[Any]) -> None:
        for plan in plans:
            order = orders[plan.order_id]
            base, quote = _in_base(order, plan.max_sold, plan.min_bought)
            assert is_inside(order, base=base, quote=quote), f"a try of order {order.id} allowed more than its limit"
        tried = Counter(plan.order_id for plan in plans)
        assert all(order.tries == tried[order.id] for order in orders.values())

    def _check_holds(self, orders: dict[int, Any], held: Sequence[Any]) -> None:
        resting = {order.id for order in orders.values() if order.state == "NEW" and order.plan_id is None}
        assert {row.order_id for row in held if row.order_id is not None} == resting
        under_way = {order.plan_id for order in orders.values() if order.state == "NEW" and order.plan_id is not None}
        assert {row.plan_id for row in held if row.plan_id is not None} == under_way

    def _check_books(self, entries: Sequence[Any]) -> None:
        """What the journal says was moved is what the chain moved, to the wei."""
        world = self.world
        told: Counter[tuple[int, str]] = Counter()
        for entry in entries:
            told[entry.wallet_id, entry.asset] += entry.raw if entry.direction == "in" else -entry.raw
        for party in world.parties:
            for asset in (*(token(name) for name in USD), ASSETS.native):
                key = (NATIVE if asset.is_native else asset.token_address, party.address)
                moved = world.chain.state.balances[key] - world.first[key]
                assert told[party.wallet_id, asset.id] == moved, (party, asset.symbol)


def _paths(pools: Pools, sold: str, bought: str) -> list[list[Address]]:
    """Over at most three pairs, by way of connectors, as routes go here."""
    others = [asset.symbol for asset in ASSETS.connectors if asset.symbol not in (sold, bought)]
    names = [(sold, *middle, bought) for count in (0, 1, 2) for middle in permutations(others, count)]
    found = [[token(name).token_address for name in way] for way in names]
    return [way for way in found if all(pair_of(*ends) in pools for ends in pairwise(way))]


def _mid(pools: Pools, path: list[Address]) -> Fraction:
    """Bought for sold, without fees."""
    mid = Fraction(1)
    for token_in, token_out in pairwise(path):
        one, other = on_chain.hop(pools, token_in, token_out)
        mid *= Fraction(other, one)
    return mid


def is_inside(order: Any, *, base: int, quote: int) -> bool:
    """Whether the price paid is no worse than the limit."""
    price = _fraction(order.price)
    return quote >= base * price if order.side == Side.SELL else quote <= base * price


def _in_base(order: Any, sold: int, bought: int) -> tuple[int, int]:
    return (sold, bought) if order.side == Side.SELL else (bought, sold)


def _sides(order: Any) -> tuple[Any, Any]:
    both = order.base_asset, order.quote_asset
    return both if order.side == Side.SELL else (both[1], both[0])


def _fraction(ratio: Ratio) -> Fraction:
    return Fraction(ratio.num, ratio.den)
