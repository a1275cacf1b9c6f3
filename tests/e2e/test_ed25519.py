"""An Ed25519 key from the command line to an order: the service never holds what signs."""

import secrets
import time
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts.demo.stack import Cambist, Stack
from service.auth.signature import sign_request

PATH = "/v1/ethereum/orders"


def ask(stack: Stack, key_id: str, private: Ed25519PrivateKey, *, method: str, target: str, body: bytes) -> str:
    """The status and, of a refusal, the code."""
    headers = sign_request(
        key_id,
        private,
        method=method,
        target=target,
        body=body,
        timestamp_ms=time.time_ns() // 1_000_000,
        nonce=secrets.token_hex(16),
    )
    answer = httpx.request(
        method, stack.url + target, content=body, headers={**headers, "Content-Type": "application/json"}, timeout=30
    )
    return f"{answer.status_code} {answer.json().get('code', '')}".strip()


def test_an_ed25519_key_trades_until_it_is_revoked(stack: Stack, cambist: Cambist, tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    public = tmp_path / "key.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    label = f"ed25519-{secrets.token_hex(4)}"
    options = ["--algorithm=ed25519", f"--public-key-file={public}", "--permission=trade"]
    made = cambist.run("key", "create", label, "--wallet=main", "--expires=1d", *options, "--json")
    assert made.get("secret") is None

    order = b'{"market":"ETHUSDC","side":"sell","base_amount":"0.01"}'
    assert ask(stack, made["key"], private, method="POST", target=PATH, body=order) == "202"
    assert ask(stack, made["key"], private, method="GET", target="/v1/orders", body=b"") == "403 permission_denied"
    other = Ed25519PrivateKey.generate()
    assert ask(stack, made["key"], other, method="POST", target=PATH, body=order) == "401 authentication_failed"

    cambist.run("key", "revoke", made["key"], "--json")
    assert ask(stack, made["key"], private, method="POST", target=PATH, body=order) == "401 key_revoked"
