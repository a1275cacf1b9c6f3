"""The remote signer against a real HTTPS server that wants a client certificate."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chains.errors import SignerUnavailable, SigningError
from chains.signing import eip1559
from chains.signing.kms import ORDER
from chains.signing.signer import UnlockedKey
from chains.signing.web3signer import MAX_ANSWER_BYTES, SignerTls, Web3Signer
from chains.types import ChainId, Fees, UnsignedTx, address_from_bytes
from tests.chains.signing.remote import (
    PASSWORD,
    Certificates,
    SigningService,
    make_certificates,
    signing_service,
    tls_of,
)
from tests.looptime import held_time, until

KEY = UnlockedKey(b"\x01" * 32)
OTHER_KEY = UnlockedKey(b"\x02" * 32)
TX = UnsignedTx(
    chain_id=ChainId(137),
    nonce=7,
    to=address_from_bytes(b"\x11" * 20),
    data=bytes.fromhex("a9059cbb") + b"\x00" * 64,
    value_wei=0,
    gas_limit=90_000,
    fees=Fees(max_fee_wei=90 * 10**9, priority_fee_wei=30 * 10**9),
)
ENOUGH_S = 100.0
"""For an answer from this process, however busy the machine is."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def service(certificates: Certificates) -> AsyncIterator[SigningService]:
    async with signing_service(certificates, KEY) as running:
        yield running


@pytest.fixture
async def signer(service: SigningService, certificates: Certificates) -> AsyncIterator[Web3Signer]:
    made = Web3Signer(service.url, tls=tls_of(certificates), timeout_s=ENOUGH_S)
    yield made
    await made.close()


async def test_it_signs_over_mutual_tls_with_bytes_equal_to_a_local_signers(
    signer: Web3Signer, service: SigningService
) -> None:
    assert await signer.addresses() == (KEY.address,)
    assert await signer.sign(KEY.address, TX) == KEY.sign(TX)
    assert service.requests[-1]["params"] == [
        {
            "type": "0x2",
            "chainId": "0x89",
            "from": KEY.address,
            "to": TX.to,
            "nonce": "0x7",
            "gas": hex(90_000),
            "maxFeePerGas": hex(90 * 10**9),
            "maxPriorityFeePerGas": hex(30 * 10**9),
            "value": "0x0",
            "data": "0x" + TX.data.hex(),
        }
    ]


async def test_an_answer_in_clefs_shape_is_understood(signer: Web3Signer, service: SigningService) -> None:
    service.answer = lambda request: {"result": {"raw": service.honest(request)["result"], "tx": {"nonce": "0x7"}}}
    assert await signer.sign(KEY.address, TX) == KEY.sign(TX)


@pytest.mark.parametrize(
    "changed",
    [
        replace(TX, chain_id=ChainId(1)),
        replace(TX, nonce=8),
        replace(TX, to=address_from_bytes(b"\x12" * 20)),
        replace(TX, data=TX.data[:-1] + b"\x01"),
        replace(TX, data=b""),
        replace(TX, value_wei=1),
        replace(TX, gas_limit=90_001),
        replace(TX, fees=replace(TX.fees, max_fee_wei=91 * 10**9)),
        replace(TX, fees=replace(TX.fees, priority_fee_wei=31 * 10**9)),
    ],
    ids=["chain", "nonce", "recipient", "data", "no data", "value", "gas", "max fee", "tip"],
)
async def test_a_signed_transaction_that_differs_in_any_field_is_refused(
    signer: Web3Signer, service: SigningService, changed: UnsignedTx
) -> None:
    service.answer = lambda request: {"result": "0x" + KEY.sign(changed).raw.hex()}
    with pytest.raises(SigningError, match="not the one that was asked for"):
        await signer.sign(KEY.address, TX)


async def test_another_senders_signature_is_refused(signer: Web3Signer, service: SigningService) -> None:
    service.answer = lambda request: {"result": "0x" + OTHER_KEY.sign(TX).raw.hex()}
    with pytest.raises(SigningError, match="not its own"):
        await signer.sign(KEY.address, TX)


async def test_a_high_s_signature_is_refused(signer: Web3Signer, service: SigningService) -> None:
    raw = KEY.sign(TX).raw
    r, s = int.from_bytes(raw[-65:-33], "big"), int.from_bytes(raw[-32:], "big")
    for parity in (0, 1):
        high = eip1559.assemble(TX, parity=parity, r=r, s=ORDER - s)
        service.answer = lambda request, high=high: {"result": "0x" + high.raw.hex()}  # type: ignore[misc]
        with pytest.raises(SigningError):
            await signer.sign(KEY.address, TX)


@pytest.mark.parametrize("result", [None, 5, "", "0x", "0x02", "0xzz", {"tx": {}}, "0x02" + "00" * 200], ids=str)
async def test_anything_that_is_no_signed_transaction_is_refused(
    signer: Web3Signer, service: SigningService, result: Any
) -> None:
    service.answer = lambda request: {"result": result}
    with pytest.raises(SigningError):
        await signer.sign(KEY.address, TX)


async def test_F23_a_signer_that_times_out_may_be_asked_again_for_the_same_bytes(
    service: SigningService, certificates: Certificates
) -> None:
    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0 if len(service.requests) > 1 else 30)
        return service.honest(request)

    service.answer = slow
    signer = Web3Signer(service.url, tls=tls_of(certificates), timeout_s=5)
    with held_time() as time:
        asking = asyncio.create_task(signer.sign(KEY.address, TX))
        await until(lambda: service.requests)
        await time.passes(5)
        with pytest.raises(SignerUnavailable) as raised:
            await asking
        assert raised.value.retry == "same"
        assert await signer.sign(KEY.address, TX) == KEY.sign(TX)
    await signer.close()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=503, text="<html>"),
        web.Response(status=429),
        web.Response(status=200, text="<html>not json"),
        web.json_response({"jsonrpc": "2.0", "id": 999, "result": "0x"}),
        web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "vault sealed"}}),
    ],
    ids=["503", "429", "html", "wrong id", "internal error"],
)
async def test_answers_that_say_nothing_of_the_transaction_leave_it_to_be_asked_again(
    signer: Web3Signer, service: SigningService, answer: web.Response
) -> None:
    service.answer = lambda request: answer
    with pytest.raises(SignerUnavailable):
        await signer.sign(KEY.address, TX)


async def test_a_refusal_is_final_and_says_why(signer: Web3Signer, service: SigningService) -> None:
    refusal = {"error": {"code": -39001, "message": "The 'from' account is not unlocked"}}
    service.answer = lambda request: refusal
    with pytest.raises(SigningError, match="not unlocked") as raised:
        await signer.sign(KEY.address, TX)
    assert raised.value.retry == "never"


async def test_an_answer_over_the_size_limit_or_a_redirect_is_refused(
    signer: Web3Signer, service: SigningService
) -> None:
    service.answer = lambda request: web.Response(text="0" * (MAX_ANSWER_BYTES + 10))
    with pytest.raises(SigningError, match="over"):
        await signer.sign(KEY.address, TX)
    service.answer = lambda request: web.Response(status=307, headers={"Location": service.url})
    with pytest.raises(SigningError, match="HTTP 307"):
        await signer.sign(KEY.address, TX)


async def test_without_the_right_certificates_nothing_is_asked(
    service: SigningService, certificates: Certificates
) -> None:
    for tls in (
        SignerTls(ca_file=certificates.ca),  # none
        SignerTls(
            ca_file=certificates.ca,
            client_cert_file=certificates.stranger,
            client_key_file=certificates.stranger_key,
        ),
        replace(tls_of(certificates), ca_file=certificates.stranger),  # a server we do not know
        replace(tls_of(certificates), client_key_password="wrong"),
        replace(tls_of(certificates), client_cert_file=Path("absent.pem")),
    ):
        signer = Web3Signer(service.url, tls=tls, timeout_s=ENOUGH_S)
        with pytest.raises(SignerUnavailable) as raised:
            await signer.sign(KEY.address, TX)
        assert service.url.removeprefix("https://") not in str(raised.value)
        assert raised.value.__context__ is None
        await signer.close()
    assert service.requests == []


def test_plain_http_is_refused_and_secrets_are_in_no_repr() -> None:
    with pytest.raises(ValueError, match="https"):
        Web3Signer("http://127.0.0.1:9000", tls=SignerTls())
    shown = repr(Web3Signer("https://user:canary@signer", tls=SignerTls(client_key_password=PASSWORD)))
    assert "canary" not in shown + repr(SignerTls(client_key_password=PASSWORD))


async def test_fields_out_of_range_never_leave(signer: Web3Signer, service: SigningService) -> None:
    with pytest.raises(SigningError, match="nonce"):
        await signer.sign(KEY.address, replace(TX, nonce=-1))
    assert service.requests == []


async def test_it_proves_the_keys_that_it_lists_and_no_others(signer: Web3Signer) -> None:
    await signer.prove(KEY.address)
    with pytest.raises(SigningError, match=f"no key for {OTHER_KEY.address}"):
        await signer.prove(OTHER_KEY.address)
