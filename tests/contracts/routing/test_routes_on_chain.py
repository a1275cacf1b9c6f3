"""Routes sent to the routers on the forks: what was quoted is what moves, to the wei, and gas is as estimated."""

import random
from dataclasses import dataclass
from typing import Final

import pytest

from chains.types import Receipt
from chains.units import less_bps, plus_bps
from contracts.assets import Asset
from contracts.deployments import RouterKind
from contracts.errors import QuoteError
from contracts.routes import Exact
from contracts.routing.execution import Share
from contracts.routing.gas import GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import RoutedSwap
from contracts.routing.search import Trade, find_route, offers, option, routed
from contracts.swaps import compile_route
from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.network import LocalChain
from tests.contracts.desk import FOREVER_S, Desk, open_desk
from tests.contracts.routing.chainpools import graph_at

pytestmark = pytest.mark.chain

SLIPPAGE_BPS: Final = 50
GAS_WITHIN_PERCENT: Final = 25
"""Of the receipt. Listed tokens' transfers differ by more than 10 % of a small swap already."""
GAS_LIMIT: Final = 8_000_000
PURSE_USD: Final = 30_000_000
USD: Final = {"ETH": 3_000.0, "WETH": 3_000.0, "WBTC": 60_000.0, "POL": 0.5, "WPOL": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    chain: str
    sold: str
    bought: str
    exact: Exact
    usd: int

    @property
    def label(self) -> str:
        return f"{self.chain}-{self.sold}-{self.bought}-{self.usd}-exact-{self.exact}"


PAIRS: Final = {
    "ethereum": [("ETH", "USDC"), ("USDT", "ETH"), ("WBTC", "DAI"), ("WETH", "WBTC"), ("USDC", "USDT")],
    "polygon": [("POL", "USDC"), ("USDCE", "POL"), ("WETH", "USDT"), ("WPOL", "WETH")],
}
DIRECTIONS: tuple[Exact, ...] = ("in", "out")
WANTED: Final = [
    Wanted(chain=chain, sold=sold, bought=bought, exact=exact, usd=usd)
    for chain, pairs in PAIRS.items()
    for sold, bought in pairs
    for exact in DIRECTIONS
    for usd in ((1_000, 2_000_000) if chain == "ethereum" else (1_000, 400_000))
]


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> LocalChain:
    found: LocalChain = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("chain", "wanted"), [(each.chain, each) for each in WANTED], indirect=["chain"], ids=[w.label for w in WANTED]
)
async def test_the_best_route_moves_exactly_what_it_says(chain: LocalChain, wanted: Wanted) -> None:
    async with open_desk(chain) as desk:
        sold, bought = desk.assets.by_symbol(wanted.sold), desk.assets.by_symbol(wanted.bought)
        fixed = sold if wanted.exact == "in" else bought
        amount = _units(fixed, usd=wanted.usd) + 1
        _fund(desk, sold)
        for attempt in ("first", "again"):
            block = await desk.head()
            graph = await graph_at(desk, block)
            found = find_route(
                graph,
                assets=desk.assets,
                deployments=desk.deployments,
                sold=sold,
                bought=bought,
                amount=amount,
                exact=wanted.exact,
                gas=GasPricing.of(
                    graph,
                    assets=desk.assets,
                    judged=bought if wanted.exact == "in" else sold,
                    price_wei=20 * 10**9,
                ),
                block=block,
            )
            receipt = await _trade(desk, found)
            if attempt == "again":
                # A new pool's first swap fills slots that a pool in use has filled long ago.
                _assert_gas(found, receipt)


@pytest.mark.parametrize("chain", ["ethereum", "polygon"], indirect=True)
async def test_any_legs_together_move_exactly_what_they_say(chain: LocalChain) -> None:
    """Legs that share pools, cross pools both ways and mix versions, whether or not they are a good idea."""
    async with open_desk(chain) as desk:
        rng = random.Random(7)
        symbols = [asset.symbol for asset in desk.assets]
        for asset in desk.assets:
            _fund(desk, asset)
        seen = set()
        graph = await graph_at(desk, await desk.head())
        for _ in range(24):
            found = None
            while found is None:
                found = await _random_route(desk, graph, rng, symbols)
            snapshot = desk.rpc("evm_snapshot")
            await _trade(desk, found)
            assert desk.rpc("evm_revert", snapshot)
            kinds = {len(leg.venues) for leg in found.legs}
            seen.add((found.exact, len(found.legs) > 1, max(kinds) > 1))
        assert {(exact, several) for exact, several, _ in seen} == {
            (exact, several) for exact in ("in", "out") for several in (False, True)
        }
        if chain.name == "ethereum":
            assert any(mixed for _, _, mixed in seen)


async def _random_route(desk: Desk, graph: PoolGraph, rng: random.Random, symbols: list[str]) -> RoutedSwap | None:
    sold, bought = (desk.assets.by_symbol(symbol) for symbol in rng.sample(symbols, 2))
    exact: Exact = rng.choice(DIRECTIONS)
    fixed = sold if exact == "in" else bought
    if desk.assets.token_of(sold) == desk.assets.token_of(bought):
        return None
    trade = Trade(
        graph=graph,
        assets=desk.assets,
        deployments=desk.deployments,
        sold=sold,
        bought=bought,
        amount=_units(fixed, usd=rng.choice([10, 5_000, 200_000])) + rng.randrange(1_000),
        exact=exact,
        gas=GasPricing.free(),
        block=await desk.head(),
        venue=None,
        max_hops=3,
        max_splits=16,
    )
    try:
        offer = rng.choice(offers(trade))
        count = rng.choice([1, 2, 3, 5]) if offer.router.kind is RouterKind.SWAP_ROUTER_02 else 1
        chosen = rng.sample(offer.singles, min(count, len(offer.singles)))
        if not chosen:
            return None
        parts = [trade.amount // len(chosen)] * len(chosen)
        parts[0] += trade.amount - sum(parts)
        paths = [offer.market.paths[single.path] for single in chosen]
        shares = [Share(path, part) for path, part in zip(paths, parts, strict=True)]
        return routed(trade, option(trade, offer, shares))
    except QuoteError:
        return None


async def _trade(desk: Desk, found: RoutedSwap) -> Receipt:
    """Send the route and compare every coin of the wallet."""
    exact_in = found.exact == "in"
    call = compile_route(
        found,
        deployments=desk.deployments,
        assets=desk.assets,
        recipient=desk.wallet,
        max_in=found.amount_in if exact_in else plus_bps(found.amount_in, SLIPPAGE_BPS),
        min_out=less_bps(found.amount_out, SLIPPAGE_BPS) if exact_in else sum(leg.exact_out for leg in found.legs),
        deadline_s=FOREVER_S,
    )
    await desk.approve(call)
    before = await desk.balances(await desk.head())
    receipt = await desk.send(call.call, gas=GAS_LIMIT)
    assert receipt.succeeded, found
    after = await desk.balances(await desk.head())
    fee = receipt.gas_used * receipt.effective_gas_price_wei
    expected = dict(before)
    expected[found.sold.id] -= found.amount_in
    expected[found.bought.id] += found.amount_out
    expected[desk.assets.native.id] -= fee
    assert after == expected, found
    return receipt


def _assert_gas(found: RoutedSwap, receipt: Receipt) -> None:
    off = abs(found.gas_estimate - receipt.gas_used) * 100
    assert off <= receipt.gas_used * GAS_WITHIN_PERCENT, (found.gas_estimate, receipt.gas_used, found.legs)


def _fund(desk: Desk, asset: Asset) -> None:
    if asset.is_native:
        fund_native(desk.rpc, desk.wallet, _units(asset, usd=PURSE_USD))
    else:
        fund_token(desk.rpc, desk.chain.name, asset.symbol, desk.wallet, _units(asset, usd=PURSE_USD))


def _units(asset: Asset, *, usd: int) -> int:
    return int(usd / USD.get(asset.symbol, 1.0) * 10**asset.decimals)
