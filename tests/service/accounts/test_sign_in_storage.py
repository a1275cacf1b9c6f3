"""What people sign in with, in the database of both kinds: races, copied rows, counters."""

import asyncio
from functools import partial
from ipaddress import ip_address

import pytest
from sqlalchemy import Connection, func, insert, select, update

from service.accounts import invitations, lockout, recovery, sessions, totp, users
from service.accounts.people import User, ensure_account
from service.accounts.sessions import Carrier, Lifetimes, Session
from service.accounts.users import Credential
from service.auth import authority
from service.auth.authority import Tampered
from service.auth.keys import IpAddress
from service.auth.secrets import MasterKey, SealBroken
from service.db.engine import Database
from service.db.models import recovery_codes, sign_in_counters, user_credentials
from service.db.models import sessions as session_rows
from service.errors import ApiError

NOW_MS = 1_767_225_600_000
HERE, THERE = ip_address("192.0.2.1"), ip_address("192.0.2.99")
LIVES = Lifetimes(absolute_ms=24 * 3_600_000, idle_ms=3_600_000)


@pytest.fixture
def master() -> MasterKey:
    return MasterKey()


def make_user(c: Connection, master: MasterKey, name: str = "ada") -> Credential:
    ensure_account(c, name, owner=name, master=master, now_ms=NOW_MS)
    user = users.user_named(c, name)
    assert isinstance(user, User)
    return users.make_credential(c, user, password_hash=f"hash of {name}", master=master, now_ms=NOW_MS)


def make_session(
    c: Connection, master: MasterKey, user_id: int, name: str, now_ms: int = NOW_MS
) -> tuple[Session, str]:
    return sessions.create(
        c,
        name,
        user_id=user_id,
        carrier=Carrier.BEARER,
        lifetimes=LIVES,
        client_ip=str(HERE),
        agent="tests",
        master=master,
        now_ms=now_ms,
    )


def with_totp(c: Connection, master: MasterKey, name: str = "ada") -> tuple[bytes, list[str]]:
    credential = make_user(c, master, name)
    seed = users.begin_totp(c, credential, master=master, now_ms=NOW_MS)
    fresh = users.credential_of(c, credential.user_id, master=master)
    assert fresh is not None
    code = totp.code_at(seed, totp.step_at(NOW_MS))
    codes = users.confirm_totp(c, fresh, code=code, keep="none", master=master, now_ms=NOW_MS)
    return seed, list(codes)


def named(c: Connection, master: MasterKey, name: str = "ada") -> Credential:
    found = users.credential_named(c, name, master=master)
    assert found is not None
    return found


async def at_once(db: Database, *works: object) -> list[object]:
    return await asyncio.gather(*(db.run(work) for work in works), return_exceptions=True)  # type: ignore[arg-type]


async def test_one_code_used_twice_at_once_is_accepted_once(db: Database, master: MasterKey) -> None:
    """F77: TOTP reuse, as a race."""
    seed, _ = await db.run(lambda c: with_totp(c, master))
    later_ms = NOW_MS + 60_000
    code = totp.code_at(seed, totp.step_at(later_ms))

    def use(c: Connection) -> int:
        return users.use_totp(c, named(c, master), code=code, master=master, now_ms=later_ms).user_id

    results = await at_once(db, *[use] * 6)
    assert sum(isinstance(one, int) for one in results) == 1
    assert {one.code for one in results if isinstance(one, ApiError)} == {"credentials_wrong"}


async def test_a_stale_read_of_the_row_uses_no_code(db: Database, master: MasterKey) -> None:
    """F77: the guard itself, without the database's own serialization."""
    seed, _ = await db.run(lambda c: with_totp(c, master))
    later_ms = NOW_MS + 60_000
    code = totp.code_at(seed, totp.step_at(later_ms))
    stale = await db.read(lambda c: named(c, master))
    await db.run(lambda c: users.use_totp(c, stale, code=code, master=master, now_ms=later_ms))
    with pytest.raises(ApiError) as refused:
        await db.run(lambda c: users.use_totp(c, stale, code=code, master=master, now_ms=later_ms))
    assert refused.value.code == "credentials_wrong"


async def test_a_recovery_code_used_twice_at_once_is_accepted_once(db: Database, master: MasterKey) -> None:
    _, codes = await db.run(lambda c: with_totp(c, master))

    def use(c: Connection) -> bool:
        user_id = named(c, master).user_id
        return recovery.use(c, user_id, code=codes[3].upper(), master=master, now_ms=NOW_MS)

    results = await at_once(db, *[use] * 6)
    assert [one for one in results if one is True] == [True]
    assert await db.read(lambda c: recovery.left(c, named(c, master).user_id)) == recovery.COUNT - 1


async def test_of_two_first_users_at_once_one_owns_the_installation(db: Database, master: MasterKey) -> None:
    await at_once(db, *(lambda c, name=name: make_user(c, master, name) for name in ("ada", "bob", "eve")))
    owners = select(func.count()).where(user_credentials.c.owns_installation)
    assert await db.read(lambda c: c.execute(owners).scalar_one()) == 1


async def test_an_invitation_used_twice_at_once_is_accepted_once(db: Database, master: MasterKey) -> None:
    token = await db.run(lambda c: invitations.create(c, None, master=master, now_ms=NOW_MS))

    def use(c: Connection) -> object:
        return invitations.use(c, token, master=master, now_ms=NOW_MS)

    results = await at_once(db, *[use] * 4)
    assert sum(isinstance(one, invitations.Invitation) for one in results) == 1


@pytest.mark.parametrize("change", ["password", "recovery code", "reset"])
async def test_an_authenticator_that_waited_to_be_confirmed_is_forgotten_with_a_change(
    db: Database, master: MasterKey, change: str
) -> None:
    """Whoever had a session may have begun it, and would else put it in use after they were shut out."""

    def work(c: Connection) -> str:
        _, codes = with_totp(c, master)
        seed = users.begin_totp(c, named(c, master), master=master, now_ms=NOW_MS)
        credential = named(c, master)
        match change:
            case "password":
                users.set_password(c, credential, password_hash="new", keep="s", master=master, now_ms=NOW_MS)
            case "recovery code":
                users.use_recovery_code(c, credential, code=codes[0], keep="s", master=master, now_ms=NOW_MS)
            case _:
                users.reset_totp(c, credential, master=master, now_ms=NOW_MS)
        code = totp.code_at(seed, totp.step_at(NOW_MS))
        with pytest.raises(ApiError) as refused:
            users.confirm_totp(c, named(c, master), code=code, keep="s", master=master, now_ms=NOW_MS)
        return refused.value.code

    assert await db.run(work) == "totp_not_begun"


async def test_a_change_ends_the_other_sessions_and_holds_for_a_day(db: Database, master: MasterKey) -> None:
    def work(c: Connection) -> tuple[list[str], Credential]:
        credential = make_user(c, master)
        for name in ("one", "two", "three"):
            make_session(c, master, credential.user_id, name)
        changed = users.set_password(
            c, credential, password_hash="new", keep="two", master=master, now_ms=NOW_MS
        )  # fmt: skip
        listed = sessions.list_of(c, credential.user_id, master=master, now_ms=NOW_MS, idle_ms=LIVES.idle_ms)
        return [one.id for one in listed.intact], changed

    left, changed = await db.run(work)
    assert left == ["two"]
    assert changed.held_until_ms == NOW_MS + 24 * 3_600_000
    with pytest.raises(ApiError) as held:
        changed.check_not_held(changed.held_until_ms - 1)
    assert held.value.code == "held"
    changed.check_not_held(changed.held_until_ms)


async def test_rows_copied_from_another_user_or_edited_grant_nothing(sqlite_db: Database, master: MasterKey) -> None:
    """F79: a swapped password, seed, session or recovery code."""
    db = sqlite_db
    await db.run(lambda c: with_totp(c, master, "ada"))
    await db.run(lambda c: with_totp(c, master, "eve"))
    t = user_credentials
    ada, eve = await db.read(lambda c: (named(c, master, "ada"), named(c, master, "eve")))

    def steal(c: Connection, **values: object) -> None:
        c.execute(update(t).where(t.c.user_id == ada.user_id).values(**values))
        named(c, master)

    for values in (
        {"password_hash": eve.password_hash},
        {"totp_sealed": eve.row["totp_sealed"]},
        {"totp_sealed": None},
        {"held_until_ms": 0},
        {"owns_installation": False},
        {
            column.name: eve.row[column.name]
            for column in t.columns
            if column.name not in ("user_id", "owns_installation")
        },
    ):
        with pytest.raises(Tampered):
            await db.run(partial(steal, **values))

    def forge_session(c: Connection) -> None:
        _, token = make_session(c, master, eve.user_id, "hers")
        c.execute(update(session_rows).values(user_id=ada.user_id))
        sessions.by_token(c, token, master=master)

    with pytest.raises(Tampered):
        await db.run(forge_session)

    def unuse_code(c: Connection) -> None:
        code = recovery.renew(c, ada.user_id, master=master, now_ms=NOW_MS)[0]
        recovery.use(c, ada.user_id, code=code, master=master, now_ms=NOW_MS)
        c.execute(update(recovery_codes).values(used_ms=None))
        recovery.use(c, ada.user_id, code=code, master=master, now_ms=NOW_MS)

    with pytest.raises(Tampered):
        await db.run(unuse_code)


async def test_a_seed_of_another_row_does_not_open_even_with_a_right_mac(
    sqlite_db: Database, master: MasterKey
) -> None:
    """F79: the second lock, the identity that a seed is sealed for."""
    await sqlite_db.run(lambda c: with_totp(c, master, "ada"))
    seed, _ = await sqlite_db.run(lambda c: with_totp(c, master, "eve"))
    t = user_credentials

    def swap(c: Connection) -> None:
        ada, eve = named(c, master, "ada"), named(c, master, "eve")
        row = {column.name: ada.row[column.name] for column in t.columns} | {"totp_sealed": eve.row["totp_sealed"]}
        mac = authority.mac(master, t, row)
        c.execute(update(t).where(t.c.user_id == ada.user_id).values(totp_sealed=row["totp_sealed"], mac=mac))
        code = totp.code_at(seed, totp.step_at(NOW_MS + 60_000))
        users.use_totp(c, named(c, master, "ada"), code=code, master=master, now_ms=NOW_MS + 60_000)

    with pytest.raises(SealBroken):
        await sqlite_db.run(swap)


async def test_a_user_has_so_many_sessions_and_the_least_used_makes_room(
    sqlite_db: Database, master: MasterKey
) -> None:
    def work(c: Connection) -> list[str]:
        user_id = make_user(c, master).user_id
        for number in range(sessions.MAX_A_USER + 2):
            make_session(c, master, user_id, f"s{number:02}", NOW_MS + number)
        listed = sessions.list_of(c, user_id, master=master, now_ms=NOW_MS + 100, idle_ms=LIVES.idle_ms)
        return [one.id for one in listed.intact]

    names = await sqlite_db.run(work)
    assert len(names) == sessions.MAX_A_USER
    assert names[-1] == "s02"


def attempt(c: Connection, master: MasterKey, address: IpAddress = HERE, *, now_ms: int, name: str = "ada") -> object:
    return lockout.begin(c, name, address=address, master=master, now_ms=now_ms)


async def waits(db: Database, master: MasterKey, count: int, address: IpAddress = HERE, name: str = "ada") -> list[int]:
    """Make so many wrong attempts, each as soon as it is let; how many seconds each had to wait."""
    found: list[int] = []
    now_ms = NOW_MS

    async def wait() -> int:
        try:
            await db.run(lambda c: attempt(c, master, address, now_ms=now_ms, name=name))
        except ApiError as locked:
            return locked.retry_after_s or 0
        return 0

    for _ in range(count):
        found.append(await wait())
        now_ms += found[-1] * 1000
        if found[-1]:
            assert await wait() == 0
    return found


async def test_wrong_attempts_from_one_place_wait_twice_as_long_each_time(
    sqlite_db: Database, master: MasterKey
) -> None:
    """F77: brute force."""
    found = await waits(sqlite_db, master, 20)
    assert found[:10] == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16]
    assert max(found) == 15 * 60


async def test_attempts_at_once_get_no_guesses_for_free(db: Database, master: MasterKey) -> None:
    """F77: each is counted before its password is looked at."""
    results = await at_once(db, *[lambda c: attempt(c, master, now_ms=NOW_MS)] * 12)
    assert sum(isinstance(one, lockout.Attempt) for one in results) == lockout.RULES[lockout.Scope.PAIR].free


async def test_an_attacker_elsewhere_does_not_keep_the_owner_out(sqlite_db: Database, master: MasterKey) -> None:
    async def one(address: IpAddress, now_ms: int) -> lockout.Attempt:
        return await sqlite_db.run(
            lambda c: lockout.begin(c, "ada", address=address, master=master, now_ms=now_ms)
        )  # fmt: skip

    good = await one(HERE, NOW_MS)
    await sqlite_db.run(lambda c: lockout.succeed(c, good, now_ms=NOW_MS))
    for number in range(60):
        try:
            await one(ip_address(f"198.51.{number}.7"), NOW_MS + 1)
        except ApiError:
            break
    else:
        pytest.fail("the account is never slowed down")
    with pytest.raises(ApiError):
        await one(THERE, NOW_MS + 2)
    await one(HERE, NOW_MS + 2)


async def test_one_address_that_tries_many_names_is_slowed_down(sqlite_db: Database, master: MasterKey) -> None:
    refused = 0
    for number in range(25):
        try:
            await sqlite_db.run(partial(attempt, master=master, now_ms=NOW_MS, name=f"user{number}"))
        except ApiError:
            refused += 1
    assert refused == 5
    # One IPv6 host has 2^64 addresses: they count as one.
    assert lockout.network_of(ip_address("2001:db8::1")) == lockout.network_of(ip_address("2001:db8::ffff"))


async def test_counters_forget_and_have_no_names_in_them(sqlite_db: Database, master: MasterKey) -> None:
    await waits(sqlite_db, master, 8, name="a password typed as a name")
    rows = await sqlite_db.read(lambda c: c.execute(select(sign_in_counters)).all())
    assert "typed" not in str(rows)
    assert len(rows) == 3
    later_ms = NOW_MS + 2 * lockout.FORGET_MS
    await sqlite_db.run(lambda c: attempt(c, master, THERE, now_ms=later_ms, name="bob"))
    subjects = await sqlite_db.read(lambda c: c.execute(select(sign_in_counters)).all())
    assert len(subjects) == 3


async def test_counters_are_bounded(sqlite_db: Database, master: MasterKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "MAX_ROWS", 30)

    def fill(c: Connection) -> None:
        for number in range(100):
            made = {"scope": "pair", "subject": str(number), "failures": 1, "last_ms": NOW_MS - number}
            c.execute(insert(sign_in_counters), made | {"locked_until_ms": 0, "good_ms": None})
        attempt(c, master, now_ms=NOW_MS)

    await sqlite_db.run(fill)
    count = select(func.count()).select_from(sign_in_counters)
    assert await sqlite_db.read(lambda c: c.execute(count).scalar_one()) <= 30
