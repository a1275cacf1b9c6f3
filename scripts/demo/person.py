"""A person at the demo's service: registers, signs in, sets up an authenticator, makes a key, and looks at the log.

What the `cambist` command does, as plain HTTP; docs/keys.md and docs/accounts.md tell the same in words. A new
authenticator holds back for a day what widens anything: that is shown here, and not waited for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing

from scripts.demo.checks import check, expect
from scripts.demo.client import Cambist
from scripts.demo.show import Screen, short

TOTP_STEP_S = 30
TOTP_DIGITS = 6
NAME = "ada"
EXCHANGE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""Stands for an address of hers elsewhere."""


def totp(secret: str, step: int) -> str:
    """The code that an authenticator app shows in that step of 30 s (RFC 6238, SHA-1)."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1).digest()
    at = digest[-1] & 15
    number = struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFFFFFF
    return str(number % 10**TOTP_DIGITS).zfill(TOTP_DIGITS)


def run(environment: Mapping[str, str], screen: Screen) -> None:
    """From an invitation to a key that waits for its activation.

    Raises:
        CheckFailed: an answer was not what it must be.
        Refused: the API refused what it should have done.
    """
    url = environment["CAMBIST_URL"]
    password = secrets.token_urlsafe(24)
    with ExitStack() as clients:
        screen.chapter("A person: an account as an exchange has it")
        nobody = clients.enter_context(closing(Cambist(url)))
        invitation = environment["CAMBIST_INVITATION"]
        nobody.post("/v1/auth/register", {"name": NAME, "password": password, "invitation": invitation})
        signed_in = nobody.post("/v1/auth/sign-in", {"name": NAME, "password": password})
        ada = clients.enter_context(closing(Cambist(url, token=signed_in["token"])))
        roles = ada.get("/v1/auth/me")["accounts"]
        screen.fact(
            f"{NAME} has registered with the operator's invitation: {roles[0]['role']} of {roles[0]['account']}"
        )

        begun = ada.post("/v1/auth/totp", {"password": password})
        step = int(time.time()) // TOTP_STEP_S
        done = ada.post("/v1/auth/totp/confirm", {"totp": totp(begun["secret"], step)})
        check(len(done["recovery_codes"]) == 10, "there are ten recovery codes")
        screen.fact("an authenticator is set up, with ten recovery codes; signing in takes its code from now on")

        limits = {"max_order_usd": "500", "daily_sold": {"ethereum:ETH": "2"}}
        wanted = {
            "label": "adas-bot",
            "permissions": ["read", "trade"],
            "ip_allowlist": ["127.0.0.1"],
            "limits": limits,
        }
        made = ada.post("/v1/keys", wanted)
        key = made["key"]["key"]
        bot = clients.enter_context(closing(Cambist(url, key=key, secret=made["secret"])))
        screen.fact(f"key {key}: at most 500 USD an order and 2 ETH sold a day; secret shown once")
        expect(screen, "key_inactive", "a request of that key before its activation", lambda: bot.get("/v1/key"))

        def code() -> str:
            # The code that set the authenticator up is used; the next one counts already.
            return totp(begun["secret"], max(step + 1, int(time.time()) // TOTP_STEP_S))

        activate = f"/v1/keys/{key}/activate"
        expect(
            screen,
            "held",
            "its activation on the day on which the authenticator is new",
            lambda: ada.post(activate, {"totp_code": code()}),
        )
        entry = {"account": roles[0]["account"], "chain": "ethereum", "address": EXCHANGE, "name": "exchange"}
        expect(
            screen,
            "held",
            f"a new withdrawal address, {short(EXCHANGE)}, on that day",
            lambda: ada.post("/v1/addresses", {**entry, "totp_code": code()}),
        )
        ended = ada.delete(f"/v1/keys/{key}")
        check(ended["key"]["state"] == "revoked", "a key is ended at once, hold or not")
        screen.fact("ending a key waits for nothing: it is revoked")

        entries = ada.get("/v1/audit", limit="100")["entries"]
        acts = [one["act"] for one in entries]
        check({"key.create", "order.place", "withdrawal.place"} <= set(acts), "the audit log has what was done")
        screen.fact(f"the owner's audit log has it all, {entries[0]['seq']} entries: {', '.join(acts[:3])}, ...")
