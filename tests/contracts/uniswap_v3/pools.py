"""V3 pools that never were on a chain, for properties: positions anywhere, of any size, at any price."""

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from chains.types import address_from_bytes
from contracts.uniswap_v3.maths import MAX_TICK, MIN_TICK, get_sqrt_ratio_at_tick
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import TickLiquidity, TickMap, WordRange

ADDRESS = address_from_bytes(bytes(range(20)))
SPACINGS = {100: 1, 500: 10, 3_000: 60, 10_000: 200, 50_000: 16_383}
"""The factory's fee tiers, and the widest that its owner could add."""


def make_pool(
    fee_pips: int,
    *,
    sqrt_price_x96: int,
    tick: int,
    positions: list[tuple[int, int, int]],
    loaded: WordRange | None = None,
) -> V3Pool:
    """A pool with positions (lower, upper, liquidity)."""
    ticks: dict[int, TickLiquidity] = {}
    for lower, upper, amount in positions:
        for end, delta in ((lower, amount), (upper, -amount)):
            gross, net = ticks.get(end, (0, 0))
            ticks[end] = TickLiquidity(gross + amount, net + delta)
    whole = TickMap.of(SPACINGS[fee_pips], ticks)
    if loaded is not None:
        low, high = loaded.lowest_tick(whole.spacing), loaded.highest_tick(whole.spacing)
        inside = {tick: info for tick, info in ticks.items() if low <= tick <= high}
        whole = TickMap.of(whole.spacing, inside, loaded=loaded)
    return V3Pool(
        address=ADDRESS,
        fee_pips=fee_pips,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=sum(amount for lower, upper, amount in positions if lower <= tick < upper),
        ticks=whole,
    )


@st.composite
def pools(draw: DrawFn) -> V3Pool:
    """Any pool: prices on ticks and between them, just crossed ones, gaps without liquidity, full ranges."""
    fee_pips = draw(st.sampled_from(sorted(SPACINGS)))
    spacing = SPACINGS[fee_pips]
    centre = draw(st.one_of(st.integers(-2_000, 2_000), st.integers(MIN_TICK // spacing + 1, MAX_TICK // spacing - 1)))
    reach = min(600, 2 * MAX_TICK // spacing)
    near = st.integers(-reach, reach).map(lambda offset: _usable(centre + offset, spacing))
    ends = st.one_of(near, st.sampled_from([_usable(-MAX_TICK, spacing), _usable(MAX_TICK, spacing)]))
    amounts = st.one_of(st.integers(1, 10**6), st.integers(10**9, 10**24), st.integers(1, 2**120))
    spans = st.tuples(ends, ends).filter(lambda span: span[0] != span[1])
    drawn = draw(st.lists(st.tuples(spans, amounts), max_size=7))
    positions = [(min(span), max(span), amount) for span, amount in drawn]
    tick = draw(st.one_of(near, near.map(lambda each: each + spacing // 2 + 1)))
    tick = min(max(tick, MIN_TICK), MAX_TICK - 1)
    price = get_sqrt_ratio_at_tick(tick)
    match draw(st.sampled_from(["on the tick", "inside", "crossed downwards"])):
        case "inside":
            price = draw(st.integers(price, get_sqrt_ratio_at_tick(tick + 1) - 1))
        case "crossed downwards" if tick > MIN_TICK:
            tick -= 1
        case _:
            pass
    return make_pool(fee_pips, sqrt_price_x96=price, tick=tick, positions=positions)


def _usable(compressed: int, spacing: int) -> int:
    """A tick of the spacing, moved into the usable range."""
    highest = MAX_TICK // spacing
    return min(max(compressed, -highest), highest) * spacing
