"""A node that keeps a ledger: balances and nonces a block, answered as JSON-RPC, with faults on request.

It answers exactly the methods that the books use, by block hash or number, through Multicall3's real encoding.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import encode

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.errors import RpcError, RpcRefused, RpcUnavailable
from chains.recent import NotingClient, RecentHead
from chains.types import Address, BlockRef, address_from_bytes
from contracts.abi import decode_input, load_abi
from contracts.assets import Asset, AssetList, load_assets
from contracts.deployments import MULTICALL3, Deployments, load_deployments
from service.auth.secrets import MasterKey
from service.db.engine import Database
from tests.clock import FakeClock
from tests.service.books_seed import block_at

GENESIS_S: Final = 1_767_225_000
_BALANCE_OF: Final = load_abi("erc20").function("balanceOf").selector


@dataclass(slots=True)
class State:
    """What is true after one block."""

    balances: dict[tuple[Address, str], int] = field(default_factory=dict)
    nonces: dict[Address, int] = field(default_factory=dict)


class LedgerNode:
    """A `Transport`. `now` is changed by the test and becomes a block with `mine`."""

    def __init__(self, config: ChainConfig, multicall: Address) -> None:
        self.name = config.key
        self.now = State()
        self.blocks: list[State] = [State()]
        self.pending_nonces: dict[Address, int] = {}
        self.broken: set[Address] = set()
        """Tokens whose balance call reverts."""
        self.down = False
        self.pruned_below = 0
        self.calls: list[str] = []
        self._config = config
        self.multicall = multicall

    def mine(self, count: int = 1) -> BlockRef:
        """The newest block after `count` more with what is true now."""
        self.blocks += [deepcopy(self.now) for _ in range(count)]
        return self.ref(len(self.blocks) - 1)

    def ref(self, number: int) -> BlockRef:
        return block_at(number, fork=self._config.chain_id)

    def give(self, wallet: Address, asset: Asset, *, raw: int) -> None:
        """Set the wallet's balance."""
        self.now.balances[wallet, asset.id] = raw

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.calls.append(method)
        if self.down:
            raise RpcUnavailable("no connection", endpoint=self.name, method=method)
        match method:
            case "eth_getBlockByNumber":
                number = len(self.blocks) - 1 if params[0] == "latest" else int(params[0], 16)
                return self._header(number) if number < len(self.blocks) else None
            case "eth_getTransactionCount":
                wallet = Address(params[0])
                if params[1] == "pending":
                    return hex(self.pending_nonces.get(wallet, self.now.nonces.get(wallet, 0)))
                return hex(self._state(params[1], method).nonces.get(wallet, 0))
            case "eth_call":
                return self._balances(params[0], self._state(params[1], method))
            case other:
                raise RpcRefused(f"no {other} here", endpoint=self.name, method=method, code=-32601)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        return [await self.request(method, params) for method, params in calls]

    async def close(self) -> None: ...

    def _state(self, block: Any, method: str) -> State:
        if block == "latest":
            return self.blocks[-1]
        by_hash = {self.ref(number).hash: number for number in range(len(self.blocks))}
        number = by_hash.get(block["blockHash"])
        if number is None or number < self.pruned_below:
            raise RpcRefused("missing trie node", endpoint=self.name, method=method, code=-32000)
        return self.blocks[number]

    def _header(self, number: int) -> Mapping[str, Any]:
        return {
            "number": hex(number),
            "hash": self.ref(number).hash,
            "parentHash": self.ref(max(0, number - 1)).hash,
            "timestamp": hex(GENESIS_S + number),
            "baseFeePerGas": "0x7",
            "gasLimit": hex(30_000_000),
        }

    def _balances(self, call: Mapping[str, str], state: State) -> str:
        assert call["to"] == self.multicall
        native = next(asset for asset in load_assets(self._config.chain_id) if asset.is_native)
        (asked,) = decode_input(load_abi("multicall3").function("aggregate3"), bytes.fromhex(call["data"][2:]))
        answers: list[tuple[bool, bytes]] = []
        for target, _allow_failure, data in asked:
            wallet = address_from_bytes(data[-20:])
            if target in self.broken:
                answers.append((False, b""))
                continue
            token = data[:4] == _BALANCE_OF
            asset_id = f"eip155:{self._config.chain_id}/erc20:{target}" if token else native.id
            answers.append((True, state.balances.get((wallet, asset_id), 0).to_bytes(32, "big")))
        return "0x" + encode(["(bool,bytes)[]"], [answers]).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedChain:
    """What the books need of a chain, over a `LedgerNode`."""

    config: ChainConfig
    client: EvmClient
    recent_head: RecentHead
    assets: AssetList
    deployments: Deployments
    node: LedgerNode


def scripted_chains(clock: FakeClock) -> dict[str, ScriptedChain]:
    """Ethereum and Polygon as they are configured, each over its own node."""
    deployments = load_deployments()
    chains: dict[str, ScriptedChain] = {}
    for key in ("ethereum", "polygon"):
        config = load_chains()[key]
        recent = RecentHead(clock)
        node = LedgerNode(config, deployments.address(config.chain_id, MULTICALL3))
        chains[key] = ScriptedChain(
            config=config,
            client=NotingClient(config, node, recent=recent, clock=clock),
            recent_head=recent,
            assets=load_assets(config.chain_id),
            deployments=deployments,
            node=node,
        )
    return chains


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedServices:
    """The parts of the service that the books use: a real database, chains over `LedgerNode`s."""

    db: Database
    clock: FakeClock
    chains: Mapping[str, ScriptedChain]
    master: MasterKey

    @property
    def configs(self) -> Mapping[str, ChainConfig]:
        return {key: chain.config for key, chain in self.chains.items()}


def make_master() -> MasterKey:
    return MasterKey()


def scripted_services(db: Database, clock: FakeClock) -> ScriptedServices:
    return ScriptedServices(db=db, clock=clock, chains=scripted_chains(clock), master=make_master())
