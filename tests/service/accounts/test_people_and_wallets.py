"""Users, accounts, memberships and wallets, on both databases."""

import pytest
from sqlalchemy import Connection, update

from service.accounts import people, wallets
from service.accounts.names import InvalidName, checked
from service.accounts.people import NotTheOwner, Role, ensure_account
from service.accounts.wallets import AddressTaken, LabelTaken, Wallet, insert_wallet
from service.auth.authority import Tampered
from service.db import models as m
from service.db.engine import Database
from tests.service.books_seed import NOW_MS, address_of
from tests.service.ledger_node import make_master

MASTER = make_master()


def ensure(c: Connection, name: str = "main", *, owner: str = "ada") -> people.Account:
    return ensure_account(c, name, owner=owner, master=MASTER, now_ms=NOW_MS)


def add_wallet(c: Connection, *, number: int = 1, label: str = "main", account: str = "main") -> Wallet:
    return insert_wallet(
        c,
        account_id=ensure(c, account).id,
        address=address_of(number),
        label=label,
        signer="keystore",
        master=MASTER,
        now_ms=NOW_MS,
    )


async def test_ensuring_an_account_makes_it_with_its_owner_and_repeating_it_changes_nothing(db: Database) -> None:
    account = await db.run(ensure)
    assert await db.run(ensure) == account
    assert await db.read(lambda c: people.get_account(c, account.id)) == account
    assert await db.read(people.list_accounts) == [account]
    (member,) = await db.read(lambda c: people.members(c, account.id, master=MASTER))
    assert member.role is Role.OWNER


async def test_nobody_becomes_an_owner_by_ensuring_an_account_that_exists(db: Database) -> None:
    await db.run(ensure)
    with pytest.raises(NotTheOwner):
        await db.run(lambda c: ensure(c, owner="mallory"))


async def test_one_user_may_own_several_accounts(db: Database) -> None:
    await db.run(ensure)
    await db.run(lambda c: ensure(c, "second"))
    assert [account.name for account in await db.read(people.list_accounts)] == ["main", "second"]


@pytest.mark.parametrize("changed", [{"role": "owner"}, {"user_id": 2}, {"created_ms": 1}])
async def test_a_membership_changed_in_the_database_grants_nothing(
    sqlite_db: Database, changed: dict[str, object]
) -> None:
    def work(c: Connection) -> int:
        account = ensure(c)
        c.execute(
            m.users.insert(), [{"id": 2, "name": "bob", "created_ms": 0}, {"id": 3, "name": "eve", "created_ms": 0}]
        )
        people.add_member(c, 3, account_id=account.id, role=Role.VIEWER, master=MASTER, now_ms=NOW_MS)
        c.execute(update(m.memberships).where(m.memberships.c.user_id == 3).values(changed))
        return account.id

    account_id = await sqlite_db.run(work)
    altered = int(str(changed.get("user_id", 3)))
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: people.role_of(c, altered, account_id=account_id, master=MASTER))
    # The others are seen, and this one is named.
    found = await sqlite_db.read(lambda c: people.sift_members(c, account_id, master=MASTER))
    assert [one.role for one in found.intact] == [Role.OWNER]
    assert found.unusable == [str(altered)]


async def test_a_wallet_comes_back_by_id_address_and_account(db: Database) -> None:
    wallet = await db.run(add_wallet)
    other = await db.run(lambda c: add_wallet(c, number=2, account="second"))
    assert await db.read(lambda c: wallets.get_wallet(c, wallet.id, master=MASTER)) == wallet
    assert await db.read(lambda c: wallets.wallet_by_address(c, address_of(1), master=MASTER)) == wallet
    assert await db.read(lambda c: wallets.list_wallets(c, master=MASTER)) == [wallet, other]
    assert await db.read(lambda c: wallets.list_wallets(c, other.account_id, master=MASTER)) == [other]
    assert await db.read(lambda c: wallets.get_wallet(c, 404, master=MASTER)) is None
    assert await db.read(lambda c: wallets.wallet_by_address(c, address_of(9), master=MASTER)) is None


async def test_an_address_is_one_wallet_of_the_installation_and_a_label_one_of_its_account(db: Database) -> None:
    await db.run(add_wallet)
    with pytest.raises(AddressTaken):
        await db.run(lambda c: add_wallet(c, label="again", account="second"))
    with pytest.raises(LabelTaken):
        await db.run(lambda c: add_wallet(c, number=2))


@pytest.mark.parametrize("column", ["account_id", "address", "label", "signer", "created_ms"])
async def test_a_wallet_changed_in_the_database_is_refused(sqlite_db: Database, column: str) -> None:
    changed = {"account_id": 2, "address": address_of(9), "label": "x", "signer": "other", "created_ms": 1}

    def work(c: Connection) -> Wallet:
        wallet = add_wallet(c)
        ensure(c, "second")
        c.execute(update(m.wallets).values({column: changed[column]}))
        return wallet

    wallet = await sqlite_db.run(work)
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: wallets.get_wallet(c, wallet.id, master=MASTER))


async def test_a_wallets_mac_does_not_serve_another_row(sqlite_db: Database) -> None:
    def work(c: Connection) -> int:
        first, second = add_wallet(c), add_wallet(c, number=2, label="second")
        mac = c.execute(m.wallets.select().where(m.wallets.c.id == first.id)).one().mac
        c.execute(update(m.wallets).where(m.wallets.c.id == second.id).values(mac=mac))
        return second.id

    wallet_id = await sqlite_db.run(work)
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: wallets.get_wallet(c, wallet_id, master=MASTER))


@pytest.mark.parametrize("name", ["", " main", "main ", "a\nb", "a\x00b", "x" * 65, "\u202emain"])
def test_a_name_that_cannot_be_shown_as_it_is_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        checked(name)


@pytest.mark.parametrize("name", ["main", "Überweisung 1", "x" * 64])
def test_an_ordinary_name_is_taken_as_it_is(name: str) -> None:
    assert checked(name) == name
