"""What the owner's acts leave in the audit log. On a stopped service, through the command line's own door."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from service.audit.acts import ACTS as RECORDED
from service.cli import audit as audit_commands
from service.cli.door import act
from service.cli.failures import CommandFailed
from service.control.acts import ACTS
from service.control.installing import install
from service.settings import Settings

LOOKS = {
    *(
        "tx.list",
        "tx.show",
        "wallet.list",
        "key.list",
        "panic.status",
        "asset.list",
        "asset.check",
        "market.check",
        "address.list",
        "approval.list",
        "user.list",
    ),
    *("audit.list", "audit.verify", "audit.page"),
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


def test_an_export_is_checked_without_the_database_and_finds_an_older_copy_of_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F98, as the owner of the host would do it."""
    monkeypatch.setattr(audit_commands, "settings_of_host", lambda: settings)
    older = tmp_path / "older"
    shutil.copytree(settings.data_dir, older)
    for _ in range(25):
        act(settings, "panic.on", {"reason": "a drill"}, doing="pausing")
    out = tmp_path / "audit.jsonl"
    audit_commands.export(out)
    assert out.stat().st_mode & 0o777 == 0o600
    audit_commands.verify(file=out)
    audit_commands.verify(known=out)
    with pytest.raises(CommandFailed, match="File exists"):
        audit_commands.export(out)
    # The export is itself in the log, with the ends that it went up to.
    done = act(settings, "audit.list", {"act": "audit.export"}, doing="looking")["entries"][-1]
    assert (done["act"], done["outcome"]) == ("audit.export", "done")
    assert len(done["details"]["heads"]) == 2
    changed = tmp_path / "changed.jsonl"
    changed.write_text(out.read_text().replace("a drill", "a thrill", 1))
    with pytest.raises(CommandFailed, match="it was changed"):
        audit_commands.verify(file=changed)
    shutil.rmtree(settings.data_dir)
    shutil.copytree(older, settings.data_dir)
    audit_commands.verify()
    with pytest.raises(CommandFailed, match="older copy"):
        audit_commands.verify(known=out)


def test_the_list_is_by_account_subject_and_time(settings: Settings) -> None:
    act(settings, "panic.on", {"reason": "a drill"}, doing="pausing")
    of_main = act(settings, "audit.list", {"account": "main"}, doing="looking")["entries"]
    assert [one["act"] for one in of_main] == ["account.create"]
    account = of_main[0]["subject"]
    assert act(settings, "audit.list", {"subject": account, "act": "account."}, doing="looking")["entries"] == of_main
    assert act(settings, "audit.list", {"until_ms": of_main[0]["time_ms"]}, doing="looking")["entries"] == []
    with pytest.raises(CommandFailed, match="no account"):
        act(settings, "audit.list", {"account": "nobody"}, doing="looking")
