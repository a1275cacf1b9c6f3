"""Whether an address is one to send coins to, as far as it and the chain say.

Guarantees: the zero address, precompiles and the chain's own contracts, a listed token's contract, a contract of the
pinned registry, Permit2, and a contract that answers as a token does are refused: coins sent there are lost. Every
other contract is told from an account without code.
Not guaranteed: that a contract can hand out again what it is sent, or stays what it is. An account that has delegated
to code (EIP-7702) counts as a contract.
"""

from dataclasses import dataclass

from chains.errors import ExecutionReverted
from chains.types import ZERO_ADDRESS, Address, InvalidAddress, parse_address
from contracts import erc20
from contracts.call import execute
from contracts.errors import ContractError
from contracts.foreign_calls import is_system
from contracts.permit2 import PERMIT2
from service.build import ChainRuntime
from service.errors import ApiError


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """An address that coins may go to."""

    address: Address
    is_contract: bool


def parse_safe(runtime: ChainRuntime, text: str) -> Address:
    """An address from outside, without asking the chain.

    Raises:
        ApiError: invalid_address (form or checksum), or destination_unsafe: coins sent there would be lost.
    """
    try:
        address = parse_address(text)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", str(exc)) from exc
    if address == ZERO_ADDRESS:
        raise ApiError("destination_unsafe", "the zero address belongs to nobody")
    if is_system(address):
        raise ApiError("destination_unsafe", "this is a contract of the chain itself; coins sent there are lost")
    if runtime.assets.find_address(address) is not None:
        raise ApiError("destination_unsafe", "this is a token's own contract; coins sent there are lost")
    if address == PERMIT2 or address in runtime.deployments.contracts(runtime.config.chain_id).values():
        raise ApiError("destination_unsafe", "this is a protocol's contract; coins sent there are lost")
    return address


async def examine(runtime: ChainRuntime, text: str) -> Examined:
    """`parse_safe`, and what the chain says of the address.

    Raises:
        ApiError: invalid_address, destination_unsafe.
        ChainError: the chain cannot be asked now.
    """
    address = parse_safe(runtime, text)
    is_contract = bool(await runtime.client.code(address))
    if is_contract and await _is_token(runtime, address):
        raise ApiError(
            "destination_unsafe", "this is a token's own contract, if not a listed one's; coins sent there are lost"
        )
    return Examined(address=address, is_contract=is_contract)


async def _is_token(runtime: ChainRuntime, address: Address) -> bool:
    """It has a supply and knows balances, as ERC-20 and ERC-721 contracts do and wallets do not."""
    try:
        await execute(runtime.client, erc20.total_supply(address), block="latest")
        await execute(runtime.client, erc20.balance_of(address, address), block="latest")
    except (ExecutionReverted, ContractError):
        return False
    return True
