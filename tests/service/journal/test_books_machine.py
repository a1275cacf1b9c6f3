"""Any sequence of bookings, reversals, holds and releases keeps the books what they promise to be."""

from collections import Counter, defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine, func, select

from chains.tx.model import PlanId
from chains.units import MAX_UINT256
from contracts.assets import AssetId
from service.db.models import journal_entries, metadata
from service.journal import books, reservations
from service.journal.books import Change
from service.journal.reservations import NotEnoughFree
from tests.examples import examples
from tests.service.books_seed import ETH, ETHEREUM, NOW_MS, USDC, block_at, seed_owner, seed_plan, tx_hash

ASSETS = st.sampled_from([ETH, USDC])
AMOUNTS = st.one_of(st.integers(-5, 5), st.integers(-MAX_UINT256, MAX_UINT256))
TXS = st.integers(1, 4)


class Books(RuleBasedStateMachine):
    """The model: what stands of each transaction, what each plan holds, how many events there were."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = create_engine("sqlite://")
        self.c = self.engine.connect()
        metadata.create_all(self.c)
        self.owner = seed_owner(self.c)
        self.standing: defaultdict[int, Counter[AssetId]] = defaultdict(Counter)
        self.lines = 0
        self.events = 0
        self.held: dict[PlanId, dict[AssetId, int]] = {}
        self.plans = 0

    def teardown(self) -> None:
        self.c.close()
        self.engine.dispose()

    @rule(tx=TXS, changes=st.lists(st.tuples(ASSETS, AMOUNTS), max_size=3))
    def book(self, tx: int, changes: list[tuple[AssetId, int]]) -> None:
        books.record(
            self.c,
            account_id=self.owner.account_id,
            wallet_id=self.owner.wallet_id,
            changes=[Change(asset_id=asset, raw=raw) for asset, raw in changes],
            cause="trade",
            cause_id=str(tx),
            tx_hash=tx_hash(tx),
            block=block_at(tx),
            event_kind="balance",
            event_payload={},
            now_ms=NOW_MS,
        )
        self.events += 1
        for asset, raw in changes:
            self.standing[tx][asset] += raw
            self.lines += raw != 0

    @rule(tx=TXS)
    def reverse(self, tx: int) -> None:
        stands = {asset: raw for asset, raw in self.standing[tx].items() if raw}
        # One entry holds at most 2^256 - 1, and so can be reversed at once no more than that.
        if any(abs(raw) > MAX_UINT256 for raw in stands.values()):
            return
        seq = books.reverse(
            self.c,
            account_id=self.owner.account_id,
            wallet_id=self.owner.wallet_id,
            tx_hash=tx_hash(tx),
            cause_id=str(tx),
            block=block_at(tx),
            event_kind="balance",
            event_payload={},
            now_ms=NOW_MS,
        )
        assert (seq is None) == (not stands)
        self.events += bool(stands)
        self.lines += len(stands)
        self.standing[tx].clear()

    @rule(wanted=st.dictionaries(ASSETS, st.integers(0, 60)))
    def hold(self, wanted: dict[AssetId, int]) -> None:
        self.plans += 1
        plan = seed_plan(self.c, f"plan {self.plans}", self.owner)
        taken = self.total_held()
        fits = all(taken[asset] + raw <= 100 for asset, raw in wanted.items() if raw)
        try:
            reservations.hold(
                self.c,
                account_id=self.owner.account_id,
                wallet_id=self.owner.wallet_id,
                chain_id=ETHEREUM,
                plan_id=plan,
                amounts=wanted,
                now_ms=NOW_MS,
                available={ETH: 100, USDC: 100},
            )
        except NotEnoughFree:
            assert not fits
        else:
            assert fits
            self.held[plan] = {asset: raw for asset, raw in wanted.items() if raw}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        plan = data.draw(st.sampled_from(sorted(self.held)))
        assert reservations.release(self.c, plan, NOW_MS) == bool(self.held.pop(plan))
        assert not reservations.release(self.c, plan, NOW_MS)

    @invariant()
    def totals_are_those_of_the_model(self) -> None:
        expected: Counter[AssetId] = Counter()
        for stands in self.standing.values():
            expected.update(stands)
        found = books.totals(self.c, self.owner.wallet_id, chain_id=ETHEREUM)
        assert {a: raw for a, raw in found.items() if raw} == {a: raw for a, raw in expected.items() if raw}

    @invariant()
    def events_are_numbered_without_gaps(self) -> None:
        found = books.events(self.c, self.owner.account_id)
        assert [event.seq for event in found] == list(range(1, self.events + 1))

    @invariant()
    def nothing_that_was_written_is_gone(self) -> None:
        assert self.c.execute(select(func.count()).select_from(journal_entries)).scalar_one() == self.lines

    @invariant()
    def held_is_what_open_plans_hold(self) -> None:
        expected = {asset: raw for asset, raw in self.total_held().items() if raw}
        assert reservations.held(self.c, self.owner.wallet_id, ETHEREUM) == expected

    def total_held(self) -> Counter[AssetId]:
        total: Counter[AssetId] = Counter()
        for amounts in self.held.values():
            total.update(amounts)
        return total


BooksTest = Books.TestCase
BooksTest.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None, database=None)
