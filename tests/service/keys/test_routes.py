"""Keys over HTTP, in a session: made inactive, activated once, changed, rotated, revoked; who may; what a key sees."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from chains.types import ChainId
from service.accounts import people, sessions, users, wallets
from service.accounts.people import Role
from service.addresses.storage import NewEntry, insert_entry
from service.auth import budgets, keys
from service.auth.caveats import Cost, Kind
from service.auth.caveats import limits as limits_of
from service.auth.keys import Created
from service.auth.last_use import WRITE_EVERY_MS
from service.auth.signature import sign_request
from service.control import audit_acts
from service.control.audit_acts import Verify
from service.db.models import audit_entries
from service.ids import new_id
from service.keys import making
from service.keys.making import LAPSE_MS
from service.orders.model import OrderState
from tests.service.api import CLIENT, Api, api, code_of
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETH, ETHEREUM, Owner, address_of
from tests.service.orders.resting_seed import Rests, order_now, seed_rest

PUBLIC = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1").public_key().public_bytes_raw().hex()
Sent = Mapping[str, Any]


class Person:
    """Ada with an authenticator and a session, unless another token is given."""

    def __init__(self, service: Api, token: str) -> None:
        self.service = service
        self.token = token

    async def ask(self, method: str, path: str, body: Sent | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        content = b"" if body is None else orjson.dumps(body)
        if body is not None:
            headers["content-type"] = "application/json"
        return await self.service.client.request(method, f"/v1/{path}", content=content, headers=headers)

    async def make(self, **given: Any) -> dict[str, Any]:
        body = {"label": "bot", "permissions": ["read"], **given}
        answer = await self.ask("POST", "keys", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def activate(self, key: str, code: str | None = None) -> httpx.Response:
        code = self.service.totp_code() if code is None else code
        return await self.ask("POST", f"keys/{key}/activate", {"totp_code": code})

    async def active(self, **given: Any) -> dict[str, Any]:
        made = await self.make(**given)
        answer = await self.activate(made["key"]["key"])
        assert answer.status_code == 200, answer.text
        return made

    async def change(self, key: str, **body: Any) -> httpx.Response:
        return await self.ask("PATCH", f"keys/{key}", body)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, session_hours=24 * 30, session_idle_minutes=24 * 60 * 7) as found:
        yield found


@pytest.fixture
async def ada(service: Api) -> Person:
    await service.authenticator()
    return Person(service, await service.session())


async def signed(
    service: Api, made: Mapping[str, Any], path: str = "key", *, secret: str | None = None, body: Sent | None = None
) -> httpx.Response:
    """A request of that key, as its bot sends it."""
    method, target = ("GET" if body is None else "POST"), f"/v1/{path}"
    content = b"" if body is None else orjson.dumps(body)
    headers = dict(
        sign_request(
            made["key"]["key"],
            (secret or made["secret"]).encode(),
            method=method,
            target=target,
            body=content,
            timestamp_ms=service.clock.now_ms(),
            nonce=new_id(service.clock).replace("-", ""),
        )
    )
    if content:
        headers["content-type"] = "application/json"
    return await service.client.request(method, target, content=content, headers=headers)


async def person(service: Api, name: str, role: Role) -> Person:
    """Somebody with a role in Ada's account, signed in."""
    master, now_ms = service.services.master, service.clock.now_ms()

    def write(c: Connection) -> str:
        account = people.account_by_name(c, "main")
        assert account is not None
        user = users.insert_user(c, name, now_ms=now_ms)
        users.make_credential(c, user, password_hash="none", master=master, now_ms=now_ms)
        people.add_member(c, user.id, account_id=account.id, role=role, master=master, now_ms=now_ms)
        return sessions.create(
            c,
            new_id(service.clock),
            user_id=user.id,
            carrier=sessions.Carrier.BEARER,
            lifetimes=sessions.Lifetimes(absolute_ms=DAY_MS * 30, idle_ms=DAY_MS * 30),
            client_ip=CLIENT[0],
            agent="",
            master=master,
            now_ms=now_ms,
        )[1]

    return Person(service, await service.services.db.run(write))


async def acts(service: Api) -> list[tuple[str, str]]:
    def read(c: Connection) -> list[tuple[str, str]]:
        t = audit_entries
        rows = c.execute(select(t.c.act, t.c.actor_kind).where(t.c.act.like("key.%")).order_by(t.c.chain, t.c.seq))
        return [(row.act, row.actor_kind) for row in rows]

    return await service.services.db.read(read)


async def test_a_key_does_nothing_until_a_code_activates_it_and_its_secret_is_shown_once(
    service: Api, ada: Person
) -> None:
    made = await ada.make(limits={"max_order_usd": "500"}, permissions=["read", "trade"])
    key = made["key"]
    assert (key["state"], key["made_by"], key["account"]) == ("waiting", "ada", "main")
    assert len(made["secret"]) == 64
    assert key["limits"]["max_order_usd"] == "500"
    assert (key["limits"]["daily_usd"], key["limits"]["daily_orders"]) == ("100000", 2_000)
    assert code_of(await signed(service, made)) == "key_inactive"
    assert code_of(await signed(service, made, secret="0" * 64)) == "authentication_failed"
    activated = await ada.activate(key["key"])
    assert activated.json()["state"] == "active"
    assert "secret" not in activated.json()
    assert (await signed(service, made)).status_code == 200
    shown = (await ada.ask("GET", f"keys/{key['key']}")).json()
    assert shown == activated.json()
    assert made["secret"] not in (await ada.ask("GET", "keys")).text
    assert await acts(service) == [("key.create", "user"), ("key.activate", "user")]


async def test_f77_of_activations_at_once_one_succeeds(service: Api, ada: Person) -> None:
    made = await ada.make()
    key, code = made["key"]["key"], service.totp_code()
    answers = await asyncio.gather(*(ada.activate(key, code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers)[0] == 200
    refused = {code_of(answer) for answer in answers if answer.is_error}
    assert len([answer for answer in answers if not answer.is_error]) == 1
    assert refused <= {"key_not_waiting", "totp_code_wrong", "sign_in_locked"}
    assert [act for act, _ in await acts(service)].count("key.activate") == 1


async def test_f77_a_code_activates_one_key_and_no_second_one(service: Api, ada: Person) -> None:
    one, two = await ada.make(label="one"), await ada.make(label="two")
    code = service.totp_code()
    assert (await ada.activate(one["key"]["key"], code)).status_code == 200
    assert code_of(await ada.activate(two["key"]["key"], code)) == "totp_code_wrong"
    assert code_of(await signed(service, two)) == "key_inactive"


async def test_nothing_is_activated_without_a_code_during_the_hold_or_without_an_authenticator(service: Api) -> None:
    ada = Person(service, await service.session())
    made = await ada.make()
    key = made["key"]["key"]
    assert code_of(await ada.ask("POST", f"keys/{key}/activate", {})) == "totp_required"
    await service.authenticator()
    ada.token = await service.session()
    service.clock.advance_ms(-users.HOLD_MS)
    held = Person(service, await service.session())
    assert code_of(await held.activate(key)) == "held"
    service.clock.advance_ms(users.HOLD_MS)
    assert code_of(await ada.ask("POST", f"keys/{key}/activate", {})) == "totp_required"
    assert (await ada.activate(key)).status_code == 200


async def test_a_key_that_nobody_activates_lapses_for_good(service: Api, ada: Person) -> None:
    made = await ada.make()
    key = made["key"]["key"]
    service.clock.advance_ms(LAPSE_MS)
    ada.token = await service.session()
    assert code_of(await ada.activate(key)) == "key_not_waiting"
    assert code_of(await ada.change(key, label="other")) == "key_ended"
    assert code_of(await signed(service, made)) == "key_inactive"
    assert key not in (await ada.ask("GET", "keys")).text
    assert key in (await ada.ask("GET", "keys?ended=true")).text


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "networks"),
        ({"ip_allowlist": ["203.0.113.7/32"]}, "expiry"),
        ({"ip_allowlist": ["203.0.112.0/20"], "days": 30}, "too wide"),
        ({"ip_allowlist": ["2001:db8::/48"], "days": 30}, "too wide"),
        ({"ip_allowlist": ["203.0.113.7/32"], "days": 91}, "90 days"),
    ],
)
async def test_f76_a_withdraw_key_needs_narrow_networks_and_an_expiry_within_90_days(
    service: Api, ada: Person, given: dict[str, Any], why: str
) -> None:
    body = dict(given)
    if days := body.pop("days", None):
        body["expires_ms"] = service.clock.now_ms() + days * DAY_MS
    answer = await ada.ask("POST", "keys", {"label": "payer", "permissions": ["withdraw"], **body})
    assert code_of(answer) == "invalid_key"
    assert why in answer.json()["detail"]


async def test_a_withdraw_key_is_held_to_the_same_rules_when_it_is_changed(service: Api, ada: Person) -> None:
    now_ms = service.clock.now_ms()
    made = await ada.active(
        label="payer",
        permissions=["withdraw"],
        ip_allowlist=["127.0.0.1", "2001:db8::/64"],
        expires_ms=now_ms + 30 * DAY_MS,
    )
    key = made["key"]["key"]
    assert made["key"]["ip_allowlist"] == ["127.0.0.1/32", "2001:db8::/64"]
    wrongs: list[dict[str, Any]] = [
        {"ip_allowlist": []},
        {"ip_allowlist": ["127.0.0.0/8"]},
        {"expires_ms": None},
        {"expires_ms": now_ms + 95 * DAY_MS},
    ]
    for wrong in wrongs:
        assert code_of(await ada.change(key, totp_code=service.totp_code(), **wrong)) == "invalid_key"
    assert (await ada.change(key, expires_ms=now_ms + 10 * DAY_MS)).status_code == 200
    reader = await ada.active(label="reader")
    widened = await ada.change(reader["key"]["key"], permissions=["withdraw"], totp_code=service.totp_code())
    assert code_of(widened) == "invalid_key"


async def test_narrowing_needs_nothing_and_widening_a_code(service: Api, ada: Person) -> None:
    made = await ada.active(permissions=["read", "trade"], limits={"daily_usd": "500"}, ip_allowlist=["127.0.0.0/8"])
    key = made["key"]["key"]
    narrowed = await ada.change(key, permissions=["read"], limits={"daily_usd": "100"}, ip_allowlist=["127.0.0.1"])
    assert narrowed.status_code == 200, narrowed.text
    assert narrowed.json()["limits"]["daily_usd"] == "100"
    widenings: list[dict[str, Any]] = [
        {"permissions": ["read", "trade"]},
        {"limits": {"daily_usd": "101"}},
        {"limits": {"daily_usd": None}},
        {"ip_allowlist": []},
        {"ip_allowlist": ["198.51.100.1"]},
        {"label": "new", "limits": {"daily_usd": "1", "daily_orders": 3_000}},
    ]
    for wider in widenings:
        refused = await ada.change(key, **wider)
        assert code_of(refused) == "totp_required", wider
        assert "widening" in refused.json()["detail"]
    assert (await ada.ask("GET", f"keys/{key}")).json() == narrowed.json()
    code = service.totp_code()
    both = await ada.change(key, permissions=["read", "trade"], limits={"daily_usd": "50"}, totp_code=code)
    assert both.status_code == 200, both.text
    assert (await signed(service, made)).json()["key"]["limits"]["daily_usd"] == "50"
    assert [act for act, _ in await acts(service)].count("key.change") == 2


async def test_a_narrowed_key_is_refused_at_its_next_request(service: Api, ada: Person) -> None:
    made = await ada.active()
    assert (await signed(service, made)).status_code == 200
    await ada.change(made["key"]["key"], ip_allowlist=["198.51.100.1"])
    assert code_of(await signed(service, made)) == "ip_not_allowed"


async def test_what_rests_under_a_key_is_cancelled_when_it_may_not_trade_any_more(service: Api, ada: Person) -> None:
    made = await ada.active(permissions=["read", "trade"])
    kept = await ada.active(permissions=["read", "trade"], label="kept")

    def rest(c: Connection, key_id: str, number: int) -> Rests:
        key = keys.load_key(c, key_id, master=service.services.master)
        assert key is not None
        wallet = wallets.get_wallet(c, key.wallet_id, master=service.services.master)
        assert wallet is not None
        owner = Owner(account_id=key.account_id, wallet_id=key.wallet_id, address=wallet.address)
        return seed_rest(c, number=number, of=(owner, key_id))

    db = service.services.db
    mine = await db.run(lambda c: rest(c, made["key"]["key"], 1))
    others = await db.run(lambda c: rest(c, kept["key"]["key"], 2))
    await ada.change(made["key"]["key"], limits={"daily_usd": "1"})
    assert (await db.read(lambda c: order_now(c, mine))).is_resting
    assert (await ada.change(made["key"]["key"], permissions=["read"])).status_code == 200
    ended = await db.read(lambda c: order_now(c, mine))
    assert (ended.state, ended.reason) == (OrderState.CANCELED, "permission_taken")
    assert (await db.read(lambda c: order_now(c, others))).is_resting
    assert (await ada.ask("DELETE", f"keys/{kept['key']['key']}")).json()["cancelled"] == 1
    assert (await db.read(lambda c: order_now(c, others))).reason == "key_revoked"


async def test_a_key_that_gets_trade_gets_the_usual_limits_that_nobody_set(service: Api, ada: Person) -> None:
    made = await ada.active()
    given = {"permissions": ["read", "trade"], "limits": {"daily_orders": 5}, "totp_code": service.totp_code()}
    changed = (await ada.change(made["key"]["key"], **given)).json()
    assert changed["limits"]["daily_orders"] == 5
    assert changed["limits"]["daily_usd"] == "100000"
    assert set(changed["limits"]["daily_gas"]) == {"ethereum", "polygon"}


async def test_a_code_that_a_narrowing_does_not_need_is_no_guess_and_stays_unused(service: Api, ada: Person) -> None:
    made = await ada.active(limits={"chains": ["ethereum"]})
    key, code = made["key"]["key"], service.totp_code()
    for _ in range(8):
        assert (await ada.change(key, label="bot", totp_code=code)).status_code == 200
    assert (await ada.change(key, limits={"chains": None}, totp_code=code)).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"expires_ms": 2**53 - 1}, "invalid_key"),
        ({"expires_ms": 0}, "invalid_key"),
        ({"expires_ms": 2**63}, "invalid_request"),
        ({"ip_allowlist": ["203.0.113.7/24"]}, "invalid_key"),
        ({"ip_allowlist": ["::ffff:203.0.113.7"]}, "invalid_key"),
        ({"ip_allowlist": ["fe80::1%eth0"]}, "invalid_key"),
        ({"limits": {"daily_gas": {"ethereum": "1", "eth": "2"}}}, "invalid_key"),
        ({"limits": {"daily_usd": "-1"}}, "invalid_key"),
        ({"limits": {"chains": []}}, "invalid_key"),
        ({"limits": {"nothing": "1"}}, "invalid_request"),
        ({"label": " bot "}, "invalid_key"),
    ],
)
async def test_what_would_be_no_safe_key_is_refused_and_not_stored(
    service: Api, ada: Person, wrong: dict[str, Any], code: str
) -> None:
    body = {"label": "bot", "permissions": ["read"], **wrong}
    assert code_of(await ada.ask("POST", "keys", body)) == code
    kept = await ada.make(label="kept")
    change = await ada.change(kept["key"]["key"], **wrong, totp_code=service.totp_code())
    assert code_of(change) == code
    assert (await ada.ask("GET", f"keys/{kept['key']['key']}")).json() == kept["key"]


async def test_an_account_has_a_bound_of_keys_that_have_not_ended(
    service: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_LIVE", 5)
    live = len((await ada.ask("GET", "keys")).json()["keys"])
    made = [await ada.make(label=f"k{number}") for number in range(5 - live)]
    one_more = {"label": "more", "permissions": ["read"]}
    assert code_of(await ada.ask("POST", "keys", one_more)) == "too_many_keys"
    await ada.ask("DELETE", f"keys/{made[0]['key']['key']}")
    assert (await ada.ask("POST", "keys", one_more)).status_code == 201


async def test_a_change_of_nothing_or_to_null_is_refused(service: Api, ada: Person) -> None:
    made = await ada.make()
    for body in ({}, {"totp_code": "123456"}, {"label": None}, {"permissions": None}, {"limits": None}):
        assert code_of(await ada.change(made["key"]["key"], **body)) == "invalid_parameters"


async def test_rotating_overlaps_and_then_the_old_key_ends(service: Api, ada: Person) -> None:
    old = await ada.active(permissions=["read", "trade"], limits={"daily_usd": "7"})
    answer = await ada.ask("POST", f"keys/{old['key']['key']}/rotate", {"overlap_hours": 2})
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert (new["key"]["label"], new["key"]["rotates"]) == ("bot-2", old["key"]["key"])
    same = ("permissions", "limits", "ip_allowlist", "wallet", "algorithm")
    assert {name: new["key"][name] for name in same} == {name: old["key"][name] for name in same}
    assert new["secret"] != old["secret"]
    service.clock.advance_ms(6 * 3_600_000)
    assert (await signed(service, old)).status_code == 200
    assert (await ada.activate(new["key"]["key"])).status_code == 200
    assert (await signed(service, old)).status_code == 200
    assert (await signed(service, new)).status_code == 200
    service.clock.advance_ms(2 * 3_600_000)
    assert code_of(await signed(service, old)) == "key_expired"
    assert (await signed(service, new)).status_code == 200
    assert code_of(await ada.ask("POST", f"keys/{old['key']['key']}/rotate", {})) == "key_ended"


async def test_rotating_prolongs_no_key_that_ends_before_the_overlap(service: Api, ada: Person) -> None:
    end_ms = service.clock.now_ms() + 3_600_000
    old = await ada.active(expires_ms=end_ms)
    new = (await ada.ask("POST", f"keys/{old['key']['key']}/rotate", {"overlap_hours": 24})).json()
    await ada.activate(new["key"]["key"])
    assert (await ada.ask("GET", f"keys/{old['key']['key']}")).json()["expires_ms"] == end_ms


async def test_an_operators_withdraw_key_keeps_its_own_destinations_when_it_is_rotated(
    service: Api, ada: Person
) -> None:
    old = service.keys["withdraw"].key
    new_end = service.clock.now_ms() + DAY_MS
    service.clock.advance_ms(-DAY_MS)
    ada.token = await service.session()
    rotated = await ada.ask("POST", f"keys/{old.id}/rotate", {"expires_ms": new_end})
    assert rotated.status_code == 201, rotated.text
    shown = (await ada.ask("GET", f"keys/{old.id}")).json()
    assert rotated.json()["key"]["destinations"] == shown["destinations"] != []


async def test_an_ed25519_key_is_made_and_rotated_with_the_public_half_only(service: Api, ada: Person) -> None:
    made = await ada.make(algorithm="ed25519", public_key=PUBLIC)
    assert made["secret"] is None
    await ada.activate(made["key"]["key"])
    path = f"keys/{made['key']['key']}/rotate"
    assert code_of(await ada.ask("POST", path, {})) == "invalid_key"
    assert code_of(await ada.ask("POST", path, {"public_key": PUBLIC})) == "invalid_key"
    weak = {"label": "weak", "permissions": ["read"], "algorithm": "ed25519", "public_key": "00" * 32}
    assert code_of(await ada.ask("POST", "keys", weak)) == "invalid_key"


async def test_a_revoked_key_is_refused_at_once_and_for_good(service: Api, ada: Person) -> None:
    made = await ada.active()
    key = made["key"]["key"]
    answer = await ada.ask("DELETE", f"keys/{key}")
    assert answer.json()["key"]["state"] == "revoked"
    assert code_of(await signed(service, made)) == "key_revoked"
    assert (await ada.ask("DELETE", f"keys/{key}")).json()["key"] == answer.json()["key"]
    assert code_of(await ada.change(key, label="other")) == "key_ended"
    assert code_of(await ada.activate(key)) == "key_not_waiting"
    assert [act for act, _ in await acts(service)].count("key.revoke") == 1


async def test_a_key_without_networks_ends_when_it_is_not_used_and_one_with_them_does_not(
    service: Api, ada: Person
) -> None:
    open_key = await ada.active(label="open")
    held = await ada.active(label="held", ip_allowlist=["127.0.0.1"])
    service.clock.advance_ms(29 * DAY_MS)
    assert (await signed(service, open_key)).status_code == 200
    await service.services.key_uses.flush(service.services.db, service.services.master)
    service.clock.advance_ms(29 * DAY_MS)
    assert (await signed(service, open_key)).status_code == 200
    await service.services.key_uses.flush(service.services.db, service.services.master)
    service.clock.advance_ms(30 * DAY_MS)
    refused = await signed(service, open_key)
    assert code_of(refused) == "key_expired"
    assert "not used" in refused.json()["detail"]
    assert (await signed(service, held)).status_code == 200


async def test_a_wrong_signature_keeps_no_key_alive_and_uses_are_written_once_an_hour(
    service: Api, ada: Person
) -> None:
    made = await ada.active()
    key_id, db, master = made["key"]["key"], service.services.db, service.services.master

    async def last_used() -> int | None:
        await service.services.key_uses.flush(db, master)
        key = await db.read(lambda c: keys.load_key(c, key_id, master=master))
        assert key is not None
        return key.last_used_ms

    first = await last_used()
    service.clock.advance_ms(WRITE_EVERY_MS)
    await signed(service, made, secret="0" * 64)
    assert await last_used() == first
    await signed(service, made)
    second = await last_used()
    assert second == service.clock.now_ms()
    service.clock.advance_ms(WRITE_EVERY_MS - 1)
    await signed(service, made)
    assert await last_used() == second


async def test_traders_make_and_end_their_own_keys_without_withdraw_and_viewers_see(service: Api, ada: Person) -> None:
    trader = await person(service, "tim", Role.TRADER)
    viewer = await person(service, "vera", Role.VIEWER)
    adas = await ada.make(label="adas")
    own = await trader.make(label="tims", permissions=["read", "trade"])
    payer = {"label": "p", "permissions": ["withdraw"], "ip_allowlist": ["127.0.0.1"], "expires_ms": 2**52}
    assert code_of(await trader.ask("POST", "keys", payer)) == "role_denied"
    assert code_of(await viewer.ask("POST", "keys", {"label": "v", "permissions": ["read"]})) == "role_denied"
    listed = (await viewer.ask("GET", "keys")).json()["keys"]
    assert {"adas", "tims"} <= {key["label"] for key in listed}
    for path, method, body in (
        ("", "PATCH", {"label": "x"}),
        ("", "DELETE", None),
        ("/activate", "POST", {"totp_code": "123456"}),
        ("/rotate", "POST", {}),
    ):
        path = f"keys/{adas['key']['key']}{path}"
        assert code_of(await trader.ask(method, path, body)) == "role_denied"
        assert code_of(await viewer.ask(method, path, body)) == "role_denied"
    changed = await trader.change(own["key"]["key"], permissions=["withdraw"])
    assert code_of(changed) == "role_denied"
    assert (await trader.ask("DELETE", f"keys/{own['key']['key']}")).status_code == 200
    assert (await ada.ask("DELETE", f"keys/{adas['key']['key']}")).status_code == 200


async def test_keys_of_another_account_are_answered_as_if_they_did_not_exist(service: Api, ada: Person) -> None:
    made = await ada.make()
    now_ms, master = service.clock.now_ms(), service.services.master

    def stranger(c: Connection) -> str:
        people.ensure_account(c, "eve", owner="eve", master=master, now_ms=now_ms)
        user = users.user_named(c, "eve")
        assert user is not None
        users.make_credential(c, user, password_hash="none", master=master, now_ms=now_ms)
        lifetimes = sessions.Lifetimes(absolute_ms=DAY_MS, idle_ms=DAY_MS)
        return sessions.create(
            c, new_id(service.clock), user_id=user.id, carrier=sessions.Carrier.BEARER, lifetimes=lifetimes,
            client_ip=CLIENT[0], agent="", master=master, now_ms=now_ms,
        )[1]  # fmt: skip

    eve = Person(service, await service.services.db.run(stranger))
    unknown = "ck_" + "0" * 16
    for path, method, body in (
        ("", "GET", None),
        ("", "PATCH", {"label": "x"}),
        ("", "DELETE", None),
        ("/activate", "POST", {"totp_code": "123456"}),
        ("/rotate", "POST", {}),
    ):
        there = await eve.ask(method, f"keys/{made['key']['key']}{path}", body)
        nowhere = await eve.ask(method, f"keys/{unknown}{path}", body)
        assert code_of(there) == code_of(nowhere) == "key_not_found"
        assert there.json()["detail"] == nowhere.json()["detail"]
    assert (await eve.ask("GET", "keys")).json() == {"keys": [], "unusable": []}
    assert code_of(await eve.ask("GET", "keys?account=main")) == "account_not_found"
    assert code_of(await eve.ask("POST", "keys", {"label": "k", "permissions": ["read"]})) == "wallet_not_found"


async def test_a_key_says_what_it_may_do_and_what_its_restrictions_would_say(service: Api, ada: Person) -> None:
    limits = {"chains": ["ethereum"], "markets": ["ethereum:ETHUSDC"], "max_order_usd": "500", "daily_usd": "900"}
    made = await ada.active(permissions=["trade"], limits=limits)
    own = (await signed(service, made)).json()
    assert own["key"]["permissions"] == ["trade"]
    assert {"limit": "daily_usd", "of": None, "allowed": "900", "used": "0", "left": "900"} in own["today"]
    assert own["resets_ms"] % DAY_MS == 0

    async def checked(**body: Any) -> dict[str, Any]:
        answer = await signed(service, made, "key/check", body=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    order = {"kind": "order", "chain": "ethereum", "market": "ETHUSDC", "usd": "500"}
    assert await checked(**order) == {"allowed": True, "denials": []}
    wrong = await checked(**{**order, "market": "WBTCUSDC", "usd": "901"})
    codes = [denied["code"] for denied in wrong["denials"]]
    assert codes == ["key_restricted", "key_limit_reached", "key_limit_reached"]
    payment = {"chain": "ethereum", "asset": "USDC", "amount": "1", "usd": "1", "destination": address_of(7)}
    refused = await checked(kind="withdrawal", **payment)
    assert {denied["code"] for denied in refused["denials"]} == {"permission_denied", "destination_not_allowed"}
    assert (await checked(kind="read"))["denials"][0]["code"] == "permission_denied"
    sold = {**order, "asset": "USDC", "amount": "500"}
    assert (await checked(**sold))["allowed"]
    for bad in (
        {"kind": "order"},
        {"kind": "read", "usd": "1"},
        {"kind": "read", "gas": "0.01"},
        {**order, "asset": "USDC"},
        {**order, "amount": "1"},
        {**sold, "destination": address_of(7)},
        {**sold, "asset": "WBTC"},
    ):
        assert code_of(await signed(service, made, "key/check", body=bad)) == "invalid_parameters", bad


async def test_a_limit_on_what_is_sold_is_shown_and_asked_about_by_asset(service: Api, ada: Person) -> None:
    limits = {"daily_sold": {"ethereum:ETH": "2", "ethereum:USDC": "7000"}}
    made = await ada.active(permissions=["trade"], limits=limits)
    assert made["key"]["limits"]["daily_sold"] == limits["daily_sold"]
    cost = Cost(kind=Kind.ORDER, chain_id=ETHEREUM, amounts={ETH: 15 * 10**17}, usd=1, gas_wei=1, used={})

    def trades(c: Connection) -> None:
        key = keys.load_key(c, made["key"]["key"], master=service.services.master)
        assert key is not None
        budgets.charge(c, key.id, caveats=limits_of(key), cost=cost, now_ms=service.clock.now_ms())

    await service.services.db.run(trades)
    today = (await signed(service, made)).json()["today"]
    assert {"limit": "daily_sold", "of": "ethereum:ETH", "allowed": "2", "used": "1.5", "left": "0.5"} in today
    assert {"limit": "daily_sold", "of": "ethereum:USDC", "allowed": "7000", "used": "0", "left": "7000"} in today

    order = {"kind": "order", "chain": "ethereum", "market": "ETHUSDC", "usd": "1"}
    unsaid = await signed(service, made, "key/check", body=order)
    assert code_of(unsaid) == "invalid_parameters"
    assert "what a day's orders sell" in unsaid.json()["detail"]
    for market, asset, amount, allowed in (
        ("ETHUSDC", "ETH", "0.5", True),
        ("ETHUSDC", "ETH", "0.51", False),
        ("ETHUSDC", "USDC", "7000", True),
        ("WETHUSDC", "WETH", "0.5", True),
        ("WETHUSDC", "WETH", "0.51", False),
    ):
        body = {**order, "market": market, "asset": asset, "amount": amount}
        answer = await signed(service, made, "key/check", body=body)
        assert answer.json()["allowed"] is allowed, (body, answer.text)
    # Of a market with neither of them nothing has to be said.
    assert (await signed(service, made, "key/check", body={**order, "market": "WBTCUSDT"})).json()["allowed"]


async def test_a_limit_on_what_is_withdrawn_counts_the_wrapped_form_as_the_native_asset(
    service: Api, ada: Person
) -> None:
    body = {
        "permissions": ["trade", "withdraw"],
        "ip_allowlist": ["127.0.0.1"],
        "expires_ms": service.clock.now_ms() + 90 * DAY_MS,
    }
    made = await ada.active(**body, limits={"daily_withdrawn": {"ethereum:WETH": "2"}})
    assert made["key"]["limits"]["daily_withdrawn"] == {"ethereum:ETH": "2"}
    both = {"daily_withdrawn": {"ethereum:WETH": "2", "ethereum:ETH": "2"}}
    refused = await ada.ask("POST", "keys", body | {"label": "both", "limits": both})
    assert code_of(refused) == "invalid_key", refused.text
    asked = {"kind": "withdrawal", "chain": "ethereum", "destination": address_of(7), "usd": "1"}
    for asset, amount, limited in (("WETH", "2", False), ("WETH", "2.1", True), ("ETH", "2.1", True)):
        answer = await signed(service, made, "key/check", body=asked | {"asset": asset, "amount": amount})
        codes = {one["code"] for one in answer.json()["denials"]}
        assert ("key_limit_reached" in codes) is limited, answer.text


async def test_a_withdraw_key_of_a_session_reaches_the_cooled_address_book_and_nothing_else(
    service: Api, ada: Person
) -> None:
    now_ms, master = service.clock.now_ms(), service.services.master
    made = await ada.active(
        label="payer", permissions=["withdraw"], ip_allowlist=["127.0.0.1"], expires_ms=now_ms + 90 * DAY_MS
    )
    book = address_of(7)

    def enter(c: Connection) -> None:
        account = people.account_by_name(c, "main")
        assert account is not None
        entry = NewEntry(
            account_id=account.id,
            chain_id=ChainId(1),
            address=book,
            name="exchange",
            is_contract=False,
            in_force_ms=now_ms + DAY_MS,
            added_by=None,
            created_ms=now_ms,
        )
        insert_entry(c, entry, master=master)

    await service.services.db.run(enter)
    payment = {"kind": "withdrawal", "chain": "ethereum", "asset": "USDC", "amount": "1", "usd": "1"}

    async def codes(to: str, **more: str) -> list[str]:
        answer = await signed(service, made, "key/check", body={**payment, "destination": to, **more})
        return [denied["code"] for denied in answer.json()["denials"]]

    assert await codes(book) == ["destination_not_allowed"]
    service.clock.advance_ms(DAY_MS)
    assert await codes(book) == []
    assert await codes(address_of(8)) == ["destination_not_allowed"]
    assert await codes(book, chain="polygon") == ["destination_not_allowed"]
    assert await codes(book, client_ip="203.0.113.7") == ["ip_not_allowed"]


async def test_the_operators_keys_work_at_once_as_before(service: Api) -> None:
    made: Created = service.keys["read"]
    assert made.key.lapses_ms is None
    answer = await service.ask("GET", "/v1/key", key="read")
    assert (answer.json()["key"]["state"], answer.json()["key"]["made_by"]) == ("active", None)


async def test_the_audit_log_says_what_a_key_may_do_after_each_change_and_never_its_secret(
    service: Api, ada: Person
) -> None:
    made = await ada.active(permissions=["trade"], limits={"daily_usd": "500", "markets": ["ethereum:ETHUSDC"]})
    await ada.change(made["key"]["key"], limits={"daily_usd": "400"})

    def read(c: Connection) -> list[str]:
        t = audit_entries
        return list(c.execute(select(t.c.details).where(t.c.act.like("key.%")).order_by(t.c.seq)).scalars())

    told = await service.services.db.read(read)
    assert ["daily_usd=500" in told[0], "daily_usd=500" in told[1], "daily_usd=400" in told[2]] == [True] * 3
    assert "markets=ethereum:ETHUSDC" in told[2]
    assert "limits.daily_usd" in told[2]
    assert made["secret"] not in "".join(told)


async def test_the_chain_of_key_events_is_whole(service: Api, ada: Person) -> None:
    made = await ada.active()
    await ada.change(made["key"]["key"], label="renamed")
    await ada.ask("POST", f"keys/{made['key']['key']}/rotate", {})
    await ada.ask("DELETE", f"keys/{made['key']['key']}")
    assert [act for act, _ in await acts(service)] == [
        "key.create",
        "key.activate",
        "key.change",
        "key.rotate",
        "key.revoke",
    ]
    assert (await audit_acts.verify(service.services, Verify()))["broken"] is None
