"""What an account knows of addresses, against which a new one is held: also all that it withdrew to, each once."""

from sqlalchemy import Connection, insert, select, text

from chains.tx.model import Lane, PlanId
from chains.types import Address
from contracts import erc20
from service.addresses import book
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import withdrawals
from service.plans.building import queued_plan
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, address_of
from tests.service.trading_seed import BOB, STORE, USDC, seed_withdrawal

MASTER = MasterKey()


def pay(c: Connection, owner: Owner, to: Address, *, number: int) -> None:
    """One more withdrawal like the first."""
    plan_id = PlanId(f"withdrawal:again:{owner.account_id}:{number}")
    call = erc20.transfer_call(USDC, to, amount=1)
    lane = Lane(chain_id=ETHEREUM, wallet=owner.address)
    STORE.add_plan(c, queued_plan(plan_id, lane, calls=[call], created_ms=NOW_MS, valid_until_ms=None))
    first = c.execute(select(withdrawals).where(withdrawals.c.account_id == owner.account_id)).mappings().first()
    assert first is not None
    own = {"client_id": f"again-{number}", "plan_id": plan_id, "destination": to}
    c.execute(insert(withdrawals), {k: v for k, v in first.items() if k != "id"} | own)


async def test_every_address_withdrawn_to_is_known_once_and_none_of_another_account(db: Database) -> None:
    ones = [address_of(number << 100) for number in range(1, 6)]

    def work(c: Connection) -> None:
        owner, other = seed_withdrawal(c).owner, seed_withdrawal(c, number=0xB0B).owner
        for number, to in enumerate([*ones, *ones, BOB]):
            pay(c, owner, to, number=number)
        pay(c, other, address_of(0xFF), number=0)
        assert sorted(c.execute(book.paid_once(owner.account_id)).scalars()) == sorted([*ones, BOB])
        assert c.execute(book.paid_once(999)).scalars().all() == []

    await db.run(work)


async def test_no_withdrawal_is_read_for_it(sqlite_db: Database) -> None:
    def work(c: Connection) -> list[str]:
        query = book.paid_once(1).compile(dialect=c.dialect, compile_kwargs={"literal_binds": True})
        return [row[3] for row in c.execute(text(f"EXPLAIN QUERY PLAN {query}"))]

    plan = [line for line in await sqlite_db.read(work) if " w" in line]
    assert plan
    assert all("SEARCH w USING COVERING INDEX ix_withdrawals_destination" in line for line in plan), plan
