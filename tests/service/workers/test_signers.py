"""The signers of a process, opened from their settings: who signs for what, and what is said when one cannot."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chains.errors import SignerUnavailable, SigningError
from chains.signing.signer import UnlockedKey
from chains.types import ChainId, Fees, UnsignedTx
from service.settings import Settings
from service.signer_settings import LOCAL, KmsSettings, Web3SignerSettings
from service.workers import signers as module
from service.workers.keyring import Keyring
from service.workers.signers import Signers, SignerUnusable, open_remote, open_signers
from tests.chains.signing.remote import PASSWORD, Certificates, SigningService, make_certificates, signing_service

REMOTE_KEY = UnlockedKey(b"\x05" * 32)
LOCAL_KEY = UnlockedKey(b"\x06" * 32)
TX = UnsignedTx(
    chain_id=ChainId(1),
    nonce=0,
    to=LOCAL_KEY.address,
    data=b"",
    value_wei=1,
    gas_limit=21_000,
    fees=Fees(max_fee_wei=2, priority_fee_wei=1),
)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
async def service(certificates: Certificates) -> AsyncIterator[SigningService]:
    async with signing_service(certificates, REMOTE_KEY) as running:
        yield running


def password_file(certificates: Certificates, text: str = PASSWORD) -> Path:
    path = certificates.ca.with_name("password")
    path.touch(mode=0o600)
    path.write_text(text + "\n")
    return path


def vault(certificates: Certificates, url: str = "https://127.0.0.1:9", **changes: Any) -> Web3SignerSettings:
    values = {
        "kind": "web3signer",
        "url": url,
        "addresses": [REMOTE_KEY.address],
        "client_certificate": certificates.client,
        "client_key": certificates.client_key,
        "client_key_password_file": password_file(certificates),
        "ca_certificate": certificates.ca,
    }
    return Web3SignerSettings.model_validate(values | changes)


@pytest.fixture
async def signers(service: SigningService, certificates: Certificates) -> AsyncIterator[Signers]:
    keyring = Keyring()
    keyring.add(LOCAL_KEY)
    made = await open_signers({"vault": vault(certificates, service.url)}, keyring)
    yield made
    await made.close()


async def test_each_address_is_signed_for_by_its_signer(signers: Signers, service: SigningService) -> None:
    assert await signers.sign(LOCAL_KEY.address, TX) == LOCAL_KEY.sign(TX)
    assert service.requests == []
    assert await signers.sign(REMOTE_KEY.address, TX) == REMOTE_KEY.sign(TX)
    assert len(service.requests) == 1
    assert [signers.name_of(key.address) for key in (REMOTE_KEY, LOCAL_KEY)] == ["vault", LOCAL]


async def test_the_addresses_are_told_without_asking_a_signer(signers: Signers, service: SigningService) -> None:
    assert set(await signers.addresses()) == {REMOTE_KEY.address, LOCAL_KEY.address}
    assert service.requests == []


async def test_a_local_key_does_not_sign_for_an_address_that_has_a_remote_signer(
    certificates: Certificates,
) -> None:
    keyring = Keyring()
    keyring.add(REMOTE_KEY)
    signers = await open_signers({"vault": vault(certificates)}, keyring)
    with pytest.raises(SignerUnavailable):
        await signers.sign(REMOTE_KEY.address, TX)
    await signers.close()


async def test_an_address_is_proved_by_its_own_signer(signers: Signers, service: SigningService) -> None:
    await signers.prove(REMOTE_KEY.address)
    await signers.prove(LOCAL_KEY.address)
    service.answer = lambda request: {"result": []}
    with pytest.raises(SigningError, match="no key"):
        await signers.prove(REMOTE_KEY.address)


def problem_of(settings: Web3SignerSettings) -> str:
    with pytest.raises(SignerUnusable) as caught:
        open_remote("vault", settings)
    assert str(caught.value).startswith("signer vault: ")
    return str(caught.value)


def test_a_certificate_that_is_not_there_is_named(certificates: Certificates, tmp_path: Path) -> None:
    assert "absent.pem" in problem_of(vault(certificates, client_certificate=tmp_path / "absent.pem"))
    assert "absent.pem" in problem_of(vault(certificates, ca_certificate=tmp_path / "absent.pem"))
    assert "absent.key" in problem_of(vault(certificates, client_key=tmp_path / "absent.key"))


def test_a_key_or_password_that_others_can_read_is_refused(certificates: Certificates) -> None:
    settings = vault(certificates)
    for path in (certificates.client_key, settings.client_key_password_file):
        assert path is not None
        path.chmod(0o640)
        assert f"chmod 600 {path}"[:9] in problem_of(settings)
        assert str(path) in problem_of(settings)
        path.chmod(0o600)


@pytest.mark.parametrize("password", ["wrong canary", ""])
def test_a_wrong_password_is_said_and_not_repeated(certificates: Certificates, password: str) -> None:
    settings = vault(certificates)
    assert settings.client_key_password_file is not None
    settings.client_key_password_file.write_text(password)
    assert "do not fit" in problem_of(settings)
    assert "canary" not in problem_of(settings)


def test_an_encrypted_key_without_a_password_does_not_ask_the_terminal(certificates: Certificates) -> None:
    assert "do not fit" in problem_of(vault(certificates, client_key_password_file=None))


def test_a_key_of_another_certificate_or_no_pem_at_all_is_said(certificates: Certificates) -> None:
    assert "do not fit" in problem_of(
        vault(certificates, client_key=certificates.stranger_key, client_key_password_file=None)
    )
    certificates.client.write_text("not PEM")
    assert "do not fit" in problem_of(vault(certificates))


def test_kms_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KMS_EXTRA", "boto3_that_is_not_installed")
    settings = KmsSettings.model_validate({"kind": "aws-kms", "keys": {REMOTE_KEY.address: "alias/hot"}})
    with pytest.raises(SignerUnusable, match="extra `aws`"):
        open_remote("cloud", settings)


def test_kms_is_opened_without_asking_it() -> None:
    settings = KmsSettings.model_validate({"kind": "aws-kms", "keys": {REMOTE_KEY.address: "alias/hot"}})
    assert open_remote("cloud", settings).addresses == (REMOTE_KEY.address,)


def test_no_secret_shows(certificates: Certificates) -> None:
    settings = vault(certificates, "https://user:canary@127.0.0.1:9")
    shown = repr(settings) + repr(open_remote("vault", settings)) + repr(Settings(signers={"vault": settings}))
    assert "canary" not in shown
