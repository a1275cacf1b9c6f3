"""SwapRouter02's calldata, both ways: multicall(deadline, [sections of leg 1, of leg 2, ..., collect?, refundETH?]).

    section    consecutive pools of one version: exactInputSingle, exactInput, swapExactTokensForTokens; for exact
               output exactOutputSingle, exactOutput, swapTokensForExactTokens, one a leg. A leg's first section is
               paid by the sender (out of the call's value where that is native); the next ones take what the one
               before left in the router (amountIn 0, Constants.CONTRACT_BALANCE)
    collect    unwrapWETH9 or sweepToken of all that the legs left in the router, with the whole trade's minimum (see
               `is_collected`); without it the one leg, or each exact output, pays the recipient
    refundETH  after native input: the router wraps what the pools take, the rest would stay there for anyone

Guarantees: one encoding of a swap. `parse` only reads: whether a swap is safe, and the bytes exactly its encoding, is
for `encoding.decode_swap`. Sources: swap-router-contracts 1.3.1 V3SwapRouter, V2SwapRouter, PeripheryPaymentsExtended;
v3-periphery PeripheryPayments (`pay`, `sweepToken`, `unwrapWETH9`, `refundETH`). ADR 0010 says why it is so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from chains.types import Address, CallRequest
from contracts.abi import SELECTOR_BYTES, Function, decode_input, encode_call, load_abi
from contracts.assets import AssetList
from contracts.deployments import Router, Venue
from contracts.errors import UnknownCalldata
from contracts.paths import decode_path, encode_path
from contracts.pools import V2_FEE
from contracts.routes import Exact
from contracts.swaps.model import MAX_HOPS, MAX_LEGS, ROUTER_ITSELF, Swap, SwapLeg

_ABI: Final = "swap_router_02"
_MAX_STEPS: Final = MAX_LEGS * MAX_HOPS + 2
_CONTRACT_BALANCE: Final = 0
"""Constants.CONTRACT_BALANCE: as `amountIn`, all that the router holds of the token."""
_NO_MINIMUM: Final = 0
_NO_PRICE_LIMIT: Final = 0


def is_collected(swap: Swap) -> bool:
    """Whether the legs leave what they buy in the router, for a last step that enforces the whole trade's minimum.

    With exact output a V3 leg gives exactly its amount or reverts; a V2 leg has no check of what it gave.
    """
    if swap.native_out:
        return True
    if swap.exact == "in":
        return len(swap.legs) > 1
    return any(venue is not Venue.UNISWAP_V3 for leg in swap.legs for venue in leg.venues)


def encode(swap: Swap) -> CallRequest:
    """The call of a swap that was checked."""
    abi = load_abi(_ABI)
    collected = is_collected(swap)
    receiver = ROUTER_ITSELF if collected else swap.recipient
    steps = [step for leg in swap.legs for step in _leg_steps(swap, leg, receiver=receiver)]
    if swap.native_out:
        steps.append(encode_call(abi.function("unwrapWETH9"), swap.min_out, swap.recipient))
    elif collected:
        token = swap.bought.token_address
        steps.append(encode_call(abi.function("sweepToken"), token, swap.min_out, swap.recipient))
    if swap.native_in:
        steps.append(encode_call(abi.function("refundETH")))
    return CallRequest(
        to=swap.router,
        data=encode_call(abi.function("multicall"), swap.deadline_s, steps),
        value_wei=swap.max_in if swap.native_in else 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One step that swaps. `out` is the least it gives (exact input) or exactly what it gives (exact output)."""

    exact: Exact
    venue: Venue
    path: tuple[Address, ...]
    fees_pips: tuple[int, ...]
    max_in: int
    out: int
    receiver: Address


def _leg_steps(swap: Swap, leg: SwapLeg, *, receiver: Address) -> Iterator[bytes]:
    runs = [[hop for hop, _ in run] for _, run in groupby(enumerate(leg.venues), key=lambda hop: hop[1])]
    for run in runs:
        first, last = run[0], run[-1] + 1
        is_end = last == len(leg.venues)
        minimum = swap.min_out if is_end and len(swap.legs) == 1 else _NO_MINIMUM
        yield _step(
            _Section(
                exact=swap.exact,
                venue=leg.venues[first],
                path=leg.path[first : last + 1],
                fees_pips=leg.fees_pips[first:last],
                max_in=_CONTRACT_BALANCE if first else leg.max_in,
                out=leg.exact_out if swap.exact == "out" else minimum,
                receiver=receiver if is_end else ROUTER_ITSELF,
            )
        )


def _step(section: _Section) -> bytes:
    abi = load_abi(_ABI)
    is_exact_in, receiver = section.exact == "in", section.receiver
    # (amountIn, amountOutMinimum) or (amountOut, amountInMaximum)
    amounts = (section.max_in, section.out) if is_exact_in else (section.out, section.max_in)
    if section.venue is not Venue.UNISWAP_V3:
        function = abi.function("swapExactTokensForTokens" if is_exact_in else "swapTokensForExactTokens")
        return encode_call(function, *amounts, section.path, receiver)
    if len(section.fees_pips) == 1:
        function = abi.function("exactInputSingle" if is_exact_in else "exactOutputSingle")
        return encode_call(function, (*section.path, *section.fees_pips, receiver, *amounts, _NO_PRICE_LIMIT))
    if is_exact_in:
        path = encode_path(section.path, section.fees_pips)
        return encode_call(abi.function("exactInput"), (path, receiver, *amounts))
    path = encode_path(section.path[::-1], section.fees_pips[::-1])
    return encode_call(abi.function("exactOutput"), (path, receiver, *amounts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collect:
    is_unwrap: bool
    minimum: int
    recipient: Address


def parse(call: CallRequest, *, router: Router, assets: AssetList) -> Swap:
    """The swap that the calldata seems to be. Raises: ContractError: it does not look like one of ours."""
    abi = load_abi(_ABI)
    deadline_s, steps = decode_input(abi.function("multicall"), call.data)
    if not 1 <= len(steps) <= _MAX_STEPS:
        raise UnknownCalldata(f"a swap has 1 to {_MAX_STEPS} router steps, not {len(steps)}")
    rest = list(steps)
    native_in = rest[-1] == abi.function("refundETH").selector
    if native_in:
        rest.pop()
    collect = _collect(rest[-1]) if rest else None
    if collect is not None:
        rest.pop()
    sections = [_section(step, router=router) for step in rest]
    if not sections:
        raise UnknownCalldata("a swap has a step that swaps")
    exact, last = sections[0].exact, sections[-1]
    legs = _legs(sections)
    if collect is not None:
        min_out, recipient = collect.minimum, collect.recipient
    else:
        min_out = last.out if exact == "in" else sum(leg.exact_out for leg in legs)
        recipient = last.receiver
    native_out = collect is not None and collect.is_unwrap
    return Swap(
        chain_id=assets.chain_id,
        router=call.to,
        sold=assets.native if native_in else assets.by_address(legs[0].path[0]),
        bought=assets.native if native_out else assets.by_address(legs[0].path[-1]),
        exact=exact,
        max_in=sum(leg.max_in for leg in legs),
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        legs=legs,
    )


def _collect(step: bytes) -> _Collect | None:
    abi = load_abi(_ABI)
    unwrap, sweep = abi.function("unwrapWETH9"), abi.function("sweepToken")
    if step[:SELECTOR_BYTES] == unwrap.selector:
        minimum, recipient = decode_input(unwrap, step)
        return _Collect(is_unwrap=True, minimum=minimum, recipient=recipient)
    if step[:SELECTOR_BYTES] == sweep.selector:
        _token, minimum, recipient = decode_input(sweep, step)
        return _Collect(is_unwrap=False, minimum=minimum, recipient=recipient)
    return None


def _legs(sections: Sequence[_Section]) -> tuple[SwapLeg, ...]:
    """A section that takes the router's balance goes on where the one before ended; any other begins a leg."""
    legs: list[SwapLeg] = []
    for section in sections:
        venues, is_exact_out = (section.venue,) * len(section.fees_pips), section.exact == "out"
        if section.max_in == _CONTRACT_BALANCE and legs:
            before = legs[-1]
            legs[-1] = replace(
                before,
                path=before.path + section.path[1:],
                venues=before.venues + venues,
                fees_pips=before.fees_pips + section.fees_pips,
            )
            continue
        legs.append(
            SwapLeg(
                path=section.path,
                venues=venues,
                fees_pips=section.fees_pips,
                max_in=section.max_in,
                exact_out=section.out if is_exact_out else 0,
            )
        )
    return tuple(legs)


def _section(step: bytes, *, router: Router) -> _Section:
    function = _by_selector(step)
    values: tuple[Any, ...] = decode_input(function, step)
    exact: Exact
    venue = Venue.UNISWAP_V3
    path: tuple[Address, ...]
    fees: tuple[int, ...]
    match function.name:
        case "exactInputSingle":
            token_in, token_out, fee, receiver, max_in, out, _limit = values[0]
            exact, path, fees = "in", (token_in, token_out), (fee,)
        case "exactOutputSingle":
            token_in, token_out, fee, receiver, out, max_in, _limit = values[0]
            exact, path, fees = "out", (token_in, token_out), (fee,)
        case "exactInput":
            packed, receiver, max_in, out = values[0]
            exact, (path, fees) = "in", decode_path(packed)
        case "exactOutput":
            packed, receiver, out, max_in = values[0]
            backwards, backward_fees = decode_path(packed)
            exact, path, fees = "out", backwards[::-1], backward_fees[::-1]
        case "swapExactTokensForTokens":
            max_in, out, path, receiver = values
            exact, venue, fees = "in", _v2_venue(router), (V2_FEE,) * (len(path) - 1)
        case "swapTokensForExactTokens":
            out, max_in, path, receiver = values
            exact, venue, fees = "out", _v2_venue(router), (V2_FEE,) * (len(path) - 1)
        case name:
            raise UnknownCalldata(f"{name} is no step of our swaps")
    if not fees:
        raise UnknownCalldata("the path has no pool")
    return _Section(exact=exact, venue=venue, path=path, fees_pips=fees, max_in=max_in, out=out, receiver=receiver)


def _v2_venue(router: Router) -> Venue:
    found = router.venues - {Venue.UNISWAP_V3}
    if len(found) != 1:
        raise UnknownCalldata("the router has no V2 factory that we trade with")
    return next(iter(found))


def _by_selector(data: bytes) -> Function:
    for function in load_abi(_ABI).functions:
        if function.selector == data[:SELECTOR_BYTES]:
            return function
    raise UnknownCalldata(f"0x{data[:SELECTOR_BYTES].hex()} is not a router function that we call")
