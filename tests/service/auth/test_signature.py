"""Signatures: golden bytes, and that nothing else verifies."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.auth import keys
from service.auth.keys import Algorithm, ApiKey, Permission
from service.auth.restrictions import UNRESTRICTED
from service.auth.secrets import MasterKey
from service.auth.signature import (
    FUTURE_MS,
    PAST_MS,
    Signed,
    check_window,
    read_headers,
    sign_request,
    signing_text,
    verify,
)
from service.errors import ApiError

MASTER = MasterKey(bytes(32))
SECRET = b"5eC2e7"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
REQUEST: dict[str, Any] = {
    "method": "POST",
    "target": "/v1/ethereum/orders?x=%2F",
    "body": b'{"a":1}',
    "timestamp_ms": 1_767_225_600_000,
    "nonce": "0123456789abcdef",
}
TEXT = signing_text(1_767_225_600_000, "0123456789abcdef", method="POST", target=REQUEST["target"], body=b'{"a":1}')


def key_of(algorithm: Algorithm) -> ApiKey:
    hmac_key = algorithm is Algorithm.HMAC_SHA256
    return ApiKey(
        id="ck_1",
        account_id=1,
        wallet_id=1,
        label="bot",
        algorithm=algorithm,
        permissions=frozenset({Permission.READ}),
        ip_allowlist=(),
        created_ms=0,
        expires_ms=None,
        revoked_ms=None,
        restrictions=UNRESTRICTED,
        sealed=MASTER.seal(SECRET, identity="api_keys/ck_1/secret") if hmac_key else None,
        public_key=None if hmac_key else PRIVATE.public_key().public_bytes_raw(),
    )


HMAC_KEY, ED25519_KEY = key_of(Algorithm.HMAC_SHA256), key_of(Algorithm.ED25519)


def raw(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def signed(secret: bytes | Ed25519PrivateKey = SECRET, **change: Any) -> Signed:
    found = read_headers(raw(sign_request("ck_1", secret, **(REQUEST | change))))
    assert found is not None
    return found


def refusal(key: ApiKey | None, found: Signed, text: bytes = TEXT) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        verify(key, found, text, master=MASTER)
    return caught.value.code, caught.value.message


def test_the_signed_text_is_five_lines() -> None:
    # Golden: clients everywhere compute this.
    assert TEXT == (
        b"1767225600000\n0123456789abcdef\nPOST\n/v1/ethereum/orders?x=%2F\n"
        b"015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    )


def test_the_signatures_stay_what_they_are() -> None:
    assert signed().signature.hex() == "5e9d94a5b1b77b4106e1177f0e7679ffab384c4f6c0534005f11b101dadc908d"
    assert signed(PRIVATE).signature.hex() == (
        "1d426287fd8fd350dda734ef3fe86f704119c0afe4fa027b32ba82a0f322ccbb"
        "a6aefcbe02430a38215f4f47649b1fdbb8dd3c69026257544988d203b5ba9f0e"
    )


def test_a_right_signature_verifies() -> None:
    verify(HMAC_KEY, signed(), TEXT, master=MASTER)
    verify(ED25519_KEY, signed(PRIVATE), TEXT, master=MASTER)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"target": "/v1/ethereum/orders?x=/"},
        {"target": "/v1/polygon/orders?x=%2F"},
        {"body": b'{"a": 1}'},
        {"timestamp_ms": 1_767_225_600_001},
        {"nonce": "0123456789abcdeF"},
    ],
)
def test_a_signature_of_anything_else_is_refused(change: dict[str, Any]) -> None:
    """F71"""
    assert refusal(HMAC_KEY, signed(**change))[0] == "authentication_failed"
    assert refusal(ED25519_KEY, signed(PRIVATE, **change))[0] == "authentication_failed"


def test_unknown_key_wrong_secret_and_wrong_algorithm_get_the_same_answer() -> None:
    """F73"""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    answers = {
        refusal(None, signed()),
        refusal(None, signed(PRIVATE)),
        refusal(HMAC_KEY, signed(b"other")),
        refusal(HMAC_KEY, signed(PRIVATE)),
        refusal(ED25519_KEY, signed()),
        refusal(ED25519_KEY, signed(other)),
        # What stands in for an unknown key is public, and grants nothing.
        refusal(None, signed(other)),
        refusal(None, signed(bytes(32))),
    }
    assert len(answers) == 1


def test_a_secret_of_another_row_does_not_open() -> None:
    """F79"""
    with pytest.raises(ValueError, match="Ed25519"):
        keys.hmac_secret(ED25519_KEY, master=MASTER)


def test_a_request_without_any_header_is_unsigned() -> None:
    assert read_headers([(b"host", b"x")]) is None


@pytest.mark.parametrize("name", ["X-Cambist-Key", "X-Cambist-Timestamp", "X-Cambist-Nonce", "X-Cambist-Signature"])
def test_a_missing_or_repeated_header_is_refused(name: str) -> None:
    """F71"""
    headers = dict(sign_request("ck_1", SECRET, **REQUEST))
    with pytest.raises(ApiError, match=f"{name} is given twice"):
        read_headers([*raw(headers), (name.lower().encode(), headers[name].encode())])
    del headers[name]
    with pytest.raises(ApiError, match=f"{name} is missing"):
        read_headers(raw(headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Cambist-Key", ""),
        ("X-Cambist-Key", "a b"),
        ("X-Cambist-Key", "k" * 65),
        ("X-Cambist-Timestamp", "0"),
        ("X-Cambist-Timestamp", "-1"),
        ("X-Cambist-Timestamp", "1e12"),
        ("X-Cambist-Timestamp", "01"),
        ("X-Cambist-Timestamp", "9" * 16),
        ("X-Cambist-Timestamp", "\u0661"),
        ("X-Cambist-Nonce", "short"),
        ("X-Cambist-Nonce", "n" * 65),
        ("X-Cambist-Nonce", "0123456789abcde\n"),
        ("X-Cambist-Signature", "00"),
        ("X-Cambist-Signature", "G" * 64),
        ("X-Cambist-Signature", "A" * 64),
        ("X-Cambist-Signature", "a" * 64 + "\n"),
    ],
)
def test_a_malformed_header_is_refused(name: str, value: str) -> None:
    headers = dict(sign_request("ck_1", SECRET, **REQUEST)) | {name: value}
    with pytest.raises(ApiError, match="right form"):
        read_headers(raw(headers))


def test_the_window_is_five_seconds_back_and_one_ahead() -> None:
    """F72"""
    now_ms = 1_767_225_600_000
    for timestamp_ms in (now_ms - PAST_MS, now_ms, now_ms + FUTURE_MS):
        check_window(timestamp_ms, now_ms=now_ms)
    for timestamp_ms in (now_ms - PAST_MS - 1, now_ms + FUTURE_MS + 1):
        with pytest.raises(ApiError, match="accepted"):
            check_window(timestamp_ms, now_ms=now_ms)
    assert (PAST_MS, FUTURE_MS) == (5_000, 1_000)


def test_a_timestamp_in_seconds_is_recognized() -> None:
    """F72"""
    with pytest.raises(ApiError, match="seconds") as caught:
        check_window(1_767_225_600, now_ms=1_767_225_600_000)
    assert caught.value.code == "timestamp_out_of_window"
