"""Holding the books against the chain."""

import pytest
from sqlalchemy import Connection

from contracts.assets import Asset
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.accounts.wallets import Wallet
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.journal import books
from service.journal.books import Change
from service.journal.reconcile import ChainReport, Row, Unknown, Verdict, reconcile, reconcile_chain
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, SeededWallet, address_of, tx_hash
from tests.service.ledger_node import LedgerNode, ScriptedServices, scripted_services

WALLET = address_of(0xCAFE)
STORE = SqlTxStore()


class Scene:
    """A registered wallet with 1 ETH and 2,500 USDC on Ethereum, its cursor at block 9."""

    def __init__(self, services: ScriptedServices) -> None:
        self.services = services
        self.node: LedgerNode = services.chains["ethereum"].node
        assets = services.chains["ethereum"].assets
        self.eth, self.usdc = assets.native, assets.by_symbol("USDC")
        self.wallet: Wallet

    async def begin(self) -> None:
        self.node.give(WALLET, self.eth, raw=10**18)
        self.node.give(WALLET, self.usdc, raw=2_500)
        self.node.mine(10)
        account = await self.services.db.run(
            lambda c: ensure_account(c, "main", owner="me", master=self.services.master, now_ms=NOW_MS)
        )
        self.wallet = await register_wallet(
            self.services, account_id=account.id, address=WALLET, label="main", signer="keystore"
        )

    async def book(self, asset: Asset, raw: int, *, block: int) -> None:
        def work(c: Connection) -> None:
            books.record(
                c,
                account_id=self.wallet.account_id,
                wallet_id=self.wallet.id,
                changes=[Change(asset_id=asset.id, raw=raw)],
                cause="trade",
                cause_id="1",
                tx_hash=tx_hash(block),
                block=self.node.ref(block),
                event_kind="balance",
                event_payload={},
                now_ms=NOW_MS,
            )

        await self.services.db.run(work)

    async def move_cursor(self, number: int) -> None:
        await self.services.db.run(lambda c: STORE.set_cursor(c, ETHEREUM, self.node.ref(number)))

    async def ethereum(self) -> ChainReport:
        return await reconcile_chain(self.services, self.wallet, chain="ethereum")


def row_of(report: ChainReport, asset: Asset) -> Row:
    (row,) = (row for row in report.rows if row.asset_id == asset.id)
    return row


@pytest.fixture
async def scene(sqlite_db: Database, clock: FakeClock) -> Scene:
    made = Scene(scripted_services(sqlite_db, clock))
    await made.begin()
    return made


async def test_opening_plus_journal_equals_the_chain_at_the_cursor(db: Database, clock: FakeClock) -> None:
    scene = Scene(scripted_services(db, clock))
    await scene.begin()
    scene.node.give(WALLET, scene.usdc, raw=500)
    scene.node.mine()
    await scene.book(scene.usdc, -2_000, block=11)
    await scene.move_cursor(11)
    report = await reconcile(scene.services, scene.wallet)
    assert report.ok
    assert [chain.key for chain in report.chains] == ["ethereum", "polygon"]
    row = row_of(report.chains[0], scene.usdc)
    assert (row.opening, row.journal, row.expected, row.chain, row.unexplained) == (2_500, -2_000, 500, 500, 0)
    assert row.verdict is Verdict.OK
    assert report.chains[0].cursor == scene.node.ref(11)


async def test_one_node_call_reads_all_assets_of_a_chain(scene: Scene) -> None:
    scene.node.calls.clear()
    await scene.ethereum()
    assert scene.node.calls == ["eth_call"]


@pytest.mark.parametrize(("now", "difference"), [(2_501, 1), (0, -2_500)])
async def test_what_came_or_went_from_outside_is_unexplained_with_its_amount(
    scene: Scene, now: int, difference: int
) -> None:
    scene.node.give(WALLET, scene.usdc, raw=now)
    scene.node.mine()
    await scene.move_cursor(11)
    report = await scene.ethereum()
    assert report.verdict is Verdict.UNEXPLAINED
    assert row_of(report, scene.usdc).unexplained == difference
    assert row_of(report, scene.eth).verdict is Verdict.OK
    assert not (await reconcile(scene.services, scene.wallet)).ok


async def test_what_arrived_after_the_cursor_is_not_judged_yet(scene: Scene) -> None:
    scene.node.give(WALLET, scene.usdc, raw=9_999)
    scene.node.mine()
    assert (await scene.ethereum()).verdict is Verdict.OK


async def test_what_is_booked_of_blocks_after_the_cursor_is_left_out(scene: Scene) -> None:
    await scene.book(scene.usdc, -2_000, block=11)
    report = await scene.ethereum()
    assert report.verdict is Verdict.OK
    assert row_of(report, scene.usdc).journal == 0


async def test_what_was_booked_of_an_asset_before_it_was_opened_is_in_its_opening(scene: Scene) -> None:
    await scene.book(scene.usdc, -2_000, block=5)
    assert (await scene.ethereum()).verdict is Verdict.OK


async def test_a_reversal_takes_the_books_back_to_the_chain(scene: Scene) -> None:
    await scene.book(scene.usdc, -2_000, block=11)
    scene.node.mine(3)
    await scene.move_cursor(12)
    assert row_of(await scene.ethereum(), scene.usdc).unexplained == 2_000
    await scene.services.db.run(
        lambda c: books.reverse(
            c,
            account_id=scene.wallet.account_id,
            wallet_id=scene.wallet.id,
            tx_hash=tx_hash(11),
            cause_id="1",
            block=scene.node.ref(11),
            event_kind="balance",
            event_payload={},
            now_ms=NOW_MS,
        )
    )
    assert (await scene.ethereum()).verdict is Verdict.OK


async def test_a_token_whose_call_fails_is_unknown_and_never_agreement(scene: Scene) -> None:
    scene.node.broken.add(scene.usdc.token_address)
    report = await scene.ethereum()
    row = row_of(report, scene.usdc)
    assert (row.verdict, row.why, row.chain, row.unexplained) == (Verdict.UNKNOWN, Unknown.CALL_FAILED, None, None)
    assert row_of(report, scene.eth).verdict is Verdict.OK
    assert report.verdict is Verdict.UNKNOWN
    assert not (await reconcile(scene.services, scene.wallet)).ok


async def test_a_difference_is_told_even_where_something_else_is_unknown(scene: Scene) -> None:
    scene.node.broken.add(scene.usdc.token_address)
    scene.node.give(WALLET, scene.eth, raw=1)
    scene.node.mine()
    await scene.move_cursor(11)
    assert (await scene.ethereum()).verdict is Verdict.UNEXPLAINED


@pytest.mark.parametrize("trouble", ["down", "pruned"])
async def test_a_node_that_does_not_answer_or_has_no_state_there_is_said_to(scene: Scene, trouble: str) -> None:
    if trouble == "down":
        scene.node.down = True
    else:
        scene.node.pruned_below = 10
    report = await scene.ethereum()
    expected = Unknown.NODE_UNREACHABLE if trouble == "down" else Unknown.STATE_UNAVAILABLE
    assert (report.verdict, report.why) == (Verdict.UNKNOWN, expected)
    assert {row.verdict for row in report.rows} == {Verdict.UNKNOWN}
    assert row_of(report, scene.usdc).opening == 2_500


async def test_a_chain_whose_books_are_not_open_is_unknown(scene: Scene) -> None:
    stranger = SeededWallet(id=scene.wallet.id + 1, address=address_of(2))
    report = await reconcile_chain(scene.services, stranger, chain="ethereum")
    assert (report.verdict, report.why) == (Verdict.UNKNOWN, Unknown.NOT_OPENED)
