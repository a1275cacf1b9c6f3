"""The order flow moves prices and feeds, repeatably, on local chains and on forks of real networks."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from scripts.devnet import DevRpc, LocalChain, start_devnet
from scripts.devnet import flow as flow_module
from scripts.devnet.catalogue import CHAINS, ETHEREUM, START_PRICES, Venue
from scripts.devnet.cheats import feed_answer
from scripts.devnet.flow import OrderFlow, Trade, order_flow
from scripts.devnet.liquidity import pool_address
from scripts.devnet.network import WrongNetwork
from scripts.devnet.trades import gain_ppm, read_states
from scripts.devnet.walk import BOUND_PPM, MILLION, PriceWalk

pytestmark = pytest.mark.chain

STEPS = 60


def test_the_same_seed_on_the_same_chain_gives_the_same_trades(
    fresh_ethereum: LocalChain, fresh_polygon: LocalChain, ethereum: LocalChain, polygon: LocalChain
) -> None:
    first = _trades([fresh_ethereum, fresh_polygon], seed=7)
    second = _trades([ethereum, polygon], seed=7)
    assert [_described(trade) for trade in first] == [_described(trade) for trade in second]
    assert all(trade.succeeded for trade in first)
    assert len(first) == 2 * STEPS


def test_other_seeds_give_other_trades(ethereum: LocalChain, fresh_ethereum: LocalChain) -> None:
    first = _trades([ethereum], seed=1)
    second = _trades([fresh_ethereum], seed=2)
    assert [_described(trade) for trade in first] != [_described(trade) for trade in second]


def test_trades_go_both_ways_through_every_venue(ethereum: LocalChain, polygon: LocalChain) -> None:
    trades = _trades([ethereum, polygon], seed=3, steps=2 * STEPS)
    assert {trade.swap.pool.venue for trade in trades} == set(Venue)
    assert {trade.swap.kind for trade in trades} == {"arbitrage", "noise"}
    assert {trade.swap.sold == trade.swap.pool.base for trade in trades} == {True, False}


def test_pools_and_feeds_follow_the_reference(ethereum: LocalChain) -> None:
    flow = OrderFlow([ethereum], seed=5)
    flow.prepare()
    prices = dict(START_PRICES)
    for _ in range(5 * STEPS):
        flow.step()
    prices = dict(flow.prices())
    flow.close()
    rpc = DevRpc(ethereum.rpc_url)
    assert prices["ETH"] != START_PRICES["ETH"]
    base_fee_wei = int(rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    assert 2 * base_fee_wei > ETHEREUM.base_fee_wei
    for base in ETHEREUM.feeds:
        # A feed is updated before the step's trade, whenever it is a tenth of a per cent off.
        assert abs(feed_answer(rpc, ETHEREUM, base) - prices[base]) * 1000 <= START_PRICES[base]
    pools = {pool: pool_address(rpc, ETHEREUM, pool=pool) for pool in ETHEREUM.pools}
    for state in read_states(rpc, pools):
        # Within the pool's fee, and a little for noise since its last arbitrage.
        assert gain_ppm(state, ETHEREUM, prices=prices) <= state.pool.fee + 5_000, state.pool.label


def test_a_flow_in_the_background_trades_until_its_context_ends(ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    enough = threading.Event()
    with order_flow([ethereum], rate_per_s=50) as flow:
        for _ in range(200):
            if flow.counts.trades >= 5:
                enough.set()
                break
            enough.wait(0.05)
    assert enough.is_set()
    done = flow.counts.trades
    head = int(rpc("eth_blockNumber"), 16)
    assert flow.counts.reverted == flow.counts.failed == 0
    assert (flow.counts.trades, int(rpc("eth_blockNumber"), 16)) == (done, head)


def test_a_flow_ends_when_its_chain_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    with start_devnet(names=["ethereum"]) as devnet:
        flow = OrderFlow(list(devnet.chains.values()), seed=1)
        flow.prepare()
    flow.run(rate_per_s=1000, stop=threading.Event())
    flow.close()
    assert flow.counts.trades == 0
    assert "no longer answers" in caplog.text


def test_a_flow_on_a_chain_that_stands_still_ends_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "LAST_STEP_S", 0.2)
    with start_devnet(names=["ethereum"]) as devnet:
        began = time.monotonic()
        with order_flow(list(devnet.chains.values()), rate_per_s=50):
            os.kill(devnet.pids[0], signal.SIGSTOP)
        assert time.monotonic() - began < flow_module.ANSWER_TIMEOUT_S


def test_on_a_fork_of_a_real_network_traders_are_nobodys(
    ethereum: LocalChain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Our own chain, at a URL of the environment, is as real as any to what forks it.
    head = int(DevRpc(ethereum.rpc_url)("eth_blockNumber"), 16)
    monkeypatch.setenv("ETH_RPC_URL", ethereum.rpc_url)
    monkeypatch.setenv("ETH_FORK_BLOCK", str(head))
    traders = []
    for _ in range(2):
        with start_devnet(names=["ethereum"]) as devnet:
            chain = devnet.chains["ethereum"]
            assert not chain.is_built_here
            trades = _trades([chain], seed=7, steps=10)
            assert all(trade.succeeded for trade in trades)
            traders.append({trade.trader for trade in trades})
    assert traders[0].isdisjoint(traders[1])
    assert f"at block {head}" in capsys.readouterr().out


def test_an_endpoint_of_another_network_is_refused_without_showing_its_key(
    polygon: LocalChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETH_RPC_URL", f"{polygon.rpc_url}/?key=SECRET")
    with pytest.raises(WrongNetwork, match="is chain 137") as caught, start_devnet(names=["ethereum"]):
        pass
    assert "SECRET" not in str(caught.value)


def test_reference_prices_are_repeatable_and_bounded() -> None:
    walks = [PriceWalk(START_PRICES, seed=9) for _ in range(2)]
    for _ in range(2_000):
        prices = [walk.step() for walk in walks]
        assert prices[0] == prices[1]
        for asset, price in prices[0].items():
            start = START_PRICES[asset]
            assert abs(price - start) * MILLION <= start * BOUND_PPM + MILLION
    assert abs(prices[0]["USDC"] - START_PRICES["USDC"]) * 1000 < START_PRICES["USDC"]


def _trades(chains: list[LocalChain], *, seed: int, steps: int = STEPS) -> list[Trade]:
    flow = OrderFlow(chains, seed=seed)
    flow.prepare()
    trades = [trade for _ in range(steps) for trade in flow.step()]
    flow.close()
    assert flow.counts.failed == flow.counts.reverted == 0
    assert {trade.chain for trade in trades} <= set(CHAINS)
    return trades


def _described(trade: Trade) -> tuple[object, ...]:
    return trade.chain, trade.step, trade.swap, trade.trader
