"""A wallet on a fork, with what the contracts layer needs to trade from it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from eth_utils.address import to_checksum_address

from chains.client import EvmClient
from chains.config import load_chains
from chains.rpc.transport import HttpTransport
from chains.types import Address, BlockRef, CallRequest, ChainId, Receipt, TxHash
from contracts import erc20
from contracts.assets import AssetId, AssetList, load_assets
from contracts.balances.ladder import BalanceReader
from contracts.balances.packed import NATIVE
from contracts.call import execute
from contracts.deployments import MULTICALL3, Deployments, Venue, load_deployments
from contracts.pools import PoolDirectory
from contracts.quoting import best_quote
from contracts.routes import Exact
from contracts.routing.model import RoutedSwap
from contracts.swaps import SwapCall, compile_route
from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc

RECEIPT_POLL_S: Final = 0.005
RECEIPT_POLLS: Final = 2_000
FOREVER_S: Final = 2**35
FUNDING: Final[Mapping[str, int]] = MappingProxyType(
    {
        "WETH": 400 * 10**18,
        "WPOL": 500_000 * 10**18,
        "USDC": 1_000_000 * 10**6,
        "USDCE": 300_000 * 10**6,
        "USDT": 300_000 * 10**6,
        "DAI": 300_000 * 10**18,
        "WBTC": 10 * 10**8,
    }
)
NATIVE_FUNDING: Final = 1_000_000 * 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Sends as `wallet` without a signature: the node impersonates it."""

    chain: LocalChain
    rpc: DevRpc
    client: EvmClient
    assets: AssetList
    deployments: Deployments
    wallet: Address
    pools: PoolDirectory

    @property
    def chain_id(self) -> ChainId:
        return self.assets.chain_id

    @property
    def multicall(self) -> Address:
        return self.deployments.address(self.chain_id, MULTICALL3)

    async def head(self) -> BlockRef:
        return (await self.client.head()).ref

    async def quote(
        self,
        sold: str,
        bought: str,
        *,
        amount: int,
        exact: Exact,
        venue: Venue | None = None,
        direct_only: bool = False,
    ) -> RoutedSwap:
        """`venue` and `direct_only` narrow what is considered, so that each shape gets its turn."""
        return await best_quote(
            self.client,
            assets=without_connectors(self.assets) if direct_only else self.assets,
            deployments=self.deployments if venue is None else only_venue(self.deployments, self.chain_id, venue),
            sold=self.assets.by_symbol(sold),
            bought=self.assets.by_symbol(bought),
            amount=amount,
            exact=exact,
            pools=self.pools,
        )

    def compile(self, quote: RoutedSwap, *, max_in: int, min_out: int) -> SwapCall:
        return compile_route(
            quote,
            deployments=self.deployments,
            assets=self.assets,
            recipient=self.wallet,
            max_in=max_in,
            min_out=min_out,
            deadline_s=FOREVER_S,
        )

    async def approve(self, swap: SwapCall) -> None:
        asset = swap.spend.asset
        if asset.is_native:
            return
        current = await execute(
            self.client, erc20.allowance(asset.token_address, self.wallet, spender=swap.spender), block="latest"
        )
        for call in erc20.approvals(asset, swap.spender, current=current, needed=swap.spend.raw):
            receipt = await self.send(call)
            assert receipt.succeeded

    async def send(self, call: CallRequest, *, gas: int = 3_000_000) -> Receipt:
        tx_hash: str = self.rpc(
            "eth_sendTransaction",
            {
                "from": self.wallet,
                "to": call.to,
                "data": "0x" + call.data.hex(),
                "value": hex(call.value_wei),
                "gas": hex(gas),
            },
        )
        # Automine answers before the block exists, and there is no event to wait for over HTTP.
        for _ in range(RECEIPT_POLLS):
            if (receipt := await self.client.receipt(TxHash(tx_hash))) is not None:
                return receipt
            await asyncio.sleep(RECEIPT_POLL_S)
        raise TimeoutError(f"{tx_hash} is not mined")

    async def balances(self, block: BlockRef, wallet: Address | None = None) -> dict[AssetId, int]:
        owner = wallet or self.wallet
        reader = BalanceReader(self.client, multicall=self.multicall)
        pairs = [(NATIVE if asset.is_native else asset.token_address, owner) for asset in self.assets]
        known: dict[AssetId, int] = {}
        for asset, balance in zip(self.assets, await reader.read(pairs, block=block), strict=True):
            assert balance is not None, asset.id
            known[asset.id] = balance
        return known


def only_venue(deployments: Deployments, chain_id: ChainId, venue: Venue) -> Deployments:
    """The registry with one venue left on a chain, to make a quote take it."""
    chain = deployments.chains[chain_id]
    kept = replace(chain, venues=tuple(found for found in chain.venues if found.venue is venue))
    return Deployments(chains=MappingProxyType({chain_id: kept}))


def without_connectors(assets: AssetList) -> AssetList:
    """The same list for direct routes only."""
    return AssetList(assets.chain_id, list(assets), wrapped=assets.wrapped)


def fresh_address() -> Address:
    return Address(to_checksum_address(secrets.token_bytes(20)))


@asynccontextmanager
async def open_desk(chain: LocalChain) -> AsyncIterator[Desk]:
    """A desk with a new wallet that holds some of everything."""
    chain_id = ChainId(chain.chain_id)
    assets = load_assets(chain_id)
    rpc = DevRpc(chain.rpc_url)
    wallet = fresh_address()
    rpc("anvil_impersonateAccount", wallet)
    fund_native(rpc, wallet, NATIVE_FUNDING)
    for asset in assets:
        if not asset.is_native:
            fund_token(rpc, chain.name, asset.symbol, wallet, FUNDING[asset.symbol])
    rpc("evm_mine")
    transport = HttpTransport(chain.rpc_url, name=chain.name)
    try:
        yield Desk(
            chain=chain,
            rpc=rpc,
            client=EvmClient(load_chains()[chain.name], transport),
            assets=assets,
            deployments=load_deployments(),
            wallet=wallet,
            pools=PoolDirectory(chain_id),
        )
    finally:
        await transport.close()
        rpc.close()
