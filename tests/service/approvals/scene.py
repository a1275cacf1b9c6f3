"""An account with people of every role, keys that they made, and withdrawals that wait for a second person."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import Connection

from chains.tx.model import IntentState, Lane, PlanId
from contracts import erc20
from service.accounts import people, sessions, totp, users, wallets
from service.accounts.people import Role
from service.accounts.sessions import Carrier, Lifetimes
from service.approvals.clearances import insert_clearance
from service.approvals.model import EXPIRES_MS, Why
from service.auth import keys
from service.auth.keys import Destination, Permission
from service.auth.restrictions import UNRESTRICTED, Restrictions
from service.db.txstore import SqlTxStore
from service.ids import new_id
from service.journal import reservations
from service.plans.building import queued_plan
from service.withdrawals.model import AmountIs, Withdrawal, WithdrawalDraft, WithdrawalState
from service.withdrawals.storage import insert_withdrawal
from tests.service.api import CLIENT, Api, api, kept
from tests.service.auth.seed import DAY_MS, new_key
from tests.service.books_seed import ETHEREUM
from tests.service.trading_seed import BOB, USDC

AMOUNT: Final = 25_000 * 10**6
PEOPLE: Final[Mapping[str, Role | None]] = {
    "ann": Role.OWNER,
    "ben": Role.OWNER,
    "cleo": Role.APPROVER,
    "tom": Role.TRADER,
    "vic": Role.VIEWER,
    "eve": None,
}
JOINED: Final = 2 * DAY_MS
"""How long ago people joined, unless told otherwise."""


@dataclass(slots=True, kw_only=True)
class Scene:
    service: Api
    account_id: int
    wallet: wallets.Wallet
    tokens: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, bytes] = field(default_factory=dict)
    user_ids: dict[str, int] = field(default_factory=dict)
    made: int = 0

    @property
    def master(self) -> Any:
        return self.service.services.master

    async def person(self, name: str, role: Role | None, *, joined_ago_ms: int = JOINED) -> None:
        """A user with an authenticator, past the hold that it begins, and a session."""
        now_ms, clock = self.service.clock.now_ms(), self.service.clock

        def write(c: Connection) -> tuple[int, bytes, str]:
            user = users.insert_user(c, name, now_ms=now_ms)
            credential = users.make_credential(c, user, password_hash="none", master=self.master, now_ms=now_ms)
            past = now_ms - 2 * users.HOLD_MS
            seed = users.begin_totp(c, credential, master=self.master, now_ms=past)
            found = users.credential_of(c, user.id, master=self.master)
            assert found is not None
            code = totp.code_at(seed, totp.step_at(past))
            users.confirm_totp(c, found, code=code, keep="", master=self.master, now_ms=past)
            if role is not None:
                people.add_member(
                    c, user.id, account_id=self.account_id, role=role, master=self.master, now_ms=now_ms - joined_ago_ms
                )
            _, token = sessions.create(
                c,
                new_id(clock),
                user_id=user.id,
                carrier=Carrier.BEARER,
                lifetimes=Lifetimes(absolute_ms=100 * DAY_MS, idle_ms=100 * DAY_MS),
                client_ip=CLIENT[0],
                agent="",
                master=self.master,
                now_ms=now_ms,
            )
            return user.id, seed, token

        self.user_ids[name], self.seeds[name], self.tokens[name] = await self.service.services.db.run(write)

    def code(self, name: str) -> str:
        """A fresh one, half a minute later."""
        self.service.clock.advance_ms(totp.STEP_S * 1_000)
        return totp.code_at(self.seeds[name], totp.step_at(self.service.clock.now_ms()))

    async def key(
        self,
        label: str,
        *,
        made_by: str | None,
        permissions: tuple[Permission, ...] = tuple(Permission),
        restrictions: Restrictions = UNRESTRICTED,
    ) -> str:
        """A key by that label for `ask`; its id."""
        new = replace(
            new_key(self.wallet, *permissions, label=label),
            made_by=None if made_by is None else self.user_ids[made_by],
            restrictions=restrictions,
            expires_ms=self.service.clock.now_ms() + DAY_MS,
            destinations=(Destination(chain_id=ETHEREUM, address=BOB),) if Permission.WITHDRAW in permissions else (),
        )
        now_ms = self.service.clock.now_ms()
        created = await self.service.services.db.run(
            lambda c: keys.create_key(c, new, master=self.master, now_ms=now_ms)
        )
        self.service.keys = {**self.service.keys, label: created}
        return created.key.id

    async def withdrawal(self, *, asked_by: str | None, why: Why | None = Why.OVER_USD) -> Withdrawal:
        """One that a key of that person asked for; None: a key that was made on the host."""
        self.made += 1
        number, now_ms = self.made, self.service.clock.now_ms()
        key_id = await self.key(f"bot-{number}", made_by=asked_by)

        def write(c: Connection) -> Withdrawal:
            lane, plan_id = Lane(chain_id=ETHEREUM, wallet=self.wallet.address), PlanId(f"withdrawal:{number}")
            call = erc20.transfer_call(USDC, BOB, amount=AMOUNT)
            plan = queued_plan(plan_id, lane, calls=[call], created_ms=now_ms, valid_until_ms=None)
            state = IntentState.ACCEPTED if why is not None else IntentState.QUEUED
            plan = replace(plan, intents=tuple(replace(one, state=state, gas_limit=90_000) for one in plan.intents))
            SqlTxStore().add_plan(c, plan)
            draft = WithdrawalDraft(
                account_id=self.account_id,
                wallet_id=self.wallet.id,
                key_id=key_id,
                client_id=f"payout-{number}",
                params_hash="0x" + "22" * 32,
                chain_id=ETHEREUM,
                asset=USDC.id,
                amount=AMOUNT,
                destination=BOB,
                plan_id=plan_id,
                amount_is=AmountIs.NET,
                gas_limit=90_000,
                max_fee_wei=10**15,
            )
            waits = WithdrawalState.AWAITING_APPROVAL if why is not None else WithdrawalState.PROCESSING
            stored = insert_withdrawal(c, draft, state=waits, now_ms=now_ms)
            reservations.hold(
                c,
                account_id=self.account_id,
                wallet_id=self.wallet.id,
                chain_id=ETHEREUM,
                plan_id=plan_id,
                amounts={USDC.id: AMOUNT},
                now_ms=now_ms,
            )
            insert_clearance(
                c,
                stored,
                why=why,
                usd=25_000 * 10**6,
                requester_id=None if asked_by is None else self.user_ids[asked_by],
                expires_ms=None if why is None else now_ms + EXPIRES_MS,
                master=self.master,
            )
            return stored

        return await self.service.services.db.run(write)

    async def ask(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, by: str, key: bool = False
    ) -> httpx.Response:
        """By a person's session, or with `key` by the key of that label."""
        raw = b"" if body is None else orjson.dumps(body)
        if key:
            return await self.service.ask(method, target, key=by, body=raw)
        headers = {"authorization": f"Bearer {self.tokens[by]}"}
        if body is not None:
            headers["content-type"] = "application/json"
        return await self.service.client.request(method, target, content=raw, headers=headers)

    async def binding(self, withdrawal_id: int, *, by: str) -> str:
        """As that person sees it."""
        return str((await self.ask("GET", f"/v1/approvals/{withdrawal_id}", by=by)).json()["binding"])

    async def approve(self, withdrawal_id: int, *, by: str, **changes: Any) -> httpx.Response:
        """With what is seen and a fresh code, unless changed."""
        body = {"binding": await self.binding(withdrawal_id, by="ann"), "totp_code": self.code(by), **changes}
        path = f"/v1/approvals/{withdrawal_id}/approve"
        return await self.ask("POST", path, {k: v for k, v in body.items() if v is not None}, by=by)

    async def held(self) -> Mapping[Any, int]:
        return await self.service.services.db.read(lambda c: reservations.held(c, self.wallet.id, ETHEREUM))


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """Ann and Ben own the account, Cleo approves, Tom trades, Vic looks; Eve is nobody there.

    They are made once a process: that takes longer than most tests.
    """
    first = next(iter(_first()), None)
    async with api(
        directory,
        rows=None if first is None else first.rows,
        session_hours=24 * 30,
        session_idle_minutes=60 * 24 * 7,
    ) as service:
        if first is not None:
            # As many as were drawn for them: who comes later has a seed that none of them has.
            for _ in PEOPLE:
                totp.new_seed()
            yield replace(
                first.made,
                service=service,
                tokens=dict(first.made.tokens),
                seeds=dict(first.made.seeds),
                user_ids=dict(first.made.user_ids),
            )
            return
        master = service.services.master

        def read(c: Connection) -> wallets.Wallet:
            [wallet] = wallets.list_wallets(c, master=master)
            return wallet

        wallet = await service.services.db.read(read)
        made = Scene(service=service, account_id=wallet.account_id, wallet=wallet)
        for name, role in PEOPLE.items():
            await made.person(name, role)
        copied = replace(made, tokens=dict(made.tokens), seeds=dict(made.seeds), user_ids=dict(made.user_ids))
        _first().append(_First(made=copied, rows=kept(service, "people")))
        yield made


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    made: Scene
    rows: Path


@cache
def _first() -> list[_First]:
    return []
