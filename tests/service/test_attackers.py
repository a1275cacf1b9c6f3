"""What somebody gains within a day who has an owner's session, that and a code, or a lesser role: by every route that
takes a session, out of the routes themselves, so that a new one has to be looked at here.

`Exposure` is what funds could leave by, and who decides about it. Whatever an attacker sends, it is no more one moment
before 24 hours have passed, and an owner of before is still there to see it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select

from chains.types import ChainId
from service.accounts import invitations, people
from service.accounts.invitations import Into
from service.accounts.memberships import APPROVERS
from service.accounts.people import Role
from service.addresses import cooling, reach
from service.addresses.storage import EntryState, NewEntry, entries_of, insert_entry
from service.app import declared_permissions
from service.approvals import policies
from service.approvals.model import Thresholds, stricter_of
from service.auth import keys
from service.auth.callers import EITHER, SESSION
from service.auth.keys import Destination, KeyState, Permission
from service.auth.restrictions import AllowedCall
from service.db import models as m
from tests.service.addresses.scene import scripted
from tests.service.approvals.scene import Scene, scene
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETHEREUM, POLYGON, address_of

EXCHANGE, EVIL = address_of(0xE0 << 120), address_of(0xEE << 120)
EVIL_CALL: Final = f"ethereum:{EVIL}:take()=100"
WRONG: Final = "correct horse battery staple"
OF_SESSIONS: Final = {
    (method, path)
    for (method, path), needs in declared_permissions().items()
    if needs in (SESSION, EITHER) and method not in ("GET", "HEAD")
}
CODED: Final = (
    "POST /v1/members",
    "PATCH /v1/members/{user_id}",
    "DELETE /v1/members/{user_id}",
    "POST /v1/invitations",
    "POST /v1/addresses",
    "PATCH /v1/addresses/{entry_id}",
    "PUT /v1/address-cooling",
    "PATCH /v1/keys/{key_id}",
    "POST /v1/keys/{key_id}/activate",
    "PUT /v1/approval-policy",
    "POST /v1/approvals/{withdrawal_id}/approve",
)
"""The routes that one code of the authenticator opens; those that also need the password are not among them."""
UNRESTRICTED: Final = {
    "ip_allowlist": ["0.0.0.0/0"],
    "limits": {"daily_usd": None, "calls": [EVIL_CALL], "daily_withdrawals": None},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Where funds may go, what may be called, who decides, how long what is new waits, what needs a second person."""

    destinations: frozenset[Destination]
    calls: frozenset[AllowedCall]
    deciders: frozenset[int]
    owners: frozenset[int]
    cooling_ms: int
    thresholds: Thresholds

    def is_within(self, before: "Exposure") -> bool:
        return (
            self.destinations <= before.destinations
            and self.calls <= before.calls
            and self.deciders <= before.deciders
            and self.cooling_ms >= before.cooling_ms
            and stricter_of(self.thresholds, before.thresholds) == self.thresholds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One of a route. `code` is the field in which a code goes along; None: it takes none."""

    method: str
    route: str
    path: str
    body: Mapping[str, Any] | None = None
    code: str | None = "totp_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An account as it is in use: with keys, an address, a threshold, and a withdrawal that waits."""

    at: Scene
    active: str
    waiting: str
    entry: int
    withdrawal: int
    binding: str
    invitation: str

    async def requests(self) -> Sequence[Request]:
        """What an attacker would send to every route that takes a session."""
        at, fresh = self.at, self.at.service.clock.now_ms() + 30 * DAY_MS
        ben = at.user_ids["ben"]
        key = {"label": f"evil-{fresh}", "permissions": ["read", "trade", "withdraw"], "expires_ms": fresh}
        own = {"ip_allowlist": ["127.0.0.1/32"], "limits": {"calls": [EVIL_CALL]}}
        add = {"chain": "ethereum", "address": EVIL, "name": "exchange-2", "accept_look_alike": True}

        def r(method: str, route: str, body: Any = None, *, code: str | None = "totp_code", **ids: object) -> Request:
            path = route.format(**ids)
            return Request(method=method, route=route, path=path, body=body, code=code)

        found = [
            r("POST", "/v1/members", {"user": "eve", "role": "owner"}),
            r("PATCH", "/v1/members/{user_id}", {"role": "viewer"}, user_id=ben),
            r("DELETE", "/v1/members/{user_id}", {}, user_id=ben),
            r("POST", "/v1/invitations", {"role": "owner"}),
            r("POST", "/v1/memberships", {"invitation": self.invitation}, code=None),
            r("POST", "/v1/addresses", add),
            r("PATCH", "/v1/addresses/{entry_id}", {"name": "renamed"}, entry_id=self.entry),
            r("PUT", "/v1/address-cooling", {"cooling_hours": 0}),
            r("POST", "/v1/keys", key | own, code=None),
            r("PATCH", "/v1/keys/{key_id}", UNRESTRICTED, key_id=self.active),
            r("PATCH", "/v1/keys/{key_id}", {"limits": {"calls": [EVIL_CALL]}}, key_id=self.active),
            r("POST", "/v1/keys/{key_id}/activate", {}, key_id=self.waiting),
            r("POST", "/v1/keys/{key_id}/rotate", {"overlap_hours": 0}, code=None, key_id=self.active),
            r("PUT", "/v1/approval-policy", {"usd": "1000000000"}),
            r(
                "POST",
                "/v1/approvals/{withdrawal_id}/approve",
                {"binding": self.binding},
                withdrawal_id=self.withdrawal,
            ),
            r("POST", "/v1/approvals/{withdrawal_id}/reject", {}, code=None, withdrawal_id=self.withdrawal),
            r("DELETE", "/v1/withdrawals/{withdrawal_id}", code=None, withdrawal_id=self.withdrawal),
            r("DELETE", "/v1/addresses/{entry_id}", code=None, entry_id=self.entry),
            r("DELETE", "/v1/keys/{key_id}", code=None, key_id=self.active),
            r("DELETE", "/v1/invitations/{invitation_id}", code=None, invitation_id="0" * 16),
            r("POST", "/v1/auth/password", {"password": WRONG, "new_password": WRONG + "!"}, code="totp"),
            r("POST", "/v1/auth/totp", {"password": WRONG}, code="totp"),
            r("POST", "/v1/auth/totp/confirm", {"totp": "123456"}, code="totp"),
            r("POST", "/v1/auth/recovery-codes", {"password": WRONG}, code="totp"),
            r(
                "DELETE",
                "/v1/auth/sessions/{session_id}",
                code=None,
                session_id="0" * 8 + "-0000-0000-0000-" + "0" * 12,
            ),
            r("DELETE", "/v1/auth/sessions", code=None),
            r("POST", "/v1/auth/sign-out", code=None),
        ]
        assert {(one.method, one.route) for one in found} == OF_SESSIONS
        return found

    async def send(self, one: Request, *, by: str, coded: bool) -> int:
        """Its status. Never one that nobody foresaw."""
        body = one.body
        if coded and one.code is not None:
            body = {**(body or {}), one.code: self.at.code(by)}
        answer = await self.at.ask(one.method, one.path, body, by=by)
        assert answer.status_code < 500, (one, answer.text)
        return answer.status_code

    async def exposure(self, *, in_ms: int = 0) -> Exposure:
        """As it will be then, if nothing more is done."""
        at, at_ms = self.at, self.at.service.clock.now_ms() + in_ms
        master, account_id = at.master, at.account_id

        def read(c: Connection) -> Exposure:
            usable = [
                key
                for key in keys.list_keys(c, account_id, master=master)
                if key.state(at_ms, idle_ms=100 * DAY_MS) is KeyState.ACTIVE and Permission.WITHDRAW in key.permissions
            ]
            chains = (ETHEREUM, POLYGON)
            of_keys = [
                reach.destinations_of(c, key, chain_id=ChainId(chain), now_ms=at_ms, master=master)
                for key in usable
                for chain in chains
            ]
            book = {
                Destination(chain_id=entry.chain_id, address=entry.address)
                for entry in entries_of(c, account_id, master=master)
                if entry.state(at_ms) is EntryState.IN_FORCE
            }
            members = [one for one in people.members(c, account_id, master=master) if one.is_seasoned(at_ms)]
            return Exposure(
                destinations=frozenset(book).union(*of_keys),
                calls=frozenset(
                    call for key in usable if (key.calls_from_ms or 0) <= at_ms for call in key.restrictions.calls
                ),
                deciders=frozenset(one.user_id for one in members if one.role in APPROVERS),
                owners=frozenset(one.user_id for one in members if one.role is Role.OWNER),
                cooling_ms=cooling.rule_of(c, account_id, now_ms=at_ms, master=master).cooling_ms,
                thresholds=policies.policy_of(c, account_id, master=master, now_ms=at_ms).in_force,
            )

        return await at.service.services.db.read(read)

    async def rows(self) -> Mapping[str, Sequence[Any]]:
        """All rows that give somebody or something a right in the account, but for when a key was used last."""
        tables = (m.memberships, m.book_entries, m.book_rules, m.approval_policies, m.clearances, m.invitations)

        def read(c: Connection) -> Mapping[str, Sequence[Any]]:
            found = {one.name: [tuple(row) for row in c.execute(select(one))] for one in tables}
            k = m.api_keys.c
            columns = (k.id, k.label, k.revoked_ms, k.lapses_ms, k.expires_ms, k.restrictions, k.can_withdraw)
            found["api_keys"] = [tuple(map(str, row)) for row in c.execute(select(*columns).order_by(k.id))]
            return found

        return await self.at.service.services.db.read(read)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Ann and Ben own the account, Cleo approves, Tom trades, Vic looks; Eve is the attacker's own user."""
    async with scene(tmp_path) as at:
        scripted(at.service)
        # Nobody is new: Ada, whom the service is made with, is an owner, too.
        at.service.clock.advance_ms(DAY_MS)
        active = await at.key("bot", made_by="ann")
        await at.key("bens", made_by="ben")
        withdrawal = await at.withdrawal(asked_by="ben")
        now_ms = at.service.clock.now_ms()

        def write(c: Connection) -> tuple[int, str]:
            entry = insert_entry(
                c,
                NewEntry(
                    account_id=at.account_id,
                    chain_id=ETHEREUM,
                    address=EXCHANGE,
                    name="exchange",
                    is_contract=False,
                    added_by=None,
                    created_ms=now_ms - 2 * DAY_MS,
                    in_force_ms=now_ms - DAY_MS,
                ),
                master=at.master,
            )
            policies.change(
                c,
                at.account_id,
                Thresholds(usd=1_000 * 10**6),
                user_id=at.user_ids["ann"],
                master=at.master,
                now_ms=now_ms,
            )
            into = Into(account_id=at.account_id, role=Role.APPROVER, invited_by=at.user_ids["ben"])
            return entry.id, invitations.create(c, None, into=into, master=at.master, now_ms=now_ms)

        entry, invitation = await at.service.services.db.run(write)
        body = {
            "label": "waiting",
            "permissions": ["read", "withdraw"],
            "ip_allowlist": ["127.0.0.1/32"],
            "expires_ms": now_ms + 30 * DAY_MS,
            "limits": {"calls": [EVIL_CALL]},
        }
        waiting = (await at.ask("POST", "/v1/keys", body, by="ann")).json()["key"]["key"]
        yield Stage(
            at=at,
            active=active,
            waiting=waiting,
            entry=entry,
            withdrawal=withdrawal.id,
            binding=await at.binding(withdrawal.id, by="ben"),
            invitation=invitation,
        )


async def test_an_owners_session_alone_widens_nothing_and_takes_no_watch_away(stage: Stage) -> None:
    before = await stage.exposure()
    for one in await stage.requests():
        await stage.send(one, by="ann", coded=False)
    for in_ms in (0, DAY_MS - 1, 30 * DAY_MS):
        after = await stage.exposure(in_ms=in_ms)
        assert after.is_within(before), in_ms
        assert after.owners == before.owners


@pytest.mark.parametrize("coded", CODED)
async def test_an_owners_session_and_one_code_gain_nothing_within_a_day(stage: Stage, coded: str) -> None:
    before, at = await stage.exposure(), stage.at
    requests = await stage.requests()
    assert {f"{one.method} {one.route}" for one in requests if one.code == "totp_code"} == set(CODED)
    began_ms = at.service.clock.now_ms()
    await stage.send(next(one for one in requests if f"{one.method} {one.route}" == coded), by="ann", coded=True)
    # Then whatever needs none, by that session and by whoever was let in.
    for by in ("eve", "ann"):
        for one in requests:
            await stage.send(one, by=by, coded=False)
    for in_ms in (0, began_ms + DAY_MS - 1 - at.service.clock.now_ms()):
        after = await stage.exposure(in_ms=in_ms)
        assert after.is_within(before), in_ms
        assert after.owners
        assert after.owners <= before.owners


async def test_an_accomplice_who_was_made_an_owner_gains_nothing_within_a_day_with_codes_of_their_own(
    stage: Stage,
) -> None:
    before, at = await stage.exposure(), stage.at
    body = {"user": "eve", "role": "owner", "totp_code": at.code("ann")}
    assert (await at.ask("POST", "/v1/members", body, by="ann")).status_code == 201
    added_ms = at.service.clock.now_ms()
    for one in await stage.requests():
        if one.route != "/v1/members":
            await stage.send(one, by="eve", coded=True)
    left_ms = DAY_MS - 1 - (at.service.clock.now_ms() - added_ms)
    for in_ms in (0, left_ms):
        after = await stage.exposure(in_ms=in_ms)
        assert after.is_within(before), in_ms
        assert after.owners == before.owners
    # And is undone without a code, by whoever is there still.
    removed = await at.ask("DELETE", f"/v1/members/{at.user_ids['eve']}", by="ben")
    assert removed.status_code == 200, removed.text


@pytest.mark.parametrize("role", ["vic", "tom", "cleo", "eve"])
async def test_a_lesser_role_changes_nothing_of_the_account_with_codes_of_its_own(stage: Stage, role: str) -> None:
    """Tom makes keys of his own, without withdraw, Cleo decides about what she is shown, Eve is let in by Ben's
    invitation; the requests here are of nothing of that kind."""
    before, exposed = await stage.rows(), await stage.exposure()
    for one in await stage.requests():
        decides = role == "cleo" and one.route.startswith("/v1/approvals/")
        if not decides and one.route != "/v1/memberships":
            await stage.send(one, by=role, coded=True)
    assert await stage.rows() == before
    assert await stage.exposure() == exposed
