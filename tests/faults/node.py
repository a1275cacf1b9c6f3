"""A bare Anvil of a test's own, with one funded key: enough for faults, without the protocols' contracts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount

from scripts.devnet import artifacts
from scripts.devnet.anvil import run_anvil
from scripts.devnet.rpc import DevRpc

CHAIN_ID: Final = 31337
GWEI: Final = 10**9
ETHER: Final = 10**18
RECIPIENT: Final = "0x00000000000000000000000000000000000A11cE"
SLOTS_IN_AN_EPOCH: Final = 2
"""Anvil's `finalized` is the head less two epochs: four blocks."""


class Node:
    """A running Anvil and a key that has money on it. Automine is off: the test makes the blocks."""

    def __init__(self, url: str, rpc: DevRpc) -> None:
        self.url = url
        self.rpc = rpc
        self.key: LocalAccount = Account.create()
        rpc("anvil_setBalance", self.key.address, hex(1000 * ETHER))

    def mine(self, blocks: int = 1) -> int:
        """Make blocks; the new head's number."""
        self.rpc("anvil_mine", hex(blocks))
        return self.head

    @property
    def head(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def transfer(self, nonce: int, **changes: Any) -> str:
        """Signed bytes of a transfer, as hex."""
        values: dict[str, Any] = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "to": RECIPIENT,
            "value": 1,
            "data": "0x",
            "gas": 21_000,
            "maxFeePerGas": 100 * GWEI,
            "maxPriorityFeePerGas": 30 * GWEI,
        }
        return "0x" + bytes(self.key.sign_transaction(values | changes).raw_transaction).hex()


@contextmanager
def bare_node(name: str = "bare") -> Iterator[Node]:
    """Ready in about 0.1 s, gone at the end."""
    arguments = ["--chain-id", str(CHAIN_ID), "--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH), "--no-mining"]
    with run_anvil(artifacts.ensure().anvil, name, arguments=arguments) as anvil:
        rpc = DevRpc(anvil.url)
        try:
            yield Node(anvil.url, rpc)
        finally:
            rpc.close()
