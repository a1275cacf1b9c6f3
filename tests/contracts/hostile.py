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
