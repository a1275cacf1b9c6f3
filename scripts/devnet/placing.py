"""Putting a contract at the address it has on the real network, and the steps a chain is built from.

Three techniques, by what is known about the real deployment:
  Nonce    the historical deployer creates at its historical nonce; the address comes out by itself.
  Create2  the historical factory and salt; the address proves that the creation bytecode is byte-exact.
  InPlace  any address: the creation bytecode is put there as code and called, so that the constructor runs
           with the right address(this); what it returns becomes the code, what it stores stays.

Guarantees: every step either has the effect it names or raises; nothing is signed. InPlace differs from a real
deployment for constructors that look at their own code size (none here does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from scripts.devnet.artifacts import Artifact
from scripts.devnet.calls import GAS, Contract, hexed, send_raw
from scripts.devnet.rpc import DevRpc

# What an impersonated deployer or owner holds for gas and deposits: 10^9 whole coins.
DEPLOYER_WEI = 10**27
CREATE2_FACTORY = "0x4e59b44847b379578588920cA78FbF26c0B4956C"


def own_address(name: str) -> str:
    """An address of our own for something that has none on the real network. No key to it exists."""
    address: str = to_checksum_address(keccak(f"cambist devnet: {name}".encode())[12:])
    return address


# Owns the pools, the feeds and the token supplies of the base chains.
TREASURY = own_address("treasury")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonce:
    """CREATE by the historical deployer."""

    deployer: str
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Create2:
    """CREATE2 by a factory that takes salt and creation bytecode as calldata."""

    salt: bytes
    factory: str = CREATE2_FACTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """Constructor run at the address itself; `owner` is its msg.sender."""

    owner: str = TREASURY


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One contract: which artifact, where, how, with which constructor arguments and libraries."""

    name: str
    artifact: str
    address: str
    how: Nonce | Create2 | InPlace
    types: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One transaction that sets something up."""

    target: str
    signature: str
    arguments: tuple[Any, ...] = ()
    sender: str = TREASURY
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreText:
    """A short string written into a storage slot, as Solidity stores strings below 32 bytes."""

    address: str
    slot: int
    text: str


Step = Place | Send | StoreText


class PlacingFailed(Exception):
    """A contract did not come out where it belongs."""


class Builder:
    """Carries out steps on one node that impersonates everyone (`anvil_autoImpersonateAccount`)."""

    def __init__(self, rpc: DevRpc, contracts: Mapping[str, Artifact]) -> None:
        self.rpc = rpc
        self._contracts = contracts
        self._funded: set[str] = set()

    def run(self, steps: Iterable[Step]) -> None:
        """Carry the steps out in order.

        Raises:
            PlacingFailed, Reverted, RpcError: a step did not have its effect.
        """
        for step in steps:
            match step:
                case Place():
                    self.place(step)
                case Send():
                    self.fund(step.sender)
                    contract = Contract(self.rpc, step.target)
                    contract.send(step.signature, *step.arguments, sender=step.sender, value=step.value)
                case StoreText():
                    self._store_text(step)
                case _:
                    assert_never(step)

    def place(self, step: Place) -> None:
        """Deploy one contract and check that it is where it should be."""
        code = self._contracts[step.artifact].linked(step.libraries)
        initcode = code + (bytes(encode(step.types, step.arguments)) if step.types else b"")
        match step.how:
            case Nonce(deployer=deployer, nonce=nonce):
                self.fund(deployer)
                self.rpc("anvil_setNonce", deployer, hex(nonce))
                send_raw(self.rpc, None, data=initcode, sender=deployer)
            case Create2(salt=salt, factory=factory):
                self.fund(TREASURY)
                send_raw(self.rpc, factory, data=salt + initcode, sender=TREASURY)
            case InPlace(owner=owner):
                self._place_in_place(step.address, initcode, owner=owner)
            case _:
                assert_never(step.how)
        if self.rpc("eth_getCode", step.address, "latest") == "0x":
            raise PlacingFailed(f"{step.name} did not come out at {step.address}")

    def fund(self, address: str) -> None:
        """Give an account enough for anything it does here, once."""
        if address not in self._funded:
            self.rpc("anvil_setBalance", address, hex(DEPLOYER_WEI))
            self._funded.add(address)

    def _place_in_place(self, address: str, initcode: bytes, *, owner: str) -> None:
        self.fund(owner)
        self.rpc("anvil_setCode", address, hexed(initcode))
        self.rpc("anvil_setNonce", address, "0x1")
        runtime = self.rpc("eth_call", {"from": owner, "to": address, "gas": hex(GAS)}, "latest")
        send_raw(self.rpc, address, data=b"", sender=owner)
        self.rpc("anvil_setCode", address, runtime)

    def _store_text(self, step: StoreText) -> None:
        text = step.text.encode()
        word = text.ljust(31, b"\0") + bytes([2 * len(text)])
        self.rpc("anvil_setStorageAt", step.address, hex(step.slot), hexed(word))
