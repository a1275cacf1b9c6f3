"""Routes of many legs on real protocol code: what is quoted is what happens, and the whole trade's limit holds."""

from dataclasses import dataclass, replace

import pytest

from chains.types import Address, CallRequest, Receipt, address_from_bytes
from chains.units import less_bps, plus_bps
from contracts import erc20
from contracts.abi import load_abi
from contracts.decoding import Swap, decode_call
from contracts.deployments import RouterKind
from contracts.effects import balance_changes, swap_fill
from contracts.routes import Exact
from contracts.routing.model import RoutedSwap
from contracts.swaps import SwapCall, compile_route
from scripts.devnet.cheats import fund_token
from scripts.devnet.network import LocalChain
from tests.contracts.desk import FOREVER_S, Desk, open_desk
from tests.contracts.swaps.market import Market, Way

pytestmark = pytest.mark.chain

SLIPPAGE_BPS = 50
GAS = 3_000_000
ETH, BTC, USD, DAI = 10**18, 10**8, 10**6, 10**18
POL = 10**18
LIMIT_REASONS = {
    "Too little received",
    "Too much requested",
    "Insufficient token",
    "Insufficient WETH9",
    "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT",
    "UniswapV2Router: EXCESSIVE_INPUT_AMOUNT",
}
"""What the routers say when a limit does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    label: str
    sold: str
    bought: str
    exact: Exact
    ways: tuple[Way, ...]
    chain: str = "ethereum"
    kind: RouterKind = RouterKind.SWAP_ROUTER_02


def _way(tokens: str, pools: tuple[int, ...], amount: int) -> Way:
    return Way(tokens=tuple(tokens.split()), pools=pools, amount=amount)


def _shape(label: str, pair: str, exact: Exact, *ways: Way, chain: str = "ethereum") -> Shape:
    sold, bought = pair.split()
    return Shape(label=label, sold=sold, bought=bought, exact=exact, ways=ways, chain=chain)


USDC_TO_WETH = (
    _way("USDC WETH", (500,), 90_000 * USD + 1),
    _way("USDC WETH", (3_000,), 50_000 * USD + 7),
    _way("USDC WETH", (0,), 20_000 * USD + 3),
)
WETH_TO_USDC = (
    _way("WETH USDC", (500,), 40 * ETH + 1),
    _way("WETH USDC", (3_000,), 20 * ETH + 7),
    _way("WETH USDC", (0,), 5 * ETH + 3),
)
# The pool of DAI and USDC is shared by all three, that of WETH and USDC by two.
WETH_TO_DAI = (
    _way("WETH USDC DAI", (500, 100), 10 * ETH + 1),
    _way("WETH USDC DAI", (0, 100), 2 * ETH + 9),
    _way("WETH USDT USDC DAI", (0, 100, 100), 3 * ETH + 5),
)
DAI_TO_WETH = (
    _way("DAI USDC WETH", (100, 0), 4_000 * DAI + 1),
    _way("DAI USDC USDT WETH", (100, 100, 0), 7_000 * DAI + 3),
    _way("DAI USDC WETH", (100, 3_000), 9_000 * DAI + 5),
)
WBTC_TO_USDT = (
    _way("WBTC WETH USDT", (0, 0), BTC // 7),
    _way("WBTC WETH USDT", (500, 500), BTC // 2 + 1),
    _way("WBTC WETH USDT", (3_000, 0), BTC // 9 + 1),
    _way("WBTC WETH USDC USDT", (0, 3_000, 100), BTC // 11 + 1),
)
USDT_TO_WBTC = (
    _way("USDT WETH WBTC", (0, 3_000), 9_000 * USD + 1),
    _way("USDT WETH WBTC", (500, 0), 7_000 * USD + 1),
    _way("USDT USDC WETH WBTC", (100, 0, 500), 3_000 * USD + 1),
)
POL_TO_USDC = (_way("WPOL USDC", (500,), 20_000 * POL + 1), _way("WPOL USDC", (3_000,), 9_000 * POL + 3))
USDC_TO_POL = (_way("USDC WPOL", (500,), 9_000 * USD + 1), _way("USDC WPOL", (3_000,), 4_000 * USD + 3))
SHAPES = [
    _shape("split", "USDC WETH", "in", *USDC_TO_WETH),
    _shape("split", "ETH USDC", "in", *WETH_TO_USDC),
    _shape("split", "USDC ETH", "in", *USDC_TO_WETH),
    _shape("mixed-split", "ETH DAI", "in", *WETH_TO_DAI),
    _shape("mixed-split", "WETH DAI", "in", *WETH_TO_DAI),
    _shape("mixed-split", "DAI ETH", "in", *DAI_TO_WETH),
    _shape("mixed-split", "DAI WETH", "in", *DAI_TO_WETH),
    _shape("mixed-split", "WBTC USDT", "in", *WBTC_TO_USDT),
    _shape("mixed-split", "USDT WBTC", "in", *USDT_TO_WBTC),
    _shape("mixed-v2-first", "ETH DAI", "in", WETH_TO_DAI[1]),
    _shape("mixed-v3-first", "DAI ETH", "in", DAI_TO_WETH[0]),
    _shape("mixed-three", "DAI WETH", "in", DAI_TO_WETH[1]),
    _shape("mixed-there-and-back", "DAI WBTC", "in", _way("DAI USDC WETH WBTC", (100, 0, 500), 6_000 * DAI + 1)),
    _shape("mixed-through-v3", "WBTC USDT", "in", WBTC_TO_USDT[2]),
    _shape("v2-alone", "USDT WETH", "in", _way("USDT WETH", (0,), 8_000 * USD)),
    _shape("v2-alone", "ETH USDT", "in", _way("WETH USDT", (0,), 3 * ETH)),
    _shape("one-pool-twice", "USDC ETH", "in", USDC_TO_WETH[0], USDC_TO_WETH[0], USDC_TO_WETH[2], USDC_TO_WETH[2]),
    _shape("split", "USDC WETH", "out", *[replace(way, tokens=("USDC", "WETH")) for way in WETH_TO_USDC]),
    _shape("split", "USDC ETH", "out", *[replace(way, tokens=("USDC", "WETH")) for way in WETH_TO_USDC]),
    _shape("split", "ETH USDC", "out", *[replace(way, tokens=("WETH", "USDC")) for way in USDC_TO_WETH]),
    _shape("v3-split", "ETH USDC", "out", *[replace(way, tokens=("WETH", "USDC")) for way in USDC_TO_WETH[:2]]),
    _shape("v3-split", "USDT WETH", "out", _way("USDT WETH", (500,), 3 * ETH), _way("USDT WETH", (3_000,), ETH + 7)),
    _shape(
        "long-split",
        "WBTC USDT",
        "out",
        _way("WBTC WETH USDT", (0, 0), 5_000 * USD + 1),
        _way("WBTC WETH USDT", (500, 500), 9_000 * USD + 1),
        _way("WBTC WETH USDC USDT", (3_000, 500, 100), 7_000 * USD + 1),
    ),
    _shape(
        "long-split",
        "ETH DAI",
        "out",
        _way("WETH USDC DAI", (500, 100), 9_000 * DAI + 1),
        _way("WETH USDT USDC DAI", (3_000, 100, 100), 5_000 * DAI + 1),
    ),
    _shape(
        "long-split",
        "DAI ETH",
        "out",
        _way("DAI USDC WETH", (100, 500), 3 * ETH + 1),
        _way("DAI USDC USDT WETH", (100, 100, 3_000), ETH + 1),
    ),
    _shape("v2-alone", "USDC WETH", "out", _way("USDC WETH", (0,), 2 * ETH + 1)),
    _shape("v2-alone", "ETH USDT", "out", _way("WETH USDT", (0,), 5_000 * USD + 1)),
    _shape("v2-alone", "WBTC ETH", "out", _way("WBTC WETH", (0,), 2 * ETH + 1)),
    _shape("split", "POL USDC", "in", *POL_TO_USDC, chain="polygon"),
    _shape("split", "USDC POL", "in", *USDC_TO_POL, chain="polygon"),
    _shape("split", "USDC WPOL", "in", *USDC_TO_POL, chain="polygon"),
    _shape(
        "long-split",
        "POL USDT",
        "in",
        _way("WPOL USDC USDT", (500, 100), 9_000 * POL),
        _way("WPOL WETH USDC USDT", (3_000, 500, 100), 5_000 * POL),
        chain="polygon",
    ),
    _shape(
        "split", "POL USDC", "out", *[replace(way, tokens=("WPOL", "USDC")) for way in USDC_TO_POL], chain="polygon"
    ),
    _shape(
        "split", "USDC POL", "out", *[replace(way, tokens=("USDC", "WPOL")) for way in POL_TO_USDC], chain="polygon"
    ),
    _shape(
        "long-split",
        "USDT POL",
        "out",
        _way("USDT USDC WPOL", (100, 500), 9_000 * POL),
        _way("USDT USDC WETH WPOL", (100, 500, 3_000), 5_000 * POL),
        chain="polygon",
    ),
    replace(
        _shape("v2", "POL USDCE", "in", _way("WPOL USDC USDCE", (0, 0), 900 * POL), chain="polygon"),
        kind=RouterKind.ROUTER_02,
    ),
    replace(
        _shape("v2", "USDCE POL", "out", _way("USDCE USDC WPOL", (0, 0), 900 * POL), chain="polygon"),
        kind=RouterKind.ROUTER_02,
    ),
    replace(
        _shape("v2", "ETH USDC", "out", _way("WETH USDC", (0,), 900 * USD)),
        kind=RouterKind.ROUTER_02,
    ),
]


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> LocalChain:
    found: LocalChain = request.getfixturevalue(request.param)
    return found


def _compile(desk: Desk, routed: RoutedSwap, *, max_in: int, min_out: int) -> SwapCall:
    return compile_route(
        routed,
        deployments=desk.deployments,
        assets=desk.assets,
        recipient=desk.wallet,
        max_in=max_in,
        min_out=min_out,
        deadline_s=FOREVER_S,
    )


def _asked(routed: RoutedSwap) -> int:
    return sum(leg.exact_out for leg in routed.legs)


def _limited(desk: Desk, routed: RoutedSwap, *, slack_units: int) -> SwapCall:
    """The limit so many base units away from what was quoted (negative: tighter)."""
    if routed.exact == "in":
        return _compile(desk, routed, max_in=routed.amount_in, min_out=routed.amount_out - slack_units)
    return _compile(desk, routed, max_in=routed.amount_in + slack_units, min_out=_asked(routed))


def _with_slippage(desk: Desk, routed: RoutedSwap) -> SwapCall:
    if routed.exact == "in":
        return _compile(desk, routed, max_in=routed.amount_in, min_out=less_bps(routed.amount_out, SLIPPAGE_BPS))
    return _compile(desk, routed, max_in=plus_bps(routed.amount_in, SLIPPAGE_BPS), min_out=_asked(routed))


async def _reverts_for(desk: Desk, call: CallRequest) -> str | None:
    """The revert reason of the call on the head, or None: it succeeds."""
    (result,) = await desk.client.simulate([call], sender=desk.wallet)
    return None if result.succeeded else result.reason


@pytest.mark.parametrize(
    ("chain", "shape"),
    [(shape.chain, shape) for shape in SHAPES],
    indirect=["chain"],
    ids=[f"{s.chain}-{s.label}-{s.sold}-{s.bought}-exact-{s.exact}" for s in SHAPES],
)
async def test_a_route_moves_exactly_what_was_quoted_and_keeps_the_limit_of_the_whole_trade(
    chain: LocalChain, shape: Shape
) -> None:
    async with open_desk(chain) as desk:
        market = await Market.load(desk, shape.ways)
        routed = market.route(shape.ways, sold=shape.sold, bought=shape.bought, exact=shape.exact, kind=shape.kind)
        await trade_and_compare(desk, routed, pools=market.addresses)


async def trade_and_compare(desk: Desk, routed: RoutedSwap, *, pools: frozenset[Address]) -> None:
    """One unit tighter than the quote reverts, the quote itself passes; with slippage the quoted amounts move, and
    nothing else does."""
    swap = _with_slippage(desk, routed)
    await desk.approve(swap)
    if routed.sold.is_native:
        # What the router may take of the wrapped token does not stand in for native coins that are missing.
        wrapped = desk.assets.wrapped.token_address
        assert (await desk.send(erc20.approve_call(wrapped, swap.spender, amount=2**128))).succeeded
    assert await _reverts_for(desk, _limited(desk, routed, slack_units=0).call) is None
    assert await _reverts_for(desk, _limited(desk, routed, slack_units=-1).call) in LIMIT_REASONS
    call, router = swap.call, swap.call.to
    before, router_before = await desk.balances(await desk.head()), await desk.balances(await desk.head(), router)

    receipt = await desk.send(call, gas=GAS)

    assert receipt.succeeded
    fill = swap_fill(
        receipt,
        call=call,
        wallet=desk.wallet,
        sold=routed.sold,
        bought=routed.bought,
        assets=desk.assets,
        deployments=desk.deployments,
    )
    assert (fill.sold_raw, fill.bought_raw) == (routed.amount_in, routed.amount_out)
    changes = balance_changes(receipt, call=call, wallet=desk.wallet, assets=desk.assets, deployments=desk.deployments)
    assert {change.asset for change in changes} == {routed.sold, routed.bought}
    expected = dict(before)
    for change in changes:
        expected[change.asset.id] += change.raw
    expected[desk.assets.native.id] -= receipt.fee_wei
    assert await desk.balances(receipt.block) == expected
    assert await desk.balances(receipt.block, router) == router_before, "nothing stays in the router"
    assert _accounts(receipt) <= {desk.wallet, router, *pools}, "nobody else gets or gives anything"
    decoded = decode_call(desk.deployments, desk.assets, desk.chain_id, call)
    assert isinstance(decoded, Swap)
    assert (decoded.sold, decoded.bought, decoded.recipient) == (routed.sold, routed.bought, desk.wallet)
    assert fill.sold_raw <= decoded.max_in
    assert fill.bought_raw >= decoded.min_out


def _accounts(receipt: Receipt) -> set[Address]:
    transfer = load_abi("erc20").event("Transfer").topic
    topics = [topic for log in receipt.logs if log.topics[0] == transfer for topic in log.topics[1:]]
    return {address_from_bytes(topic[-20:]) for topic in topics}


async def test_coins_that_strangers_left_in_the_router_come_along_and_are_booked(ethereum_desk: Desk) -> None:
    """A stranger's USDC (bought) is swept with ours; a stranger's USDT (on the way) is traded with ours."""
    desk = ethereum_desk
    ways = (WETH_TO_USDC[0], _way("WETH USDT USDC", (0, 100), ETH))
    market = await Market.load(desk, ways)
    routed = market.route(ways, sold="ETH", bought="USDC", exact="in", kind=RouterKind.SWAP_ROUTER_02)
    router = routed.router.address
    fund_token(desk.rpc, "ethereum", "USDC", router, 11)
    fund_token(desk.rpc, "ethereum", "USDT", router, 1_000 * USD)
    swap = _with_slippage(desk, routed)
    before = await desk.balances(await desk.head())
    receipt = await desk.send(swap.call, gas=GAS)
    fill = swap_fill(
        receipt,
        call=swap.call,
        wallet=desk.wallet,
        sold=routed.sold,
        bought=routed.bought,
        assets=desk.assets,
        deployments=desk.deployments,
    )
    after = await desk.balances(receipt.block)
    assert fill.sold_raw == routed.amount_in
    assert fill.bought_raw == after[routed.bought.id] - before[routed.bought.id]
    assert fill.bought_raw > routed.amount_out + 990 * USD
    emptied = await desk.balances(receipt.block, router)
    assert [emptied[desk.assets.by_symbol(symbol).id] for symbol in ("USDC", "USDT")] == [0, 0]


async def _sell(desk: Desk, way: Way, *, bought: str) -> None:
    """Somebody's trade before ours."""
    market = await Market.load(desk, [way])
    routed = market.route([way], sold="USDC", bought=bought, exact="in", kind=RouterKind.SWAP_ROUTER_02)
    swap = _with_slippage(desk, routed)
    await desk.approve(swap)
    assert (await desk.send(swap.call, gas=GAS)).succeeded


async def test_a_leg_that_falls_behind_alone_does_not_stop_a_trade_that_is_inside_its_limit(
    ethereum_desk: Desk,
) -> None:
    """The V2 leg, an eighth of the trade, gets some 2 % less than quoted; the limit is 0.5 % on the whole."""
    desk = ethereum_desk
    market = await Market.load(desk, USDC_TO_WETH)
    routed = market.route(USDC_TO_WETH, sold="USDC", bought="ETH", exact="in", kind=RouterKind.SWAP_ROUTER_02)
    await _sell(desk, _way("USDC WETH", (0,), 90_000 * USD), bought="WETH")
    swap = _with_slippage(desk, routed)
    await desk.approve(swap)
    receipt = await desk.send(swap.call, gas=GAS)
    fill = swap_fill(
        receipt,
        call=swap.call,
        wallet=desk.wallet,
        sold=routed.sold,
        bought=routed.bought,
        assets=desk.assets,
        deployments=desk.deployments,
    )
    assert fill.sold_raw == routed.amount_in
    assert less_bps(routed.amount_out, SLIPPAGE_BPS) <= fill.bought_raw < less_bps(routed.amount_out, 20)


async def test_a_leg_that_pulls_the_whole_trade_below_its_limit_reverts_all_of_it(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    market = await Market.load(desk, USDC_TO_WETH)
    routed = market.route(USDC_TO_WETH, sold="USDC", bought="ETH", exact="in", kind=RouterKind.SWAP_ROUTER_02)
    await _sell(desk, _way("USDC WETH", (0,), 500_000 * USD), bought="WETH")
    swap = _with_slippage(desk, routed)
    await desk.approve(swap)
    before = await desk.balances(await desk.head())
    assert await _reverts_for(desk, swap.call) == "Insufficient WETH9"
    receipt = await desk.send(swap.call, gas=GAS)
    assert not receipt.succeeded
    before[desk.assets.native.id] -= receipt.fee_wei
    assert await desk.balances(receipt.block) == before


async def test_an_exact_output_leg_that_needs_more_than_its_share_reverts_and_sells_nothing(
    ethereum_desk: Desk,
) -> None:
    """A known limit of the router (ADR 0010): the sum would still be inside the trade's limit."""
    desk = ethereum_desk
    ways = [replace(way, tokens=("USDC", "WETH")) for way in WETH_TO_USDC]
    market = await Market.load(desk, ways)
    routed = market.route(ways, sold="USDC", bought="WETH", exact="out", kind=RouterKind.SWAP_ROUTER_02)
    await _sell(desk, _way("USDC WETH", (0,), 90_000 * USD), bought="WETH")
    now = (await Market.load(desk, ways)).route(
        ways, sold="USDC", bought="WETH", exact="out", kind=RouterKind.SWAP_ROUTER_02
    )
    assert now.amount_in <= plus_bps(routed.amount_in, SLIPPAGE_BPS)
    swap = _with_slippage(desk, routed)
    await desk.approve(swap)
    assert await _reverts_for(desk, swap.call) == "Too much requested"
    assert await _reverts_for(desk, _with_slippage(desk, now).call) is None
