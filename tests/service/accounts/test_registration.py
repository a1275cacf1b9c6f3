"""Taking a wallet on: all of it or nothing, at the chain's cursor."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, func, select

from chains.tx.model import Lane
from chains.types import Address
from contracts.assets import Asset
from service.accounts import wallets
from service.accounts.people import Account, ensure_account
from service.accounts.registration import (
    ChainUnreadable,
    CursorMoved,
    WalletBusy,
    open_missing_chains,
    register_wallet,
)
from service.accounts.wallets import AddressTaken, LabelTaken, Wallet
from service.db import models as m
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.journal import books
from service.journal.opening import openings
from tests.clock import FakeClock
from tests.service.books_seed import ETH, ETHEREUM, NOW_MS, POLYGON, USDC, address_of
from tests.service.ledger_node import ScriptedServices, scripted_services

WALLET = address_of(0xCAFE)
STORE = SqlTxStore()


@pytest.fixture
def services(db: Database, clock: FakeClock) -> ScriptedServices:
    return scripted_services(db, clock)


async def account(services: ScriptedServices, name: str = "main") -> Account:
    return await services.db.run(
        lambda c: ensure_account(c, name, owner=f"owner of {name}", master=services.master, now_ms=NOW_MS)
    )


async def register(services: ScriptedServices, *, address: Address = WALLET, label: str = "main") -> Wallet:
    owner = await account(services)
    return await register_wallet(services, account_id=owner.id, address=address, label=label, signer="keystore")


def usdc(services: ScriptedServices) -> Asset:
    return services.chains["ethereum"].assets.by_symbol("USDC")


def native(services: ScriptedServices, chain: str) -> Asset:
    return services.chains[chain].assets.native


async def rows(services: ScriptedServices) -> dict[str, int]:
    tables = (m.wallets, m.opening_balances, m.lanes, m.chain_cursors, m.outbox)
    count: Callable[[Connection], dict[str, int]] = lambda c: {  # noqa: E731
        table.name: c.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
    }
    return await services.db.read(count)


async def test_a_wallet_opens_at_the_newest_confirmed_block_of_every_chain(services: ScriptedServices) -> None:
    ethereum, polygon = services.chains["ethereum"].node, services.chains["polygon"].node
    ethereum.give(WALLET, native(services, "ethereum"), raw=10**18)
    ethereum.give(WALLET, usdc(services), raw=2_500_000)
    ethereum.now.nonces[WALLET] = 3
    ethereum.mine(10)
    polygon.mine(40)
    wallet = await register(services)

    # Depth 1 is the head itself: Ethereum confirms at 2, Polygon at 16.
    assert await services.db.read(lambda c: STORE.cursor(c, ETHEREUM)) == ethereum.ref(9)
    assert await services.db.read(lambda c: STORE.cursor(c, POLYGON)) == polygon.ref(25)
    opened = await services.db.read(lambda c: openings(c, wallet.id, chain_id=ETHEREUM))
    assert {asset.id for asset in services.chains["ethereum"].assets} == set(opened)
    assert (opened[ETH].raw, opened[USDC].raw) == (10**18, 2_500_000)
    assert {opening.block for opening in opened.values()} == {ethereum.ref(9)}
    for chain_id, nonce in ((ETHEREUM, 3), (POLYGON, 0)):
        lane = await services.db.read(
            lambda c, chain_id=chain_id: STORE.lane(c, Lane(chain_id=chain_id, wallet=WALLET))  # type: ignore[misc]
        )
        assert lane is not None
        assert lane.next_nonce == nonce
    assert await services.db.read(lambda c: wallets.get_wallet(c, wallet.id, master=services.master)) == wallet
    events = await services.db.read(lambda c: books.events(c, wallet.account_id))
    assert [(event.kind, event.payload["wallet"]) for event in events] == [("wallet", WALLET)]


async def test_a_chain_younger_than_its_confirmed_depth_opens_at_its_first_block(services: ScriptedServices) -> None:
    services.chains["polygon"].node.mine(3)
    await register(services)
    assert await services.db.read(lambda c: STORE.cursor(c, POLYGON)) == services.chains["polygon"].node.ref(0)


async def test_a_later_wallet_opens_at_the_cursor_and_leaves_it_where_it_is(services: ScriptedServices) -> None:
    node = services.chains["ethereum"].node
    node.give(WALLET, usdc(services), raw=7)
    node.mine(10)
    await services.db.run(lambda c: STORE.set_cursor(c, ETHEREUM, node.ref(4)))
    node.give(WALLET, usdc(services), raw=9)
    node.mine(10)
    wallet = await register(services)
    opened = await services.db.read(lambda c: openings(c, wallet.id, chain_id=ETHEREUM))
    assert (opened[USDC].raw, opened[USDC].block) == (7, node.ref(4))
    assert await services.db.read(lambda c: STORE.cursor(c, ETHEREUM)) == node.ref(4)


@pytest.mark.parametrize("where", ["confirmed too little", "in the pool"])
async def test_a_wallet_with_transactions_on_their_way_has_to_wait(services: ScriptedServices, where: str) -> None:
    node = services.chains["ethereum"].node
    node.mine(10)
    if where == "in the pool":
        node.pending_nonces[WALLET] = 1
    else:
        node.now.nonces[WALLET] = 1
        node.mine()
    before = await rows(services)
    with pytest.raises(WalletBusy, match="ethereum: 1 transactions"):
        await register(services)
    assert await rows(services) == before
    node.pending_nonces.clear()
    node.mine(2)
    assert (await register(services)).address == WALLET


@pytest.mark.parametrize("trouble", ["down", "pruned", "native call fails"])
async def test_a_chain_that_cannot_be_read_fails_the_registration_and_leaves_nothing(
    services: ScriptedServices, trouble: str
) -> None:
    node = services.chains["polygon"].node
    node.mine(30)
    if trouble == "down":
        node.down = True
    elif trouble == "pruned":
        node.pruned_below = 1_000
    else:
        node.broken.add(node.multicall)
    before = await rows(services)
    with pytest.raises(ChainUnreadable, match="polygon"):
        await register(services)
    assert await rows(services) == before


async def test_an_address_belongs_to_one_wallet_and_a_label_to_one_of_its_account(services: ScriptedServices) -> None:
    await register(services)
    before = await rows(services)
    with pytest.raises(AddressTaken):
        await register(services, label="other")
    with pytest.raises(LabelTaken):
        await register(services, address=address_of(2))
    assert await rows(services) == before
    other = await account(services, "other")
    wallet = await register_wallet(
        services, account_id=other.id, address=address_of(2), label="main", signer="keystore"
    )
    assert wallet.label == "main"


async def test_a_chain_opened_at_an_earlier_block_meanwhile_leaves_nothing(services: ScriptedServices) -> None:
    node = services.chains["ethereum"].node
    node.mine(30)
    owner = await account(services)
    original = node.request

    async def slow(method: str, params: object) -> object:
        # Another registration commits while this one still reads.
        if method == "eth_call":
            await services.db.run(lambda c: STORE.set_cursor(c, ETHEREUM, node.ref(2)))
        return await original(method, params)  # type: ignore[arg-type]

    node.request = slow  # type: ignore[method-assign]
    with pytest.raises(CursorMoved):
        await register_wallet(services, account_id=owner.id, address=WALLET, label="main", signer="keystore")
    assert (await rows(services))["wallets"] == 0


async def test_a_token_that_cannot_be_read_is_left_unopened_and_opened_later(services: ScriptedServices) -> None:
    node = services.chains["ethereum"].node
    token = usdc(services)
    node.give(WALLET, token, raw=5)
    node.mine(10)
    node.broken.add(token.token_address)
    wallet = await register(services)
    opened = await services.db.read(lambda c: openings(c, wallet.id, chain_id=ETHEREUM))
    assert USDC not in opened
    assert ETH in opened
    assert (await open_missing_chains(services)).count == 0
    node.broken.clear()
    assert (await open_missing_chains(services)).count == 1
    opened = await services.db.read(lambda c: openings(c, wallet.id, chain_id=ETHEREUM))
    assert opened[USDC].raw == 5


async def test_a_chain_configured_later_is_opened_for_the_wallets_that_exist(services: ScriptedServices) -> None:
    owner = await account(services)
    only_ethereum = ScriptedServices(
        db=services.db,
        clock=services.clock,
        chains={"ethereum": services.chains["ethereum"]},
        master=services.master,
    )
    wallet = await register_wallet(only_ethereum, account_id=owner.id, address=WALLET, label="main", signer="keystore")
    polygon = services.chains["polygon"].node
    polygon.give(WALLET, native(services, "polygon"), raw=77)
    polygon.mine(40)
    assert (await open_missing_chains(services)).count == 1
    opened = await services.db.read(lambda c: openings(c, wallet.id, chain_id=POLYGON))
    assert opened[native(services, "polygon").id].raw == 77
    lane = await services.db.read(lambda c: STORE.lane(c, Lane(chain_id=POLYGON, wallet=WALLET)))
    assert lane is not None


async def test_nothing_missing_asks_no_node(services: ScriptedServices) -> None:
    await register(services)
    for chain in services.chains.values():
        chain.node.down = True
    opened = await open_missing_chains(services)
    assert (opened.count, opened.failures) == (0, ())


async def test_one_wallet_that_cannot_be_opened_does_not_hold_up_the_others(services: ScriptedServices) -> None:
    owner = await account(services)
    nothing = ScriptedServices(db=services.db, clock=services.clock, chains={}, master=services.master)
    for number, label in ((1, "busy"), (2, "fine")):
        await register_wallet(nothing, account_id=owner.id, address=address_of(number), label=label, signer="keystore")
    services.chains["ethereum"].node.pending_nonces[address_of(1)] = 1
    opened = await open_missing_chains(services)
    assert opened.count == 3
    assert [type(failure) for failure in opened.failures] == [WalletBusy]
