"""Contract calls written as `balanceOf(address)(uint256)`: signature, then what it returns.

Guarantees: `send` returns a receipt that says success, or raises. Transactions go out unsigned through
`eth_sendTransaction`, so the sender must be impersonated on the node; no key and no signature exists here.
"""

from __future__ import annotations

import time
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address

from scripts.devnet.rpc import DevRpc, RpcError

# Above the dearest deployment (the V3 position manager, 5.3 M) and below Anvil's 30 M block.
GAS = 14_000_000
RECEIPT_TIMEOUT_S = 30.0
RECEIPT_POLL_S = 0.002
NONCE_TRIES = 50
"""Anvil shows a receipt a moment before the sender's new nonce: it then gives the next transaction the old one, and
refuses it as too low. Nothing was taken, so that it is asked again."""


class Reverted(Exception):
    """A transaction was mined and reverted."""


def hexed(data: bytes) -> str:
    """Bytes as 0x-prefixed hex."""
    return "0x" + data.hex()


def unhexed(text: str) -> bytes:
    """Bytes of a hex string, with or without 0x."""
    return bytes.fromhex(text.removeprefix("0x"))


def call_data(signature: str, *arguments: Any) -> bytes:
    """Calldata of `name(types)`; anything after the first parenthesis pair (the returns) is ignored."""
    name, types, _ = _parse(signature)
    selector: bytes = function_signature_to_4byte_selector(f"{name}({','.join(types)})")
    return selector + bytes(encode(types, arguments))


class Contract:
    """A contract at an address, on one node."""

    def __init__(self, rpc: DevRpc, address: str) -> None:
        self.rpc = rpc
        self.address: str = to_checksum_address(address)

    def view(self, signature: str, *arguments: Any, block: str = "latest", sender: str | None = None) -> Any:
        """Decoded answer of a call: the value itself where one is returned, else a tuple.

        Raises:
            RpcError: the call reverted.
        """
        request = {"to": self.address, "data": hexed(call_data(signature, *arguments))}
        if sender is not None:
            request["from"] = sender
        answer = unhexed(self.rpc("eth_call", request, block))
        values = decode(_parse(signature)[2], answer)
        return values[0] if len(values) == 1 else tuple(values)

    def send(self, signature: str, *arguments: Any, sender: str, value: int = 0) -> dict[str, Any]:
        """Send from an impersonated account and wait for the block.

        Raises:
            Reverted: it was mined without success.
            TimeoutError: no block took it.
        """
        data = call_data(signature, *arguments)
        return send_raw(self.rpc, self.address, data=data, sender=sender, value=value)


def send_raw(
    rpc: DevRpc, target: str | None, *, data: bytes, sender: str, value: int = 0, gas: int = GAS
) -> dict[str, Any]:
    """Send calldata (or creation bytecode, with no target) and return its successful receipt."""
    receipt = wait_for_receipt(rpc, submit_raw(rpc, target, data=data, sender=sender, value=value, gas=gas))
    if int(receipt["status"], 16) != 1:
        raise Reverted(f"transaction {receipt['transactionHash']} to {target} reverted")
    return receipt


def submit_raw(rpc: DevRpc, target: str | None, *, data: bytes, sender: str, value: int = 0, gas: int = GAS) -> str:
    """Put a transaction of an impersonated sender in the pool; its hash. Raises: RpcError: it was refused."""
    transaction = {"from": sender, "data": hexed(data), "value": hex(value), "gas": hex(gas)}
    if target is not None:
        transaction["to"] = target
    tries = 0
    while True:
        tries += 1
        try:
            submitted: str = rpc("eth_sendTransaction", transaction)
        except RpcError as refused:
            if "nonce too low" not in refused.message or tries == NONCE_TRIES:
                raise
            time.sleep(RECEIPT_POLL_S)
        else:
            return submitted


def wait_for_receipt(rpc: DevRpc, tx_hash: str, *, timeout_s: float = RECEIPT_TIMEOUT_S) -> dict[str, Any]:
    """The receipt, successful or not. Anvil mines behind its answer, so that one poll is rarely enough.

    Raises:
        TimeoutError: no block took it in time (automine may be off).
    """
    deadline = time.monotonic() + timeout_s
    while True:
        receipt: dict[str, Any] | None = rpc("eth_getTransactionReceipt", tx_hash)
        if receipt is not None:
            return receipt
        if time.monotonic() > deadline:
            raise TimeoutError(f"transaction {tx_hash} was not mined within {timeout_s} s")
        time.sleep(RECEIPT_POLL_S)


def _parse(signature: str) -> tuple[str, list[str], list[str]]:
    """`f(a,(b,c))(d)` as name, argument types, returned types."""
    name, _, rest = signature.partition("(")
    groups = _split("(" + rest, outer=True)
    arguments = _split(groups[0], outer=False)
    returns = _split(groups[1], outer=False) if len(groups) > 1 else []
    return name, arguments, returns


def _split(text: str, *, outer: bool) -> list[str]:
    """Top-level parenthesised groups of `text`, or the comma-separated parts of its content."""
    parts: list[str] = []
    depth, current = 0, ""
    for character in text if outer else text[1:-1]:
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        depth += (character == "(") - (character == ")")
        current += character
        if outer and depth == 0:
            parts.append(current)
            current = ""
    return [*parts, current] if current else parts
