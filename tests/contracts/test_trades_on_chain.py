"""Every shape of swap on real protocol code: what is quoted is what happens, and balances add up to the wei."""

from dataclasses import dataclass

import pytest

from chains.types import CallRequest
from chains.units import less_bps, plus_bps
from contracts.decoding import Swap, decode_call
from contracts.deployments import Venue
from contracts.effects import balance_changes, swap_fill
from contracts.routes import Exact
from scripts.devnet.network import LocalChain
from tests.contracts.desk import Desk, open_desk

pytestmark = pytest.mark.chain

SLIPPAGE_BPS = 50
V2, V3, QUICK = Venue.UNISWAP_V2, Venue.UNISWAP_V3, Venue.QUICKSWAP_V2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    chain: str
    venue: Venue
    sold: str
    bought: str
    hops: int
    exact: Exact

    @property
    def label(self) -> str:
        return f"{self.chain}-{self.venue}-{self.sold}-{self.bought}-exact-{self.exact}"


# Trades both ways, of amounts that cross ticks where they are large.
AMOUNTS = {
    "ETH": 75 * 10**18 + 7,
    "WETH": 20 * 10**18 + 1,
    "POL": 30_000 * 10**18 + 3,
    "WPOL": 20_000 * 10**18,
    "USDC": 20_000 * 10**6 + 1,
    "USDCE": 9_000 * 10**6,
    "USDT": 15_000 * 10**6 + 9,
    "DAI": 12_345 * 10**18 + 6,
    "WBTC": 10**8 + 11,
}
PAIRS = [
    ("ethereum", V3, "ETH", "USDC", 1),
    ("ethereum", V3, "WETH", "USDT", 1),
    ("ethereum", V3, "ETH", "USDT", 1),
    ("ethereum", V3, "USDC", "USDT", 1),
    ("ethereum", V3, "ETH", "WBTC", 1),
    ("ethereum", V3, "ETH", "DAI", 2),
    ("ethereum", V3, "WBTC", "USDC", 2),
    ("ethereum", V2, "ETH", "USDC", 1),
    ("ethereum", V2, "WETH", "USDT", 1),
    ("ethereum", V2, "ETH", "USDT", 1),
    ("ethereum", V2, "WBTC", "USDC", 2),
    ("polygon", V3, "POL", "USDC", 1),
    ("polygon", V3, "WPOL", "WETH", 1),
    ("polygon", V3, "USDCE", "USDC", 1),
    ("polygon", V3, "POL", "USDT", 2),
    ("polygon", QUICK, "POL", "USDC", 1),
    ("polygon", QUICK, "WPOL", "WETH", 1),
    ("polygon", QUICK, "USDCE", "USDC", 1),
    ("polygon", QUICK, "POL", "USDCE", 2),
    ("polygon", QUICK, "WETH", "USDCE", 2),
]
DIRECTIONS: tuple[Exact, Exact] = ("in", "out")
SHAPES = [
    Shape(chain=chain, venue=venue, sold=sold, bought=bought, hops=hops, exact=exact)
    for chain, venue, one, other, hops in PAIRS
    for sold, bought in ((one, other), (other, one))
    for exact in DIRECTIONS
]


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> LocalChain:
    found: LocalChain = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("chain", "shape"), [(shape.chain, shape) for shape in SHAPES], indirect=["chain"], ids=[s.label for s in SHAPES]
)
async def test_a_swap_moves_exactly_what_was_quoted(chain: LocalChain, shape: Shape) -> None:
    async with open_desk(chain) as desk:
        amount = AMOUNTS[shape.sold if shape.exact == "in" else shape.bought]
        # Two hops through shallow pairs move prices too far with the full amounts.
        amount = amount if shape.hops == 1 else amount // 4
        quote = await desk.quote(
            shape.sold, shape.bought, amount=amount, exact=shape.exact, venue=shape.venue, direct_only=shape.hops == 1
        )
        (leg,) = quote.legs
        assert (leg.venues, len(leg.hops)) == (frozenset({shape.venue}), shape.hops)
        max_in = quote.amount_in if shape.exact == "in" else plus_bps(quote.amount_in, SLIPPAGE_BPS)
        min_out = quote.amount_out if shape.exact == "out" else less_bps(quote.amount_out, SLIPPAGE_BPS)
        swap = desk.compile(quote, max_in=max_in, min_out=min_out)
        await desk.approve(swap)
        await _trade_and_compare(desk, swap_call=swap.call, quoted=(quote.amount_in, quote.amount_out), shape=shape)


async def _trade_and_compare(desk: Desk, *, swap_call: CallRequest, quoted: tuple[int, int], shape: Shape) -> None:
    sold, bought = desk.assets.by_symbol(shape.sold), desk.assets.by_symbol(shape.bought)
    router = swap_call.to
    before, router_before = await desk.balances(await desk.head()), await desk.balances(await desk.head(), router)

    receipt = await desk.send(swap_call)

    assert receipt.succeeded
    fill = swap_fill(
        receipt,
        call=swap_call,
        wallet=desk.wallet,
        sold=sold,
        bought=bought,
        assets=desk.assets,
        deployments=desk.deployments,
    )
    assert (fill.sold_raw, fill.bought_raw) == quoted
    changes = balance_changes(
        receipt, call=swap_call, wallet=desk.wallet, assets=desk.assets, deployments=desk.deployments
    )
    expected = dict(before)
    for change in changes:
        expected[change.asset.id] += change.raw
    expected[desk.assets.native.id] -= receipt.fee_wei
    assert await desk.balances(receipt.block) == expected
    assert await desk.balances(receipt.block, router) == router_before, "nothing stays in the router"
    decoded = decode_call(desk.deployments, desk.assets, desk.chain_id, swap_call)
    assert isinstance(decoded, Swap)
    assert (decoded.sold, decoded.bought, decoded.recipient) == (sold, bought, desk.wallet)
