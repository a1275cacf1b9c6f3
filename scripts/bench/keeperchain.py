"""Resting orders on a local chain, executed by the protocols' own bytecode: the proof of `scripts.bench keeper`.

Each step: some new orders by signed requests, a block of everything that happens to pools (`churn`), a turn of the
engine, a look of the keeper; at times a reorg. What is held against what:

    receipts  Transfer logs of each filled order's transaction, summed for its wallet, against the limit price
    tries     the limits of each try's calldata, against the limit price
    rests     what the contracts quote at the head for orders that rest and could be executed, three heads in a row;
              a price that the feeds contradict is not one (the guard refuses it)
    books     opening and journal against the chain's balances, to the wei

The clock is the chain's: a block takes its twelve seconds, however fast it is made.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from chains.errors import ChainError
from chains.signing.signer import UnlockedKey
from chains.types import Address, BlockHash, BlockRef, TxHash
from contracts.abi import load_abi
from contracts.assets import Asset
from contracts.errors import QuoteError
from contracts.quoting import best_quote
from contracts.ratio import Ratio
from scripts.bench.churn import Churn
from scripts.bench.keeperwallets import fund, stack_of
from scripts.devnet.catalogue import CHAINS
from scripts.devnet.cheats import feed_answer
from scripts.devnet.network import LocalChain
from service.build import Services, build
from service.db.models import fills, order_plans, orders
from service.journal.reconcile import Verdict, reconcile_chain
from service.markets.trades import Side
from service.orders.keeper.book import busy_wallets, on_its_way
from service.workers.keeper import keeper_of
from tests.clock import FakeClock
from tests.e2e.harness import Stack, settings_for

WALLETS: Final = 4
BLOCK_MS: Final = 12_000
DEPTH: Final = 10
"""Confirmed: deeper than any reorg here, since a deeper one is for a person."""
DEEPEST: Final = 8
MARKETS: Final = ("WETHUSDC", "WBTCUSDC", "WETHUSDT", "WBTCWETH")
SIZES: Final = {"WETH": (3, 400), "WBTC": (1, 14)}
"""Of base, in hundredths and in thousandths."""
MOST_RESTING: Final = 40
MOST_HEADS: Final = 3
FOUND_PART: Final = 0.2
"""Of the looks, before which it is counted what there is to do."""
MARGIN: Final = Fraction(4, 10_000)
"""What a quote has to be better than the limit by, to count: routes are chosen after gas."""
MOST_GAS: Final = 1_500_000
"""More than any route here is estimated at, approvals included."""
MAX_DEVIATION_BPS: Final = 5_000
"""Order flow makes prices at random: guards have tests of their own."""
SAFE_DEVIATION: Final = Fraction(4, 10)
"""From what the feeds say: within it the guard surely passes. Flow may leave a pool without liquidity, at any price."""


@dataclass(slots=True, kw_only=True)
class Proven:
    """What a run found."""

    blocks: int = 0
    reorgs: int = 0
    placed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    filled: int = 0
    executed: int = 0
    triggered: int = 0
    reverted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    """Quotes of the contracts for orders that rest."""
    found_executable: int = 0
    """Such before the keeper's look, at a part of the heads."""
    longest: int = 0
    outside: list[str] = field(default_factory=list)
    books_differ: int = 0


async def prove(chain: LocalChain, directory: Path, *, blocks: int, reorgs: int, seed: int) -> Proven:
    """The proof on a chain of its own."""
    churn = await asyncio.to_thread(Churn, chain, seed=seed)
    try:
        proof = await _Proof.started(chain, directory, churn=churn, seed=seed)
        try:
            await proof.run(blocks=blocks, reorgs=reorgs)
        finally:
            await proof.close()
    finally:
        churn.close()
    return proof.done


class _Proof:
    def __init__(self, services: Services, stacks: list[Stack], *, clock: FakeClock, churn: Churn, seed: int) -> None:
        self._services, self._stacks, self._clock, self._churn = services, stacks, clock, churn
        self._rng = random.Random(seed)
        self._runtime = services.chains["ethereum"]
        self._keeper = keeper_of(services, self._runtime)
        self._heads: Counter[int] = Counter()
        self._feeds: tuple[BlockHash | None, dict[str, int]] = (None, {})
        """What they say in US dollars, by whose they are, at a block."""
        self.done = Proven()

    @classmethod
    async def started(cls, chain: LocalChain, directory: Path, *, churn: Churn, seed: int) -> _Proof:
        """The service on the chain, wallets with funds, keys."""
        rpc, rng = churn.rpc, random.Random(seed)
        head: Any = rpc("eth_getBlockByNumber", "latest", False)
        clock = FakeClock(int(head["timestamp"], 16) * 1000)
        await asyncio.to_thread(rpc, "anvil_mine", hex(2 * DEPTH))
        chains_file = directory / "chains.toml"
        chains_file.write_text(f"[ethereum.finality]\nconfirmed_depth = {DEPTH}\n", "utf-8")
        settings = settings_for(directory, {"ethereum": chain}, database_url=None).model_copy(
            update={"chains_file": chains_file, "max_price_deviation_bps": MAX_DEVIATION_BPS}
        )
        services = await build(settings, clock=clock)
        runtime, stacks = services.chains["ethereum"], []
        try:
            await runtime.engine.recover()
            await runtime.engine.step()
            for number in range(WALLETS):
                key = UnlockedKey(rng.randbytes(32))
                services.keyring.add(key)
                await asyncio.to_thread(fund, rpc, key.address)
                await asyncio.to_thread(rpc, "anvil_mine", hex(2 * DEPTH))
                clock.advance_ms(2 * DEPTH * BLOCK_MS)
                await runtime.engine.step()
                stacks.append(await stack_of(services, key, rpc, number=number))
        except BaseException:
            await services.close()
            raise
        return cls(services, stacks, clock=clock, churn=churn, seed=seed)

    async def close(self) -> None:
        for stack in self._stacks:
            await stack.client.aclose()
        await self._services.close()

    async def run(self, *, blocks: int, reorgs: int) -> None:
        left, done = reorgs, self.done
        while done.blocks < blocks or left:
            await self._order()
            if left and done.blocks > 2 * DEEPEST and self._rng.random() < 2 * left / max(1, blocks - done.blocks):
                left -= 1
                with self._churn.reorg():
                    depth = self._rng.randint(1, DEEPEST)
                    for _ in range(depth):
                        await self._block()
                    await self._look()
                # Nodes show a branch once it is longer than the one that they had.
                for _ in range(depth + self._rng.randint(1, 2)):
                    await self._mine()
                await self._runtime.engine.step()
                done.reorgs += 1
            else:
                await self._block()
            await self._look()
        for _ in range(3 * DEPTH):
            await self._block()
        await self._check_fills()
        await self._check_books()

    # -- private ------------------------------------------------------------------------------------------

    async def _block(self) -> None:
        await self._mine()
        await self._runtime.engine.step()

    async def _mine(self) -> None:
        """A block of flow, with whatever of ours waits in the node's pool."""
        self._clock.advance_ms(BLOCK_MS)
        timestamp_s = self._clock.now_ms() // 1000
        await asyncio.to_thread(self._churn.rpc, "evm_setNextBlockTimestamp", timestamp_s)
        await asyncio.to_thread(self._churn.block)
        self.done.blocks += 1

    async def _look(self) -> None:
        """The keeper at the head, and what rests before and after it."""
        done = self.done
        if self._rng.random() < FOUND_PART:
            done.found_executable += len(await self._executable())
        looked = await self._keeper.step()
        if looked is not None:
            done.executed += looked.executed
            done.triggered += looked.triggered
        # What was queued is signed and sent, for the next block.
        await self._runtime.engine.step()
        inside = await self._executable()
        self._heads = Counter({order_id: self._heads[order_id] + 1 for order_id in inside})
        done.longest = max(done.longest, *self._heads.values(), 0)

    async def _order(self) -> None:
        """Some new orders near the price."""
        resting = await self._services.db.read(
            lambda c: len(c.execute(select(orders.c.id).where(orders.c.state == "NEW")).all())
        )
        for _ in range(self._rng.randint(0, 4) if resting < MOST_RESTING else 0):
            stack, symbol = self._rng.choice(self._stacks), self._rng.choice(MARKETS)
            market = self._runtime.assets.markets[symbol]
            mid = await self._mid(symbol)
            if mid is None:
                continue
            low, high = SIZES[market.base.symbol]
            places = 100 if market.base.symbol == "WETH" else 1_000
            amount = Fraction(self._rng.randint(low, high), places)
            body: dict[str, Any] = {
                "market": symbol,
                "side": self._rng.choice(("buy", "sell")),
                "type": self._rng.choice(
                    ("limit", "limit", "limit", "limit_maker", "stop_loss_limit", "take_profit_limit")
                ),
                "base_amount": _text(amount, 3),
                "price": self._near(mid),
                "slippage_bps": self._rng.choice((20, 50, 100)),
                "count_gas": self._rng.random() < 0.3,
            }
            if body["type"] in ("limit",):
                body["time_in_force"] = "gtc"
            if body["type"].endswith("_limit"):
                body["stop_price"] = self._near(mid)
            if self._rng.random() < 0.3:
                body["expires_ms"] = self._clock.now_ms() + self._rng.randint(5, 200) * BLOCK_MS
            answer = await stack.post("/v1/ethereum/orders", body)
            if answer.status_code == 202:
                self.done.placed += 1
            else:
                self.done.refused[str(answer.json()["code"])] += 1

    async def _mid(self, symbol: str) -> Fraction | None:
        market = self._runtime.assets.markets[symbol]
        look = await self._runtime.board.look(self._runtime, market)
        if look.mid is None:
            return None
        scale = Fraction(10**market.base.decimals, 10**market.quote.decimals)
        return Fraction(look.mid.num, look.mid.den) * scale

    def _near(self, mid: Fraction) -> str:
        """A price near that one, of five digits."""
        wanted = mid * (10_000 + self._rng.randint(-60, 60)) / 10_000
        places = max(0, 5 - len(str(int(wanted)))) if wanted >= 1 else 7
        return _text(wanted, places)

    async def _executable(self) -> set[int]:
        """Resting orders that the contracts say can be had inside their limit, and that nothing keeps from it."""

        def read(c: Connection) -> tuple[list[Any], frozenset[int], int]:
            rests = (orders.c.state == "NEW") & orders.c.plan_id.is_(None)
            under_way = on_its_way(
                c, self._runtime.config.chain_id, above=2**40,
                assets=self._runtime.assets, deployments=self._runtime.deployments,
            )  # fmt: skip
            found = list(c.execute(select(orders).where(rests)).all())
            return found, busy_wallets(c, self._runtime.config.chain_id), len(under_way)

        found, busy, under_way = await self._services.db.read(read)
        if under_way:
            # What is on its way may take the price first.
            return set()
        now_ms = self._clock.now_ms()
        ready = [
            row
            for row in found
            if row.wallet_id not in busy
            and (row.retry_after_ms is None or row.retry_after_ms <= now_ms)
            and (row.expires_ms is None or row.expires_ms > now_ms)
            and (row.stop_price is None or row.triggered_ms is not None)
        ]
        head = await self._runtime.client.head()
        return {row.id for row in ready if await self._is_inside(row, head.ref)}

    async def _is_inside(self, row: Any, block: BlockRef) -> bool:
        assets = self._runtime.assets
        base, quote = assets.by_id(row.base_asset), assets.by_id(row.quote_asset)
        sold, bought = (base, quote) if row.side == Side.SELL else (quote, base)
        self.done.asked += 1
        try:
            found = await best_quote(
                self._runtime.client, assets=assets, deployments=self._runtime.deployments, sold=sold, bought=bought,
                amount=row.base_amount, exact="in" if row.side == Side.SELL else "out", block=block,
            )  # fmt: skip
        except (QuoteError, ChainError):
            return False
        got = found.amount_out if row.side == Side.SELL else found.amount_in
        if not await self._is_guarded(base, quote, price=Fraction(got, row.base_amount), block=block):
            return False
        if row.count_gas:
            gas = await self._gas_worth(quote, block)
            got += -gas if row.side == Side.SELL else gas
        worth, price = Fraction(got, row.base_amount), _fraction(row.price)
        return worth >= price * (1 + MARGIN) if row.side == Side.SELL else worth <= price * (1 - MARGIN)

    async def _is_guarded(self, base: Asset, quote: Asset, *, price: Fraction, block: BlockRef) -> bool:
        """Whether a price (quote base units for one of base) is surely near enough to the feeds' for the guard."""
        if self._feeds[0] != block.hash:
            spec = CHAINS["ethereum"]
            names = {spec.tokens[symbol].prices for market in MARKETS for symbol in (market[:4], market[4:])}
            answers = await asyncio.to_thread(lambda: {one: feed_answer(self._churn.rpc, spec, one) for one in names})
            self._feeds = (block.hash, answers)
        tokens = CHAINS["ethereum"].tokens
        usd = [self._feeds[1][tokens[asset.symbol].prices] for asset in (base, quote)]
        said = Fraction(usd[0] * 10**quote.decimals, usd[1] * 10**base.decimals)
        return abs(price / said - 1) <= SAFE_DEVIATION

    async def _gas_worth(self, quote: Asset, block: BlockRef) -> int:
        """Quote base units that a swap's gas is worth, at the dearest."""
        wei = MOST_GAS * (await self._runtime.fees.suggested(self._runtime.client, block=block)).max_fee_wei
        if quote.symbol == "WETH":
            return wei
        dollars = await self._mid("WETHUSDC") or Fraction(0)
        return int(dollars * wei * 10**quote.decimals / 10**18 * Fraction(11, 10))

    async def _check_fills(self) -> None:
        done = self.done
        rows, tries, filled = await self._services.db.read(
            lambda c: (
                {row.id: row for row in c.execute(select(orders))},
                list(c.execute(select(order_plans))),
                list(c.execute(select(fills).where(fills.c.reverses.is_(None)))),
            )
        )
        done.states = Counter(row.state for row in rows.values())
        for tried in tries:
            row = rows[tried.order_id]
            if not _no_worse(row, sold=tried.max_sold, bought=tried.min_bought):
                done.outside.append(f"a try of order {row.id}")
        wallets = {stack.wallet.id: stack.wallet.address for stack in self._stacks}
        for fill in filled:
            row = rows[fill.order_id]
            sold, bought = await self._moved(row, TxHash(fill.tx_hash), wallets[row.wallet_id])
            base, quote = (sold, bought) if row.side == Side.SELL else (bought, sold)
            whole = base >= row.base_amount if row.side == Side.BUY else base == row.base_amount
            if not _no_worse(row, sold=sold, bought=bought) or not whole or (fill.base, fill.quote) != (base, quote):
                done.outside.append(f"order {row.id}: sold {sold}, bought {bought}")
        done.filled = len({fill.order_id for fill in filled})
        if len(filled) != done.filled:
            done.outside.append("an order was filled twice")
        done.reverted = sum(row.gas_wei > 0 and row.state != "FILLED" for row in rows.values())

    async def _moved(self, row: Any, tx_hash: TxHash, wallet: Address) -> tuple[int, int]:
        """What the wallet paid and got, by the Transfer logs of the receipt."""
        assets = self._runtime.assets
        base, quote = assets.by_id(row.base_asset), assets.by_id(row.quote_asset)
        sold, bought = (base, quote) if row.side == Side.SELL else (quote, base)
        receipt: Any = await asyncio.to_thread(self._churn.rpc, "eth_getTransactionReceipt", tx_hash)
        if receipt is None or int(receipt["status"], 16) != 1:
            self.done.outside.append(f"order {row.id}: its fill has no successful receipt")
            return 0, 0
        return -_net(receipt, sold, wallet), _net(receipt, bought, wallet)

    async def _check_books(self) -> None:
        for _ in range(2):
            await self._runtime.engine.step()
        for stack in self._stacks:
            report = await reconcile_chain(self._services, stack.wallet, chain="ethereum")
            self.done.books_differ += sum(line.verdict is not Verdict.OK for line in report.rows)


def _net(receipt: Any, asset: Asset, wallet: Address) -> int:
    topic = "0x" + load_abi("erc20").event("Transfer").topic.hex()
    mine = "0x" + wallet[2:].lower().rjust(64, "0")
    total = 0
    for log in receipt["logs"]:
        if log["address"].lower() == asset.token_address.lower() and log["topics"][0] == topic:
            amount = int(log["data"], 16)
            total += amount * ((log["topics"][2] == mine) - (log["topics"][1] == mine))
    return total


def _no_worse(row: Any, *, sold: int, bought: int) -> bool:
    price = _fraction(row.price)
    return bought >= sold * price if row.side == Side.SELL else sold <= bought * price


def _fraction(ratio: Ratio) -> Fraction:
    return Fraction(ratio.num, ratio.den)


def _text(value: Fraction, places: int) -> str:
    """Decimal text, rounded down."""
    scaled = str(int(value * 10**places)).rjust(places + 1, "0")
    return scaled if not places else f"{scaled[:-places]}.{scaled[-places:]}"
