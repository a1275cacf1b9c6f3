"""Members and address books on the command line: by persons against the real app, by the operator against the acts."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import text
from typer.testing import CliRunner

from service.accounts.people import Role
from service.cli import addresses, users
from service.cli.commands import app
from service.cli.failures import CommandFailed
from service.cli.session_file import SignedIn, keep_session
from service.control.acts import perform
from service.control.server import Operator
from tests.service.addresses.scene import EXCHANGE, Scene, scene
from tests.service.addresses.test_book_api import alike
from tests.service.cli.test_people import Bridge, private

Run = Callable[..., Any]


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "service").mkdir()
    async with scene(tmp_path / "service") as found:
        yield found


@pytest.fixture
def run(ada: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as Ada, or as whose token is given; its JSON. A code goes along where it is asked for."""
    real = httpx.Client
    monkeypatch.setenv("CAMBIST_SESSION", str(tmp_path / "home" / "session.toml"))

    async def invoke(*words: str, token: str | None = None, code: bool = False, as_json: bool = True) -> Any:
        keep_session(SignedIn(url="http://127.0.0.1", token=token or ada.token))
        bridge = Bridge(ada.service, asyncio.get_running_loop())
        monkeypatch.setattr("service.cli.api.httpx.Client", lambda **given: real(transport=bridge, **given))
        given = ["--code-file", private(tmp_path / "code", ada.service.totp_code() + "\n")] if code else []
        with structlog.testing.capture_logs():
            arguments = [*words, *given, *(["--json"] if as_json else [])]
            done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout) if as_json else done.output

    return invoke


async def refused(run: Run, *words: str, **given: Any) -> str:
    with pytest.raises(CommandFailed) as failure:
        await run(*words, **given)
    return failure.value.code


async def test_an_owner_keeps_the_address_book_on_the_command_line(ada: Scene, run: Run) -> None:
    assert await refused(run, "my-address", "add", "ethereum", EXCHANGE, "exchange") == "totp_required"
    made = await run("my-address", "add", "ethereum", EXCHANGE, "exchange", code=True)
    assert made["state"] == "cooling"
    assert await refused(run, "my-address", "add", "ethereum", alike(EXCHANGE), "twin", code=True) == "looks_alike"
    await run("my-address", "add", "ethereum", alike(EXCHANGE), "twin", "--accept-look-alike", code=True)
    assert await refused(run, "my-address", "rename", str(made["id"]), "kraken") == "totp_required"
    await run("my-address", "rename", str(made["id"]), "kraken", code=True)
    shown = await run("my-address", "list", as_json=False)
    assert "kraken" in shown
    assert "a new entry cools for 24 h" in shown
    assert (await run("my-address", "remove", str(made["id"])))["state"] == "removed"
    assert [one["name"] for one in (await run("my-address", "list"))["addresses"]] == ["twin"]
    assert (await run("my-address", "cooling", "1", code=True))["next_hours"] == 1
    assert "1 h from" in await run("my-address", "cooling", "1", code=True, as_json=False)


async def test_an_owner_changes_the_members_on_the_command_line(ada: Scene, run: Run, tmp_path: Path) -> None:
    bob = await ada.person("bob")
    assert await refused(run, "member", "add", "bob", "viewer") == "totp_required"
    assert (await run("member", "add", "bob", "viewer", code=True))["role"] == "viewer"
    assert await refused(run, "member", "role", "bob", "trader") == "totp_required"
    assert (await run("member", "role", "bob", "trader", code=True))["member"]["role"] == "trader"
    assert (await run("member", "role", "bob", "viewer"))["member"]["role"] == "viewer"
    assert "bob" in await run("member", "list", as_json=False)
    assert await refused(run, "member", "add", "eve", "viewer", "--account", "main", token=bob) == "role_denied"
    await run("member", "remove", "bob", "--account", "main", token=bob)
    assert await refused(run, "member", "remove", "bob") == "member_not_found"
    await ada.person("cleo", role=Role.APPROVER)
    assert await refused(run, "member", "remove", "cleo") == "totp_required"
    assert (await run("member", "remove", "cleo", code=True))["member"] is None
    await run("member", "invite", "approver", "--file", str(tmp_path / "for-bob"), code=True)
    joined = await run("member", "join", "--invitation-file", str(tmp_path / "for-bob"), token=bob)
    assert joined == {"account": "main", "role": "approver"}
    await run("member", "invite", "approver", code=True)
    [waiting] = (await run("member", "list"))["invitations"]
    assert waiting["id"] in await run("member", "list", as_json=False)
    assert await run("member", "uninvite", waiting["id"]) == {"taken_back": True}


async def test_the_operator_keeps_the_address_book_on_the_host(
    ada: Scene, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def act(settings: object, name: str, params: dict[str, Any], *, doing: str) -> Any:
        done = perform(ada.service.services, name, params, Operator(uid=1000, name="root"))
        return asyncio.run_coroutine_threadsafe(done, loop).result(timeout=150)

    monkeypatch.setattr(addresses, "act", act)
    monkeypatch.setattr(addresses, "settings_of_host", lambda: None)
    made = await run("address", "add", "ethereum", EXCHANGE, "exchange")
    assert (made["state"], made["by_operator"]) == ("in_force", True)
    narrow = await run("address", "list", as_json=False)
    # The notes give way, not the address.
    assert EXCHANGE in narrow
    monkeypatch.setenv("COLUMNS", "160")
    assert "by the operator" in await run("address", "list", as_json=False)
    assert (await run("address", "remove", str(made["entry"])))["state"] == "removed"
    assert (await run("address", "list"))["addresses"] == []


async def test_the_operator_lists_users_and_resets_a_lost_authenticator(
    ada: Scene, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def act(settings: object, name: str, params: dict[str, Any], *, doing: str) -> Any:
        done = perform(ada.service.services, name, params, Operator(uid=1000, name="root"))
        return asyncio.run_coroutine_threadsafe(done, loop).result(timeout=150)

    monkeypatch.setattr(users, "act", act)
    monkeypatch.setattr(users, "settings_of_host", lambda: None)
    assert "yes, 10" in await run("user", "list", as_json=False)
    assert "cambist totp enrol" in await run("user", "reset-totp", "ada", as_json=False)
    [listed] = (await run("user", "list"))["users"]
    assert (listed["totp"], listed["recovery_codes_left"]) == (False, 0)
    assert listed["held_until_ms"] is not None


async def test_a_list_says_which_rows_were_altered(ada: Scene, run: Run) -> None:
    made = await run("my-address", "add", "ethereum", EXCHANGE, "exchange", code=True)
    book = text("UPDATE book_entries SET name = 'mine'")
    await ada.service.services.db.run(lambda c: c.execute(book) and None)
    assert await run("my-address", "list") == {**await run("my-address", "list"), "unusable": [str(made["id"])]}
    assert "Altered in the database" in await run("my-address", "list", as_json=False)
