"""Order flow: traders who make prices, trades and candles move on the local chains.

Each step the reference prices move; on every chain one trade happens, either an arbitrage that brings the pool
furthest from the reference back to it, or a noise trade of random size and direction; Chainlink answers follow.

Guarantees: with automine, the same seed on the same freshly built chains gives the same trades; a trade that
fails is logged and counted, and the flow goes on; it ends when told to, at a given step, or when a chain no
longer answers. Nothing is signed: traders have no keys and are impersonated, so that a fork of a real network
yields no signature that would be valid there. With block times trades depend on which block saw which.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from scripts.devnet import artifacts
from scripts.devnet.calls import Contract, call_data, submit_raw, wait_for_receipt
from scripts.devnet.catalogue import CHAINS, Pool
from scripts.devnet.cheats import (
    feed_answer,
    fund_token,
    impersonate,
    install_mock_aggregators,
)
from scripts.devnet.liquidity import pool_address
from scripts.devnet.network import LocalChain
from scripts.devnet.placing import TREASURY
from scripts.devnet.rpc import DevRpc, RpcError
from scripts.devnet.trades import Swap, amount_worth, arbitrage, gain_ppm, read_states
from scripts.devnet.walk import MILLION, PriceWalk

log = logging.getLogger(__name__)

TRADERS = 6
# What a trader starts with of each token; topped up when a trade needs more.
PURSE_USD_MICRO = 5_000_000 * MILLION
# An arbitrage moves at most 1/50 of a pool's depth, so that a large gap closes over several trades.
ARBITRAGE_SHARE = 50
# Noise trades are a fraction of the depth between these, evenly on a logarithmic scale.
NOISE_EXPONENTS = (-5.0, -3.0)
ARBITRAGE_CHANCE = 0.5
# Feeds follow when the price moved this far, or after so many steps.
FEED_DEVIATION_PPM = 1_000
FEED_HEARTBEAT_STEPS = 120
# Steps in a row without an answer after which a chain counts as gone; one that takes calls and answers none of them
# is gone much earlier.
GONE_AFTER = 20
ANSWER_TIMEOUT_S = 30.0
GONE_AFTER_TIMEOUTS = 3
# A step takes milliseconds, on a busy machine seconds: what takes longer waits for a chain that stands still.
LAST_STEP_S = 10.0
JOIN_POLL_S = 1.0
SWAP_GAS = 900_000
# Transactions watched for their block. One that a revert of the chain took away would else be watched for ever.
UNMINED_KEPT = 500
UNLIMITED = 2**256 - 1
ZERO_ADDRESS = "0x" + "0" * 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What one step did on one chain. `succeeded` is None while no block has it yet."""

    chain: str
    step: int
    swap: Swap
    trader: str
    tx_hash: str
    succeeded: bool | None


@dataclass(slots=True, kw_only=True)
class Counts:
    """How a flow went so far."""

    trades: int = 0
    reverted: int = 0
    failed: int = 0
    feed_updates: int = 0


class ChainGone(Exception):
    """A chain has not answered for `GONE_AFTER` steps, or for `GONE_AFTER_TIMEOUTS` calls of `ANSWER_TIMEOUT_S`."""


class OrderFlow:
    """The traders of some chains. One thread at a time."""

    def __init__(self, chains: Sequence[LocalChain], *, seed: int) -> None:
        self.counts = Counts()
        self._seed = seed
        self._chains = chains
        self._step = 0
        self._markets: list[_Market] = []
        self._walk = PriceWalk({}, seed=seed)

    def prepare(self) -> None:
        """Find the pools, fund the traders, start the reference prices from the feeds."""
        start: dict[str, int] = {}
        for chain in self._chains:
            market = _Market(chain, seed=self._seed, counts=self.counts)
            start = {**market.feeds, **start}
            self._markets.append(market)
        self._walk = PriceWalk(start, seed=self._seed)
        for market in self._markets:
            market.fund_traders(self._walk.prices())

    def step(self) -> list[Trade]:
        """Move the reference prices and trade once on every chain.

        Raises:
            ChainGone: a chain stopped answering a while ago.
        """
        self._step += 1
        prices = self._walk.step()
        trades = [market.step(self._step, prices) for market in self._markets]
        return [trade for trade in trades if trade is not None]

    def run(self, *, rate_per_s: float, stop: threading.Event, max_steps: int | None = None) -> None:
        """Step at a rate until told to stop. A slow node lowers the rate; missed steps are not made up."""
        started = self._step
        due = time.monotonic()
        while not stop.is_set() and (max_steps is None or self._step - started < max_steps):
            try:
                self.step()
            except ChainGone as exc:
                log.warning("order flow ends: %s", exc)
                return
            due = max(due + 1 / rate_per_s, time.monotonic())
            stop.wait(due - time.monotonic())

    def prices(self) -> Mapping[str, int]:
        """The reference prices of the present step, USD with 8 decimals."""
        return self._walk.prices()

    def hang_up(self) -> None:
        """For another thread: what waits for an answer waits no longer."""
        for market in self._markets:
            market.rpc.hang_up()

    def close(self) -> None:
        """Close the connections."""
        for market in self._markets:
            market.rpc.close()


@contextmanager
def order_flow(chains: Sequence[LocalChain], *, rate_per_s: float = 1.0, seed: int = 1) -> Iterator[OrderFlow]:
    """A flow that runs in a thread of its own for as long as the context lasts."""
    flow = OrderFlow(chains, seed=seed)
    flow.prepare()
    stop = threading.Event()
    thread = threading.Thread(
        target=flow.run, kwargs={"rate_per_s": rate_per_s, "stop": stop}, name="order-flow", daemon=True
    )
    thread.start()
    try:
        yield flow
    finally:
        stop.set()
        thread.join(LAST_STEP_S)
        while thread.is_alive():
            flow.hang_up()
            thread.join(JOIN_POLL_S)
        flow.close()


class _Market:
    """One chain's pools and traders."""

    def __init__(self, chain: LocalChain, *, seed: int, counts: Counts) -> None:
        self.spec = CHAINS[chain.name]
        self.rpc = DevRpc(chain.rpc_url, timeout_s=ANSWER_TIMEOUT_S)
        self._counts = counts
        self._random = random.Random(f"trades {chain.name} {seed}")
        real = not chain.is_built_here
        if real:
            install_mock_aggregators(self.rpc, self.spec, toolbox=artifacts.ensure())
        # On a fork of a real network nobody, not even by knowing the seed, owns these addresses there.
        salt = secrets.token_hex(16) if real else ""
        self._traders = [_trader(chain.name, seed=seed, salt=salt, number=n) for n in range(TRADERS)]
        found = {pool: pool_address(self.rpc, self.spec, pool=pool) for pool in self.spec.pools}
        self._pools: Mapping[Pool, str] = {pool: at for pool, at in found.items() if at != ZERO_ADDRESS}
        self.feeds = {base: feed_answer(self.rpc, self.spec, base) for base in self.spec.feeds}
        self._aggregators = {
            base: Contract(self.rpc, feed.address).view("aggregator()(address)")
            for base, feed in self.spec.feeds.items()
        }
        self._fed_at_step = dict.fromkeys(self.feeds, 0)
        self._automine = bool(self.rpc("anvil_getAutomine"))
        self._head = 0
        self._arbitraged: set[Pool] = set()
        self._base_fee_wei = int(self._head_block()["baseFeePerGas"], 16)
        self._unmined: list[str] = []
        self._silent_steps = 0
        self._timeouts = 0

    def fund_traders(self, prices: Mapping[str, int]) -> None:
        impersonate(self.rpc, TREASURY)
        routers = {Swap(pool=p, kind="", sold="", bought="", amount=0).router(self.spec) for p in self._pools}
        for trader in self._traders:
            impersonate(self.rpc, trader)
            for token in self.spec.tokens.values():
                purse = amount_worth(self.spec, token.symbol, usd_micro=PURSE_USD_MICRO, prices=prices)
                fund_token(self.rpc, self.spec.name, token.symbol, trader, purse)
                for router in sorted(routers):
                    self.rpc("anvil_setERC20Allowance", trader, router, token.address, hex(UNLIMITED))

    def step(self, step: int, prices: Mapping[str, int]) -> Trade | None:
        try:
            self._collect()
            self._see_head()
            self._follow_with_feeds(step, prices)
            swap = self._choose(prices)
            trade = self._trade(step, swap)
        except (RpcError, OSError, TimeoutError) as exc:
            self._counts.failed += 1
            self._silent_steps += isinstance(exc, OSError)
            self._timeouts += isinstance(exc, TimeoutError)
            log.warning("%s: step %d failed: %s", self.spec.name, step, exc)
            if self._silent_steps >= GONE_AFTER or self._timeouts >= GONE_AFTER_TIMEOUTS:
                raise ChainGone(f"{self.spec.name} no longer answers") from exc
            return None
        self._silent_steps = self._timeouts = 0
        return trade

    def _see_head(self) -> None:
        """Note a new head, and keep the base fee up: blocks this empty would bring it to its floor."""
        block = self._head_block()
        if (number := int(block["number"], 16)) != self._head:
            self._head = number
            self._arbitraged.clear()
        if int(block["baseFeePerGas"], 16) * 5 < self._base_fee_wei * 4:
            self.rpc("anvil_setNextBlockBaseFeePerGas", hex(self._base_fee_wei))

    def _head_block(self) -> Mapping[str, str]:
        block: Mapping[str, str] = self.rpc("eth_getBlockByNumber", "latest", False)
        return block

    def _choose(self, prices: Mapping[str, int]) -> Swap:
        # The same numbers are drawn whatever the chain looks like, so that one failure changes one trade.
        wants_arbitrage = self._random.random() < ARBITRAGE_CHANCE
        noise = self._noise(prices)
        if not wants_arbitrage:
            return noise
        # What the head does not show yet must not be done again: one arbitrage a pool and block.
        waiting = {pool: at for pool, at in self._pools.items() if pool not in self._arbitraged}
        states = read_states(self.rpc, waiting)
        states.sort(key=lambda state: gain_ppm(state, self.spec, prices=prices) - state.pool.fee, reverse=True)
        for state in states:
            cap = state.pool.depth_usd * MILLION // ARBITRAGE_SHARE
            if (swap := arbitrage(self.spec, state, prices=prices, cap_usd_micro=cap)) is not None:
                self._arbitraged.add(state.pool)
                return swap
        return noise

    def _noise(self, prices: Mapping[str, int]) -> Swap:
        pool = self._random.choices(list(self._pools), weights=[p.depth_usd for p in self._pools])[0]
        sold, bought = self._random.sample((pool.base, pool.quote), 2)
        usd_micro = int(pool.depth_usd * MILLION * 10 ** self._random.uniform(*NOISE_EXPONENTS))
        amount = amount_worth(self.spec, sold, usd_micro=usd_micro, prices=prices)
        return Swap(pool=pool, kind="noise", sold=sold, bought=bought, amount=amount)

    def _trade(self, step: int, swap: Swap) -> Trade:
        trader = self._traders[step % TRADERS]
        token = Contract(self.rpc, self.spec.tokens[swap.sold].address)
        if token.view("balanceOf(address)(uint256)", trader) < swap.amount:
            fund_token(self.rpc, self.spec.name, swap.sold, trader, 10 * swap.amount)
        data = swap.calldata(self.spec, trader=trader)
        tx_hash = submit_raw(self.rpc, swap.router(self.spec), data=data, sender=trader, gas=SWAP_GAS)
        self._counts.trades += 1
        return Trade(
            chain=self.spec.name,
            step=step,
            swap=swap,
            trader=trader,
            tx_hash=tx_hash,
            succeeded=self._outcome(tx_hash),
        )

    def _follow_with_feeds(self, step: int, prices: Mapping[str, int]) -> None:
        for base, answer in self.feeds.items():
            moved_ppm = abs(prices[base] - answer) * MILLION // answer
            if moved_ppm >= FEED_DEVIATION_PPM or step - self._fed_at_step[base] >= FEED_HEARTBEAT_STEPS:
                data = call_data("updateAnswer(int256)", prices[base])
                tx_hash = submit_raw(self.rpc, self._aggregators[base], data=data, sender=TREASURY)
                self._outcome(tx_hash)
                self.feeds[base] = prices[base]
                self._fed_at_step[base] = step
                self._counts.feed_updates += 1

    def _outcome(self, tx_hash: str) -> bool | None:
        if not self._automine:
            self._unmined = [*self._unmined[1 - UNMINED_KEPT :], tx_hash]
            return None
        return self._note(wait_for_receipt(self.rpc, tx_hash))

    def _collect(self) -> None:
        """Count what blocks have taken since; without automine a transaction waits here for its block."""
        receipts = self.rpc.batch([("eth_getTransactionReceipt", tx_hash) for tx_hash in self._unmined])
        for receipt in receipts:
            if receipt is not None:
                self._note(receipt)
        self._unmined = [h for h, r in zip(self._unmined, receipts, strict=True) if r is None]

    def _note(self, receipt: Mapping[str, str]) -> bool:
        succeeded = int(receipt["status"], 16) == 1
        if not succeeded:
            self._counts.reverted += 1
            log.warning("%s: %s reverted", self.spec.name, receipt["transactionHash"])
        return succeeded


def _trader(chain: str, *, seed: int, salt: str, number: int) -> str:
    digest = keccak(f"cambist trader {chain} {seed} {salt} {number}".encode())
    address: str = to_checksum_address(digest[12:])
    return address
