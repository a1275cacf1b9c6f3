"""A contract that a key may call is a way out: what is added in a session cools as an address of the book does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from service.accounts import joining, people
from service.accounts.people import Role
from service.addresses.cooling import DEFAULT_MS
from service.auth import keys
from service.auth.callers import Caller
from service.auth.keymemory import WalletRef
from service.auth.restrictions import AllowedCall, Restrictions
from service.build import ChainRuntime, Services
from service.db.engine import Database
from service.errors import ApiError
from service.transactions.model import TransactionKind
from service.transactions.placement import check_allowed
from tests.clock import FakeClock
from tests.service.approvals.scene import Scene, scene
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETHEREUM, NOW_MS, address_of
from tests.service.trading_seed import ASSETS, DEPLOYMENTS
from tests.service.transactions.seed import MASTER, seed_authority, terms_of

CALL = "ethereum:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed:deposit(uint256)"
OTHER = "ethereum:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed:stake()"


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def make(at: Scene, *calls: str, label: str = "staker") -> str:
    body = {
        "label": label,
        "permissions": ["read", "withdraw"],
        "ip_allowlist": ["127.0.0.1/32"],
        "expires_ms": at.service.clock.now_ms() + 30 * DAY_MS,
        "limits": {"calls": list(calls)},
    }
    made = await at.ask("POST", "/v1/keys", body, by="ann")
    assert made.status_code == 201, made.text
    return str(made.json()["key"]["key"])


async def activate(at: Scene, key_id: str) -> dict[str, Any]:
    done = await at.ask("POST", f"/v1/keys/{key_id}/activate", {"totp_code": at.code("ann")}, by="ann")
    assert done.status_code == 200, done.text
    return dict(done.json())


async def change(at: Scene, key_id: str, *calls: str) -> dict[str, Any]:
    body = {"limits": {"calls": list(calls)}, "totp_code": at.code("ann")}
    done = await at.ask("PATCH", f"/v1/keys/{key_id}", body, by="ann")
    assert done.status_code == 200, done.text
    return dict(done.json())


async def test_the_calls_of_a_key_cool_from_its_activation_and_not_from_its_making(at: Scene) -> None:
    """Making needs no code: the time to notice begins with the code."""
    key_id = await make(at, CALL)
    at.service.clock.advance_ms(2 * DAY_MS)
    active = await activate(at, key_id)
    assert active["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_a_key_that_calls_nothing_has_nothing_to_wait_for(at: Scene) -> None:
    assert (await activate(at, await make(at)))["calls_from_ms"] is None


async def test_one_more_call_cools_again_and_one_less_does_not(at: Scene) -> None:
    key_id = await make(at, CALL)
    first = await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    wider = await change(at, key_id, CALL, OTHER)
    assert wider["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS > first["calls_from_ms"]
    narrower = await change(at, key_id, OTHER)
    assert narrower["calls_from_ms"] == wider["calls_from_ms"]
    higher = await change(at, key_id, OTHER + "=0.5")
    assert higher["calls_from_ms"] > wider["calls_from_ms"]


async def test_the_accounts_own_cooling_time_counts(at: Scene) -> None:
    longer = {"cooling_hours": 48, "totp_code": at.code("ann")}
    assert (await at.ask("PUT", "/v1/address-cooling", longer, by="ann")).status_code == 200
    active = await activate(at, await make(at, CALL))
    assert active["calls_from_ms"] == at.service.clock.now_ms() + 2 * DAY_MS


async def test_a_successor_goes_on_where_the_key_stood_and_waits_for_what_it_gets_beyond(at: Scene) -> None:
    key_id = await make(at, CALL)
    active = await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    made = (await at.ask("POST", f"/v1/keys/{key_id}/rotate", {}, by="ann")).json()["key"]["key"]
    assert (await activate(at, made))["calls_from_ms"] == active["calls_from_ms"]
    again = (await at.ask("POST", f"/v1/keys/{made}/rotate", {}, by="ann")).json()["key"]["key"]
    wider = await change(at, again, CALL, OTHER)
    assert wider["calls_from_ms"] > at.service.clock.now_ms()
    # As a key that is made: from its activation.
    at.service.clock.advance_ms(DAY_MS)
    assert (await activate(at, again))["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_a_call_is_refused_until_it_has_cooled(sqlite_db: Database) -> None:
    clock = FakeClock(now_ms=NOW_MS)
    services = cast("Services", SimpleNamespace(master=MASTER, clock=clock))
    runtime = cast("ChainRuntime", SimpleNamespace(assets=ASSETS, deployments=DEPLOYMENTS))
    owner, key_id = await sqlite_db.run(seed_authority)
    loaded = await sqlite_db.read(lambda c: keys.load_key(c, key_id, master=MASTER))
    assert loaded is not None
    caller = Caller(
        key=replace(loaded, calls_from_ms=NOW_MS + 1_000),
        wallet=WalletRef(id=owner.wallet_id, address=owner.address, label="main"),
        client_ip=ip_address("127.0.0.1"),
        nonce="n",
        timestamp_ms=NOW_MS,
    )

    def ask(kind: TransactionKind) -> Any:
        terms = terms_of(owner, key_id, kind)
        return sqlite_db.read(lambda c: check_allowed(c, services, runtime, caller=caller, terms=terms))

    with pytest.raises(ApiError) as refused:
        await ask(TransactionKind.CONTRACT)
    assert refused.value.code == "call_cooling"
    # A wrap goes nowhere.
    await ask(TransactionKind.WRAP)
    clock.advance_ms(1_000)
    await ask(TransactionKind.CONTRACT)


async def test_calls_that_began_to_cool_after_a_request_was_let_in_stop_it(sqlite_db: Database) -> None:
    _, key_id = await sqlite_db.run(seed_authority)
    loaded = await sqlite_db.read(lambda c: keys.load_key(c, key_id, master=MASTER))
    assert loaded is not None

    def widen(c: Connection) -> None:
        now = NOW_MS
        keys.change_key(
            c, loaded, label="bot", rights=loaded.rights, calls_from_ms=now + 1, master=MASTER, now_ms=now
        )  # fmt: skip
        keys.refuse_if_changed(c, loaded)

    with pytest.raises(ApiError) as refused:
        await sqlite_db.run(widen)
    assert refused.value.code == "try_again"


async def successor(at: Scene, key_id: str, *, by: str) -> str:
    made = await at.ask("POST", f"/v1/keys/{key_id}/rotate", {}, by=by)
    assert made.status_code == 201, made.text
    return str(made.json()["key"]["key"])


async def test_a_successor_that_somebody_else_made_cools_from_its_activation(at: Scene) -> None:
    """Who has the secret says what a contract is called with: another receiver is another way out."""
    key_id = await make(at, CALL)
    await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    for old in (await hosts(at), key_id):
        made = await successor(at, old, by="ben")
        at.service.clock.advance_ms(DAY_MS)
        code = {"totp_code": at.code("ben")}
        active = (await at.ask("POST", f"/v1/keys/{made}/activate", code, by="ben")).json()
        assert active["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_a_successor_cools_where_its_maker_is_an_owner_anew(at: Scene) -> None:
    key_id = await make(at, CALL)
    await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)

    def anew(c: Connection) -> None:
        account, ann, now_ms = at.account_id, at.user_ids["ann"], at.service.clock.now_ms()
        joining.remove(c, account, user_id=ann, master=at.master, now_ms=now_ms)
        people.add_member(c, ann, account_id=account, role=Role.OWNER, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(anew)
    active = await activate(at, await successor(at, key_id, by="ann"))
    assert active["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def rotated_when_cooled(at: Scene) -> tuple[str, str]:
    """A key of Ann's whose calls have cooled, and its successor that waits."""
    key_id = await make(at, CALL, OTHER)
    await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    return key_id, await successor(at, key_id, by="ann")


@pytest.mark.parametrize("body", [{"limits": {"calls": [CALL]}}, {"permissions": ["read"]}, {"ip_allowlist": []}])
async def test_a_successor_gives_nothing_back_that_was_taken_from_its_key_meanwhile(
    at: Scene, body: dict[str, Any]
) -> None:
    key_id, waits = await rotated_when_cooled(at)
    if body == {"ip_allowlist": []}:
        # Fewer networks than the successor has.
        await patch(at, waits, {"ip_allowlist": ["127.0.0.1/32", "198.51.100.6/32"]})
        at.service.clock.advance_ms(2 * DAY_MS)
    else:
        done = await at.ask("PATCH", f"/v1/keys/{key_id}", body, by="ann")
        assert done.status_code == 200, done.text
    assert (await activate(at, waits))["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_the_successor_of_a_key_that_was_revoked_cools_anew(at: Scene) -> None:
    key_id, waits = await rotated_when_cooled(at)
    assert (await at.ask("DELETE", f"/v1/keys/{key_id}", by="ann")).status_code == 200
    assert (await activate(at, waits))["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_the_successor_of_a_key_that_expired_while_it_waited_cools_anew(at: Scene) -> None:
    key_id, waits = await rotated_when_cooled(at)
    body = {"expires_ms": at.service.clock.now_ms() + 3_600_000}
    assert (await at.ask("PATCH", f"/v1/keys/{key_id}", body, by="ann")).status_code == 200
    at.service.clock.advance_ms(2 * 3_600_000)
    assert (await activate(at, waits))["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_a_successor_calls_no_sooner_than_its_key_whose_calls_began_to_cool_meanwhile(at: Scene) -> None:
    """One call less and again as before: the successor has the rights that its key has, and waits as long as it."""
    key_id, waits = await rotated_when_cooled(at)
    await change(at, key_id, CALL)
    wider = await change(at, key_id, CALL, OTHER)
    assert (await activate(at, waits))["calls_from_ms"] == wider["calls_from_ms"] > at.service.clock.now_ms()


async def test_rotating_again_and_again_neither_shortens_nor_restarts_what_cools(at: Scene) -> None:
    key_id = await make(at, CALL)
    first = await activate(at, key_id)
    for _ in range(3):
        at.service.clock.advance_ms(3_600_000)
        key_id = await successor(at, key_id, by="ann")
        assert (await activate(at, key_id))["calls_from_ms"] == first["calls_from_ms"] > at.service.clock.now_ms()


async def hosts(at: Scene) -> str:
    """A key that the operator made, which calls at once."""
    call = AllowedCall(chain_id=ETHEREUM, contract=address_of(77), selector="0xb6b55f25", max_value_wei=0)
    return await at.key("hosts", made_by=None, restrictions=Restrictions(calls=frozenset({call})))


@pytest.mark.parametrize("waits", [False, True])
async def test_calls_cool_anew_where_a_key_is_used_from_more_networks(at: Scene, waits: bool) -> None:
    key_id = await make(at, CALL)
    active = await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    changed = await successor(at, key_id, by="ann") if waits else key_id
    narrower = {"limits": {"daily_withdrawals": 1}}
    assert (await patch(at, changed, narrower))["calls_from_ms"] == active["calls_from_ms"]
    wider = await patch(at, changed, {"ip_allowlist": ["127.0.0.1/32", "198.51.100.6/32"]})
    assert wider["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS
    if waits:
        at.service.clock.advance_ms(DAY_MS)
        assert (await activate(at, changed))["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def test_calls_cool_anew_where_a_key_gets_withdraw_again(at: Scene) -> None:
    key_id = await make(at, CALL)
    active = await activate(at, key_id)
    at.service.clock.advance_ms(3 * DAY_MS)
    assert (await patch(at, key_id, {"permissions": ["read"]}))["calls_from_ms"] == active["calls_from_ms"]
    wider = await patch(at, key_id, {"permissions": ["read", "withdraw"]})
    assert wider["calls_from_ms"] == at.service.clock.now_ms() + DEFAULT_MS


async def patch(at: Scene, key_id: str, body: dict[str, Any]) -> dict[str, Any]:
    done = await at.ask("PATCH", f"/v1/keys/{key_id}", body | {"totp_code": at.code("ann")}, by="ann")
    assert done.status_code == 200, done.text
    return dict(done.json())
