"""Acts on a stopped service whose nodes are down: what needs only the database works."""

from pathlib import Path

import pytest

from service.cli.door import act
from service.cli.failures import CommandFailed
from service.control.installing import install
from service.settings import Settings

NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    made = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "master_key_file": tmp_path / "keys" / "master.key",
            "keystore_password_file": tmp_path / "keys" / "password",
            "rpc": {"ethereum": NOBODY},
        }
    )
    await install(made, account="main", owner="me")
    return made


def test_the_panic_switch_works(settings: Settings) -> None:
    done = act(settings, "panic.on", {"reason": "stolen laptop"}, doing="pausing")
    assert done["scope"] == "all"
    (pause,) = act(settings, "panic.status", {}, doing="looking")["pauses"]
    assert pause["reason"] == "stolen laptop"


def test_keys_and_transactions_are_listed(settings: Settings) -> None:
    assert act(settings, "key.list", {}, doing="looking") == {"keys": [], "unusable": []}
    assert act(settings, "tx.list", {}, doing="looking")["transactions"] == []


def test_what_has_to_ask_a_node_says_that_none_answers(settings: Settings) -> None:
    wallet = {"label": "main", "password": "a long enough password"}
    with pytest.raises(CommandFailed) as refused:
        act(settings, "wallet.create", wallet, doing="making")
    assert refused.value.code == "chain_unreachable"
