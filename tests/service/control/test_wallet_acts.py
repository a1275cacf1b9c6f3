"""Wallets of several accounts, by the operator on the host."""

from pathlib import Path
from typing import Any

import pytest

from service.cli.door import act
from service.cli.failures import CommandFailed
from service.control.installing import install
from service.settings import Settings


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
    await install(made, account="second", owner="eve")
    return made


def wallet(settings: Settings, **given: Any) -> Any:
    return act(settings, "wallet.create", {"label": "main", **given}, doing="making")


def test_a_wallet_is_of_the_account_that_is_named_or_of_the_first(settings: Settings) -> None:
    wallet(settings)
    wallet(settings, account="second")
    found = act(settings, "wallet.list", {}, doing="looking")["wallets"]
    assert [(one["account"], one["label"]) for one in found] == [("main", "main"), ("second", "main")]
    with pytest.raises(CommandFailed) as refused:
        wallet(settings, account="third")
    assert refused.value.code == "unknown_account"


def test_a_label_that_two_accounts_have_names_no_wallet_and_an_address_does(settings: Settings) -> None:
    wallet(settings)
    theirs = wallet(settings, account="second")
    asked = {"label": "k", "permissions": ["read"]}
    with pytest.raises(CommandFailed) as refused:
        act(settings, "key.create", {"wallet": "main", **asked}, doing="making")
    assert refused.value.code == "ambiguous_wallet"
    made = act(settings, "key.create", {"wallet": theirs["address"], **asked}, doing="making")
    assert made["wallet"]["address"] == theirs["address"]
