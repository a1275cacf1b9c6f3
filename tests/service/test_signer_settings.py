"""Signers by settings: what is read from where, what is refused, and that nothing secret shows."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings, load_settings
from service.signer_settings import KmsSettings, Web3SignerSettings
from tests.service.test_settings import bare_host

__all__ = ["bare_host"]

CANARY = "canary-5e1a"
ONE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TWO = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def vault(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "web3signer",
        "url": f"https://{CANARY}@signer.example:9000",
        "addresses": [ONE],
        "client_certificate": "client.pem",
        "client_key": "client.key",
    } | changes


def refusal(**signers: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings(signers=signers)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_signers_are_read_from_the_file() -> None:
    Path("cambist.toml").write_text(
        f"""
        [signers.vault]
        kind = "web3signer"
        url = "https://signer.example:9000"
        addresses = ["{ONE.lower()}"]
        client_certificate = "client.pem"
        client_key = "client.key"
        [signers.cloud]
        kind = "aws-kms"
        region = "eu-central-1"
        keys = {{ "{TWO}" = "alias/hot" }}
        """
    )
    vault, cloud = load_settings().signers.values()
    assert isinstance(vault, Web3SignerSettings)
    assert vault.addresses == (ONE,)
    assert vault.client_key == Path.cwd() / "client.key"
    assert isinstance(cloud, KmsSettings)
    assert (cloud.addresses, cloud.region) == ((TWO,), "eu-central-1")


def test_signers_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMBIST_SIGNERS", f'{{"cloud": {{"kind": "aws-kms", "keys": {{"{TWO}": "alias/hot"}}}}}}')
    assert load_settings().signers["cloud"].addresses == (TWO,)


def test_the_address_of_a_signer_shows_nowhere() -> None:
    settings = Settings(signers={"vault": vault()})
    assert CANARY not in repr(settings) + settings.model_dump_json() + str(settings.model_dump())


@pytest.mark.parametrize(
    ("signers", "problem"),
    [
        ({"vault": vault(url=f"http://{CANARY}")}, "https"),
        ({"vault": vault(addresses=[])}, "at least 1"),
        ({"vault": vault(addresses=[ONE[:-1] + "9"])}, "checksum"),
        ({"vault": vault(token=CANARY)}, "token"),
        ({"vault": {"kind": "web3signer", "url": f"https://{CANARY}", "addresses": [ONE]}}, "client_certificate"),
        ({"vault": vault(timeout_s=0)}, "timeout_s"),
        ({"vault": vault(kind="clef")}, "aws-kms"),
        ({"keystore": vault()}, "keystore"),
        ({"Vault!": vault()}, "name"),
        ({"a": vault(), "b": {"kind": "aws-kms", "keys": {ONE.lower(): "alias/hot"}}}, "two signers: a and b"),
        ({"cloud": {"kind": "aws-kms", "keys": {}}}, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_a_secret(signers: dict[str, Any], problem: str) -> None:
    assert problem in refusal(**signers)
