"""Settings: what is read from where, what is refused, and that nothing secret shows."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, load_settings

CANARY = "canary-7d1f"


@pytest.fixture(autouse=True)
def bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No CAMBIST_ names, an empty working directory, a home of its own."""
    for name in list(os.environ):
        if name.startswith("CAMBIST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def refusal() -> str:
    with pytest.raises(ValidationError) as caught:
        load_settings()
    return str(caught.value)


def test_the_defaults_are_local_and_keep_the_master_key_apart(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert settings.data_dir == tmp_path / "home/.local/share/cambist"
    assert settings.keystore_dir == settings.data_dir / "keystore"
    assert not settings.master_key_file.is_relative_to(settings.data_dir)
    assert settings.database_address == f"sqlite:///{settings.data_dir}/cambist.sqlite"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cambist.toml").write_text(
        'port = 1\nlog_level = "debug"\n[rpc]\nethereum = "http://a"\npolygon = "http://b"\n'
    )
    monkeypatch.setenv("CAMBIST_PORT", "2")
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", "http://c")
    monkeypatch.setenv("CAMBIST_ALLOWED_HOSTS", "a.example, b.example")
    monkeypatch.setenv("CAMBIST_TRUSTED_PROXIES", "10.0.0.0/8")
    settings = load_settings()
    assert (settings.port, settings.log_level) == (2, "debug")
    addresses = {chain: [one.url.reveal() for one in endpoints] for chain, endpoints in settings.rpc.items()}
    assert addresses == {"ethereum": ["http://c"], "polygon": ["http://b"]}
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert [str(proxy) for proxy in settings.trusted_proxies] == ["10.0.0.0/8"]


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "2000::/3", "10.0.0.1,8.0.0.0/7"])
def test_everybody_is_not_a_proxy_in_front(monkeypatch: pytest.MonkeyPatch, everybody: str) -> None:
    monkeypatch.setenv("CAMBIST_TRUSTED_PROXIES", everybody)
    assert "too wide for proxies" in refusal()


@pytest.mark.parametrize("private", ["10.0.0.0/8", "172.16.0.0/12, fc00::/7", "203.0.113.7", "2001:db8::1"])
def test_private_networks_and_single_hosts_are_proxies(monkeypatch: pytest.MonkeyPatch, private: str) -> None:
    monkeypatch.setenv("CAMBIST_TRUSTED_PROXIES", private)
    assert len(load_settings().trusted_proxies) == private.count(",") + 1


def test_more_fee_tiers_are_named_by_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cambist.toml").write_text("[v3_fee_tiers]\npolygon = [200]\n")
    assert load_settings().v3_fee_tiers == {"polygon": (200,)}
    monkeypatch.setenv("CAMBIST_V3_FEE_TIERS", '{"ethereum": [200, 400]}')
    assert load_settings().v3_fee_tiers["ethereum"] == (200, 400)
    monkeypatch.setenv("CAMBIST_V3_FEE_TIERS", '{"ethereum": [1000000]}')
    assert "v3_fee_tiers" in refusal()


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_DATA_DRI", CANARY)
    message = refusal()
    assert "CAMBIST_DATA_DIR" in message
    assert CANARY not in message


def test_an_unknown_name_in_the_file_is_refused() -> None:
    Path("cambist.toml").write_text(f'prot = "{CANARY}"\n')
    message = refusal()
    assert "prot" in message
    assert CANARY not in message


def test_names_of_the_commands_and_the_demo_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "KEY", "SECRET_FILE", "READ_KEY", "WITHDRAW_SECRET", "WITHDRAW_ADDRESS", "CACHE"):
        monkeypatch.setenv(f"CAMBIST_{name}", "x")
    assert load_settings().port == 8000


def test_a_named_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_CONFIG_FILE", "missing.toml")
    assert "CAMBIST_CONFIG_FILE" in refusal()


def test_secrets_show_in_no_repr_dump_or_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", f"https://node.example/{CANARY}")
    monkeypatch.setenv("CAMBIST_DATABASE_URL", f"postgresql://u:{CANARY}@h/d")
    settings = load_settings()
    assert CANARY not in repr(settings) + str(settings.model_dump(mode="json")) + settings.model_dump_json()
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", f"ftp://{CANARY}")
    assert CANARY not in refusal()


def test_a_chain_takes_several_endpoints_named_or_not_as_text_or_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cambist.toml").write_text('[rpc]\nethereum = ["http://a", "own=http://b"]\n')
    assert [one.name for one in load_settings().rpc["ethereum"]] == ["ethereum-1", "own"]
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", "one=http://a, http://b relay=send-only:http://c")
    endpoints = load_settings().rpc["ethereum"]
    assert [(one.name, one.send_only) for one in endpoints] == [("one", False), ("ethereum-2", False), ("relay", True)]


@pytest.mark.parametrize(
    "text", ["", f"https://a ftp://{CANARY}", f"a=https://{CANARY},a=https://b", "send-only:http://a"]
)
def test_a_list_of_endpoints_that_cannot_be_used_names_the_chain_and_never_the_text(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CAMBIST_POLYGON_RPC", text)
    message = refusal()
    assert "polygon: " in message
    assert CANARY not in message


def test_endpoints_are_dumped_as_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", f"own=https://node.example/{CANARY} https://other.example")
    assert load_settings().model_dump(mode="json")["rpc"] == {"ethereum": ["own", "ethereum-2"]}


def test_websockets_go_with_the_endpoints_of_their_chain_and_show_as_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", "http://a")
    Path("cambist.toml").write_text('[ws]\nethereum = ["wss://a", "own=ws://b"]\n')
    assert [one.name for one in load_settings().ws["ethereum"]] == ["ethereum-ws-1", "own"]
    monkeypatch.setenv("CAMBIST_ETHEREUM_WS", f"own=wss://node.example/{CANARY}, wss://other.example")
    settings = load_settings()
    assert [one.url.reveal() for one in settings.ws["ethereum"]][1] == "wss://other.example"
    assert settings.model_dump(mode="json")["ws"] == {"ethereum": ["own", "ethereum-ws-2"]}
    assert CANARY not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("text", [f"https://{CANARY}", f"a=wss://{CANARY} a=wss://b", ""])
def test_websockets_that_cannot_be_used_are_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CAMBIST_POLYGON_RPC", "http://a")
    monkeypatch.setenv("CAMBIST_POLYGON_WS", text)
    message = refusal()
    assert "polygon: " in message
    assert CANARY not in message


def test_a_websocket_without_an_endpoint_of_its_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_ETHEREUM_RPC", "http://a")
    monkeypatch.setenv("CAMBIST_POLYGON_WS", "wss://b")
    assert "ws without rpc: polygon" in refusal()


def test_a_master_key_inside_the_data_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="outside"):
        Settings(data_dir=tmp_path, master_key_file=tmp_path / "master.key")


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="together"):
        Settings(tls_key=tmp_path / "key.pem")


def test_settings_made_by_hand_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_PORT", "9")
    assert Settings().port == 8000


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_keystore_password_is_read_only_from_a_private_file(tmp_path: Path) -> None:
    """F85"""
    file = tmp_path / "password"
    file.write_text("hush\n")
    file.chmod(0o600)
    settings = Settings(keystore_password_file=file)
    assert settings.keystore_password() == "hush"
    file.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        settings.keystore_password()
