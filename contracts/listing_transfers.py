"""Whether a token moves exactly what it is told to: transfers tried out in a simulation, nothing sent or signed.

For each of several amounts the token goes from a holder (a pool: what a buyer gets) to a fresh account, on to another
one, on by an allowance as a router moves it, and back to the holder (what a seller does). Balances on both sides are
compared before and after each move.

Guarantees: a move that takes more or brings less than told, or that answers `false`, is found at the amounts tried; the
simulation is of one block, by an account that the token has never seen, and which pays for gas as a real one does (a
token that behaves while the gas price is zero is found out).
Not guaranteed: the same tomorrow, for other accounts, or for amounts in between. A tax can be switched on; a token can
know that the sender is a pool that never signs. What then bounds a loss is in `docs/assets.md`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from eth_utils.crypto import keccak

from chains.client import SimResult
from chains.types import Address, BlockRef, CallRequest, Fees, Header, address_from_bytes
from contracts import erc20
from contracts.abi import encode_call, load_abi
from contracts.errors import ContractError, TokenRefused

DIVISORS: Final = (1_000_000, 1_000, 10, 2)
"""Parts of what the holder has that are tried: from what a person trades to half of a pool, smallest first."""
PURSE_WEI: Final = 10**24
"""What everybody has in a simulation, to pay for gas."""
_TIP_WEI: Final = 10**9


class Move(StrEnum):
    """Which way the token goes."""

    OUT_OF_POOL = "from the pool to an account"
    BETWEEN = "from account to account"
    BY_ALLOWANCE = "by an allowance"
    INTO_POOL = "from an account to the pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A move that did not do what it was told. `reverted` with the token's reason; else what left and arrived."""

    move: Move
    amount: int
    left: int = 0
    arrived: int = 0
    reverted: str | None = None
    refused: bool = False

    @property
    def tax_bps(self) -> int:
        """What was kept, of what was sent, rounded up; of either side the worse."""
        kept = max(self.amount - self.arrived, self.left - self.amount)
        return -(-max(kept, 0) * 10_000 // self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came out. `troubles` has the first one of each amount; `amounts` are those tried, smallest first.

    `no_return` and `approve_reset`: what the asset's flags of those names have to say.
    """

    amounts: tuple[int, ...]
    troubles: tuple[Trouble, ...]
    no_return: bool
    approve_reset: bool


class Simulator(Protocol):
    """`chains.client.EvmClient` is one."""

    async def simulate(
        self,
        calls: Sequence[CallRequest],
        *,
        sender: Address | Sequence[Address],
        block: BlockRef | Header = ...,
        balances_wei: Mapping[Address, int] | None = None,
        fees: Fees | None = None,
    ) -> list[SimResult]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A move as it is simulated: the calls around it, each with its sender."""

    move: Move
    giver: Address
    taker: Address
    amount: int
    calls: tuple[tuple[Address, CallRequest], ...]
    moves_at: int
    """Which of the calls is the transfer; the two before it and the last two read balances."""


async def try_transfers(client: Simulator, token: Address, *, holder: Address, held: int, block: Header) -> Tried:
    """Move the token about, from a holder of `held` base units.

    Raises:
        ValueError: the holder has nothing.
        MethodUnavailable, RpcError: the node does not simulate, or did not answer.
    """
    if held <= 0:
        raise ValueError("a holder that has nothing cannot try a transfer")
    amounts = sorted({max(1, held // divisor) for divisor in DIVISORS})
    moves = [list(_moves(token, holder, amount=amount)) for amount in amounts]
    approvals = _approvals(token)
    planned = [call for group in moves for move in group for call in move.calls]
    results = await simulate_paid(client, [*planned, *approvals], block=block)
    troubles: list[Trouble] = []
    outputs: list[bytes] = []
    at = 0
    for group in moves:
        first: Trouble | None = None
        for move in group:
            found, output = _judged(move, results[at : at + len(move.calls)])
            at += len(move.calls)
            first = first or found
            outputs.append(output)
        if first is not None:
            troubles.append(first)
    set_once, set_again = results[at:]
    return Tried(
        amounts=tuple(amounts),
        troubles=tuple(troubles),
        no_return=not any(outputs),
        approve_reset=set_once.succeeded and not set_again.succeeded,
    )


async def simulate_paid(
    client: Simulator, calls: Sequence[tuple[Address, CallRequest]], *, block: Header
) -> list[SimResult]:
    """The calls in order, each by its sender, all of whom have the means to pay for gas, and do."""
    return await client.simulate(
        [call for _, call in calls],
        sender=[by for by, _ in calls],
        block=block,
        balances_wei={by: PURSE_WEI for by, _ in calls},
        fees=Fees(max_fee_wei=2 * block.base_fee_wei + _TIP_WEI, priority_fee_wei=_TIP_WEI),
    )


def probe_address(name: str) -> Address:
    """An account that nobody has a key of, and no token has seen."""
    return address_from_bytes(keccak(text=f"cambist listing probe {name}")[12:])


def _moves(token: Address, holder: Address, *, amount: int) -> Iterator[_Planned]:
    one, other, spender = (probe_address(f"{role} of {token} {amount}") for role in ("one", "other", "spender"))
    yield _planned(Move.OUT_OF_POOL, token, (holder, one), amount=amount)
    yield _planned(Move.BETWEEN, token, (one, other), amount=amount)
    yield _planned(Move.BY_ALLOWANCE, token, (other, one), amount=amount, spender=spender)
    yield _planned(Move.INTO_POOL, token, (one, holder), amount=amount)


def _planned(
    move: Move, token: Address, ends: tuple[Address, Address], *, amount: int, spender: Address | None = None
) -> _Planned:
    giver, taker = ends
    abi = load_abi("erc20")
    reads = [(giver, erc20.balance_of(token, end).request) for end in ends]
    if spender is None:
        calls = [(giver, CallRequest(to=token, data=encode_call(abi.function("transfer"), taker, amount)))]
    else:
        pull = encode_call(abi.function("transferFrom"), giver, taker, amount)
        calls = [
            (giver, erc20.approve_call(token, spender, amount=amount)),
            (spender, CallRequest(to=token, data=pull)),
        ]
    return _Planned(
        move=move,
        giver=giver,
        taker=taker,
        amount=amount,
        calls=(*reads, *calls, *reads),
        moves_at=len(reads) + len(calls) - 1,
    )


def _approvals(token: Address) -> list[tuple[Address, CallRequest]]:
    """An allowance set twice without going through zero, which USDT refuses."""
    owner, spender = probe_address(f"owner of {token}"), probe_address(f"router of {token}")
    return [(owner, erc20.approve_call(token, spender, amount=amount)) for amount in (1, 2)]


def _judged(move: _Planned, results: Sequence[SimResult]) -> tuple[Trouble | None, bytes]:
    """The trouble, if there is any, and what the transfer returned."""
    done = results[move.moves_at]
    for result in results[2 : move.moves_at + 1]:
        if not result.succeeded:
            return Trouble(move=move.move, amount=move.amount, reverted=result.reason or "no reason given"), b""
    try:
        erc20.check_success(done.output)
        giver_before, taker_before = (_balance(result) for result in results[:2])
        giver_after, taker_after = (_balance(result) for result in results[-2:])
    except TokenRefused:
        return Trouble(move=move.move, amount=move.amount, refused=True), done.output
    except ContractError as exc:
        return Trouble(move=move.move, amount=move.amount, reverted=str(exc)), done.output
    left, arrived = giver_before - giver_after, taker_after - taker_before
    if (left, arrived) == (move.amount, move.amount):
        return None, done.output
    return Trouble(move=move.move, amount=move.amount, left=left, arrived=arrived), done.output


def _balance(result: SimResult) -> int:
    if not result.succeeded or len(result.output) != 32:
        raise ContractError("balanceOf gave no answer")
    return int.from_bytes(result.output, "big")
