"""A contract that takes tokens it is approved for, and a switch by which its owner makes it take more."""

import asyncio
import secrets
from typing import Final

from eth_utils.address import to_checksum_address

from chains.types import Address
from scripts.devnet.rpc import DevRpc

DEPOSIT: Final = "deposit(address,uint256)"
"""Takes that much of the token, and what the switch says on top."""
PING: Final = "ping()"
"""Does nothing, and keeps the native coins that come with it."""

_CODE: Final = bytes.fromhex(
    # With less than two arguments there is nothing to do: CALLDATASIZE < 68, to the end.
    "604436106037"
    "57"
    # transferFrom(caller, this, amount + slot 0) of the token in the first argument.
    "6323b872dd60e01b600052"
    "33600452"
    "30602452"
    "60005460243501604452"
    "602060006064600060006004355af1"
    "15603957"
    "5b00"
    "5b60006000fd"
)


def place_vault(rpc: DevRpc) -> Address:
    """A new one, at an address of its own."""
    address = Address(to_checksum_address(secrets.token_bytes(20)))
    rpc("anvil_setCode", address, "0x" + _CODE.hex())
    rpc("anvil_mine", "0x1")
    return address


async def turn(rpc: DevRpc, vault: Address, *, takes_more: int) -> None:
    """From now on it takes so many base units more than it is asked to."""
    await asyncio.to_thread(rpc, "anvil_setStorageAt", vault, "0x0", "0x" + takes_more.to_bytes(32, "big").hex())
    await asyncio.to_thread(rpc, "anvil_mine", "0x1")
