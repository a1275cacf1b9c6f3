"""Other ways to the same V3 quotes: calls of QuoterV2 by three clients, and degenbot in a process of its own.

Guarantees: each is given what it needs before its clock runs, and each answers with the amounts, to be compared.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.console import Console
from web3 import HTTPProvider, Web3

from chains.types import Address, BlockRef
from contracts.abi import decode_output, encode_call
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import word_of
from scripts.bench.peers.worker import Peer, peer
from scripts.bench.quotecases import CALL_GAS, TIMEOUT_S, Case, Markets, eth_calls, single_call
from scripts.devnet.calls import hexed, unhexed


class RawCalls:
    """The least that asking QuoterV2 takes: ready-made requests on one open connection, one word of the answer."""

    def __init__(self, markets: Markets, cases: Sequence[Case]) -> None:
        parts = urlsplit(markets.url)
        self._markets = markets
        self._calls = [(case.market.quoter, encode_call(single_call(case)[0], *single_call(case)[1])) for case in cases]
        self._requests = [_request(parts.netloc, markets.block, call) for call in self._calls]
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def ask(self, count: int) -> list[int]:
        return [self._one(request) for request in self._requests[:count]]

    def batch(self) -> list[bytes | None]:
        return eth_calls(self._markets.url, self._calls, self._markets.block)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _one(self, request: bytes) -> int:
        self._socket.sendall(request)
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        body = self._file.read(length)
        at = body.index(b'"result":"0x') + 12
        return int(body[at : at + 64], 16)


def _request(host: str, block: BlockRef, call: tuple[Address, bytes]) -> bytes:
    parameters = [{"to": call[0], "data": hexed(call[1]), "gas": hex(CALL_GAS)}, hex(block.number)]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": parameters}).encode()
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class RequestsCalls:
    """A plain JSON-RPC call with the HTTP library that web3.py stands on, one kept session, eth_abi for both ways."""

    def __init__(self, markets: Markets, cases: Sequence[Case]) -> None:
        self._session = requests.Session()
        self._url, self._block, self._cases = markets.url, hex(markets.block.number), cases

    def ask(self, count: int) -> list[int]:
        return [self._one(case) for case in self._cases[:count]]

    def close(self) -> None:
        self._session.close()

    def _one(self, case: Case) -> int:
        function, arguments = single_call(case)
        parameters = [{"to": case.market.quoter, "data": hexed(encode_call(function, *arguments))}, self._block]
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": parameters}
        answer = self._session.post(self._url, json=request, timeout=TIMEOUT_S).json()["result"]
        amount: int = decode_output(function, unhexed(answer))[0]
        return amount


class Web3Calls:
    """As web3.py's documentation shows it."""

    def __init__(self, markets: Markets) -> None:
        self._block = markets.block.number
        self._web3 = Web3(HTTPProvider(markets.url))
        abi = json.loads((Path(__file__).parents[3] / "abis" / "quoter_v2.json").read_text())
        self._quoter = self._web3.eth.contract(address=Web3.to_checksum_address(markets.each[-1].quoter), abi=abi)

    def ask(self, cases: Sequence[Case]) -> list[int]:
        answers = []
        for case in cases:
            function = self._quoter.functions.quoteExactInputSingle(*single_call(case)[1])
            answers.append(function.call(block_identifier=self._block)[0])
        return answers


@contextmanager
def degenbot(markets: Markets, cases: Sequence[Case], *, wanted: bool, console: Console) -> Iterator[Peer | None]:
    """degenbot with the same pools and quotes in an environment of its own; None where it cannot be had."""
    if not wanted:
        yield None
        return
    pools = list({id(case.market): case.market for case in cases}.values())
    numbers = {id(market): number for number, market in enumerate(pools)}
    given = {
        "url": markets.url,
        "pools": [_described(market.pool) for market in pools],
        "quotes": [[numbers[id(case.market)], case.zero_for_one, str(case.amount)] for case in cases],
    }
    with peer("degenbot", script="degenbot_worker.py", given=given, console=console) as found:
        yield found


def _described(pool: V3Pool | V2Pool) -> dict[str, Any]:
    """A pool as the worker takes it."""
    if isinstance(pool, V2Pool):
        raise TypeError("these are V3 pools")
    bitmap: dict[int, int] = {}
    for tick in pool.ticks.initialized:
        word = word_of(tick, pool.tick_spacing)
        bitmap[word] = bitmap.get(word, 0) | 1 << (tick // pool.tick_spacing) % 256
    return {
        "address": pool.address,
        "bitmap": {word: str(bits) for word, bits in bitmap.items()},
        "ticks": {tick: [str(each.gross), str(each.net)] for tick, each in pool.ticks.liquidity.items()},
    }
