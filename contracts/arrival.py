"""What a plan would move in a wallet: simulated, with the balances read before and after it.

A swap's limit holds for what the pools pay out. A token that taxes transfers takes its share behind that, and neither
V3's routers nor Router02 look at what arrives: the balance does.

Guarantees: of the block after the head that is given; nothing is sent or signed. Not guaranteed: the same in the block
that mines the plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from chains.client import SimLog, SimResult
from chains.errors import ExecutionReverted
from chains.types import Address, CallRequest, Header, address_from_bytes
from contracts import erc20
from contracts.abi import encode_call, load_abi
from contracts.assets import Asset
from contracts.errors import UndecodableReturn

_READER: Final = address_from_bytes(bytes(19) + b"\x01")
"""Who reads balances in between; nobody with code or money."""


class Simulator(Protocol):
    """`chains.client.EvmClient` is one."""

    async def simulate(
        self, calls: Sequence[CallRequest], *, sender: Address | Sequence[Address], block: Header
    ) -> list[SimResult]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What the calls changed of each asset asked about, base units (less is negative), and the last call's gas.

    `logs` are of all calls in order; None: the node does not tell them.
    """

    changes: tuple[int, ...]
    gas_used: int
    logs: tuple[SimLog, ...] | None


async def moved(
    client: Simulator,
    calls: Sequence[CallRequest],
    *,
    wallet: Address,
    assets: Sequence[Asset],
    multicall: Address,
    head: Header,
) -> Moved:
    """How much more of each asset the wallet has after the calls that it sends; gas is not charged.

    Raises:
        ExecutionReverted: one of the calls fails.
        UndecodableReturn: a balance could not be read.
        MethodUnavailable, RpcRefused: the node does not simulate, or refused to.
    """
    reads = [_read(asset, wallet, multicall) for asset in assets]
    results = await client.simulate(
        [*reads, *calls, *reads],
        sender=[*[_READER] * len(reads), *[wallet] * len(calls), *[_READER] * len(reads)],
        block=head,
    )
    done = results[len(reads) : len(results) - len(reads)]
    for result in done:
        if not result.succeeded:
            raise ExecutionReverted(result.reason, data=result.output)
    pairs = zip(results[: len(reads)], results[len(results) - len(reads) :], strict=True)
    return Moved(
        changes=tuple(_balance(after) - _balance(before) for before, after in pairs),
        gas_used=done[-1].gas_used,
        logs=_logs(done),
    )


def _read(asset: Asset, wallet: Address, multicall: Address) -> CallRequest:
    if asset.is_native:
        return CallRequest(to=multicall, data=encode_call(load_abi("multicall3").function("getEthBalance"), wallet))
    return erc20.balance_of(asset.token_address, wallet).request


def _balance(result: SimResult) -> int:
    if not result.succeeded or len(result.output) != 32:
        raise UndecodableReturn("a balance gave no answer", data=result.output)
    return int.from_bytes(result.output, "big")


def _logs(done: Sequence[SimResult]) -> tuple[SimLog, ...] | None:
    logs: list[SimLog] = []
    for result in done:
        if result.logs is None:
            return None
        logs += result.logs
    return tuple(logs)
