"""A chain in memory with Uniswap V2 pairs, that a test extends and rewrites, behind a transport that can misbehave.

It answers what `PoolStates` asks: heads, headers, logs by block hash, and Multicall3 calls to factories and pairs. V3
pools there are none. Guarantees: state and logs of every block are kept by its hash, those of blocks that left the
chain are refused as nodes do.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eth_abi.abi import decode, encode

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import RpcError, RpcRefused
from chains.recent import RecentHead
from chains.types import Address, BlockHash, Header, address_bytes, address_from_bytes
from contracts.abi import load_abi
from contracts.assets import load_assets
from contracts.deployments import Deployments, load_deployments
from contracts.pools import PoolDirectory
from contracts.uniswap_v2.pool import topics
from service.markets.state.states import PoolStates
from tests.chains.forkable import ForkableChain
from tests.clock import FakeClock

CONFIG: Final[ChainConfig] = load_chains()["ethereum"]
ASSETS: Final = load_assets(CONFIG.chain_id)
DEPLOYMENTS: Final[Deployments] = load_deployments()
WETH, USDC, USDT, DAI, WBTC = (ASSETS.by_symbol(each).token_address for each in ("WETH", "USDC", "USDT", "DAI", "WBTC"))
_PAIR: Final = load_abi("uniswap_v2_pair")
_FACTORY: Final = load_abi("uniswap_v2_factory")
_V3_FACTORY: Final = load_abi("uniswap_v3_factory")
_SYNC: Final = "0x" + topics()[0].hex()

Reserves = tuple[int, int]


def pair_of(one: Address, other: Address) -> Address:
    """Where the pair of two tokens is, once it is made."""
    mixed = bytes(a ^ b for a, b in zip(address_bytes(one), address_bytes(other), strict=True))
    return address_from_bytes(mixed)


class V2Chain(ForkableChain):
    """Reserves by pair; a block's trades are the pairs' new reserves, in order."""

    name = "v2chain"

    def __init__(self) -> None:
        self.states: dict[BlockHash, Mapping[Address, Reserves]] = {}
        self.logs: dict[BlockHash, list[tuple[Address, Reserves]]] = {}
        self.asked: Counter[str] = Counter()
        self.fault: Callable[[str, Sequence[Any]], RpcError | None] = lambda method, params: None
        self.hides: Callable[[BlockHash], bool] = lambda block: False
        """Blocks whose logs the node leaves out."""
        super().__init__(1)
        self.states[self.blocks[0].hash] = {}

    def trade(self, *trades: tuple[Address, Reserves], silent: Mapping[Address, Reserves] | None = None) -> Header:
        """A block with these logs. `silent`: reserves that change without one."""
        before = self.states[self.blocks[-1].hash]
        self.mine()
        block = self.blocks[-1].hash
        self.states[block] = {**before, **dict(trades), **(silent or {})}
        self.logs[block] = list(trades)
        return self.blocks[-1]

    def undo(self, depth: int) -> None:
        """Take blocks away; the next ones are others."""
        self.reorg(depth, 0)

    @property
    def now(self) -> Mapping[Address, Reserves]:
        return self.states[self.blocks[-1].hash]

    # -- Transport ----------------------------------------------------------------------------------------

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.asked[method] += 1
        await asyncio.sleep(0)
        if (failure := self.fault(method, params)) is not None:
            raise failure
        match method:
            case "eth_getBlockByNumber":
                number = len(self.blocks) - 1 if params[0] == "latest" else int(params[0], 16)
                return _block(self.blocks[number]) if number < len(self.blocks) else None
            case "eth_getLogs":
                return self._answer_logs(params[0])
            case "eth_call":
                return self._answer_call(params[0], params[1])
            case _:
                raise AssertionError(method)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        answers: list[Any | RpcError] = []
        for method, params in calls:
            try:
                answers.append(await self.request(method, params))
            except RpcError as exc:
                answers.append(exc)
        return answers

    async def close(self) -> None: ...

    # -- private ------------------------------------------------------------------------------------------

    def _canonical(self, block: BlockHash) -> Header:
        for header in reversed(self.blocks):
            if header.hash == block:
                return header
        raise refused("unknown block")

    def _answer_logs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        header = self._canonical(query["blockHash"])
        logs = [] if self.hides(header.hash) else self.logs.get(header.hash, [])
        return [
            {
                "address": pair.lower(),
                "topics": [_SYNC],
                "data": "0x" + encode(["uint112", "uint112"], reserves).hex(),
                "logIndex": hex(index),
                "transactionHash": "0x" + "ab" * 32,
                "blockNumber": hex(header.number),
                "blockHash": header.hash,
            }
            for index, (pair, reserves) in enumerate(logs)
            if pair in query.get("address", [pair])
        ]

    def _answer_call(self, call: Mapping[str, str], block: Mapping[str, Any]) -> str:
        state = self.states[self._canonical(block["blockHash"]).hash]
        [calls] = decode(["(address,bool,bytes)[]"], bytes.fromhex(call["data"][10:]))
        answers = [self._answer(address_from_bytes(bytes.fromhex(to[2:])), data, state) for to, _, data in calls]
        return "0x" + encode(["(bool,bytes)[]"], [answers]).hex()

    def _answer(self, to: Address, data: bytes, state: Mapping[Address, Reserves]) -> tuple[bool, bytes]:
        selector, arguments = data[:4], data[4:]
        if selector == _FACTORY.function("getPair").selector:
            one, other = (address_from_bytes(arguments[at + 12 : at + 32]) for at in (0, 32))
            pair = pair_of(one, other)
            return True, encode(["address"], [pair if pair in state else "0x" + "00" * 20])
        if selector == _V3_FACTORY.function("getPool").selector:
            return True, bytes(32)
        if selector == _PAIR.function("getReserves").selector and to in state:
            return True, encode(["uint112", "uint112", "uint32"], [*state[to], 0])
        return True, b""


def refused(text: str) -> RpcRefused:
    return RpcRefused(text, endpoint="v2chain", method="eth_getLogs", code=-32000)


def states_of(
    chain: V2Chain,
    clock: FakeClock,
    *,
    recent: RecentHead | None = None,
    config: ChainConfig = CONFIG,
    extra_fees: Sequence[int] = (),
) -> PoolStates:
    return PoolStates(
        EvmClient(config, chain),
        assets=ASSETS,
        deployments=DEPLOYMENTS,
        directory=PoolDirectory(CONFIG.chain_id),
        recent=recent or RecentHead(clock),
        clock=clock,
        extra_fees=extra_fees,
    )


def _block(header: Header) -> dict[str, str]:
    return {
        "number": hex(header.number),
        "hash": header.hash,
        "parentHash": header.parent_hash,
        "timestamp": hex(header.timestamp_s),
        "baseFeePerGas": hex(header.base_fee_wei),
        "gasLimit": hex(header.gas_limit),
    }
