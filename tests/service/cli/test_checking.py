"""What `cambist config check` says of signers: by name, each wallet asked for, no secret shown."""

from pathlib import Path
from typing import Any

import pytest

from chains.signing.signer import UnlockedKey
from service.cli.checking import check_settings
from service.settings import Settings
from tests.chains.signing.remote import PASSWORD, Certificates, SigningService, make_certificates, signing_service

KEY = UnlockedKey(b"\x07" * 32)
OTHER = UnlockedKey(b"\x08" * 32)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def settings_of(certificates: Certificates, service: SigningService, **changes: Any) -> Settings:
    password = certificates.ca.with_name("password")
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    vault = {
        "kind": "web3signer",
        "url": service.url.replace("https://", "https://user:canary@"),
        "addresses": [KEY.address, OTHER.address],
        "client_certificate": certificates.client,
        "client_key": certificates.client_key,
        "client_key_password_file": password,
        "ca_certificate": certificates.ca,
    }
    return Settings.model_validate({"signers": {"vault": vault | changes}})


async def test_each_wallet_of_a_signer_is_asked_for_and_nothing_is_signed(certificates: Certificates) -> None:
    async with signing_service(certificates, KEY) as service:
        report = await check_settings(settings_of(certificates, service))
        assert [(row["signer"], row["address"], row["ok"]) for row in report["signers"]] == [
            ("vault", KEY.address, True),
            ("vault", OTHER.address, False),
        ]
        assert "no key" in report["signers"][1]["result"]
        assert {one["method"] for one in service.requests} == {"eth_accounts"}
        assert "canary" not in str(report)
        assert service.url not in str(report)


async def test_a_missing_certificate_an_open_key_file_and_a_signer_that_is_down_are_said(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with signing_service(certificates, KEY) as service:
        missing = settings_of(certificates, service, client_certificate=tmp_path / "absent.pem")
        found = (await check_settings(missing))["signers"]
        assert [row["ok"] for row in found] == [False, False]
        assert "absent.pem" in found[0]["result"]
        certificates.client_key.chmod(0o644)
        found = (await check_settings(settings_of(certificates, service)))["signers"]
        assert "chmod 600" in found[0]["result"]
        certificates.client_key.chmod(0o600)
        stranger = settings_of(certificates, service, ca_certificate=certificates.stranger)
        found = (await check_settings(stranger))["signers"]
        assert (found[0]["ok"], "no connection" in found[0]["result"]) == (False, True)
    found = (await check_settings(settings_of(certificates, service)))["signers"]
    assert "no connection" in found[0]["result"]
