"""The command line beside a running server, and against it as a client."""

import json
import re
import secrets
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from chains.signing import mnemonic
from chains.signing.signer import UnlockedKey
from scripts.demo.stack import Cambist, Stack
from service.cli.failures import ExitStatus


def call(
    cambist: Cambist, *words: str, stdin: str = "", extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command whatever its status."""
    return subprocess.run(
        cambist.command(*words),
        input=stdin,
        capture_output=True,
        text=True,
        env={**cambist.environment, **(extra or {})},
        cwd=cambist.folder,
        timeout=120,
    )


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The error document of a command with `--json`."""
    assert "Traceback" not in done.stderr
    error: dict[str, str] = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    return error


@pytest.fixture
def as_client(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """What a client sets: the address, a key, and a private file with its secret."""
    secret = tmp_path / "secret"
    secret.write_text(stack.keys["trade"].secret)
    secret.chmod(0o600)
    return {"CAMBIST_URL": stack.url, "CAMBIST_KEY": stack.keys["trade"].key, "CAMBIST_SECRET_FILE": str(secret)}


def fresh(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"


# -- the owner's acts -----------------------------------------------------------------------------------------


def test_status_tells_where_the_server_listens_and_that_it_is_well(stack: Stack, cambist: Cambist) -> None:
    status = cambist.run("status", "--json")
    assert status["url"] == stack.url
    assert status["health"] == {
        "status": "ok",
        "database": "ok",
        "chains": {"ethereum": "ok", "polygon": "ok"},
        "workers": dict.fromkeys(
            [
                f"{loop}-{chain}"
                for chain in ("ethereum", "polygon")
                for loop in ("engine", "history", "keeper", "markets")
            ]
            + ["approvals", "prune-nonces", "books"],
            "ok",
        ),
    }


def test_a_wallet_is_made_and_can_sign_at_once(cambist: Cambist) -> None:
    label = fresh("made")
    made = cambist.run("wallet", "create", label, "--json")
    listed = {wallet["label"]: wallet for wallet in cambist.run("wallet", "list", "--json")["wallets"]}
    assert listed[label]["address"] == made["address"]
    assert listed[label]["unlocked"] is True


def test_a_private_key_is_imported_from_standard_input(cambist: Cambist) -> None:
    key = secrets.token_bytes(32)
    wallet = cambist.run("wallet", "import", fresh("key"), "--from", "-", "--json", stdin="0x" + key.hex())
    assert wallet["address"] == UnlockedKey(key).address


def test_a_mnemonic_is_imported_at_an_index(cambist: Cambist) -> None:
    words = mnemonic.generate()
    imported = cambist.run(
        "wallet", "import", fresh("words"), "--kind", "mnemonic", "--index", "3", "--from", "-", "--json", stdin=words
    )
    assert imported["address"] == UnlockedKey(mnemonic.derive(words, 3)).address


def test_a_keystore_of_another_program_is_imported(cambist: Cambist, tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    source, password = tmp_path / "UTC--keystore.json", tmp_path / "password"
    source.write_text(json.dumps(Account.encrypt(key, "its old password", iterations=1024)))
    password.write_text("its old password\n")
    for path in (source, password):
        path.chmod(0o600)
    words = ["wallet", "import", fresh("file"), "--kind", "keystore", "--from", str(source)]
    imported = cambist.run(*words, "--source-password-file", str(password), "--json")
    assert imported["address"] == UnlockedKey(key).address


@pytest.mark.parametrize("text", ["not hex at all", "00" * 32, "11" * 31])
def test_what_is_no_private_key_is_refused_and_not_repeated(cambist: Cambist, text: str) -> None:
    done = call(cambist, "wallet", "import", fresh("bad"), "--from", "-", "--json", stdin=text)
    assert done.returncode == ExitStatus.REFUSED
    assert error_of(done)["code"] == "bad_secret"
    assert text not in done.stderr + done.stdout


def test_a_label_is_taken_once(cambist: Cambist) -> None:
    done = call(cambist, "wallet", "create", "main", "--json")
    assert error_of(done)["code"] == "label_taken"


def test_a_key_file_that_others_can_read_is_refused(cambist: Cambist, tmp_path: Path) -> None:
    source = tmp_path / "key"
    source.write_text(secrets.token_hex(32))
    source.chmod(0o644)
    done = call(cambist, "wallet", "import", fresh("open"), "--from", str(source), "--json")
    assert error_of(done) == {
        "code": "file_open_to_others",
        "message": f"{source} can be read by other users",
        "hint": f"chmod 600 {source}",
    }


def test_a_key_is_made_shown_once_used_and_revoked(stack: Stack, cambist: Cambist, tmp_path: Path) -> None:
    label, secret = fresh("brief"), tmp_path / "brief.secret"
    words = ["key", "create", label, "--wallet", "main", "--permission", "read", "--secret-file", str(secret)]
    made = cambist.run(*words, "--json")
    assert made["secret"] is None
    assert re.fullmatch(r"[0-9a-f]{64}\n", secret.read_text())
    assert secret.stat().st_mode & 0o777 == 0o600
    client = {"CAMBIST_URL": stack.url, "CAMBIST_KEY": made["key"], "CAMBIST_SECRET_FILE": str(secret)}
    assert call(cambist, "balances", "ethereum", extra=client).returncode == ExitStatus.DONE
    assert cambist.run("key", "revoke", label, "--json")["state"] == "revoked"
    refused = call(cambist, "balances", "ethereum", "--json", extra=client)
    assert refused.returncode == ExitStatus.REFUSED
    assert error_of(refused)["code"] == "key_revoked"
    assert secret.read_text().strip() not in json.dumps(cambist.run("key", "list", "--json"))


@pytest.mark.parametrize(
    "words",
    [
        ["--permission", "withdraw", "--ip", "127.0.0.1/32", "--expires", "1d"],
        ["--permission", "withdraw", "--destination", "ethereum:0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        [
            *["--permission", "withdraw", "--ip", "10.0.0.0/23", "--expires", "1d"],
            *["--destination", "ethereum:0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        ],
    ],
    ids=["no destination", "no network", "too wide a network"],
)
def test_a_withdraw_key_needs_destinations_and_narrow_networks(cambist: Cambist, words: list[str]) -> None:
    done = call(cambist, "key", "create", fresh("wide"), "--wallet", "main", *words, "--json")
    assert done.returncode == ExitStatus.REFUSED
    assert error_of(done)["code"] == "invalid_key"


def test_the_effective_settings_are_shown_masked_and_the_endpoints_are_asked(cambist: Cambist) -> None:
    report = cambist.run("config", "check", "--json")
    assert {row["chain"]: row["ok"] for row in report["chains"]} == {"ethereum": True, "polygon": True}


def test_a_setting_that_does_not_exist_is_refused(cambist: Cambist) -> None:
    done = call(cambist, "config", "check", "--json", extra={"CAMBIST_PROT": "8000"})
    assert done.returncode == ExitStatus.USAGE
    assert "CAMBIST_PORT" in error_of(done)["message"]


def test_without_a_server_the_same_acts_work_on_the_database(stack: Stack, cambist: Cambist, tmp_path: Path) -> None:
    alone = Cambist(tmp_path, stack.rpc_urls)
    alone.run("init", "--json")
    made = alone.run("wallet", "create", "solo", "--json")
    assert [wallet["address"] for wallet in alone.run("wallet", "list", "--json")["wallets"]] == [made["address"]]
    key = alone.run("key", "create", "solo", "--wallet", "solo", "--permission", "read", "--json")
    assert [entry["key"] for entry in alone.run("key", "list", "--json")["keys"]] == [key["key"]]


def test_installing_twice_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    alone = Cambist(tmp_path, stack.rpc_urls)
    first = alone.run("init", "--json")
    master = (tmp_path / "master.key").read_bytes()
    assert alone.run("init", "--json") == first
    assert (tmp_path / "master.key").read_bytes() == master
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_command_that_needs_the_server_says_when_there_is_none(stack: Stack, tmp_path: Path) -> None:
    done = call(Cambist(tmp_path, stack.rpc_urls), "status", "--json")
    assert done.returncode == ExitStatus.UNREACHABLE
    assert error_of(done)["code"] == "not_running"


# -- as a client ----------------------------------------------------------------------------------------------


def client_run(cambist: Cambist, extra: dict[str, str], *words: str) -> dict[str, Any]:
    done = call(cambist, *words, "--json", extra=extra)
    assert done.returncode == ExitStatus.DONE, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_balances_are_printed_as_a_table(cambist: Cambist, as_client: dict[str, str]) -> None:
    done = call(cambist, "balances", "polygon", extra=as_client)
    assert done.returncode == ExitStatus.DONE
    assert re.search(r"^POL +[\d,.]+ +[\d,.]+ +[\d,.]+", done.stdout, re.MULTILINE)


def test_a_quote_says_what_would_be_traded(cambist: Cambist, as_client: dict[str, str]) -> None:
    answer = client_run(cambist, as_client, "quote", "ethereum", "ETHUSDC", "sell", "--base", "0.1")
    assert answer["sell"] == {"asset": "ETH", "amount": "0.1"}
    shown = call(cambist, "quote", "ethereum", "ETHUSDC", "sell", "--base", "0.1", extra=as_client)
    assert re.search(r"^route +WETH → .*USDC", shown.stdout, re.MULTILINE)


def test_an_order_can_be_tried_out(cambist: Cambist, as_client: dict[str, str]) -> None:
    done = call(cambist, "order", "place", "ethereum", "ETHUSDC", "buy", "--quote", "10", "--test", extra=as_client)
    assert "would trade" in done.stdout


def test_an_order_is_placed_and_waited_for(cambist: Cambist, as_client: dict[str, str]) -> None:
    words = ["order", "place", "ethereum", "ETHUSDC", "sell", "--base", "0.01", "--wait", "--client-id", fresh("cli")]
    order = client_run(cambist, as_client, *words)
    assert order["state"] == "FILLED"
    assert order["filled_base"] == "0.01"
    assert client_run(cambist, as_client, *words)["id"] == order["id"]


def test_a_limit_order_rests_is_listed_replaced_and_cancelled(cambist: Cambist, as_client: dict[str, str]) -> None:
    quote = client_run(cambist, as_client, "quote", "ethereum", "ETHUSDC", "sell", "--base", "0.01")
    price, better = (str(int(Decimal(quote["mid_price"])) * percent // 100) for percent in (120, 110))
    sell = ("ethereum", "ETHUSDC", "sell", "--base", "0.01", "--type", "limit", "--price")
    mine = fresh("cli")
    placed = client_run(cambist, as_client, "order", "place", *sell, price, "--client-id", mine)
    assert (placed["resting"], placed["time_in_force"]) == (True, "gtc")
    shown = call(cambist, "order", "show", mine, extra=as_client)
    assert "NEW, rests" in shown.stdout
    replaced = client_run(cambist, as_client, "order", "replace", mine, *sell, better)
    assert replaced["cancelled"]["id"] == placed["id"]
    listed = client_run(cambist, as_client, "order", "list", "--open")["orders"]
    assert [order["id"] for order in listed] == [replaced["placed"]["id"]]
    cancelled = client_run(cambist, as_client, "order", "cancel", str(replaced["placed"]["id"]))
    assert cancelled["state"] == "CANCELED"
    client_run(cambist, as_client, "order", "place", *sell, price)
    assert len(client_run(cambist, as_client, "order", "cancel-all", "ethereum")["cancelled"]) == 1


def test_fills_are_listed(cambist: Cambist, as_client: dict[str, str]) -> None:
    words = ["order", "place", "ethereum", "ETHUSDC", "sell", "--base", "0.01", "--wait"]
    order = client_run(cambist, as_client, *words)
    [fill] = client_run(cambist, as_client, "order", "fills", "--order", str(order["id"]))["fills"]
    assert (fill["base"], fill["market"]) == ("0.01", "ETHUSDC")


def test_a_withdrawal_is_made_and_waited_for(
    stack: Stack, cambist: Cambist, as_client: dict[str, str], tmp_path: Path
) -> None:
    profile = tmp_path / "profile.toml"
    key = stack.keys["withdraw"]
    profile.write_text(f'url = "{stack.url}"\nkey = "{key.key}"\nsecret = "{key.secret}"\n')
    profile.chmod(0o600)
    words = ["withdraw", "ethereum", "USDC", "1.5", stack.withdraw_address, "--wait", "--profile", str(profile)]
    done = call(cambist, *words, "--json")
    assert done.returncode == ExitStatus.DONE, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["state"] in ("confirmed", "final"), answer["amount"]) == (True, "1.5")


def test_a_refusal_keeps_the_code_and_the_hint_of_the_api(cambist: Cambist, as_client: dict[str, str]) -> None:
    done = call(cambist, "order", "place", "ethereum", "NOPE", "sell", "--base", "1", "--json", extra=as_client)
    assert done.returncode == ExitStatus.REFUSED
    assert error_of(done)["code"] == "unknown_market"
    assert error_of(done)["hint"]


def test_both_amounts_or_none_are_wrong_usage(cambist: Cambist, as_client: dict[str, str]) -> None:
    for amounts in ([], ["--base", "1", "--quote", "1"]):
        done = call(cambist, "order", "place", "ethereum", "ETHUSDC", "sell", *amounts, "--json", extra=as_client)
        assert done.returncode == ExitStatus.USAGE
        assert error_of(done)["code"] == "one_amount_needed"


def test_a_server_that_is_not_there_is_unreachable(cambist: Cambist, as_client: dict[str, str]) -> None:
    done = call(cambist, "balances", "ethereum", "--json", extra={**as_client, "CAMBIST_URL": "http://127.0.0.1:9"})
    assert done.returncode == ExitStatus.UNREACHABLE


def test_without_a_key_a_client_is_told_how_to_get_one(cambist: Cambist) -> None:
    done = call(cambist, "balances", "ethereum", "--json")
    assert done.returncode == ExitStatus.USAGE
    assert error_of(done)["code"] == "key_needed"
