"""A small exchange in memory: random flow and reorgs, wallets with orders, the real keeper over the real rows.

What sends is a stand-in for the engine, over the same tables and with the real observer: it places plans first in,
first out, refuses those that revert at its head, has them mined in random blocks among others' swaps, confirms them,
and takes them back in reorgs. The engine itself has its own models and chains.
"""

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, select

from chains.client import EvmClient
from chains.recent import RecentHead
from chains.tx.leases import Leases, SoleLeases
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Lane,
    OpenTx,
    Outcome,
    PlanId,
    Tx,
    TxState,
)
from chains.types import Address, BlockRef, CallRequest, Fees, Log, Receipt, TxHash, address_bytes, address_from_bytes
from contracts.assets import Asset, Market
from contracts.pools import PoolDirectory
from contracts.ratio import Ratio
from contracts.swaps import Swap
from service.accounts.people import ensure_account
from service.accounts.wallets import insert_wallet
from service.auth import keys
from service.auth.key_model import NewKey, Permission
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import intents, orders, txs
from service.db.txstore import SqlTxStore
from service.journal import reservations
from service.markets.board import MarketBoard
from service.markets.bounds import Bounds
from service.markets.fees import FeeBoard
from service.markets.guards_reading import OpinionBoard
from service.markets.state.states import PoolStates
from service.markets.trades import Side, exact_side
from service.orders import storage
from service.orders.keeper.deciding import Terms, allowed
from service.orders.keeper.looks import Looked
from service.orders.keeper.needs import KeeperPolicy
from service.orders.keeper.running import Keeper
from service.orders.model import Order, OrderDraft, OrderState, OrderType, TimeInForce
from service.orders.storage import insert_order
from service.workers.observer import ChainObserver
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import ASSETS, CONFIG, DEPLOYMENTS
from tests.service.orders.keeper import chain as on_chain
from tests.service.orders.keeper.chain import NATIVE, Accounts, Reverted, TradingChain, pair_of, token
from tests.service.trading_seed import reserve

BLOCK_MS: Final = 12_000
DEPTH: Final = 10
"""Confirmed: deeper than any reorg here."""
DEEPEST: Final = 8
GAS_PRICE_WEI: Final = on_chain.BASE_FEE_WEI + on_chain.TIP_WEI
POLICY: Final = KeeperPolicy(
    bounds=Bounds(max_deviation_bps=200), max_price_impact_bps=500, max_block_age_s=0, deadline_s=180
)
MARKETS: Final = tuple(ASSETS.markets[symbol] for symbol in ("WETHUSDC", "WETHUSDT", "WBTCUSDC", "WBTCWETH", "DAIUSDC"))
PAIRS: Final = (
    ("WETH", "USDC"),
    ("WETH", "USDT"),
    ("WBTC", "WETH"),
    ("WBTC", "USDC"),
    ("DAI", "USDC"),
    ("USDC", "USDT"),
)
USD: Final = {"WETH": 3_000, "WBTC": 90_000, "USDC": 1, "USDT": 1, "DAI": 1}
FEED_NAMES: Final = {"WETH": "eth", "WBTC": "btc", "USDC": "usdc", "USDT": "usdt", "DAI": "dai"}
POOL_USD: Final = 20_000_000
"""Of each side of a pair."""
CONFIRMED_CONFIG: Final = replace(CONFIG, finality=replace(CONFIG.finality, confirmed_depth=DEPTH, min_final_depth=64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An account with a wallet and a key."""

    account_id: int
    wallet_id: int
    address: Address
    key_id: str


@dataclass(slots=True, kw_only=True)
class Mined:
    """What a block did with one of our calls."""

    tx_id: int
    tx_hash: TxHash
    block: BlockRef
    succeeded: bool
    call: CallRequest
    wallet: Address
    swap: Swap | None
    sold: int
    bought: int


@dataclass(slots=True, kw_only=True)
class Counts:
    blocks: int = 0
    reorgs: int = 0
    placed: int = 0
    refused: int = 0
    deaths: int = 0
    """Of the keeper."""
    looks: Looked = field(default_factory=Looked)


class Woken:
    """Who is woken for a plan; here plans are found in the rows at the next block."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def wake(self) -> None:
        self.event.set()


class Untold:
    """Nobody looks at figures here."""

    def turned(self, config: Any) -> None: ...

    def without_lease(self, config: Any) -> None: ...

    def looked(self, config: Any, done: Looked, *, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the keeper needs of a chain, of real parts over the chain in memory."""

    config: Any
    client: EvmClient
    assets: Any
    deployments: Any
    states: PoolStates
    fees: FeeBoard
    board: MarketBoard
    opinions: OpinionBoard
    engine: Woken


class World:
    def __init__(self, db: Database, clock: FakeClock, *, seed: int, wallets: int) -> None:
        self.db, self.clock, self.rng = db, clock, random.Random(seed)
        self.master = MasterKey()
        self.usd = {name: Ratio.of(price, 1) for name, price in USD.items()}
        self.chain = TradingChain(clock, feeds={})
        self._feed()
        self.parties: list[Party] = []
        self.slippages_bps: tuple[int, ...] = (20, 50, 100)
        self.counts = Counts()
        self.woken = Woken()
        self.mined: list[Mined] = []
        self.pending: list[OpenTx] = []
        self.first: dict[tuple[Address, Address], int] = {}
        self._wallets = wallets
        self._number = 0
        self._highest = 0
        """Block that the chain ever had."""
        self._store = SqlTxStore()
        self._observer = ChainObserver(
            CONFIRMED_CONFIG,
            ASSETS,
            deployments=DEPLOYMENTS,
            store=self._store,
            master=self.master,
            clock=clock,
        )
        self.keeper = self.new_keeper()

    def new_keeper(self, leases: Leases[Connection] | None = None) -> Keeper:
        """As after a restart: nothing is remembered."""
        client = EvmClient(CONFIG, self.chain)
        directory, recent = PoolDirectory(CONFIG.chain_id), RecentHead(self.clock)
        states = PoolStates(
            client, assets=ASSETS, deployments=DEPLOYMENTS, directory=directory, recent=recent, clock=self.clock
        )
        runtime = Runtime(
            config=CONFIG,
            client=client,
            assets=ASSETS,
            deployments=DEPLOYMENTS,
            states=states,
            fees=FeeBoard(),
            board=MarketBoard(),
            opinions=OpinionBoard(CONFIG.chain_id, clock=self.clock),
            engine=self.woken,
        )
        return Keeper(
            runtime,
            uow=self.db,
            leases=SoleLeases() if leases is None else leases,
            clock=self.clock,
            master=self.master,
            policy=POLICY,
            watcher=Untold(),
        )

    async def set_up(self) -> None:
        """Pairs at the fair prices, wallets with funds and keys."""

        def people(c: Connection) -> None:
            for number in range(self._wallets):
                now_ms = self.clock.now_ms()
                account = ensure_account(
                    c, f"account {number}", owner=f"user {number}", master=self.master, now_ms=now_ms
                )
                address = address_from_bytes((0xACC0000 + number).to_bytes(20, "big"))
                wallet = insert_wallet(
                    c,
                    account_id=account.id,
                    address=address,
                    label="main",
                    signer="keystore",
                    master=self.master,
                    now_ms=now_ms,
                )
                new = NewKey(
                    account_id=account.id,
                    wallet_id=wallet.id,
                    label="trade",
                    permissions=frozenset({Permission.READ, Permission.TRADE}),
                )
                key = keys.create_key(c, new, master=self.master, now_ms=now_ms).key
                self._store.open_lane(c, Lane(chain_id=CONFIG.chain_id, wallet=address), 0)
                self.parties.append(Party(account_id=account.id, wallet_id=wallet.id, address=address, key_id=key.id))

        await self.db.run(people)

        def fill(accounts: Accounts) -> None:
            for one, other in PAIRS:
                a, b = self.worth(one, POOL_USD), self.worth(other, POOL_USD)
                first = int(token(one).token_address, 16) < int(token(other).token_address, 16)
                accounts.reserves[pair_of(token(one).token_address, token(other).token_address)] = (
                    (a, b) if first else (b, a)
                )
            for party in self.parties:
                accounts.balances[NATIVE, party.address] = 10**20
                for name in USD:
                    accounts.balances[token(name).token_address, party.address] = self.worth(name, 200_000)
            self.first = dict(accounts.balances)

        self.chain.block(fill)

    def worth(self, name: str, usd: int) -> int:
        """Base units of an asset that are worth so much by the fair price."""
        price = self.usd[name]
        whole: int = 10 ** token(name).decimals
        return usd * whole * price.den // price.num

    def fair(self, market: Market) -> Ratio:
        """Quote base units for one of base."""
        base, quote = self.usd[market.base.symbol], self.usd[market.quote.symbol]
        return Ratio.of(
            base.num * quote.den * 10**market.quote.decimals, base.den * quote.num * 10**market.base.decimals
        )

    def note(self, done: Looked | None) -> None:
        """Add up what looks did."""
        assert done is not None
        looks = self.counts.looks
        for name in ("quoted", "executed", "triggered", "expired", "altered"):
            setattr(looks, name, getattr(looks, name) + getattr(done, name))
        looks.held_back += done.held_back

    async def cancel_one(self) -> None:
        """A client cancels one of the resting orders, if there is one."""
        now_ms = self.clock.now_ms()

        def cancel(c: Connection) -> None:
            found = list(storage.resting(c, CONFIG.chain_id))
            if found:
                order = self.rng.choice(found)
                storage.close_resting(c, order, state=OrderState.CANCELED, reason="asked", now_ms=now_ms)
                reservations.release_order(c, order.id, now_ms)

        await self.db.run(cancel)

    # -- orders -------------------------------------------------------------------------------------------

    def terms(self) -> tuple[Market, OrderType, Terms]:
        """A random order near the fair price."""
        rng = self.rng
        market, side = rng.choice(MARKETS), rng.choice(list(Side))
        kind = rng.choice([OrderType.LIMIT] * 4 + [OrderType.LIMIT_MAKER, *_STOPS])
        spread = 10 if market.symbol == "DAIUSDC" else 100
        fair = self.fair(market)
        away_bps = rng.randint(-spread, spread)
        price = Ratio.of(fair.num * (10_000 + away_bps), fair.den * 10_000)
        stop_bps = rng.randint(-spread, spread)
        stop = Ratio.of(fair.num * (10_000 + stop_bps), fair.den * 10_000) if kind in _STOPS else None
        by_base = rng.random() < 0.6
        amount = max(1, self.worth((market.base if by_base else market.quote).symbol, rng.randint(100, 30_000)))
        terms = Terms(
            side=side,
            exact=exact_side(side, base_is_fixed=by_base),
            amount=amount,
            price=price,
            stop=stop,
            fires_above=(kind is OrderType.TAKE_PROFIT_LIMIT) == (side is Side.SELL),
            counts_gas=rng.random() < 0.3,
        )
        return market, kind, terms

    def lifetime_ms(self) -> int | None:
        return self.rng.choice([None, None, self.rng.randint(2, 60) * BLOCK_MS])

    async def rest(
        self, party: Party, market: Market, kind: OrderType, terms: Terms, *, lifetime_ms: int | None
    ) -> Order | None:
        """Take the order on, with its hold; None where the wallet has too little free."""
        bound = allowed(terms, gas_value=0)
        if bound is None:
            return None
        by_base = terms.exact == exact_side(terms.side, base_is_fixed=True)
        self._number += 1
        now_ms = self.clock.now_ms()
        draft = OrderDraft(
            account_id=party.account_id,
            wallet_id=party.wallet_id,
            key_id=party.key_id,
            client_id=f"o{self._number}",
            params_hash="0x" + "11" * 32,
            chain_id=CONFIG.chain_id,
            market=market.symbol,
            base_asset=market.base.id,
            quote_asset=market.quote.id,
            side=terms.side,
            type=kind,
            base_amount=terms.amount if by_base else None,
            quote_amount=None if by_base else terms.amount,
            slippage_bps=self.rng.choice(self.slippages_bps),
            max_sold=bound.max_sold,
            min_bought=bound.min_bought,
            quote=_snapshot(market),
            time_in_force=TimeInForce.GTC,
            price=terms.price,
            price_text="1",
            stop_price=terms.stop,
            stop_price_text=None if terms.stop is None else "1",
            count_gas=terms.counts_gas,
            expires_ms=None if lifetime_ms is None else now_ms + lifetime_ms,
        )
        sold = market.base if terms.side is Side.SELL else market.quote
        balances = self.chain.state.balances
        have = {
            sold.id: balances.get((sold.token_address, party.address), 0),
            ASSETS.native.id: balances.get((NATIVE, party.address), 0),
        }
        gas_wei = 500_000 * GAS_PRICE_WEI

        def accept(c: Connection) -> Order:
            order = insert_order(c, draft, master=self.master, now_ms=now_ms)
            reservations.hold_for_order(
                c,
                account_id=party.account_id,
                wallet_id=party.wallet_id,
                chain_id=CONFIG.chain_id,
                order_id=order.id,
                amounts={sold.id: bound.max_sold, ASSETS.native.id: gas_wei},
                now_ms=now_ms,
                available=have,
                available_at=self.chain.blocks[-1].number,
            )
            return order

        try:
            return await self.db.run(accept)
        except reservations.NotEnoughFree:
            return None

    async def rest_alike(self, *, usd: int, room_for: int) -> None:
        """One order of each wallet sells that much WETH at the same price, at which so many of them find room."""
        market = ASSETS.markets["WETHUSDC"]
        path = (market.base.token_address, market.quote.token_address)
        amount, reserves = self.worth("WETH", usd), dict(self.chain.state.reserves)
        worst = min(on_chain.sell(reserves, path, amount) for _ in range(room_for))
        for party in self.parties:
            terms = Terms(
                side=Side.SELL,
                exact="in",
                amount=amount,
                price=Ratio.of(worst, amount),
                stop=None,
                fires_above=False,
                counts_gas=False,
            )
            await self.rest(party, market, OrderType.LIMIT, terms, lifetime_ms=None)

    async def rest_far(self, count: int) -> None:
        """So many small orders, one to thirty percent away from the price."""
        for number in range(count):
            market, kind, terms = self.terms()
            away_bps = self.rng.randint(100, 3_000)
            factor = 10_000 + (away_bps if terms.side is Side.SELL else -away_bps)
            fair = self.fair(market)
            by_base = terms.exact == exact_side(terms.side, base_is_fixed=True)
            far = replace(
                terms,
                price=Ratio.of(fair.num * factor, fair.den * 10_000),
                stop=None,
                amount=self.worth((market.base if by_base else market.quote).symbol, 100),
            )
            kind = OrderType.LIMIT if kind in _STOPS else kind
            party = self.parties[number % len(self.parties)]
            await self.rest(party, market, kind, far, lifetime_ms=None)

    # -- blocks -------------------------------------------------------------------------------------------

    async def next_block(self, *, quiet: bool = False) -> None:
        """The lanes place what is queued, then a block of others' swaps with some of ours among them. `quiet`: others
        do nothing, and no lane has bad luck."""
        self.clock.advance_ms(BLOCK_MS)
        await self._place(unlucky=0.0 if quiet else 0.02)
        if not quiet:
            self._walk()
        chosen = self._chosen()
        actions: list[Any] = [] if quiet else [self._flow() for _ in range(self.rng.randint(0, 5))]
        results: list[Mined] = []
        for open_tx in chosen:
            actions.insert(self.rng.randint(0, len(actions)), self._ours(open_tx, results))
        # Of one wallet the nonces decide, wherever the calls were put.
        positions = [at for at, action in enumerate(actions) if hasattr(action, "open_tx")]
        ordered = sorted((actions[at] for at in positions), key=lambda one: (one.open_tx.tx.lane, one.open_tx.tx.nonce))
        for at, action in zip(positions, ordered, strict=True):
            actions[at] = action
        header = self.chain.block(*actions)
        self._highest = max(self._highest, header.number)
        for one in results:
            one.block = header.ref
        self.mined += results
        self.counts.blocks += 1
        await self._mark()

    async def reorg(self) -> None:
        """Blocks leave the chain, and with them what they did. None of what was confirmed, also where a reorg follows
        another before the chain is as high as it was: a wallet to which that happens is held for a person."""
        head = len(self.chain.blocks) - 1
        depth = min(self.rng.randint(1, DEEPEST), head - 4, head - (self._highest - DEPTH))
        if depth < 1:
            return
        self.chain.undo(depth)
        self.counts.reorgs += 1
        height = len(self.chain.blocks) - 1
        gone = [one for one in self.mined if one.block.number > height]
        self.mined = [one for one in self.mined if one.block.number <= height]

        def take_back(c: Connection) -> list[OpenTx]:
            found = {row.tx.id: row for row in self._store.open_txs(c, CONFIG.chain_id)}
            for one in gone:
                row = found[one.tx_id]  # type: ignore[index]
                self._store.mark_reorged(c, row.tx.id, self.clock.now_ms())
                self._observer.on_reorged(c, row.intent, row.tx)
            return self._unmined(c)

        self.pending = await self.db.run(take_back)
        for _ in range(self.rng.randint(1, depth)):
            await self.next_block()

    # -- private ------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        """Fair prices move; feeds follow, now and then one is off."""
        for name in ("WETH", "WBTC"):
            price = self.usd[name]
            self.usd[name] = Ratio.of(price.num * (100_000 + self.rng.randint(-120, 120)), price.den * 100_000)
        self.usd = {name: Ratio.of(price.num * 10**12 // price.den, 10**12) for name, price in self.usd.items()}
        self._feed()

    def _feed(self) -> None:
        off = self.rng.random() < 0.03
        for name, feed in FEED_NAMES.items():
            answer = self.usd[name].times(10**8)
            if off and name == "WETH":
                answer = answer * 104 // 100
            self.chain.feeds[f"chainlink_{feed}_usd"] = answer

    def _flow(self) -> Any:
        """Somebody's swap: towards the fair price mostly, so that pools follow it."""
        one, other = self.rng.choice(PAIRS)
        size_usd = self.rng.randint(100, 30_000)

        def swap(accounts: Accounts) -> None:
            sold, bought = (one, other)
            reserves = on_chain.hop(accounts.reserves, token(one).token_address, token(other).token_address)
            here = reserves[0] * self.worth(other, 10**6)
            there = reserves[1] * self.worth(one, 10**6)
            is_off = abs(here - there) * 200 > there
            if (here > there) if is_off else self.rng.random() < 0.5:
                sold, bought = bought, sold
            path = (token(sold).token_address, token(bought).token_address)
            on_chain.sell(accounts.reserves, path, self.worth(sold, size_usd))

        return swap

    async def _place(self, *, unlucky: float) -> None:
        """Every lane's queued plans: what reverts at the head is refused, the rest is signed and sent."""
        now_ms = self.clock.now_ms()

        def place(c: Connection) -> None:
            for lane in self._store.queued_lanes(c, CONFIG.chain_id):
                accounts = self.chain.state.copy()
                for plan in self._store.next_plans(c, lane, 20):
                    late = plan.valid_until_ms is not None and now_ms >= plan.valid_until_ms
                    reason = "expired: too late" if late else self._reverts(accounts, lane.wallet, plan)
                    if reason is None and self.rng.random() < unlucky:
                        reason = "simulation_reverted: bad luck"
                    if reason is not None:
                        self._store.reject_plan(c, plan.id, reason)
                        self._observer.on_rejected(c, plan, reason)
                        self.counts.refused += 1
                        continue
                    for tx in reserve(c, plan):
                        self._number += 1
                        send(c, tx, number=self._number, now_ms=now_ms)
                    self.counts.placed += 1

        await self.db.run(place)

    def _reverts(self, accounts: Accounts, wallet: Address, plan: Any) -> str | None:
        try:
            for intent in plan.intents:
                self.chain.run(accounts, wallet, intent.call)
        except Reverted as exc:
            return f"simulation_reverted: {exc}"
        return None

    def _chosen(self) -> list[OpenTx]:
        """Those that the block takes: of each wallet the lowest nonces."""
        waiting = [one for one in self.pending if one.tx.id not in {mined.tx_id for mined in self.mined}]
        taken: list[OpenTx] = []
        for lane in sorted({one.tx.lane for one in waiting}):
            of_lane = sorted((one for one in waiting if one.tx.lane == lane), key=lambda one: one.tx.nonce)
            if self.rng.random() < 0.85:
                taken += of_lane[: self.rng.randint(1, len(of_lane))] if self.rng.random() < 0.2 else of_lane
        return taken

    def _ours(self, open_tx: OpenTx, results: list[Mined]) -> Any:
        return _Ours(self.chain, open_tx, results)

    async def _mark(self) -> None:
        """Rows follow the chain: mined, confirmed, final; then what is pending is read again."""
        height, now_ms = len(self.chain.blocks) - 1, self.clock.now_ms()

        def mark(c: Connection) -> list[OpenTx]:
            found = {row.tx.id: row for row in self._store.open_txs(c, CONFIG.chain_id)}
            for one in sorted(self.mined, key=lambda one: one.tx_id):
                row = found.get(one.tx_id)  # type: ignore[call-overload]
                if row is None:
                    continue
                outcome = Outcome.SUCCEEDED if one.succeeded else Outcome.REVERTED
                if row.tx.state is TxState.BROADCAST:
                    self._store.mark_mined(c, row.tx.id, one.tx_hash, block=one.block, outcome=outcome, now_ms=now_ms)
                    row = self._row(c, row)
                    self._observer.on_mined(c, row.intent, row.tx, self.receipt(one))
                if row.tx.state is TxState.MINED and height - one.block.number >= DEPTH:
                    self._store.mark_confirmed(c, row.tx.id, now_ms)
                    row = self._row(c, row)
                    self._observer.on_confirmed(c, row.intent, row.tx, self.receipt(one))
                elif row.tx.state is TxState.CONFIRMED and height - one.block.number >= 2 * DEPTH:
                    self._store.mark_final(c, row.tx.id, now_ms)
                    self._observer.on_final(c, row.intent, row.tx)
            return self._unmined(c)

        self.pending = await self.db.run(mark)

    def _unmined(self, c: Connection) -> list[OpenTx]:
        return list(self._store.open_txs(c, CONFIG.chain_id, states=(TxState.SIGNED, TxState.BROADCAST)))

    def _row(self, c: Connection, row: OpenTx) -> OpenTx:
        [found] = self._store.open_txs(c, CONFIG.chain_id, only=[row.tx.id])
        return found

    def receipt(self, one: Mined) -> Receipt:
        moves = []
        if one.swap is not None and one.succeeded:
            pool = pair_of(one.swap.sold.token_address, one.swap.bought.token_address)
            moves = [
                (one.swap.sold, one.wallet, pool, one.sold),
                (one.swap.bought, pool, one.wallet, one.bought),
            ]
        return Receipt(
            tx_hash=one.tx_hash,
            block=one.block,
            succeeded=one.succeeded,
            gas_used=gas_of(one.swap),
            effective_gas_price_wei=GAS_PRICE_WEI,
            sender=one.wallet,
            to=one.call.to,
            logs=tuple(
                _transfer(asset, source, target, raw, one, index)
                for index, (asset, source, target, raw) in enumerate(moves)
            ),
        )


class _Ours:
    """One of our calls inside a block."""

    def __init__(self, chain: TradingChain, open_tx: OpenTx, results: list[Mined]) -> None:
        self._chain, self.open_tx, self._results = chain, open_tx, results

    def __call__(self, accounts: Accounts) -> None:
        call, wallet = self.open_tx.intent.call, self.open_tx.tx.lane.wallet
        swap, sold, bought, succeeded = None, 0, 0, True
        try:
            _, swap, sold, bought = self._chain.run(accounts, wallet, call)
        except Reverted:
            succeeded = False
        accounts.balances[NATIVE, wallet] -= gas_of(swap if succeeded else None) * GAS_PRICE_WEI
        self._results.append(
            Mined(
                tx_id=self.open_tx.tx.id,
                tx_hash=self.open_tx.attempts[0].hash,
                block=self._chain.blocks[-1].ref,
                succeeded=succeeded,
                call=call,
                wallet=wallet,
                swap=swap,
                sold=sold,
                bought=bought,
            )
        )


_STOPS: Final = (OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)


def gas_of(swap: Swap | None) -> int:
    return on_chain.APPROVE_GAS if swap is None else on_chain.SWAP_GAS


def send(c: Connection, tx: Tx, *, number: int, now_ms: int) -> None:
    """A signed and sent attempt; its hash is made of `number`."""
    attempt = Attempt(
        hash=TxHash(f"0x{number:064x}"),
        tx_id=tx.id,
        kind=AttemptKind.REAL,
        raw=number.to_bytes(8, "big"),
        fees=Fees(max_fee_wei=GAS_PRICE_WEI, priority_fee_wei=on_chain.TIP_WEI),
        gas_limit=200_000,
        state=AttemptState.SIGNED,
        created_ms=now_ms,
    )
    SqlTxStore().save_attempts(c, [attempt], now_ms)
    SqlTxStore().mark_sent(c, [attempt.hash], now_ms)


async def all_orders(db: Database) -> list[Any]:
    return await db.read(lambda c: list(c.execute(select(orders).order_by(orders.c.id)).all()))


async def resting_orders(db: Database) -> list[Any]:
    rests = (orders.c.state == "NEW") & orders.c.plan_id.is_(None)
    return await db.read(lambda c: list(c.execute(select(orders).where(rests).order_by(orders.c.id)).all()))


async def calls_under_way(db: Database) -> list[tuple[Address, CallRequest, PlanId]]:
    """Queued and unmined calls, the oldest first."""

    def read(c: Connection) -> list[tuple[Address, CallRequest, PlanId]]:
        query = (
            select(intents, txs.c.id.label("tx_id"), txs.c.state.label("tx_state"))
            .select_from(intents.outerjoin(txs, txs.c.intent_id == intents.c.id))
            .where(intents.c.state.in_(["queued", "placed"]))
        )
        rows = [
            row
            for row in c.execute(query)
            if row.tx_state is None or row.tx_state in ("reserved", "signed", "broadcast")
        ]
        rows.sort(key=lambda row: (row.tx_id is None, row.tx_id or 0, row.plan_id, row.position))
        return [
            (
                row.wallet,
                CallRequest(to=row.to_address, data=bytes(row.data), value_wei=row.value_wei),
                PlanId(row.plan_id),
            )
            for row in rows
        ]

    return await db.read(read)


def _snapshot(market: Market) -> dict[str, Any]:
    return {
        "chain": CONFIG.key,
        "base": {"symbol": market.base.symbol, "decimals": market.base.decimals},
        "quote": {"symbol": market.quote.symbol, "decimals": market.quote.decimals},
        "native": {"symbol": "ETH", "decimals": 18},
        "deadline_s": 0,
        "quoted": None,
    }


def _transfer(asset: Asset, source: Address, target: Address, raw: int, one: Mined, index: int) -> Log:
    return Log(
        address=asset.token_address,
        topics=(
            on_chain.ERC20.event("Transfer").topic,
            bytes(12) + address_bytes(source),
            bytes(12) + address_bytes(target),
        ),
        data=raw.to_bytes(32, "big"),
        log_index=index,
        tx_hash=one.tx_hash,
        block=one.block,
    )
