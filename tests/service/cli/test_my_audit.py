"""The account's audit log on the command line, by its owner in a session, against the real app."""

from pathlib import Path
from typing import Any

import pytest

from service.cli.failures import CommandFailed
from service.cli.session_file import SignedIn, keep_session
from tests.service.api import Api
from tests.service.cli.test_people import Run, enrolled, refused, run, service

__all__ = ["run", "service"]


async def test_an_owner_pages_through_what_was_done_and_refused(service: Api, run: Run, tmp_path: Path) -> None:
    await enrolled(service, run, tmp_path)
    for label in ("one", "two", "three"):
        await run("my-key", "create", label, "--permission", "read", "--secret-file", str(tmp_path / label))
    newest = await run("my-audit", "--act", "key.", "--limit", "2")
    assert [one["act"] for one in newest["entries"]] == ["key.create", "key.create"]
    older = await run("my-audit", "--act", "key.", "--before", str(newest["next_before"]))
    assert (len(older["entries"]), older["next_before"]) == (1, None)
    assert {one["seq"] for one in newest["entries"]}.isdisjoint(one["seq"] for one in older["entries"])
    assert (await run("my-audit", "--outcome", "ip_not_allowed"))["entries"] == []
    shown: Any = await run("my-audit", "--act", "key.", "--limit", "1", as_json=False)
    assert "older ones: --before" in shown
    assert "account bob" in shown


async def test_nobody_else_sees_it(service: Api, run: Run, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="nobody is signed in"):
        await run("my-audit")
    await enrolled(service, run, tmp_path)
    assert await refused(run, "my-audit", "--account", "main") == "account_not_found"
    keep_session(SignedIn(url="http://127.0.0.1", token="cs_" + "0" * 64))
    assert await refused(run, "my-audit") == "session_ended"
