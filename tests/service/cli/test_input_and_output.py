"""Secrets come in by private ways only, and amounts are shown without lying."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.failures import CommandFailed
from service.cli.output import moment, print_table, shortened
from service.cli.secret_input import STDIN, read_secret


def test_a_secret_comes_from_a_file_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    assert read_secret(path, prompt="Password") == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(mode)
    with pytest.raises(CommandFailed) as failure:
        read_secret(path, prompt="Password")
    assert failure.value.code == "file_open_to_others"
    assert "hunter2" not in str(failure.value)


def test_a_secret_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2\n"))
    assert read_secret(STDIN, prompt="Password") == "hunter2"


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("not for you"))
    with pytest.raises(CommandFailed) as failure:
        read_secret(None, prompt="Password")
    assert failure.value.code == "secret_needed"


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    with pytest.raises(CommandFailed) as failure:
        read_secret(path, prompt="Password")
    assert failure.value.code == "secret_empty"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failure:
        read_secret(tmp_path, prompt="Password")
    assert failure.value.code == "file_unreadable"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0"),
        ("1", "1"),
        ("1234567.891234567", "1,234,567.89"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("0.999999999999999999", "0.99999999"),
        ("12.345678901234", "12.345678"),
        ("-1.5", "-1.5"),
        ("123456789012.5", "123,456,789,012.5"),
    ],
)
def test_a_shown_amount_is_cut_and_never_rounded_up(amount: str, shown: str) -> None:
    assert shortened(amount) == shown


def test_a_moment_is_utc() -> None:
    assert moment(1_767_225_600_000) == "2026-01-01 00:00:00"
    assert moment(None) == "-"


def test_a_command_starts_without_what_only_the_server_needs() -> None:
    """Half a second of each start, and people and scripts start many."""
    loaded = "import sys, service.cli.commands; print({'sqlalchemy', 'web3', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_address_in_a_table_is_never_broken_over_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is compared as a whole, and copied."""
    monkeypatch.setenv("COLUMNS", "80")
    address = "0x5aAe77777777777777777777777777777777aAEd"
    row = ("1", "exchange of the second desk", "ethereum", address, "until 2026-11-23 09:41:00", "a contract")
    print_table(("id", "name", "chain", "address", "state", ""), [row], title="address book", whole="address")
    assert address in capsys.readouterr().out
