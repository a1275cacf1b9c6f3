"""The KMS signer against a fake that holds a real key, and boto3's client against a server with KMS's wire format."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import rlp
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import SignerUnavailable, SigningError
from chains.signing import eip1559
from chains.signing.kms import ORDER, BotoKms, KmsSigner, address_of_spki
from chains.types import Address, ChainId, Fees, UnsignedTx, address_from_bytes
from tests.looptime import held_time, until

SECRET = 0xA1B2C3
TX = UnsignedTx(
    chain_id=ChainId(1),
    nonce=3,
    to=address_from_bytes(b"\x11" * 20),
    data=b"",
    value_wei=10**18,
    gas_limit=21_000,
    fees=Fees(max_fee_wei=50 * 10**9, priority_fee_wei=10**9),
)
HALF = ORDER // 2
ENOUGH_S = 100.0
"""For boto3 to be read from a busy disk and to make its client."""


class FakeKms:
    """Signs with a real key. `high_s` chooses which of the two equally valid signatures it answers."""

    def __init__(self, secret: int = SECRET, *, high_s: bool = False) -> None:
        self.key = ec.derive_private_key(secret, ec.SECP256K1())
        self.high_s = high_s
        self.der: bytes | None = None
        self.delay_s = 0.0
        self.failure: SigningError | None = None
        self.asked: list[str] = []

    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def signature(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return encode_dss_signature(r, max(s, ORDER - s) if self.high_s else min(s, ORDER - s))

    async def public_key(self, key_id: str) -> bytes:
        self.asked.append(f"public {key_id}")
        return self.spki()

    async def sign_digest(self, key_id: str, digest: bytes) -> bytes:
        self.asked.append(f"sign {key_id}")
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        return self.signature(digest) if self.der is None else self.der


def address_of(secret: int) -> Address:
    return Address(Account.from_key(secret.to_bytes(32, "big")).address)


SENDER = address_of(SECRET)


def signer_of(kms: FakeKms, **options: Any) -> KmsSigner:
    return KmsSigner(kms, {SENDER: "alias/hot"}, **options)


@pytest.mark.parametrize("high_s", [False, True])
async def test_what_it_signs_is_the_transaction_with_low_s_by_the_sender(high_s: bool) -> None:
    signed = await signer_of(FakeKms(high_s=high_s)).sign(SENDER, TX)
    assert eip1559.decode(signed.raw) == (TX, SENDER)
    # RLP leaves leading zeros out: one in 256 is shorter than 32 bytes.
    assert int.from_bytes(rlp.decode(signed.raw[1:])[-1], "big") <= HALF
    assert Account.recover_transaction(signed.raw) == SENDER


@given(st.integers(1, ORDER - 1), st.integers(0, 2**64 - 2), st.booleans())
def test_every_key_and_both_halves_of_s_recover_to_the_sender(secret: int, nonce: int, high_s: bool) -> None:
    sender, tx = address_of(secret), replace(TX, nonce=nonce)
    signed = asyncio.run(KmsSigner(FakeKms(secret, high_s=high_s), {sender: "k"}).sign(sender, tx))
    assert eip1559.decode(signed.raw) == (tx, sender)


def test_the_address_comes_from_the_public_key() -> None:
    assert address_of_spki(FakeKms().spki()) == SENDER
    other_curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = other_curve.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for wrong in (spki, b"", b"\x30\x00"):
        with pytest.raises(SigningError):
            address_of_spki(wrong)


async def test_the_public_key_is_asked_once_and_a_wrong_key_signs_nothing() -> None:
    kms = FakeKms()
    signer = signer_of(kms)
    assert await signer.addresses() == (SENDER,)
    await signer.sign(SENDER, TX)
    await signer.sign(SENDER, replace(TX, nonce=4))
    assert kms.asked == ["public alias/hot", "sign alias/hot", "sign alias/hot"]
    other = FakeKms(SECRET + 1)
    with pytest.raises(SigningError, match="is that of"):
        await signer_of(other).sign(SENDER, TX)
    assert other.asked == ["public alias/hot"]
    with pytest.raises(SigningError, match="no KMS key"):
        await signer.sign(address_of(5), TX)


async def test_it_proves_a_key_by_its_public_key_without_a_signature() -> None:
    kms = FakeKms()
    await signer_of(kms).prove(SENDER)
    assert kms.asked == ["public alias/hot"]
    with pytest.raises(SigningError, match="is that of"):
        await signer_of(FakeKms(SECRET + 1)).prove(SENDER)
    with pytest.raises(SigningError, match="no KMS key"):
        await signer_of(kms).prove(address_of(5))


async def test_a_signature_of_other_bytes_or_another_key_is_refused() -> None:
    kms = FakeKms()
    for der in (kms.signature(b"\x01" * 32), FakeKms(SECRET + 1).signature(eip1559.signing_hash(TX))):
        kms.der = der
        with pytest.raises(SigningError, match="not its own"):
            await signer_of(kms).sign(SENDER, TX)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30\x00",
        b"\x30\x06\x02\x01\x01\x02\x01",
        encode_dss_signature(1, 1) + b"\x00",
        encode_dss_signature(0, 1),
        encode_dss_signature(1, 0),
        encode_dss_signature(ORDER, 1),
        encode_dss_signature(1, ORDER),
    ],
    ids=["empty", "no items", "truncated", "trailing", "r 0", "s 0", "r n", "s n"],
)
async def test_malformed_der_and_values_out_of_range_are_refused(der: bytes) -> None:
    kms = FakeKms()
    kms.der = der
    with pytest.raises(SigningError) as raised:
        await signer_of(kms).sign(SENDER, TX)
    assert not isinstance(raised.value, SignerUnavailable)


async def test_F23_a_kms_that_times_out_may_be_asked_again_and_signs_the_same_slot() -> None:
    kms = FakeKms()
    kms.delay_s = 30
    signer = signer_of(kms, timeout_s=10)
    with held_time() as time:
        asking = asyncio.create_task(signer.sign(SENDER, TX))
        await until(lambda: "sign alias/hot" in kms.asked)
        await time.passes(9)
        assert not asking.done()
        await time.passes(1)
        with pytest.raises(SignerUnavailable) as raised:
            await asking
        assert raised.value.retry == "same"
        kms.delay_s = 0
        signed = await signer.sign(SENDER, TX)
    assert eip1559.decode(signed.raw)[0] == TX


async def test_errors_of_the_client_pass_through() -> None:
    kms = FakeKms()
    for failure in (SigningError("denied"), SignerUnavailable("throttled")):
        kms.failure = failure
        with pytest.raises(type(failure)) as raised:
            await signer_of(kms).sign(SENDER, TX)
        assert raised.value is failure


# -- boto3 --------------------------------------------------------------------------------------------------


class KmsServer:
    """KMS's JSON 1.1 protocol over a `FakeKms`, on this machine."""

    def __init__(self) -> None:
        self.kms = FakeKms(high_s=True)
        self.url = ""
        self.error: tuple[int, str] | None = None
        self.spec = "ECC_SECG_P256K1"
        self.seen: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.seen.append(body)
        if self.error is not None:
            status, code = self.error
            return web.json_response({"__type": code, "message": "no"}, status=status)
        if request.headers["X-Amz-Target"] == "TrentService.GetPublicKey":
            key = base64.b64encode(self.kms.spki()).decode()
            return web.json_response({"PublicKey": key, "KeySpec": self.spec, "KeyUsage": "SIGN_VERIFY"})
        digest = base64.b64decode(body["Message"])
        return web.json_response({"Signature": base64.b64encode(self.kms.signature(digest)).decode()})


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KmsServer]:
    pytest.importorskip("boto3", reason="the extra `aws` is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    # Whatever else this machine is used for: no profile of its own, and no proxy on the way to this one.
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = KmsServer()
    app = web.Application()
    app.add_routes([web.post("/", running.handle)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()


def over_boto(server: KmsServer) -> KmsSigner:
    boto = BotoKms(region="eu-central-1", endpoint_url=server.url, timeout_s=ENOUGH_S)
    return KmsSigner(boto, {SENDER: "alias/hot"}, timeout_s=ENOUGH_S)


async def test_boto3s_client_signs_a_digest_as_it_is(server: KmsServer) -> None:
    signed = await over_boto(server).sign(SENDER, TX)
    assert eip1559.decode(signed.raw) == (TX, SENDER)
    asked = server.seen[-1]
    assert (asked["KeyId"], asked["MessageType"], asked["SigningAlgorithm"]) == ("alias/hot", "DIGEST", "ECDSA_SHA_256")
    assert base64.b64decode(asked["Message"]) == eip1559.signing_hash(TX)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ThrottlingException", SignerUnavailable),
        (500, "KMSInternalException", SignerUnavailable),
        (500, "KeyUnavailableException", SignerUnavailable),
        (400, "AccessDeniedException", SigningError),
        (400, "NotFoundException", SigningError),
        (400, "DisabledException", SigningError),
    ],
)
async def test_kms_errors_say_whether_to_ask_again(
    server: KmsServer, status: int, code: str, kind: type[SigningError]
) -> None:
    server.error = (status, code)
    with pytest.raises(SigningError, match=code) as raised:
        await over_boto(server).sign(SENDER, TX)
    assert type(raised.value) is kind


async def test_a_kms_that_cannot_be_reached_or_a_key_of_another_kind(server: KmsServer) -> None:
    server.spec = "ECC_NIST_P256"
    with pytest.raises(SigningError, match="ECC_SECG_P256K1"):
        await over_boto(server).sign(SENDER, TX)
    server.url = "http://127.0.0.1:9"
    with pytest.raises(SignerUnavailable, match="EndpointConnectionError"):
        await over_boto(server).sign(SENDER, TX)


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(SigningError, match="extra `aws`"):
        await BotoKms().public_key("alias/hot")
