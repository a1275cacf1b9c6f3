"""Tokens that misbehave on command, put on a fork; and pools that hold them."""

import secrets
from dataclasses import dataclass
from typing import Final

from eth_utils.address import to_checksum_address

from chains.types import Address
from scripts.devnet import artifacts
from scripts.devnet.calls import Contract
from scripts.devnet.cheats import impersonate
from scripts.devnet.placing import Builder, InPlace, Place
from scripts.devnet.rpc import DevRpc
from tests.contracts.desk import Desk

SUPPLY: Final = 10**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A token, and who made it and has all of it."""

    rpc: DevRpc
    address: Address
    owner: Address

    def misbehave(self, *, fee_bps: int = 0, returns_false: bool = False, paused: bool = False) -> None:
        Contract(self.rpc, self.address).send(
            "misbehave(uint256,bool,bool)", fee_bps, returns_false, paused, sender=self.owner
        )


def place_token(
    desk: Desk,
    *,
    symbol: str = "HOS",
    name: str = "Hostile",
    decimals: int = 18,
    artifact: str = "hostile_token",
    address: Address | None = None,
) -> Hostile:
    """A new token at an address of its own; the desk's wallet owns the supply."""
    at = address or Address(to_checksum_address(secrets.token_bytes(20)))
    impersonate(desk.rpc, desk.wallet)
    Builder(desk.rpc, artifacts.ensure().contracts).place(
        Place(
            name=symbol,
            artifact=artifact,
            address=at,
            how=InPlace(owner=desk.wallet),
            types=("string", "string", "uint8"),
            arguments=(name, symbol, decimals),
        )
    )
    token = Hostile(rpc=desk.rpc, address=at, owner=desk.wallet)
    Contract(desk.rpc, at).send("mint(address,uint256)", desk.wallet, SUPPLY, sender=desk.wallet)
    return token


def make_pool(
    desk: Desk, token: Hostile, *, quote: str = "WETH", tokens: int = 10**22, quoted: int = 10**20
) -> Address:
    """A V2 pool of the token with a listed one, with liquidity from the desk's wallet."""
    factory = desk.deployments.address(desk.chain_id, "uniswap_v2_factory")
    other = desk.assets.by_symbol(quote).token_address
    Contract(desk.rpc, factory).send("createPair(address,address)", token.address, other, sender=desk.wallet)
    pair = Address(Contract(desk.rpc, factory).view("getPair(address,address)(address)", token.address, other))
    for address, amount in ((token.address, tokens), (other, quoted)):
        Contract(desk.rpc, address).send("transfer(address,uint256)", pair, amount, sender=desk.wallet)
    Contract(desk.rpc, pair).send("mint(address)", desk.wallet, sender=desk.wallet)
    return Address(to_checksum_address(pair))


def trap(desk: Desk, token: Hostile, *, condition: bytes) -> None:
    """Put a trap before the token: transfers for which the condition leaves a true word on the stack revert.

    `condition` is EVM code that reads the call as it is. All else goes on to an honest copy of the token's code, over
    the token's own storage.
    """
    honest = place_token(desk).address
    # CALLDATACOPY(0, 0, size); DELEGATECALL(gas, honest, 0, size, 0, 0); RETURNDATACOPY(0, 0, size)
    copied = bytes.fromhex("36600060003760006000366000")
    forward = copied + b"\x73" + bytes.fromhex(honest[2:]) + bytes.fromhex("5af43d600060003e")
    # PUSH2 <revert> JUMPI, then the forwarded call, PUSH2 <return> JUMPI, RETURNDATASIZE PUSH1 0 REVERT.
    head = len(condition) + 4 + len(forward) + 4
    fail, done = head + 4, head + 10
    code = (
        condition
        + b"\x61" + fail.to_bytes(2, "big") + b"\x57"
        + forward
        + b"\x61" + done.to_bytes(2, "big") + b"\x57"
        + bytes.fromhex("3d6000fd")  # what the copy reverted with
        + bytes.fromhex("5b60006000fd")  # the trap
        + bytes.fromhex("5b3d6000f3")  # what the copy answered
    )  # fmt: skip
    desk.rpc("anvil_setCode", token.address, "0x" + code.hex())
    desk.rpc("evm_mine")


def sends_to(target: Address) -> bytes:
    """transfer(target, ...) or transferFrom(..., target, ...): what a honeypot forbids of its pool."""
    address = b"\x73" + bytes.fromhex(target[2:])
    transfer = _selector_is("a9059cbb") + bytes.fromhex("600435") + address + bytes.fromhex("1416")
    pull = _selector_is("23b872dd") + bytes.fromhex("602435") + address + bytes.fromhex("1416")
    return transfer + pull + b"\x17"


def pulled_by(spender: Address) -> bytes:
    """transferFrom called by that spender: what a trap for one router forbids."""
    return _selector_is("23b872dd") + b"\x33\x73" + bytes.fromhex(spender[2:]) + bytes.fromhex("1416")


def moves_more_than(amount: int) -> bytes:
    """transfer(..., more than amount)."""
    word = b"\x7f" + amount.to_bytes(32, "big")
    return _selector_is("a9059cbb") + word + bytes.fromhex("6024351116")


def is_paid_for() -> bytes:
    """Any transfer in a transaction that pays for gas: what a token does that behaves in simulations."""
    return _selector_is("a9059cbb") + b"\x3a" + bytes.fromhex("151516")


def _selector_is(selector: str) -> bytes:
    """CALLDATALOAD(0) >> 224 == selector."""
    return bytes.fromhex("60003560e01c63" + selector + "14")
