"""Other ways to the same Transfer logs: web3.py in the two ways its documentation shows, and eth_abi by hand."""

from __future__ import annotations

from typing import Any, Final

import orjson
from eth_abi.abi import decode
from web3 import HTTPProvider, Web3

from chains.types import Address
from scripts.bench.peers.wire import Wire

Transfers = list[tuple[Any, Any, int]]
"""Sender and recipient, as bytes or text as the way has them, and amount."""
_TRANSFER: Final[list[dict[str, Any]]] = [
    {
        "type": "event",
        "name": "Transfer",
        "anonymous": False,
        "inputs": [
            {"name": "sender", "type": "address", "indexed": True},
            {"name": "recipient", "type": "address", "indexed": True},
            {"name": "amount", "type": "uint256", "indexed": False},
        ],
    }
]


class Web3Logs:
    """Synchronous web3.py."""

    def __init__(self, url: str, *, token: Address, topic: str) -> None:
        self._web3 = Web3(HTTPProvider(url))
        self._token = token
        self._topic = topic
        self._contract = self._web3.eth.contract(address=self._web3.to_checksum_address(token), abi=_TRANSFER)

    def get_logs(self, first: int, last: int) -> Transfers:
        """`eth.get_logs`, fields taken out of topics and data."""
        asked: Any = {"address": self._token, "topics": [self._topic], "fromBlock": first, "toBlock": last}
        return [
            (bytes(one["topics"][1][12:]), bytes(one["topics"][2][12:]), int.from_bytes(one["data"], "big"))
            for one in self._web3.eth.get_logs(asked)
        ]

    def events(self, first: int, last: int) -> Transfers:
        """`contract.events.Transfer.get_logs`, which decodes."""
        found = self._contract.events.Transfer.get_logs(from_block=first, to_block=last)
        return [(one["args"]["sender"], one["args"]["recipient"], one["args"]["amount"]) for one in found]


def by_hand(wire: Wire, request: bytes) -> Transfers:
    """orjson, and eth_abi for each field."""
    return [
        (
            decode(["address"], bytes.fromhex(one["topics"][1][2:]))[0],
            decode(["address"], bytes.fromhex(one["topics"][2][2:]))[0],
            decode(["uint256"], bytes.fromhex(one["data"][2:]))[0],
        )
        for one in orjson.loads(wire.ask(request))["result"]
    ]


def plain(found: Transfers) -> list[tuple[str, str, int]]:
    """For comparing: addresses as text in lower case. Not part of what is timed."""
    return [(_text(sender), _text(recipient), amount) for sender, recipient, amount in found]


def _text(address: bytes | str) -> str:
    return "0x" + address.hex() if isinstance(address, bytes) else address.lower()
