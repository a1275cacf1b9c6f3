"""F80: what is another account's answers exactly as what does not exist, over all routes that name an object.

Generated from the OpenAPI page: a route with a path parameter that is not listed here fails the first test.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Connection, delete

from service.accounts import wallets
from service.accounts.invitations import Into, create, id_of
from service.accounts.people import Role, account_by_name
from service.addresses.storage import NewEntry, insert_entry
from service.app import OPENAPI_PATH
from service.approvals.clearances import insert_clearance
from service.approvals.model import Why
from service.auth import keys
from service.auth.keys import Created, Permission
from service.db.models import sign_in_counters
from service.transactions.model import Terms, TransactionKind
from service.transactions.storage import insert_transaction
from service.withdrawals.model import WithdrawalDraft, WithdrawalState
from service.withdrawals.storage import insert_withdrawal
from tests.service.api import Api, api
from tests.service.auth.seed import DAY_MS, new_key
from tests.service.books_seed import ETH, ETHEREUM, NOW_MS, USDC, Owner, address_of
from tests.service.documented import Documented, example_of, operations
from tests.service.kinds import Callers, callers
from tests.service.trading_seed import BOB, seed_order_of

MISSING: Final[Mapping[str, str]] = {
    "order_id": "987654",
    "client_order_id": "nobodys-1",
    "withdrawal_id": "987654",
    "transaction_id": "987654",
    "entry_id": "987654",
    "user_id": "987654",
    "invitation_id": "0" * 16,
    "key_id": "ck_" + "0" * 16,
    "session_id": "01936f2c-7d1e-7a52-9c40-2b9d1f0e5a77",
}
"""Of every kind of object, a name of none."""
WALLET: Final = address_of(0xA11CE)
MASKED: Final = ("instance",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An account `main` with one object of each kind, and a stranger to it with a key and a session."""

    service: Api
    callers: Callers
    routes: Sequence[Documented]
    mine: Mapping[str, str]
    marks: Sequence[str]
    """Texts of main's objects, none of which an answer to anybody else has."""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with api(tmp_path) as service:
        made = await callers(service)
        key, mine = await service.services.db.run(lambda c: _objects(c, service))
        key_id = key.key.id
        made.use("all", key)
        await made.ask("session of owner", "GET", "/v1/auth/me")
        listed = (await made.ask("session of owner", "GET", "/v1/auth/sessions")).json()["sessions"]
        page = (await service.ask("GET", OPENAPI_PATH)).json()
        found = {
            **mine,
            "key_id": key_id,
            "session_id": listed[-1]["id"],
            "user_id": str(made.user_of("viewer")),
            "invitation_id": await _invitation(service, made),
        }
        yield Scene(
            service=service,
            callers=made,
            routes=list(operations(page)),
            mine=found,
            marks=(key_id, "order-1", "withdrawal-1", "transaction-1", "Bob of main", BOB, str(WALLET)),
        )


def _objects(c: Connection, service: Api) -> tuple[Created, dict[str, str]]:
    """A wallet of `main` with a key that has all permissions, and what that key asked for."""
    master = service.services.master
    main = account_by_name(c, "main")
    assert main is not None
    wallet = wallets.insert_wallet(
        c, account_id=main.id, address=WALLET, label="scene", signer="keystore", master=master, now_ms=NOW_MS
    )
    key = keys.create_key(c, new_key(wallet, *Permission, label="scene"), master=master, now_ms=NOW_MS)
    key_id = key.key.id
    owner = Owner(account_id=main.id, wallet_id=wallet.id, address=wallet.address)
    order = seed_order_of(c, owner, key_id=key_id)
    draft = WithdrawalDraft(
        account_id=main.id,
        wallet_id=wallet.id,
        key_id=key_id,
        client_id="withdrawal-1",
        params_hash="0x" + "22" * 32,
        chain_id=ETHEREUM,
        asset=USDC,
        amount=1,
        destination=BOB,
        plan_id=order.plan.id,
    )
    withdrawal = insert_withdrawal(c, draft, state=WithdrawalState.AWAITING_APPROVAL, now_ms=NOW_MS)
    late_ms = NOW_MS + DAY_MS
    insert_clearance(
        c, withdrawal, why=Why.OVER_USD, usd=None, requester_id=None, expires_ms=late_ms, master=master
    )  # fmt: skip
    entry = NewEntry(
        account_id=main.id,
        chain_id=ETHEREUM,
        address=BOB,
        name="Bob of main",
        is_contract=False,
        added_by=None,
        created_ms=NOW_MS,
        in_force_ms=NOW_MS,
    )
    terms = Terms(
        account_id=main.id,
        wallet_id=wallet.id,
        key_id=key_id,
        kind=TransactionKind.WRAP,
        client_id="transaction-1",
        params_hash="0x" + "33" * 32,
        chain_id=ETHEREUM,
        contract=BOB,
        data=b"",
        value_wei=1,
        asset=ETH,
        amount=1,
        spender=None,
        function=None,
        approvals={},
        max_out={},
        plan_id=order.plan.id,
    )
    return key, {
        "order_id": str(order.id),
        "client_order_id": "order-1",
        "withdrawal_id": str(withdrawal.id),
        "entry_id": str(insert_entry(c, entry, master=master).id),
        "transaction_id": str(insert_transaction(c, terms, asked_mac=bytes(32), usd=None, now_ms=NOW_MS).id),
    }


async def _invitation(service: Api, made: Callers) -> str:
    """One into `main` that nobody used."""
    master, now_ms = service.services.master, service.clock.now_ms()

    def write(c: Connection) -> str:
        main = account_by_name(c, "main")
        assert main is not None
        into = Into(account_id=main.id, role=Role.VIEWER, invited_by=made.user_of("owner"))
        return id_of(create(c, None, into=into, master=master, now_ms=now_ms))

    return await service.services.db.run(write)


def stranger(one: Documented) -> Sequence[str]:
    """Who asks: a key with all permissions of another account, its person, or both where the route takes both."""
    ways = one.needs.split(" or ")
    return [("session of a stranger" if way == "session" else "of another account") for way in ways]


def rightful(one: Documented) -> str:
    return "session of owner" if "session" in one.needs else "all"


async def ask(scene: Scene, kind: str, one: Documented, known: Mapping[str, str]) -> httpx.Response:
    await _forget_attempts(scene)
    chain = {found["name"]: example_of(found["schema"], one.page) for found in one.parameters} | dict(known)
    return await scene.callers.ask(kind, one.method, one.target(chain), body=one.plausible_body())


async def _forget_attempts(scene: Scene) -> None:
    """How often somebody may try a code is not what is looked for here."""
    await scene.service.services.db.run(lambda c: c.execute(delete(sign_in_counters)))


def seen(answer: httpx.Response, known: Mapping[str, str]) -> tuple[int, Any, frozenset[str]]:
    """What a client sees of an answer, but for the name that it sent itself."""
    body = answer.json()
    text = json.dumps({name: value for name, value in body.items() if name not in MASKED})
    for value in known.values():
        text = re.sub(rf"(?<![0-9a-zA-Z]){re.escape(value)}(?![0-9a-zA-Z])", "ID", text)
    return answer.status_code, text, frozenset(answer.headers)


def named(scene: Scene) -> Sequence[Documented]:
    return [one for one in scene.routes if one.ids]


async def test_every_path_parameter_is_of_an_object_that_is_tried(scene: Scene) -> None:
    assert {name for one in scene.routes for name in one.ids} == set(MISSING) == set(scene.mine)


async def test_another_accounts_object_answers_as_one_that_does_not_exist(scene: Scene) -> None:
    """F80"""
    tried = 0
    for one in named(scene):
        theirs = {name: scene.mine[name] for name in one.ids}
        nobodys = {name: MISSING[name] for name in one.ids}
        for kind in stranger(one):
            answers = [await ask(scene, kind, one, known) for known in (theirs, nobodys)]
            place = (kind, one.method, one.path, answers[0].text)
            assert answers[0].is_error, place
            assert seen(answers[0], theirs) == seen(answers[1], nobodys), place
            tried += 1
    assert tried >= len(named(scene))


async def test_what_is_ones_own_does_not_answer_so(scene: Scene) -> None:
    """That the test above can fail: who may see an object sees it."""
    for one in named(scene):
        if one.method != "GET":
            continue
        answer = await ask(scene, rightful(one), one, {name: scene.mine[name] for name in one.ids})
        if "session_id" not in one.ids:
            assert answer.status_code == 200, (one.path, answer.text)


async def test_no_list_of_a_stranger_has_anything_of_the_account(scene: Scene) -> None:
    """F80: also what nobody named."""
    lists = [one for one in scene.routes if one.method == "GET" and not one.ids and one.needs != "public"]
    assert len(lists) > 8
    shown = 0
    for one in lists:
        for kind in stranger(one):
            answer = await ask(scene, kind, one, {})
            found = [mark for mark in scene.marks if mark in answer.text]
            assert not found, (kind, one.path, found)
        own = await ask(scene, rightful(one), one, {})
        shown += any(mark in own.text for mark in scene.marks)
    # The owner does see them, so that the marks are the right ones.
    assert shown >= 4


async def test_another_accounts_name_in_a_query_or_body_answers_as_one_that_does_not_exist(scene: Scene) -> None:
    """F80: where a session names an account."""
    tried = 0
    for one in scene.routes:
        in_query = any(found["name"] == "account" and found["in"] == "query" for found in one.parameters)
        in_body = b'"account"' in one.plausible_body()
        if "session" not in one.needs or not (in_query or in_body):
            continue
        tried += 1
        known = {found["name"]: example_of(found["schema"], one.page) for found in one.parameters} | dict(scene.mine)
        answers = []
        for account in ("main", "nobodys"):
            query = one.query() | ({"account": account} if in_query else {})
            target = one.target(known, query)
            body = one.plausible_body(account=account)
            await _forget_attempts(scene)
            answer = await scene.callers.ask("session of a stranger", one.method, target, body=body)
            answers.append(seen(answer, {"account": account}))
        assert answers[0] == answers[1], (one.method, one.path)
        assert answers[0][0] >= 400, (one.method, one.path, answers[0])
    assert tried >= 5
