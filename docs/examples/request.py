"""A signed request to Cambist in Python, with httpx.

    python docs/examples/request.py read GET /v1/ethereum/balances
    python docs/examples/request.py trade POST /v1/ethereum/orders/test \
        '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}'
    python docs/examples/request.py trade POST /v1/ethereum/orders \
        '{"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "client_order_id": "mine-1"}'
    python docs/examples/request.py withdraw POST /v1/ethereum/withdrawals \
        '{"asset": "ETH", "amount": "0.1", "address": "0x...", "client_withdrawal_id": "pay-1"}'

The first word names the key: CAMBIST_READ_KEY and CAMBIST_READ_SECRET for `read`. CAMBIST_URL is the service.
"""

import hashlib
import hmac
import os
import secrets
import sys
import time

import httpx


def sign(secret: str, *, timestamp: str, nonce: str, method: str, target: str, body: bytes) -> str:
    """The signature of one request. `target` is path and query exactly as they are sent."""
    text = "\n".join([timestamp, nonce, method, target, hashlib.sha256(body).hexdigest()])
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def request(name: str, method: str, *, target: str, body: bytes = b"") -> httpx.Response:
    """Send one request, signed with the key of that name."""
    key = os.environ[f"CAMBIST_{name.upper()}_KEY"]
    secret = os.environ[f"CAMBIST_{name.upper()}_SECRET"]
    timestamp, nonce = str(time.time_ns() // 1_000_000), secrets.token_hex(16)
    headers = {
        "X-Cambist-Key": key,
        "X-Cambist-Timestamp": timestamp,
        "X-Cambist-Nonce": nonce,
        "X-Cambist-Signature": sign(secret, timestamp=timestamp, nonce=nonce, method=method, target=target, body=body),
    }
    if body:
        headers["Content-Type"] = "application/json"
    return httpx.request(method, os.environ["CAMBIST_URL"] + target, content=body, headers=headers, timeout=20)


if __name__ == "__main__":
    name, method, target, *rest = sys.argv[1:]
    response = request(name, method, target=target, body=rest[0].encode() if rest else b"")
    print(response.text)
    sys.exit(0 if response.is_success else 1)
