"""People over HTTP: registering, signing in, cookies and tokens, authenticators, and every refusal."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import structlog

from service.accounts import invitations, totp
from service.auth.session_caller import COOKIE, CSRF_HEADER
from service.process import UnsafeBind, refuse_unsafe_bind
from tests.service.api import Api, api, code_of

PASSWORD = "correct horse battery staple"
OTHER = "tr0ubadour & three more"
ORIGIN = "http://127.0.0.1"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open") as found:
        yield found


async def post(service: Api, path: str, body: Mapping[str, Any], headers: Mapping[str, str] = {}) -> httpx.Response:
    service.client.cookies.clear()
    given = {"content-type": "application/json", **headers}
    return await service.client.post(f"/v1/auth/{path}", content=orjson.dumps(body), headers=given)


async def get(service: Api, path: str, token: str) -> httpx.Response:
    service.client.cookies.clear()
    return await service.client.get(f"/v1/auth/{path}", headers=bearer(token))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def register(service: Api, name: str = "bob", **more: Any) -> httpx.Response:
    return await post(service, "register", {"name": name, "password": PASSWORD, **more})


async def sign_in(service: Api, name: str = "bob", password: str = PASSWORD, **more: Any) -> httpx.Response:
    return await post(service, "sign-in", {"name": name, "password": password, **more})


async def token_of(service: Api, **more: Any) -> str:
    answer = await sign_in(service, **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


async def enrol(service: Api, token: str) -> tuple[bytes, list[str]]:
    """An authenticator for Bob; its seed and the recovery codes."""
    begun = await post(service, "totp", {"password": PASSWORD}, bearer(token))
    assert begun.status_code == 200, begun.text
    secret = begun.json()["secret"]
    assert secret in begun.json()["otpauth_uri"]
    seed = _seed(secret)
    done = await post(service, "totp/confirm", {"totp": code(service, seed)}, bearer(token))
    assert done.status_code == 200, done.text
    return seed, done.json()["recovery_codes"]


def _seed(secret: str) -> bytes:
    import base64

    return base64.b32decode(secret)


def code(service: Api, seed: bytes) -> str:
    return totp.code_at(seed, totp.step_at(service.clock.now_ms()))


async def test_from_registering_to_signing_out(service: Api) -> None:
    made = await register(service)
    assert made.status_code == 201
    assert made.json()["owns_installation"] is True
    token = await token_of(service)
    me = (await get(service, "me", token)).json()
    assert me["user"]["name"] == "bob"
    assert me["accounts"] == [{"account": "bob", "role": "owner"}]
    assert (me["totp"], me["held_until_ms"], me["csrf_token"]) == (False, None, None)
    assert (await register(service, "eve")).json()["owns_installation"] is False
    out = await post(service, "sign-out", {}, bearer(token))
    assert out.json() == {"ended": True}
    assert code_of(await get(service, "me", token)) == "session_ended"


async def test_who_may_register_is_configured(tmp_path: Path) -> None:
    for rule in ("closed", "invited"):
        (tmp_path / rule).mkdir()
        async with api(tmp_path / rule, registration=rule) as service:
            assert code_of(await register(service)) == "registration_closed"
            db, master, now_ms = service.services.db, service.services.master, service.clock.now_ms()
            token = await db.run(lambda c: invitations.create(c, None, master=master, now_ms=now_ms))  # noqa: B023
            invited = await register(service, invitation=token)
            if rule == "closed":
                assert code_of(invited) == "registration_closed"
                continue
            assert invited.status_code == 201
            assert code_of(await register(service, "eve", invitation=token)) == "invitation_invalid"
            assert code_of(await register(service, "eve", invitation="ci_wrong")) == "invitation_invalid"


async def test_an_invitation_for_a_user_that_exists_sets_its_password_and_nobody_elses(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        db, master, now_ms = service.services.db, service.services.master, service.clock.now_ms()
        assert code_of(await sign_in(service, "ada")) == "credentials_wrong"
        token = await db.run(lambda c: invitations.create(c, 1, master=master, now_ms=now_ms))
        assert code_of(await register(service, "eve", invitation=token)) == "invitation_invalid"
        assert (await register(service, "ada", invitation=token)).json()["owns_installation"] is True
        me = await get(service, "me", await token_of(service, name="ada"))
        assert me.json()["accounts"] == [{"account": "main", "role": "owner"}]
        late = await db.run(lambda c: invitations.create(c, 1, master=master, now_ms=now_ms))
        service.clock.advance_ms(invitations.LIFETIME_MS)
        assert code_of(await register(service, "ada", invitation=late)) == "invitation_invalid"


async def test_names_and_passwords_that_are_refused(service: Api) -> None:
    assert (await register(service)).status_code == 201
    assert code_of(await register(service)) == "name_taken"
    # The owner of `cambist init`, without a password, is nobody's to take; nor is the account's name.
    assert code_of(await register(service, "ada")) == "name_taken"
    assert code_of(await register(service, "main")) == "name_taken"
    for name in ("Bob", "b ob", "b\u043eb", "bob\u202e"):
        assert code_of(await register(service, name)) == "invalid_parameters", name
    weak = await post(service, "register", {"name": "eve", "password": "eve eve eve"})
    assert code_of(weak) == "weak_password"
    assert "eve eve" not in weak.text


async def test_an_unknown_name_and_a_wrong_password_answer_the_same_and_hash_once(service: Api) -> None:
    """F73: same error, same work."""
    await register(service)
    hasher = service.services.passwords
    answers: list[Any] = []
    for name in ("bob", "nobody"):
        before = hasher.hashed
        answer = await sign_in(service, name, OTHER)
        assert hasher.hashed == before + 1
        answers.append({key: value for key, value in answer.json().items() if key != "instance"})
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "credentials_wrong"


async def test_what_no_database_keeps_is_refused_at_the_edge(service: Api) -> None:
    await register(service)
    assert code_of(await sign_in(service, "bob\0")) == "invalid_request"
    token = await token_of(service)
    odd = await service.client.delete(f"/v1/auth/sessions/{'%00' * 36}", headers=bearer(token))
    assert code_of(odd) == "invalid_request"


async def test_guesses_are_locked_out_without_a_hash(service: Api) -> None:
    """F77: brute force; F73: the same for a name that does not exist."""
    await register(service)
    for name in ("bob", "nobody"):
        for _ in range(5):
            assert code_of(await sign_in(service, name, OTHER)) == "credentials_wrong"
        before = service.services.passwords.hashed
        locked = await sign_in(service, name)
        assert (code_of(locked), locked.headers["retry-after"]) == ("sign_in_locked", "1")
        assert service.services.passwords.hashed == before
    service.clock.advance_ms(1_000)
    assert (await sign_in(service)).status_code == 201


async def test_sign_ins_of_one_address_are_few_before_any_hash(tmp_path: Path) -> None:
    async with api(tmp_path, registration="open", sign_in_requests_per_minute=12) as service:
        codes = [code_of(await sign_in(service, f"user{number}")) for number in range(4)]
        assert codes == ["credentials_wrong"] * 2 + ["rate_limited"] * 2
        assert service.services.passwords.hashed == 2


async def test_an_authenticator_is_needed_once_it_is_set_up_and_a_code_works_once(service: Api) -> None:
    """F77: reuse over HTTP."""
    await register(service)
    old, token = await token_of(service), await token_of(service)
    seed, codes = await enrol(service, token)
    assert len(set(codes)) == 10
    assert code_of(await get(service, "me", old)) == "session_ended"
    me = (await get(service, "me", token)).json()
    assert (me["totp"], me["recovery_codes_left"]) == (True, 10)
    assert me["held_until_ms"] == service.clock.now_ms() + 24 * 3_600_000
    assert code_of(await sign_in(service)) == "second_factor_required"
    assert code_of(await sign_in(service, totp=code(service, seed))) == "credentials_wrong"
    service.clock.advance_ms(30_000)
    assert (await sign_in(service, totp=code(service, seed))).status_code == 201
    assert code_of(await sign_in(service, totp=code(service, seed))) == "credentials_wrong"
    assert code_of(await sign_in(service, totp="000000", recovery_code=codes[0])) == "invalid_parameters"


async def test_guessing_codes_with_the_right_password_is_locked_out(service: Api) -> None:
    """F77: brute force of the second factor; asking without a code in between buys nothing."""
    await register(service)
    seed, _ = await enrol(service, await token_of(service))
    wrong = str((int(code(service, seed)) + 1) % 1_000_000).zfill(6)
    codes = [code_of(await sign_in(service, **({} if n % 2 else {"totp": wrong}))) for n in range(6)]
    assert codes[-1] == "sign_in_locked"
    assert codes[:5].count("credentials_wrong") == 3


async def test_a_recovery_code_works_once_ends_the_other_sessions_and_holds(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    _, codes = await enrol(service, token)
    service.clock.advance_ms(10 * 60_000)
    answer = await sign_in(service, recovery_code=codes[0])
    assert answer.json()["held_until_ms"] == service.clock.now_ms() + 24 * 3_600_000
    assert code_of(await get(service, "me", token)) == "session_ended"
    assert code_of(await sign_in(service, recovery_code=codes[0])) == "credentials_wrong"
    new = answer.json()["token"]
    fresh = await post(service, "recovery-codes", {"password": PASSWORD, "recovery_code": codes[1]}, bearer(new))
    assert len(set(fresh.json()["recovery_codes"]) - set(codes)) == 10
    assert code_of(await sign_in(service, recovery_code=codes[2])) == "credentials_wrong"


async def test_another_password_needs_the_old_one_ends_the_other_sessions_and_holds(service: Api) -> None:
    await register(service)
    other, token = await token_of(service), await token_of(service)
    wrong = await post(service, "password", {"password": OTHER, "new_password": OTHER}, bearer(token))
    assert code_of(wrong) == "credentials_wrong"
    weak = await post(service, "password", {"password": PASSWORD, "new_password": "short"}, bearer(token))
    assert code_of(weak) == "weak_password"
    done = await post(service, "password", {"password": PASSWORD, "new_password": OTHER}, bearer(token))
    assert done.json() == {"held_until_ms": service.clock.now_ms() + 24 * 3_600_000}
    assert code_of(await get(service, "me", other)) == "session_ended"
    assert (await get(service, "me", token)).status_code == 200
    assert code_of(await sign_in(service)) == "credentials_wrong"
    assert (await sign_in(service, password=OTHER)).status_code == 201


async def test_an_authenticator_in_use_is_needed_to_set_another_up(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    seed, _ = await enrol(service, token)
    service.clock.advance_ms(60_000)
    for path, more in (("totp", {}), ("password", {"new_password": OTHER}), ("recovery-codes", {})):
        bare = await post(service, path, {"password": PASSWORD, **more}, bearer(token))
        assert code_of(bare) == "second_factor_required", path
    begun = await post(service, "totp", {"password": PASSWORD, "totp": code(service, seed)}, bearer(token))
    # Not in use yet: the old one still is.
    service.clock.advance_ms(30_000)
    assert (await sign_in(service, totp=code(service, seed))).status_code == 201
    wrong = await post(service, "totp/confirm", {"totp": code(service, seed)}, bearer(token))
    assert code_of(wrong) == "credentials_wrong"
    new = _seed(begun.json()["secret"])
    assert (await post(service, "totp/confirm", {"totp": code(service, new)}, bearer(token))).status_code == 200
    service.clock.advance_ms(30_000)
    assert code_of(await sign_in(service, totp=code(service, seed))) == "credentials_wrong"
    assert (await sign_in(service, totp=code(service, new))).status_code == 201


async def test_nothing_is_confirmed_that_was_not_begun(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    assert code_of(await post(service, "totp/confirm", {"totp": "123456"}, bearer(token))) == "totp_not_begun"
    assert code_of(await post(service, "recovery-codes", {"password": PASSWORD}, bearer(token))) == "totp_not_begun"


async def test_sessions_are_listed_and_ended_one_or_all_but_only_ones_own(service: Api) -> None:
    """F80: another user's session answers as if it did not exist. F78: the next use is refused."""
    await register(service)
    await register(service, "eve")
    hers = await token_of(service, name="eve")
    one, two, three = [await token_of(service) for _ in range(3)]
    listed = (await get(service, "sessions", one)).json()["sessions"]
    assert [entry["current"] for entry in listed].count(True) == 1
    assert {entry["client_ip"] for entry in listed} == {"127.0.0.1"}
    assert {entry["agent"] for entry in listed} == {service.client.headers["user-agent"]}
    other = (await get(service, "me", two)).json()["session"]["id"]

    async def end(path: str, token: str) -> httpx.Response:
        return await service.client.delete(f"/v1/auth/{path}", headers=bearer(token))

    foreign = await end(f"sessions/{other}", hers)
    unknown = await end(f"sessions/{'0' * 36}", hers)
    assert code_of(foreign) == code_of(unknown) == "session_not_found"
    assert foreign.json()["detail"] == unknown.json()["detail"]
    assert len((await end(f"sessions/{other}", one)).json()["sessions"]) == 2
    assert code_of(await get(service, "me", two)) == "session_ended"
    assert len((await end("sessions", one)).json()["sessions"]) == 1
    assert code_of(await get(service, "me", three)) == "session_ended"
    assert (await get(service, "me", hers)).status_code == 200


async def test_sessions_end_by_themselves_after_a_day_or_an_hour_unused(service: Api) -> None:
    await register(service)
    used, unused = await token_of(service), await token_of(service)
    for minute in range(0, 24 * 60, 50):
        assert (await get(service, "me", used)).status_code == 200, minute
        service.clock.advance_ms(50 * 60_000)
        if minute == 50:
            assert code_of(await get(service, "me", unused)) == "session_ended"
    assert code_of(await get(service, "me", used)) == "session_ended"


async def test_a_browser_gets_a_cookie_that_no_script_reads(service: Api) -> None:
    await register(service)
    refused = await sign_in(service, cookie=True)
    assert code_of(refused) == "origin_not_allowed"
    answer = await post(
        service, "sign-in", {"name": "bob", "password": PASSWORD, "cookie": True}, {"origin": ORIGIN}
    )  # fmt: skip
    assert answer.json()["token"] is None
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    assert name == COOKIE == "__Host-session"
    parts = {part.strip().lower() for part in attributes.split(";")[1:]}
    assert parts == {"httponly", "max-age=86400", "path=/", "samesite=strict", "secure"}


async def test_a_cookie_changes_state_only_with_its_origin_and_token(service: Api) -> None:
    await register(service)
    answer = await post(
        service, "sign-in", {"name": "bob", "password": PASSWORD, "cookie": True}, {"origin": ORIGIN}
    )  # fmt: skip
    token = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    csrf = answer.json()["csrf_token"]
    cookie = {"cookie": f"other=1; {COOKIE}={token}"}
    me = await service.client.get("/v1/auth/me", headers=cookie)
    assert me.json()["csrf_token"] == csrf
    for headers, refusal in (
        ({}, "origin_not_allowed"),
        ({"origin": "null", CSRF_HEADER: csrf}, "origin_not_allowed"),
        ({"origin": "https://evil.example", CSRF_HEADER: csrf}, "origin_not_allowed"),
        ({"origin": "http://127.0.0.1.evil.example", CSRF_HEADER: csrf}, "origin_not_allowed"),
        ({"origin": ORIGIN}, "csrf_failed"),
        ({"origin": ORIGIN, CSRF_HEADER: "0" * 64}, "csrf_failed"),
    ):
        assert code_of(await post(service, "sign-out", {}, {**cookie, **headers})) == refusal, headers
    out = await post(service, "sign-out", {}, {**cookie, "origin": ORIGIN, CSRF_HEADER: csrf})
    assert out.json() == {"ended": True}
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert code_of(await service.client.get("/v1/auth/me", headers=cookie)) == "session_ended"


async def test_a_page_in_the_clear_on_another_host_is_not_ours(tmp_path: Path) -> None:
    async with api(tmp_path, registration="open", allowed_hosts=("cambist.example", "127.0.0.1")) as service:
        await register(service)
        body = {"name": "bob", "password": PASSWORD, "cookie": True}
        host = {"host": "cambist.example"}
        clear = await post(service, "sign-in", body, {**host, "origin": "http://cambist.example"})
        assert code_of(clear) == "origin_not_allowed"
        sealed = await post(service, "sign-in", body, {**host, "origin": "https://cambist.example"})
        assert sealed.status_code == 201


async def test_one_request_has_one_kind_of_credentials(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    cookie = {"cookie": f"{COOKIE}={token}"}
    signed = service.signed("read", "GET", "/v1/auth/me")
    for path in ("/v1/auth/me", "/v1/chains"):
        for headers in (cookie | bearer(token), cookie | signed, bearer(token) | signed):
            refused = await service.client.get(path, headers=headers)
            assert code_of(refused) == "ambiguous_credentials", (path, sorted(headers))
        twice = await service.client.get(path, headers={"cookie": f"{COOKIE}={token}; {COOKIE}={token}"})
        assert code_of(twice) == "ambiguous_credentials"


async def test_a_token_works_only_where_it_was_given_for(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    as_cookie = await service.client.get("/v1/auth/me", headers={"cookie": f"{COOKIE}={token}"})
    assert code_of(as_cookie) == "session_ended"
    for text in (token[:-1] + ("a" if token[-1] != "a" else "b"), token + "a", "", "cs_"):
        assert code_of(await get(service, "me", text)) == "session_ended", text
    basic = await service.client.get("/v1/auth/me", headers={"authorization": f"Basic {token}"})
    assert code_of(basic) == "session_ended"


async def test_no_secret_is_in_the_database_or_the_log(tmp_path: Path) -> None:
    """F84: password, token, seed, recovery code and invitation, searched for in the files."""
    with structlog.testing.capture_logs() as lines:
        async with api(tmp_path, registration="open") as service:
            await register(service)
            token = await token_of(service)
            seed, codes = await enrol(service, token)
            await sign_in(service, password=OTHER)
            await post(service, "sign-in", {"name": 1, "password": PASSWORD})
    secrets = [PASSWORD, OTHER, token, token.removeprefix("cs_"), totp.secret_text(seed), *codes]
    found = b"".join(path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file())
    assert b"bob" in found
    for secret in [*(text.encode() for text in secrets), seed, *(text.replace("-", "").encode() for text in codes)]:
        assert secret not in found
    assert lines
    assert not [line for line in lines if any(secret in str(line) for secret in secrets)]


def test_a_public_bind_with_open_registration_needs_tls_or_a_trusted_proxy() -> None:
    """With any registration, in fact: no address but loopback is served in the clear."""
    with pytest.raises(UnsafeBind):
        refuse_unsafe_bind("0.0.0.0", tls=None, trusted_proxies=[])
