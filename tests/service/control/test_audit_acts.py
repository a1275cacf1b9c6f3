"""What the owner's acts leave in the audit log. On a stopped service, through the command line's own door."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from service.audit.acts import ACTS as RECORDED
from service.cli.door import act
from service.cli.failures import CommandFailed
from service.control.acts import ACTS
from service.control.installing import install
from service.settings import Settings

LOOKS = {
    *("tx.list", "tx.show", "wallet.list", "key.list", "panic.status", "asset.list", "asset.check", "market.check"),
    *("audit.list", "audit.verify"),
}


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    made = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "master_key_file": tmp_path / "keys" / "master.key",
            "keystore_password_file": tmp_path / "keys" / "password",
        }
    )
    await install(made, account="main", owner="me")
    return made


def entries(settings: Settings) -> list[dict[str, Any]]:
    """What was done after `cambist init`, whose account begins the log."""
    found: list[dict[str, Any]] = act(settings, "audit.list", {}, doing="looking")["entries"]
    assert [one["act"] for one in found[:2]] == ["audit.chain", "account.create"]
    return found[2:]


def test_every_act_is_recorded_or_only_looks() -> None:
    assert set(ACTS) == {name for name in ACTS if name in RECORDED} | LOOKS
    assert not LOOKS & set(RECORDED)


def test_all_that_an_act_shows_may_stand_in_its_entry() -> None:
    for name, one in ACTS.items():
        if name in RECORDED:
            assert set(one.shown) <= set(RECORDED[name].fields), name


def test_an_act_is_recorded_before_it_begins_and_at_its_end(settings: Settings) -> None:
    act(settings, "panic.on", {"reason": "a drill"}, doing="pausing")
    assert [(one["act"], one["outcome"]) for one in entries(settings)] == [
        ("panic.on", "started"),
        ("panic.on", "done"),
    ]
    assert entries(settings)[1]["details"]["reason"] == "a drill"
    assert act(settings, "audit.verify", {}, doing="verifying") == {"checked": 4, "broken": None}


def test_a_refused_act_is_recorded_with_its_code_and_looking_is_not(settings: Settings) -> None:
    with pytest.raises(CommandFailed):
        act(settings, "panic.off", {}, doing="resuming")
    act(settings, "key.list", {}, doing="looking")
    assert [(one["outcome"], one["code"]) for one in entries(settings)] == [
        ("started", None),
        ("refused", "not_paused"),
    ]


def test_no_secret_gets_into_the_log(settings: Settings) -> None:
    """F84, for the audit log: made up secrets, and those that the service makes."""
    wallet = {"label": "main", "password": Path(settings.keystore_password_file or "").read_text().strip()}
    act(settings, "wallet.create", wallet, doing="making")
    made = act(settings, "key.create", {"label": "k", "wallet": "main", "permissions": ["read"]}, doing="making")
    bad = {"label": "w", "kind": "private-key", "secret": "c0ffee" * 9, "password": wallet["password"]}
    with pytest.raises(CommandFailed):
        act(settings, "wallet.import", bad, doing="importing")
    invited = act(settings, "user.invite", {}, doing="inviting")
    with sqlite3.connect(settings.data_dir / "cambist.sqlite") as database:
        stored = repr(database.execute("SELECT * FROM audit_entries").fetchall())
    database.close()
    assert made["key"] in stored
    for secret in (made["secret"], bad["secret"], wallet["password"], invited["invitation"]):
        assert secret not in stored


def test_a_changed_entry_is_found(settings: Settings) -> None:
    """F98"""
    act(settings, "panic.on", {"reason": "a drill"}, doing="pausing")
    with sqlite3.connect(settings.data_dir / "cambist.sqlite") as database:
        database.execute("UPDATE audit_entries SET actor = 'nobody:0' WHERE seq = 2")
    database.close()
    found = act(settings, "audit.verify", {}, doing="verifying")["broken"]
    assert (found["chain"], found["seq"]) == (0, 2)
