"""Codes against the RFC's own vectors, and the window in which one is taken."""

import pytest

from service.accounts import totp

SEED = b"12345678901234567890"
NOW_MS = 1_111_111_109_000
STEP_MS = totp.STEP_S * 1000


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp.code_at(SEED, totp.step_at(seconds * 1000), digits=8) == code
    assert totp.code_at(SEED, totp.step_at(seconds * 1000)) == code[2:]


@pytest.mark.parametrize(("steps", "fits"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_of_the_step_before_or_after_fits_and_no_other(steps: int, fits: bool) -> None:
    """F77: clock skew."""
    step = totp.step_at(NOW_MS)
    code = totp.code_at(SEED, step + steps)
    found = totp.matching_step(SEED, code, now_ms=NOW_MS, after=None)
    assert found == (step + steps if fits else None)


def test_a_used_step_and_those_before_it_fit_no_more() -> None:
    """F77: reuse."""
    step = totp.step_at(NOW_MS)
    for used in (step - 1, step):
        assert totp.matching_step(SEED, totp.code_at(SEED, used), now_ms=NOW_MS, after=step) is None
    assert totp.matching_step(SEED, totp.code_at(SEED, step + 1), now_ms=NOW_MS, after=step) == step + 1


def test_what_is_no_code_is_refused_without_an_error() -> None:
    for text in ("", "12345", "1234567", "49203x", "٤٩٢٠٣٩"):
        assert totp.matching_step(SEED, text, now_ms=NOW_MS, after=None) is None


def test_the_uri_is_what_authenticators_read() -> None:
    assert totp.otpauth_uri(SEED, name="ada@example.org") == (
        "otpauth://totp/Cambist:ada%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=Cambist&algorithm=SHA1&digits=6&period=30"
    )
