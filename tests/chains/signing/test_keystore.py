"""Key files: whole or not there, private, bounded, and silent about what they hold."""

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_account import Account
from eth_keyfile.keyfile import decode_keyfile_json

from chains.errors import SigningError
from chains.signing import keystore as module
from chains.signing.keystore import Keystore
from chains.signing.signer import UnlockedKey
from chains.types import Address

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
PASSWORD = "canary-password"
LIGHT = 1_024
"""Scrypt rounds for tests: milliseconds instead of a second."""


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keystore]:
    made = Keystore(tmp_path / "keys", scrypt_n=LIGHT)
    yield made
    made.close()


def only_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "keys").iterdir()
    return file


def edit(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = only_file(tmp_path)
    document = orjson.loads(file.read_bytes())
    change(document)
    file.write_bytes(orjson.dumps(document))


async def test_a_new_key_is_listed_and_unlocks_with_its_password(keys: Keystore) -> None:
    address = keys.create(PASSWORD)
    assert keys.list() == (address,)
    assert (await keys.unlock(address, PASSWORD)).address == address


async def test_an_imported_key_is_the_one_that_unlocks(keys: Keystore) -> None:
    assert keys.import_key(KEY, PASSWORD) == ADDRESS
    assert (await keys.unlock(ADDRESS, PASSWORD)).address == ADDRESS


def test_the_file_is_a_v3_keystore_that_other_programs_read(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    assert bytes(Account.decrypt(only_file(tmp_path).read_text(), PASSWORD)) == KEY


def test_file_and_directory_are_private_and_nothing_else_is_left(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    assert stat.S_IMODE(only_file(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_the_file_holds_neither_the_key_nor_the_password(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    text = only_file(tmp_path).read_text()
    assert KEY.hex() not in text
    assert PASSWORD not in text


def test_before_the_first_key_there_is_no_directory_and_no_address(keys: Keystore, tmp_path: Path) -> None:
    assert keys.list() == ()
    assert not (tmp_path / "keys").exists()


def test_a_second_file_for_an_address_is_refused_and_the_first_stays(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    before = only_file(tmp_path).read_bytes()
    with pytest.raises(SigningError, match="already"):
        keys.import_key(KEY, "another")
    assert only_file(tmp_path).read_bytes() == before


def test_a_file_made_by_another_process_meanwhile_is_not_replaced(
    keys: Keystore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.import_key(KEY, PASSWORD)
    before = only_file(tmp_path).read_bytes()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(SigningError, match="already"):
        keys.import_key(KEY, "another")
    assert only_file(tmp_path).read_bytes() == before


def test_a_write_that_fails_leaves_no_file(keys: Keystore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SigningError, match="No space left"):
        keys.import_key(KEY, PASSWORD)
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_key_is_not_stored_without_a_password(keys: Keystore) -> None:
    with pytest.raises(SigningError, match="password"):
        keys.create("")


def test_a_directory_open_to_others_is_refused(keys: Keystore, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(SigningError, match="chmod 700"):
        keys.create(PASSWORD)


async def _fails(keys: Keystore, match: str, *, password: str = PASSWORD) -> None:
    with pytest.raises(SigningError, match=match) as caught:
        await keys.unlock(ADDRESS, password)
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in str(error)
        assert KEY.hex() not in str(error)
        error = error.__context__


async def test_a_wrong_password_is_said_without_saying_it(keys: Keystore) -> None:
    keys.import_key(KEY, PASSWORD)
    await _fails(keys, "wrong password", password=PASSWORD + "x")


async def test_a_file_open_to_others_is_refused(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    only_file(tmp_path).chmod(0o644)
    await _fails(keys, "chmod 600")


async def test_an_address_without_a_file_is_named(keys: Keystore) -> None:
    await _fails(keys, "no keystore file")


@pytest.mark.parametrize("keep", [0, 1, 100, 300])
async def test_a_truncated_file_is_said_to_be_so(keys: Keystore, tmp_path: Path, keep: int) -> None:
    keys.import_key(KEY, PASSWORD)
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:keep])
    await _fails(keys, "truncated or not JSON")


async def test_a_file_over_the_limit_is_not_parsed(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    only_file(tmp_path).write_bytes(b" " * (module.MAX_FILE_BYTES + 1))
    await _fails(keys, "over 16384 bytes")


async def test_a_file_with_the_key_of_another_address_does_not_unlock(keys: Keystore, tmp_path: Path) -> None:
    address = keys.create(PASSWORD)
    file = only_file(tmp_path)
    file.rename(file.with_name(f"{ADDRESS.lower()}.json"))
    await _fails(keys, "another address")
    assert address != ADDRESS


def _kdf(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["crypto"]["kdfparams"].update(values)


@pytest.mark.parametrize(
    "change",
    [
        _kdf(n=2**30),
        _kdf(n=2**20, r=64),
        _kdf(p=2**20),
        _kdf(n=1_000),
        _kdf(n=0),
        _kdf(n=-1_024),
        _kdf(n=1_024.0),
        _kdf(n=True),
        _kdf(r="8"),
        _kdf(dklen=2**30),
        _kdf(salt="zz"),
        lambda document: document.update(version=4),
        lambda document: document["crypto"].update(kdf="pbkdf2"),
        lambda document: document["crypto"].update(cipher="aes-256-cbc"),
        lambda document: document["crypto"].update(ciphertext=5),
        lambda document: document.pop("crypto"),
    ],
)
async def test_parameters_out_of_bounds_are_refused_before_anything_is_computed(
    keys: Keystore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], object]
) -> None:
    keys.import_key(KEY, PASSWORD)
    edit(tmp_path, change)
    monkeypatch.setattr(module, "decode_keyfile_json", lambda *_: pytest.fail("scrypt was about to run"))
    await _fails(keys, "not usable")


async def test_a_second_spelling_of_a_parameter_does_not_reach_the_decryption(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    edit(tmp_path, _kdf(N=2**30))  # eth_keyfile folds the case of names
    assert (await keys.unlock(ADDRESS, PASSWORD)).address == ADDRESS


@pytest.mark.parametrize("field", ["mac", "ciphertext"])
async def test_a_flipped_bit_does_not_unlock(keys: Keystore, tmp_path: Path, field: str) -> None:
    keys.import_key(KEY, PASSWORD)

    def flip(document: dict[str, Any]) -> None:
        text = document["crypto"][field]
        document["crypto"][field] = ("0" if text[0] != "0" else "1") + text[1:]

    edit(tmp_path, flip)
    await _fails(keys, "damaged")


async def test_one_broken_file_does_not_break_the_other_wallets(keys: Keystore, tmp_path: Path) -> None:
    keys.import_key(KEY, PASSWORD)
    only_file(tmp_path).write_bytes(b"{")
    other = keys.create(PASSWORD)
    assert set(keys.list()) == {ADDRESS, other}
    assert (await keys.unlock(other, PASSWORD)).address == other


async def test_many_unlocks_run_one_at_a_time_and_off_the_event_loop(
    keys: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.import_key(KEY, PASSWORD)
    running, most, threads = 0, 0, set()

    def counted(document: dict[Any, Any], password: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread())
        try:
            decrypted: bytes = decode_keyfile_json(document, password)
            return decrypted
        finally:
            running -= 1

    monkeypatch.setattr(module, "decode_keyfile_json", counted)
    unlocked = await asyncio.gather(*(keys.unlock(ADDRESS, PASSWORD) for _ in range(20)))
    assert all(isinstance(key, UnlockedKey) for key in unlocked)
    assert most == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("rounds", [0, 512, 1_000, 2**21])
def test_a_cost_out_of_bounds_is_refused(tmp_path: Path, rounds: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Keystore(tmp_path, scrypt_n=rounds)
