"""What would arrive in a wallet: a plan simulated with the balance read before and after it.

A swap's limit holds for what the pools pay out. A token that taxes transfers takes its share behind that, and neither
V3's routers nor Router02 look at what arrives: the balance does.

Guarantees: of the block after the head that is given; nothing is sent or signed. Not guaranteed: the same in the block
that mines the plan.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from chains.client import SimResult
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


async def arriving(
    client: Simulator, calls: Sequence[CallRequest], *, wallet: Address, bought: Asset, multicall: Address, head: Header
) -> int:
    """How much more of `bought` the wallet has after the calls that it sends, in base units; gas is not charged.

    Raises:
        ExecutionReverted: one of the calls fails.
        UndecodableReturn: a balance could not be read.
        MethodUnavailable, RpcRefused: the node does not simulate, or refused to.
    """
    if bought.is_native:
        data = encode_call(load_abi("multicall3").function("getEthBalance"), wallet)
        read = CallRequest(to=multicall, data=data)
    else:
        read = erc20.balance_of(bought.token_address, wallet).request
    before, *done, after = await client.simulate(
        [read, *calls, read], sender=[_READER, *[wallet] * len(calls), _READER], block=head
    )
    for result in done:
        if not result.succeeded:
            raise ExecutionReverted(result.reason, data=result.output)
    return _balance(after) - _balance(before)


def _balance(result: SimResult) -> int:
    if not result.succeeded or len(result.output) != 32:
        raise UndecodableReturn("a balance gave no answer", data=result.output)
    return int.from_bytes(result.output, "big")
