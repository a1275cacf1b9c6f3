"""What legs do when they are executed, one after the other in one transaction: to the wei.

Each leg starts from the pool states that the legs before it left, as on the chain. Guarantees: amounts are what the
routers move when the first state is the block's: a test executes routes and compares. A part of a leg is never a leg:
what would revert, or fill in part, raises. Not guaranteed: anything once the states have moved.

Exact output: V3 legs give what is asked. A V2 leg of SwapRouter02 pays what getAmountsIn says for its path and lets
every pair give what it received buys (V2SwapRouter.swapTokensForExactTokens and _swap), at times a few units more.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chains.types import Address
from contracts.errors import AmountTooSmall, InsufficientLiquidity
from contracts.routes import Exact
from contracts.routing.graph import Edge
from contracts.routing.model import Leg
from contracts.routing.paths import Path
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import quoting as v3
from contracts.uniswap_v3.pool import V3Pool

State = v2.V2Pool | V3Pool


class Share(NamedTuple):
    """A path and the amount that it is to take (exact input) or to give (exact output)."""

    path: Path
    amount: int


class Executed(NamedTuple):
    """Legs in the order in which they execute, and initialised V3 ticks that they crossed."""

    legs: tuple[Leg, ...]
    ticks_crossed: int

    @property
    def amount_in(self) -> int:
        return sum(leg.amount_in for leg in self.legs)

    @property
    def amount_out(self) -> int:
        return sum(leg.amount_out for leg in self.legs)


def execute(shares: Sequence[Share], exact: Exact, *, rounds_v2_up: bool) -> Executed:
    """Run the shares in their order.

    `rounds_v2_up`: exact output of V2 goes through SwapRouter02, not through a Router02, which gives the exact amount.

    Raises:
        InsufficientLiquidity: a pool cannot fill its part.
        AmountTooSmall: a pool would give nothing.
        InvalidTradeAmount: beyond a pool's arithmetic.
        TicksNotLoaded: a V3 pool's loaded words end before the swap does.
    """
    # After the last leg nobody looks at the pools.
    return _execute(shares, exact, rounds_v2_up=rounds_v2_up, states={}, kept=len(shares) - 1)


def execute_and_keep(
    shares: Sequence[Share], exact: Exact, *, rounds_v2_up: bool
) -> tuple[Executed, Mapping[Address, State]]:
    """`execute`, and the pools that it moved as it leaves them. Raises: as `execute`."""
    states: dict[Address, State] = {}
    done = _execute(shares, exact, rounds_v2_up=rounds_v2_up, states=states, kept=len(shares))
    return done, states


def _execute(
    shares: Sequence[Share], exact: Exact, *, rounds_v2_up: bool, states: dict[Address, State], kept: int
) -> Executed:
    """The states that the first `kept` legs leave go into `states`, where what follows sees them."""
    legs, ticks = [], 0
    for index, share in enumerate(shares):
        run = _Run(states, keeps_states=index < kept)
        if exact == "in":
            given = run.forwards(share.path, share.amount)
            amounts = share.amount, given
        elif isinstance(share.path[0].pool.state, V3Pool) or not rounds_v2_up:
            amounts = run.backwards(share.path, share.amount), share.amount
        else:
            paid = _cost(share.path, share.amount, states)
            amounts = paid, run.forwards(share.path, paid)
        ticks += run.ticks
        asked = share.amount if exact == "out" and amounts[1] != share.amount else None
        hops = tuple(edge.hop for edge in share.path)
        legs.append(Leg(hops=hops, amount_in=amounts[0], amount_out=amounts[1], asked_out=asked))
    return Executed(tuple(legs), ticks)


class _Run:
    """One leg over the states so far, which it changes."""

    def __init__(self, states: dict[Address, State], *, keeps_states: bool) -> None:
        self._states = states
        self._keeps_states = keeps_states
        self.ticks = 0

    def forwards(self, path: Path, amount: int) -> int:
        """Sell `amount`; what comes out at the end."""
        for edge in path:
            state = self._state(edge)
            if isinstance(state, V3Pool):
                quote = v3.quote_exact_in(state, amount, zero_for_one=edge.zero_for_one)
                if quote.amount_in != amount:
                    raise InsufficientLiquidity("the pool does not take so much")
                self._moved(state, quote, edge)
                amount = quote.amount_out
            else:
                swap = v2.quote_exact_in(state, amount, zero_for_one=edge.zero_for_one)
                self._moved(state, swap, edge)
                amount = swap.amount_out
            if amount <= 0:
                raise AmountTooSmall("the amount buys nothing on the way")
        return amount

    def backwards(self, path: Path, amount: int) -> int:
        """Buy `amount`; what goes in at the start."""
        for edge in reversed(path):
            state = self._state(edge)
            if isinstance(state, V3Pool):
                quote = v3.quote_exact_out(state, amount, zero_for_one=edge.zero_for_one)
                self._moved(state, quote, edge)
                amount = quote.amount_in
            else:
                swap = v2.quote_exact_out(state, amount, zero_for_one=edge.zero_for_one)
                self._moved(state, swap, edge)
                amount = swap.amount_in
        return amount

    def _state(self, edge: Edge) -> State:
        return self._states.get(edge.pool.address, edge.pool.state)

    def _moved(self, state: State, quote: v2.V2Quote | v3.Quote, edge: Edge) -> None:
        if isinstance(state, V3Pool) and isinstance(quote, v3.Quote):
            self.ticks += quote.ticks_crossed
            if self._keeps_states:
                self._states[state.address] = v3.swapped(state, quote, zero_for_one=edge.zero_for_one)
        elif isinstance(state, v2.V2Pool) and isinstance(quote, v2.V2Quote):
            # Also at the end: the pair itself refuses what its reserves cannot hold.
            self._states[state.address] = v2.swapped(state, quote, zero_for_one=edge.zero_for_one)


def _cost(path: Path, amount: int, states: dict[Address, State]) -> int:
    """UniswapV2Library.getAmountsIn over the states so far, which stay as they are."""
    for edge in reversed(path):
        state = states.get(edge.pool.address, edge.pool.state)
        if isinstance(state, V3Pool):
            raise InsufficientLiquidity("exact output does not go over pools of mixed versions")
        amount = v2.quote_exact_out(state, amount, zero_for_one=edge.zero_for_one).amount_in
    return amount
