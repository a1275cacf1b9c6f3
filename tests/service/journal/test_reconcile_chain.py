"""Opening balances and reconciliation against real chains: Anvil forks with the protocols' own contracts."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from chains.client import EvmClient
from chains.config import ChainConfig, load_chains
from chains.rpc.transport import HttpTransport
from chains.types import TxHash, address_from_bytes
from contracts.assets import AssetList, load_assets
from contracts.deployments import Deployments, load_deployments
from scripts.devnet.calls import wait_for_receipt
from scripts.devnet.cheats import fund_native, fund_token, impersonate
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import ChainUnreadable, WalletBusy, register_wallet
from service.accounts.wallets import Wallet
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.journal import books
from service.journal.books import Change
from service.journal.reconcile import Row, Unknown, Verdict, reconcile, reconcile_chain
from tests.chainfixtures import manual_mining
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, POLYGON
from tests.service.ledger_node import make_master

WALLET = address_from_bytes(bytes.fromhex("c0ffee000000000000000000000000000000b007"))
OTHER = address_from_bytes(bytes.fromhex("0b0b0000000000000000000000000000000000b0"))
STORE = SqlTxStore()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A local chain as the books see it, and the test's own way to it."""

    config: ChainConfig
    client: EvmClient
    assets: AssetList
    deployments: Deployments
    rpc: DevRpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the service that the books use."""

    db: Database
    clock: FakeClock
    chains: Mapping[str, Chain]
    master: MasterKey

    async def register(self) -> Wallet:
        account = await self.db.run(lambda c: ensure_account(c, "main", owner="me", master=self.master, now_ms=NOW_MS))
        return await register_wallet(self, account_id=account.id, address=WALLET, label="main", signer="keystore")

    async def row(self, wallet: Wallet, symbol: str) -> Row:
        report = await reconcile_chain(self, wallet, chain="ethereum")
        (row,) = (row for row in report.rows if row.asset is not None and row.asset.symbol == symbol)
        return row

    async def move_cursor_to_head(self) -> int:
        head = await self.chains["ethereum"].client.head()
        await self.db.run(lambda c: STORE.set_cursor(c, ETHEREUM, head.ref))
        return head.number


@pytest.fixture
async def services(
    sqlite_db: Database, clock: FakeClock, ethereum: LocalChain, polygon: LocalChain
) -> AsyncIterator[Services]:
    chains: dict[str, Chain] = {}
    for local in (ethereum, polygon):
        config = load_chains()[local.name]
        chains[local.name] = Chain(
            config=config,
            client=EvmClient(config, HttpTransport(local.rpc_url, name=local.name)),
            assets=load_assets(config.chain_id),
            deployments=load_deployments(),
            rpc=DevRpc(local.rpc_url),
        )
    yield Services(db=sqlite_db, clock=clock, chains=chains, master=make_master())
    for chain in chains.values():
        await chain.client.transport.close()
        chain.rpc.close()


@pytest.fixture
def funded(services: Services) -> Services:
    """The wallet has 1,000 USDC and native coins, deep enough to be confirmed on both chains."""
    for key, chain in services.chains.items():
        fund_native(chain.rpc, WALLET, 10**18)
        fund_token(chain.rpc, key, "USDC", WALLET, 1_000_000_000)
        impersonate(chain.rpc, WALLET)
        chain.rpc("anvil_mine", hex(20))
    return services


def transfer(chain: Chain, *, symbol: str, raw: int, sender: str = WALLET) -> TxHash:
    """An ERC-20 transfer to someone else, mined or not as the chain is set."""
    data = "0xa9059cbb" + OTHER[2:].lower().rjust(64, "0") + f"{raw:064x}"
    token = chain.assets.by_symbol(symbol).token_address
    return TxHash(chain.rpc("eth_sendTransaction", {"from": sender, "to": token, "data": data}))


async def test_a_fresh_wallet_agrees_with_both_chains_to_the_wei(funded: Services) -> None:
    wallet = await funded.register()
    report = await reconcile(funded, wallet)
    assert report.ok
    for chain in report.chains:
        rows = {row.asset.symbol: row for row in chain.rows if row.asset is not None}
        assert set(rows) == {asset.symbol for asset in funded.chains[chain.key].assets}
        assert rows["USDC"].chain == rows["USDC"].opening == 1_000_000_000
        native = funded.chains[chain.key].assets.native.symbol
        assert (rows[native].chain or 0) > 10**18


async def test_a_transfer_is_unexplained_until_it_is_booked_with_its_gas(funded: Services) -> None:
    wallet = await funded.register()
    chain = funded.chains["ethereum"]
    tx_hash = transfer(chain, symbol="USDC", raw=250_000_000)
    wait_for_receipt(chain.rpc, tx_hash)  # Anvil mines after it has answered
    receipt = await chain.client.receipt(tx_hash)
    assert receipt is not None
    assert receipt.succeeded
    chain.rpc("anvil_mine", hex(3))
    await funded.move_cursor_to_head()
    assert (await funded.row(wallet, "USDC")).unexplained == -250_000_000
    assert (await funded.row(wallet, "ETH")).unexplained == -receipt.fee_wei

    await funded.db.run(
        lambda c: books.record(
            c,
            account_id=wallet.account_id,
            wallet_id=wallet.id,
            changes=[
                Change(asset_id=chain.assets.by_symbol("USDC").id, raw=-250_000_000),
                Change(asset_id=chain.assets.native.id, raw=-receipt.fee_wei, cause="gas"),
            ],
            cause="withdrawal",
            cause_id="1",
            tx_hash=tx_hash,
            block=receipt.block,
            event_kind="balance",
            event_payload={},
            now_ms=NOW_MS,
        )
    )
    assert (await reconcile(funded, wallet)).ok


async def test_a_transfer_on_its_way_or_barely_mined_holds_up_the_registration(funded: Services) -> None:
    chain = funded.chains["ethereum"]
    with manual_mining(chain.rpc):
        transfer(chain, symbol="USDC", raw=1)
        with pytest.raises(WalletBusy):
            await funded.register()
        chain.rpc("anvil_mine", hex(1))
        with pytest.raises(WalletBusy):
            await funded.register()
        chain.rpc("anvil_mine", hex(1))
    wallet = await funded.register()
    row = await funded.row(wallet, "USDC")
    assert (row.opening, row.verdict) == (999_999_999, Verdict.OK)


async def test_a_block_that_left_the_chain_is_not_compared_with(funded: Services) -> None:
    wallet = await funded.register()
    chain = funded.chains["ethereum"]
    snapshot = chain.rpc("evm_snapshot")
    chain.rpc("anvil_mine", hex(5))
    await funded.move_cursor_to_head()
    assert chain.rpc("evm_revert", snapshot)
    report = await reconcile_chain(funded, wallet, chain="ethereum")
    assert (report.verdict, report.why) == (Verdict.UNKNOWN, Unknown.STATE_UNAVAILABLE)


async def test_a_cursor_that_the_node_does_not_know_fails_the_registration(funded: Services) -> None:
    chain = funded.chains["polygon"]
    snapshot = chain.rpc("evm_snapshot")
    chain.rpc("anvil_mine", hex(5))
    gone = (await chain.client.head()).ref
    assert chain.rpc("evm_revert", snapshot)
    await funded.db.run(lambda c: STORE.set_cursor(c, POLYGON, gone))
    with pytest.raises(ChainUnreadable, match="polygon"):
        await funded.register()
