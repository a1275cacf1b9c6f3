"""The client of a trial: asks until it is answered, and notes what was promised.

Guarantees: an answer of success is a line in the file of promises before anything else happens, so that a kill right
after it does not lose what was promised; asking again is always under the same client id.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from service.accounts import totp
from tests.crash.household import Household, Person
from tests.crash.subjects import ORDERS, TRANSACTIONS, WITHDRAWALS, Subject
from tests.e2e.harness import Stack

AGAIN: Final = (409, 429)
"""Statuses with which a request is made again, as those of a server's failure."""
GIVEN_UP: Final = frozenset(
    {
        *(
            "order_not_open",
            "order_not_found",
            "already_ended",
            "already_sent",
            "approval_closed",
            "client_id_conflict",
        ),
        *("entry_exists", "too_many_open_orders", "would_take", "would_trigger"),
    }
)
"""Codes that no later request changes, whatever their status, or hardly: the price was pushed meanwhile."""
MOST_ASKED: Final = 12
"""Times that something is asked for; what is refused for so long is given up."""
HOUR_MS: Final = 3_600_000
COOLING: Final = "destination_cooling"


@dataclass(slots=True, kw_only=True)
class Client:
    """Of one life."""

    stack: Stack
    household: Household
    chain: str
    names: Mapping[str, str]
    promises: Path
    refused: dict[str, str] = field(default_factory=dict)
    """Why, by client id; for good."""
    _asked: dict[str, int] = field(default_factory=dict)

    def promised(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.promises.read_text().splitlines()] if self.promises.exists() else []

    def is_open(self, subject: Subject) -> bool:
        """Whether it is to be asked for still."""
        return subject.client_id not in self.refused and not self._has("place", subject)

    def follows(self, subject: Subject) -> bool:
        """Whether what is to follow it has not been answered yet."""
        if not subject.then or subject.then == "withhold" or not self._has("place", subject):
            return False
        return not self._has(subject.then, subject) and self._asked.get(subject.client_id, 0) < MOST_ASKED

    async def ask(self, subject: Subject) -> None:
        """Once."""
        if subject.kind == "entry":
            await self._add_entry(subject)
            return
        if subject.kind in WITHDRAWALS:
            path, key = "withdrawals", "withdraw"
        elif subject.kind in ORDERS:
            path, key = "orders", "trade"
        else:
            path = {"call": "transactions", "revoke": "allowances/revoke"}.get(subject.kind, subject.kind)
            key = "withdraw" if subject.kind == "call" else "trade"
        answer = await self.stack.post(f"/v1/{self.chain}/{path}", self._body(subject.body), key=key)
        if answer.is_success:
            self._asked.pop(subject.client_id, None)
            self._promise("place", subject, id=answer.json()["id"], kind=_table(subject))
        else:
            self._refused(subject, answer)

    async def follow(self, subject: Subject) -> None:
        """What follows it, once."""
        self._asked[subject.client_id] = self._asked.get(subject.client_id, 0) + 1
        match subject.then:
            case "replace" | "replace_if_both":
                answer = await self._replace(subject)
            case "approve_by_key" | "approve_in_session" | "reject":
                answer = await self._decide(subject)
            case _:
                answer = await self._cancel(subject)
        if answer.is_success:
            self._promise(subject.then, subject, **_kept(answer.json()))
        elif not _again(answer):
            self._asked[subject.client_id] = MOST_ASKED

    async def try_cooling(self) -> str | None:
        """A withdrawal to an address that cools: None if it was refused for that, or not judged; else the answer."""
        body = {"asset": "USDC", "amount": "1", "address": self.names["cooling"], "client_withdrawal_id": "too-early"}
        answer = await self.stack.post(f"/v1/{self.chain}/withdrawals", body, key="book")
        return None if _again(answer) or answer.json().get("code") == COOLING else answer.text

    # -- private ------------------------------------------------------------------------------------------

    def _refused(self, subject: Subject, answer: httpx.Response) -> None:
        """For good, or too often. A server that fails is asked for ever."""
        if answer.status_code >= 500:
            return
        count = self._asked[subject.client_id] = self._asked.get(subject.client_id, 0) + 1
        if not _again(answer) or count >= MOST_ASKED:
            self.refused[subject.client_id] = answer.text
            self._asked[subject.client_id] = 0

    async def _add_entry(self, subject: Subject) -> None:
        owner = self.household.owner
        body = self._body(subject.body) | {"totp_code": self._code(owner)}
        answer = await self._in_session(owner, "POST", "/v1/addresses", body)
        if answer.is_success:
            found = answer.json()
        else:
            # It may be there already: the code was used up with it.
            listed = await self._in_session(owner, "GET", "/v1/addresses")
            book = listed.json()["addresses"] if listed.is_success else []
            found = next((one for one in book if one["name"] == subject.client_id), None)
        if found is not None:
            self._promise("place", subject, id=found["id"], kind="book_entries", until_ms=found["cooling_until_ms"])
        elif answer.json()["code"] != "totp_code_wrong":
            self._refused(subject, answer)

    async def _cancel(self, subject: Subject) -> httpx.Response:
        if subject.kind in ORDERS:
            path, key = f"/v1/orders/by-client-id/{subject.client_id}", "trade"
        else:
            sent = "?if_sent=self_send" if subject.then == "self_send" else ""
            path, key = f"/v1/withdrawals/{self._id(subject)}{sent}", "withdraw"
        return await self.stack.client.delete(path, headers=self.stack.headers("DELETE", path, b"", key=key))

    async def _replace(self, subject: Subject) -> httpx.Response:
        body = {
            "cancel_client_order_id": subject.client_id,
            "mode": "stop_on_failure" if subject.then == "replace_if_both" else "allow_failure",
            "order": self._body(subject.new or {}),
        }
        return await self.stack.post(f"/v1/{self.chain}/orders/replace", body)

    async def _decide(self, subject: Subject) -> httpx.Response:
        path, who = f"/v1/approvals/{self._id(subject)}", self.household.approver
        if subject.then == "approve_by_key":
            seen = await self.stack.get(path, key="approver")
            if not seen.is_success:
                return seen
            return await self.stack.post(f"{path}/approve", {"binding": seen.json()["binding"]}, key="approver")
        if subject.then == "reject":
            return await self._in_session(who, "POST", f"{path}/reject", {"reason": "a trial"})
        seen = await self._in_session(who, "GET", path)
        if not seen.is_success:
            return seen
        body = {"binding": seen.json()["binding"], "totp_code": self._code(who)}
        return await self._in_session(who, "POST", f"{path}/approve", body)

    async def _in_session(
        self, person: Person, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {person.token}"}
        return await self.stack.client.request(method, path, json=body, headers=headers)

    def _code(self, person: Person) -> str:
        return totp.code_at(bytes.fromhex(person.seed), totp.step_at(self.stack.services.clock.now_ms()))

    def _body(self, body: Any) -> Any:
        """With what the placeholders stand for."""
        if isinstance(body, Mapping):
            return {name: self._body(value) for name, value in body.items()}
        if isinstance(body, list | tuple):
            return [self._body(value) for value in body]
        if not isinstance(body, str) or not body.startswith("@"):
            return body
        if body == "@1h":
            return self.household.started_ms + HOUR_MS
        return self.household.price(int(body[1:])) if body[1] in "+-" else self.names[body[1:]]

    def _id(self, subject: Subject) -> int:
        return next(
            int(one["id"]) for one in self.promised() if one["act"] == "place" and one["of"] == subject.client_id
        )

    def _has(self, act: str, subject: Subject) -> bool:
        return any(one["act"] == act and one["of"] == subject.client_id for one in self.promised())

    def _promise(self, act: str, subject: Subject, **more: Any) -> None:
        line = json.dumps({"act": act, "of": subject.client_id, **more}) + "\n"
        handle = os.open(self.promises, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, line.encode())
        os.close(handle)


def _table(subject: Subject) -> str:
    if subject.kind in ORDERS:
        return "orders"
    return "transactions" if subject.kind in TRANSACTIONS else "withdrawals"


def _kept(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What of an answer was promised: a state, and of a replacement both halves."""
    if "placed" not in answer:
        return {"state": answer["state"]}
    cancelled, placed = answer["cancelled"], answer["placed"]
    return {
        "cancelled": cancelled is not None and cancelled["state"] == "CANCELED",
        "placed": None if placed is None else placed["id"],
    }


def _again(answer: httpx.Response) -> bool:
    return answer.status_code >= 500 or (answer.status_code in AGAIN and answer.json().get("code") not in GIVEN_UP)
