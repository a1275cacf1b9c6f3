"""The operator's address book on the host: in force at once, checked like an owner's, and shown as the operator's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.db.models import audit_entries
from tests.service.addresses.scene import EXCHANGE, SAFE, UNLISTED_TOKEN, Scene, scene
from tests.service.addresses.test_book_api import alike

OPERATOR = Operator(uid=1000, name="root")


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as found:
        yield found


async def do(ada: Scene, act: str, **params: Any) -> dict[str, Any]:
    return await perform(ada.service.services, act, params, OPERATOR)


async def refused(ada: Scene, act: str, **params: Any) -> ActFailed:
    with pytest.raises(ActFailed) as failure:
        await do(ada, act, **params)
    return failure.value


async def test_an_entry_of_the_operator_is_in_force_at_once_and_shown_as_theirs(ada: Scene) -> None:
    made = await do(ada, "address.add", chain="ethereum", address=EXCHANGE, name="exchange")
    assert (made["state"], made["by_operator"]) == ("in_force", True)
    [seen] = (await ada.book())["addresses"]
    assert (seen["id"], seen["state"], seen["added_by"]) == (made["entry"], "in_force", None)
    assert (await do(ada, "address.list"))["addresses"] == [made]
    gone = await do(ada, "address.remove", entry=made["entry"])
    assert gone["state"] == "removed"
    assert (await ada.book())["addresses"] == []


async def test_the_operator_is_told_of_what_an_owner_is_told_of(ada: Scene) -> None:
    given = {"chain": "ethereum", "name": "x"}
    assert (await refused(ada, "address.add", address=EXCHANGE[:-1], **given)).code == "invalid_address"
    assert (await refused(ada, "address.add", address=UNLISTED_TOKEN, **given)).code == "destination_unsafe"
    assert (await do(ada, "address.add", address=SAFE, **given))["is_contract"] is True
    twin = await refused(ada, "address.add", address=alike(SAFE), chain="ethereum", name="twin")
    assert (twin.code, twin.hint) == ("looks_alike", "Compare all of it, then add --accept-look-alike.")
    added = await do(
        ada, "address.add", address=alike(SAFE), chain="ethereum", name="twin", accept_look_alike=True
    )  # fmt: skip
    assert added["name"] == "twin"


async def test_an_account_is_named_where_it_is_not_the_first(ada: Scene) -> None:
    await ada.person("eve")
    made = await do(ada, "address.add", chain="ethereum", address=EXCHANGE, name="exchange", account="eve")
    assert (await ada.book())["addresses"] == []
    assert (await refused(ada, "address.remove", entry=made["entry"])).code == "entry_not_found"
    assert (await refused(ada, "address.list", account="nobody")).code == "unknown_account"


async def test_what_the_operator_adds_and_removes_is_in_the_audit_log(ada: Scene) -> None:
    made = await do(ada, "address.add", chain="ethereum", address=EXCHANGE, name="exchange")
    await do(ada, "address.remove", entry=made["entry"])

    def read(c: Connection) -> list[tuple[str, str, bool]]:
        t = audit_entries
        rows = c.execute(select(t).where(t.c.act.startswith("address.")).order_by(t.c.chain, t.c.seq))
        return [(row.act, row.outcome, EXCHANGE in row.details) for row in rows]

    assert await ada.service.services.db.read(read) == [
        ("address.add", "started", True),
        ("address.add", "done", True),
        ("address.remove", "started", False),
        ("address.remove", "done", True),
    ]
