"""The master key: its file, its subkeys, what it seals."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.secrets import MasterKey, MasterKeyUnusable, SealBroken

KEY = MasterKey(bytes(range(32)))


def test_a_created_key_is_private_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "config" / "master.key"
    made = MasterKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MasterKey.load(path).subkey("x") == made.subkey("x")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    MasterKey.create(tmp_path / "key")
    with pytest.raises(FileExistsError):
        MasterKey.create(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    MasterKey.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(MasterKeyUnusable, match="chmod 600"):
        MasterKey.load(tmp_path / "key")


def test_a_link_a_directory_and_nothing_are_refused(tmp_path: Path) -> None:
    MasterKey.create(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    for name in ("link", ".", "missing"):
        with pytest.raises(MasterKeyUnusable):
            MasterKey.load(tmp_path / name)


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "ab" * 40])
def test_a_file_with_something_else_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(MasterKeyUnusable) as caught:
        MasterKey.load(path)
    assert not content or content not in str(caught.value)


@given(secret=st.binary(max_size=100), identity=st.text(max_size=50, alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_for_its_row(secret: bytes, identity: str) -> None:
    assert KEY.unseal(KEY.seal(secret, identity=identity), identity=identity) == secret


def test_a_sealed_secret_does_not_open_for_another_row_or_key() -> None:
    sealed = KEY.seal(b"secret", identity="api_keys/a/secret")
    with pytest.raises(SealBroken, match="another row"):
        KEY.unseal(sealed, identity="api_keys/b/secret")
    with pytest.raises(SealBroken, match="another master key"):
        MasterKey().unseal(sealed, identity="api_keys/a/secret")


def test_no_changed_byte_opens() -> None:
    sealed = KEY.seal(b"secret", identity="row")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            KEY.unseal(bytes(changed), identity="row")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            KEY.unseal(sealed[:length], identity="row")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert KEY.seal(b"secret", identity="row") != KEY.seal(b"secret", identity="row")


def test_subkeys_differ_by_purpose_and_stay_the_same() -> None:
    assert KEY.subkey("a") != KEY.subkey("b")
    # Golden: another derivation would make every stored secret and MAC unusable.
    assert KEY.subkey("golden").hex() == "e375c1576639e6c93bfe7bc5480b204e8b93ea0346684837e3a0ad4809e704fd"


def test_the_key_shows_in_no_repr_and_no_pickle() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
