"""The address book over HTTP: what each call needs, what it says, and what it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select, update

from chains.types import ZERO_ADDRESS
from contracts.assets import load_assets
from contracts.permit2 import PERMIT2
from service.accounts import people
from service.accounts.people import Role
from service.accounts.wallets import insert_wallet
from service.addresses import book, cooling
from service.addresses.checking import Examined
from service.db.models import audit_entries, book_entries, book_rules
from tests.service.addresses.scene import EXCHANGE, OTHER, SAFE, UNLISTED_TOKEN, Scene, scene
from tests.service.api import code_of
from tests.service.approvals.scene import scene as scene_of_approvals
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETHEREUM, address_of

HOUR_MS = 3_600_000


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as found:
        yield found


def alike(address: str) -> str:
    """Another one with the same first and last four digits."""
    digits = address[2:].lower()
    return "0x" + digits[:4] + "c0ffee" * 5 + "c0" + digits[-4:]


async def test_an_entry_cools_for_a_day_and_is_then_in_force(ada: Scene) -> None:
    made = await ada.add()
    assert made.status_code == 201, made.text
    entry = made.json()
    now_ms = ada.service.clock.now_ms()
    assert (entry["state"], entry["cooling_until_ms"]) == ("cooling", now_ms + DAY_MS)
    assert (entry["address"], entry["chain"], entry["name"]) == (EXCHANGE, "ethereum", "exchange")
    assert (entry["is_contract"], entry["own_wallet"], entry["added_by"]) == (False, None, "ada")
    ada.service.clock.advance_ms(DAY_MS - 1)
    assert (await ada.book())["addresses"][0]["state"] == "cooling"
    ada.service.clock.advance_ms(1)
    [found] = (await ada.book())["addresses"]
    assert (found["state"], found["cooling_until_ms"]) == ("in_force", None)


async def test_adding_needs_the_authenticators_code_and_no_hold(ada: Scene) -> None:
    assert code_of(await ada.add(totp_code=None)) == "totp_required"
    assert code_of(await ada.add(totp_code="000000")) == "totp_code_wrong"
    bob = await ada.person("bob", role=Role.OWNER)
    body = {"chain": "ethereum", "address": EXCHANGE, "name": "x", "totp_code": "123456", "account": "main"}
    assert code_of(await ada.ask("POST", "/v1/addresses", body, token=bob)) == "totp_required"
    assert (await ada.book())["addresses"] == []
    await ada.service.authenticator()
    ada.service.clock.advance_ms(-HOUR_MS)
    ada.token = await ada.person("ada")
    assert code_of(await ada.add()) == "held"


async def test_a_code_adds_one_address(ada: Scene) -> None:
    code = ada.service.totp_code()
    assert (await ada.add(totp_code=code)).status_code == 201
    assert code_of(await ada.add(OTHER, "second", totp_code=code)) == "totp_code_wrong"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (EXCHANGE[:-1], "invalid_address"),
        ("vitalik.eth", "invalid_address"),
        ("0x52908400098527886E0F7030069857D2E4169Ee7", "invalid_address"),
        (ZERO_ADDRESS, "destination_unsafe"),
        (load_assets(ETHEREUM).by_symbol("USDC").address, "destination_unsafe"),
        (UNLISTED_TOKEN, "destination_unsafe"),
        (address_of(4), "destination_unsafe"),
        (address_of(0xFFFF), "destination_unsafe"),
        (PERMIT2, "destination_unsafe"),
    ],
)
async def test_an_address_where_coins_would_be_lost_is_refused(ada: Scene, address: str, expected: str) -> None:
    """F60: checksum, zero address, precompiles and contracts of the chain, token contracts, Permit2, names."""
    assert code_of(await ada.add(address)) == expected


async def test_a_protocols_contract_is_refused_on_its_own_chain(ada: Scene) -> None:
    """F60."""
    runtime = ada.service.services.chains["ethereum"]
    router = next(iter(runtime.deployments.contracts(ETHEREUM).values()))
    assert code_of(await ada.add(router)) == "destination_unsafe"


async def test_another_contract_is_flagged_and_accepted(ada: Scene) -> None:
    assert (await ada.add(SAFE, "safe")).json()["is_contract"] is True


async def test_an_own_wallet_is_known_and_does_not_cool(ada: Scene) -> None:
    own = address_of(0x3A11_E700)

    def adopt(c: Connection) -> None:
        account, services = people.account_by_name(c, "main"), ada.service.services
        assert account is not None
        insert_wallet(
            c,
            account_id=account.id,
            address=own,
            label="vault",
            signer="keystore",
            master=services.master,
            now_ms=services.clock.now_ms(),
        )

    await ada.service.services.db.run(adopt)
    made = (await ada.add(own, "cold")).json()
    assert (made["own_wallet"], made["state"]) == ("vault", "in_force")


async def test_an_address_that_begins_and_ends_like_a_known_one_needs_a_second_look(ada: Scene) -> None:
    assert (await ada.add()).status_code == 201
    for known, name in ((EXCHANGE, "'exchange' in the address book"), (address_of(1), "own wallet 'main'")):
        refused = await ada.add(alike(known), f"like {name}")
        assert code_of(refused) == "looks_alike"
        assert known in refused.json()["detail"]
        assert name in refused.json()["detail"]
    assert code_of(await ada.add(alike(address_of(77)), "like a key's")) == "looks_alike"
    accepted = await ada.add(alike(EXCHANGE), "really", accept_look_alike=True)
    assert accepted.status_code == 201, accepted.text


async def test_a_refused_address_does_not_use_the_code_up(ada: Scene) -> None:
    await ada.add()
    code = ada.service.totp_code()
    assert code_of(await ada.add(alike(EXCHANGE), "like", totp_code=code)) == "looks_alike"
    assert (await ada.add(alike(EXCHANGE), "like", accept_look_alike=True, totp_code=code)).status_code == 201


async def test_an_address_and_a_name_stand_once_a_chain(ada: Scene) -> None:
    await ada.add()
    assert code_of(await ada.add(EXCHANGE, "other")) == "entry_exists"
    assert code_of(await ada.add(OTHER, "exchange")) == "entry_exists"
    assert (await ada.add(EXCHANGE, "exchange", chain="polygon")).status_code == 201
    assert code_of(await ada.add(EXCHANGE, "x", chain="nowhere")) == "unknown_chain"


async def test_a_book_is_bounded(ada: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "MAX_ENTRIES", 1)
    await ada.add()
    assert code_of(await ada.add(OTHER, "second")) == "too_many"


async def test_renaming_needs_a_code_and_moves_no_time(ada: Scene) -> None:
    """Whoever approves goes by the name: a session alone does not give one address the name of another."""
    made = (await ada.add()).json()
    path, ada_now = f"/v1/addresses/{made['id']}", ada.service.totp_code
    assert code_of(await ada.ask("PATCH", path, {"name": "kraken"})) == "totp_required"
    assert code_of(await ada.ask("PATCH", path, {"name": "kraken", "totp_code": "000000"})) == "totp_code_wrong"
    assert (await ada.book())["addresses"][0]["name"] == made["name"]
    renamed = (await ada.ask("PATCH", path, {"name": "kraken", "totp_code": ada_now()})).json()
    assert renamed == {**made, "name": "kraken"}
    await ada.add(OTHER, "second")
    taken = await ada.ask("PATCH", path, {"name": "second", "totp_code": ada_now()})
    assert code_of(taken) == "entry_exists"


async def test_removing_is_at_once_and_an_address_added_again_cools_again(ada: Scene) -> None:
    made = (await ada.add()).json()
    ada.service.clock.advance_ms(DAY_MS)
    for _ in range(2):
        removed = (await ada.ask("DELETE", f"/v1/addresses/{made['id']}")).json()
        assert (removed["state"], removed["removed_ms"]) == ("removed", ada.service.clock.now_ms())
    assert (await ada.book())["addresses"] == []
    assert [one["id"] for one in (await ada.book(include_removed="true"))["addresses"]] == [made["id"]]
    assert code_of(await ada.ask("PATCH", f"/v1/addresses/{made['id']}", {"name": "back"})) == "entry_not_found"
    again = (await ada.add()).json()
    assert (again["state"], again["id"] != made["id"]) == ("cooling", True)


async def cool(ada: Scene, hours: int) -> dict[str, Any]:
    body = {"cooling_hours": hours, "totp_code": ada.service.totp_code()}
    answer = await ada.ask("PUT", "/v1/address-cooling", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_shorter_cooling_time_waits_as_long_as_the_one_before(ada: Scene) -> None:
    async def ask(hours: int) -> dict[str, Any]:
        return await cool(ada, hours)

    begun_ms = ada.service.clock.now_ms() + 30_000
    assert await ask(1) == {"cooling_hours": 24, "next_hours": 1, "next_from_ms": begun_ms + DAY_MS}
    assert (await ada.add()).json()["cooling_until_ms"] == ada.service.clock.now_ms() + DAY_MS
    # Longer: at once, and no wait goes on.
    assert await ask(48) == {"cooling_hours": 48, "next_hours": None, "next_from_ms": None}
    waits = await ask(2)
    assert waits["next_from_ms"] == ada.service.clock.now_ms() + 2 * DAY_MS
    ada.service.clock.advance_ms(2 * DAY_MS - 1)
    assert (await ada.book())["cooling"] == waits
    ada.service.clock.advance_ms(1)
    assert (await ada.book())["cooling"] == {"cooling_hours": 2, "next_hours": None, "next_from_ms": None}
    made = (await ada.add(OTHER, "second")).json()
    assert made["cooling_until_ms"] == ada.service.clock.now_ms() + 2 * HOUR_MS


async def test_a_longer_cooling_time_is_taken_back_within_a_day_without_waiting_for_it(ada: Scene) -> None:
    """Else one code keeps all funds where they are for three months."""
    clock = ada.service.clock
    begun_ms = clock.now_ms() + 30_000
    await cool(ada, 100)
    # Twice is no other way to the same end.
    await cool(ada, 90 * 24)
    back = await cool(ada, 24)
    assert (back["cooling_hours"], back["next_hours"]) == (90 * 24, 24)
    assert back["next_from_ms"] == clock.now_ms() + DAY_MS
    # Longer ends that, and is taken back again; below what was before, it waits as ever.
    await cool(ada, 90 * 24)
    assert (await cool(ada, 23))["next_from_ms"] == clock.now_ms() + 90 * DAY_MS
    clock.advance_ms(begun_ms + DAY_MS - 30_001 - clock.now_ms())
    back = await cool(ada, 24)
    assert back["next_from_ms"] == clock.now_ms() + DAY_MS
    # And not after a day.
    assert (await cool(ada, 24))["next_from_ms"] == clock.now_ms() + 90 * DAY_MS
    clock.advance_ms(90 * DAY_MS)
    ada.token = await ada.service.session()
    assert (await ada.book())["cooling"]["cooling_hours"] == 24
    await cool(ada, 48)
    assert (await cool(ada, 24))["next_from_ms"] == clock.now_ms() + DAY_MS


async def test_a_time_that_was_made_shorter_is_what_the_next_one_is_taken_back_to(ada: Scene) -> None:
    clock = ada.service.clock
    await cool(ada, 1)
    clock.advance_ms(DAY_MS)
    await cool(ada, 48)
    await cool(ada, 10)
    clock.advance_ms(HOUR_MS)
    assert (await ada.book())["cooling"]["cooling_hours"] == 10
    assert (await cool(ada, 1))["next_from_ms"] == clock.now_ms() + 10 * HOUR_MS
    await cool(ada, 48)
    assert (await cool(ada, 10))["next_from_ms"] == clock.now_ms() + 10 * HOUR_MS


async def test_who_is_new_makes_no_cooling_time_longer_and_ends_no_wait_for_a_shorter(tmp_path: Path) -> None:
    async with scene_of_approvals(tmp_path) as at:
        await at.person("zoe", Role.OWNER, joined_ago_ms=0)

        async def ask(hours: int, *, by: str) -> httpx.Response:
            body = {"cooling_hours": hours, "totp_code": at.code(by)}
            return await at.ask("PUT", "/v1/address-cooling", body, by=by)

        assert code_of(await ask(90 * 24, by="zoe")) == "role_denied"
        assert (await ask(12, by="ann")).status_code == 200
        assert code_of(await ask(24, by="zoe")) == "role_denied"
        assert (await ask(1, by="zoe")).status_code == 200
        at.service.clock.advance_ms(DAY_MS)
        assert (await ask(90 * 24, by="zoe")).status_code == 200


async def test_the_cooling_time_needs_a_code_and_has_a_bound(ada: Scene) -> None:
    assert code_of(await ada.ask("PUT", "/v1/address-cooling", {"cooling_hours": 1})) == "totp_required"
    too_long = {"cooling_hours": cooling.MAX_MS // HOUR_MS + 1}
    assert code_of(await ada.ask("PUT", "/v1/address-cooling", too_long)) == "invalid_request"


async def test_a_clock_that_is_set_back_does_not_shorten_a_cooling_time(ada: Scene) -> None:
    await ada.add()
    right_ms = ada.service.clock.now_ms()
    ada.service.clock.advance_ms(-10 * HOUR_MS)
    made = await ada.service.services.db.run(
        lambda c: book.add(
            c,
            book.Asked(account_id=1, chain_id=ETHEREUM, name="late", accept_look_alike=False, added_by=1),
            Examined(address=OTHER, is_contract=False),
            now_ms=ada.service.clock.now_ms(),
            master=ada.service.services.master,
        )
    )
    assert made.in_force_ms == right_ms + DAY_MS


async def test_an_edited_or_copied_row_answers_nothing(ada: Scene) -> None:
    """F79."""
    await ada.add()
    for column, value in (("in_force_ms", book_entries.c.created_ms), ("name", "mine"), ("account_id", 2)):
        await ada.person("eve")

        def forge(c: Connection, column: str = column, value: object = value) -> dict[str, Any]:
            row = c.execute(select(book_entries)).mappings().one()
            c.execute(update(book_entries).values({column: value}))
            return dict(row)

        before = await ada.service.services.db.run(forge)
        token = await ada.person("eve") if column == "account_id" else ada.token
        answer = (await ada.ask("GET", "/v1/addresses", token=token)).json()
        assert (answer["addresses"], answer["unusable"]) == ([], [str(before["id"])]), column
        path = f"/v1/addresses/{before['id']}"
        assert code_of(await ada.ask("DELETE", path, token=token)) == "record_tampered"

        def restore(c: Connection, row: dict[str, Any] = before) -> None:
            c.execute(update(book_entries).values(row))

        await ada.service.services.db.run(restore)


async def test_an_edited_cooling_time_is_refused(ada: Scene) -> None:
    """F79."""
    await ada.ask("PUT", "/v1/address-cooling", {"cooling_hours": 48, "totp_code": ada.service.totp_code()})
    await ada.service.services.db.run(lambda c: c.execute(update(book_rules).values(cooling_ms=0)))
    assert code_of(await ada.add()) == "record_tampered"


async def test_every_change_is_in_the_accounts_audit_log(ada: Scene) -> None:
    made = (await ada.add()).json()
    renamed = {"name": "kraken", "totp_code": ada.service.totp_code()}
    await ada.ask("PATCH", f"/v1/addresses/{made['id']}", renamed)
    await ada.ask("DELETE", f"/v1/addresses/{made['id']}")
    await ada.ask("DELETE", f"/v1/addresses/{made['id']}")
    await ada.ask("PUT", "/v1/address-cooling", {"cooling_hours": 48, "totp_code": ada.service.totp_code()})

    def read(c: Connection) -> list[str]:
        rows = select(audit_entries.c.act).where(audit_entries.c.chain == 1).order_by(audit_entries.c.seq)
        return [act for act in c.execute(rows).scalars() if act.startswith("address.")]

    acts = await ada.service.services.db.read(read)
    assert acts == ["address.add", "address.rename", "address.remove", "address.cooling"]


async def test_another_accounts_entry_answers_as_if_it_did_not_exist(ada: Scene) -> None:
    entry_id = (await ada.add()).json()["id"]
    eve = await ada.person("eve")
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        theirs = await ada.ask(method, f"/v1/addresses/{entry_id}", body, token=eve)
        nothing = await ada.ask(method, "/v1/addresses/999999", body, token=eve)
        assert code_of(theirs) == code_of(nothing) == "entry_not_found"
        assert theirs.json()["detail"] == nothing.json()["detail"]
    for account in ("main", "nobody"):
        answer = await ada.ask("GET", f"/v1/addresses?account={account}", token=eve)
        assert (code_of(answer), answer.json()["detail"]) == ("account_not_found", "there is no such account")
    assert (await ada.ask("GET", "/v1/addresses", token=eve)).json()["addresses"] == []
    # What looks like an address of another account is no news of it.
    assert (await ada.book())["addresses"][0]["state"] == "cooling"


@pytest.mark.parametrize("role", list(Role))
async def test_every_member_sees_the_book_and_only_owners_change_it(ada: Scene, role: Role) -> None:
    entry_id = (await ada.add()).json()["id"]
    token = await ada.person("bob", role=role)
    assert (await ada.ask("GET", "/v1/addresses", token=token)).status_code == 200
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/v1/addresses", {"chain": "ethereum", "address": OTHER, "name": "x"}),
        ("PUT", "/v1/address-cooling", {"cooling_hours": 48}),
        ("PATCH", f"/v1/addresses/{entry_id}", {"name": "mine"}),
        ("DELETE", f"/v1/addresses/{entry_id}", None),
    ]
    for method, path, body in calls:
        answer = await ada.ask(method, path, body, token=token)
        if role is Role.OWNER:
            assert not answer.is_error or code_of(answer) == "totp_required", answer.text
        else:
            assert code_of(answer) == "role_denied", (method, path)


async def test_who_has_several_accounts_names_one_unless_one_is_their_own(ada: Scene) -> None:
    eve = await ada.person("eve")
    zoe = await ada.person("zoe", role=Role.VIEWER)
    await ada.person("zoe", role=Role.OWNER, account="eve")
    assert code_of(await ada.ask("GET", "/v1/addresses", token=zoe)) == "account_required"
    assert (await ada.ask("GET", "/v1/addresses?account=main", token=zoe)).json()["account"] == "main"
    # A role that somebody else gives changes nothing about what is meant.
    await ada.person("eve", role=Role.OWNER)
    assert (await ada.ask("GET", "/v1/addresses", token=eve)).json()["account"] == "eve"
    assert (await ada.ask("GET", "/v1/addresses?account=main", token=eve)).json()["account"] == "main"
    # Whoever registered with it, as the first user does with that of `cambist init`.
    ian = await ada.person("ian", role=Role.OWNER, joined_ago_ms=0)
    await ada.person("ian", role=Role.OWNER, account="eve")
    assert (await ada.ask("GET", "/v1/addresses", token=ian)).json()["account"] == "main"
    # Two of their own leave it open.
    now_ms, master = ada.service.clock.now_ms(), ada.service.services.master
    await ada.service.services.db.run(
        lambda c: people.ensure_account(c, "other", owner="eve", master=master, now_ms=now_ms)
    )
    assert code_of(await ada.ask("GET", "/v1/addresses", token=eve)) == "account_required"
