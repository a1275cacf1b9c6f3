"""The owner invites people on the host."""

from pathlib import Path

import orjson
import pytest
from sqlalchemy import Connection, select

from service.accounts import recovery, users
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.db.models import audit_entries
from tests.service.api import Api, api, code_of

OPERATOR = Operator(name="owner", uid=1000)


async def test_an_invitation_lets_somebody_register_and_an_unknown_user_gets_none(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        made = await perform(service.services, "user.invite", {"user": "ada"}, OPERATOR)
        body = b'{"name": "ada", "password": "correct horse battery staple", "invitation": "%s"}'
        answer = await service.ask("POST", "/v1/auth/register", body=body % made["invitation"].encode())
        assert answer.status_code == 201
        again = await service.ask("POST", "/v1/auth/register", body=body % made["invitation"].encode())
        assert code_of(again) == "invitation_invalid"
        with pytest.raises(ActFailed) as refused:
            await perform(service.services, "user.invite", {"user": "nobody"}, OPERATOR)
        assert refused.value.code == "unknown_user"


async def held(service: Api) -> tuple[bool, int, int]:
    """Whether Ada has an authenticator, until when she is on hold, and how many recovery codes are left."""

    def read(c: Connection) -> tuple[bool, int, int]:
        found = users.credential_named(c, "ada", master=service.services.master)
        assert found is not None
        return found.has_totp, found.held_until_ms, recovery.left(c, found.user_id)

    return await service.services.db.read(read)


async def test_a_reset_takes_authenticator_codes_and_sessions_away_and_holds_for_a_day(tmp_path: Path) -> None:
    async with api(tmp_path, session_hours=48, session_idle_minutes=2880) as service:
        await service.authenticator()
        headers = {"authorization": f"Bearer {await service.session()}"}
        assert (await service.client.get("/v1/auth/me", headers=headers)).json()["recovery_codes_left"] == 10
        now_ms = service.clock.now_ms()
        done = await perform(service.services, "user.reset-totp", {"user": "ada"}, OPERATOR)
        assert done == {"user": "ada", "sessions": 1, "held_until_ms": now_ms + users.HOLD_MS}
        assert code_of(await service.client.get("/v1/auth/me", headers=headers)) == "session_ended"
        assert await held(service) == (False, now_ms + users.HOLD_MS, 0)
        # Nothing of the old authenticator is left to be confirmed or used.
        again = {"authorization": f"Bearer {await service.session()}", "content-type": "application/json"}
        body = orjson.dumps({"totp": service.totp_code()})
        confirmed = await service.client.post("/v1/auth/totp/confirm", headers=again, content=body)
        assert code_of(confirmed) == "totp_not_begun"
        member = orjson.dumps({"user": "x", "role": "viewer", "totp_code": service.totp_code()})
        refused = await service.client.post("/v1/members", headers=again, content=member)
        assert code_of(refused) == "totp_required"
        with pytest.raises(ActFailed) as twice:
            await perform(service.services, "user.reset-totp", {"user": "ada"}, OPERATOR)
        assert twice.value.code == "no_authenticator"


async def test_a_reset_is_in_the_log_of_the_installation_and_of_the_users_accounts(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        await service.authenticator()
        await perform(service.services, "user.reset-totp", {"user": "ada"}, OPERATOR)

        def read(c: Connection) -> list[tuple[int, str, str, str]]:
            t = audit_entries.c
            mine = select(t.chain, t.act, t.actor_kind, t.outcome).where(t.act.in_(["totp.reset", "user.reset-totp"]))
            return [tuple(row) for row in c.execute(mine.order_by(t.chain, t.seq))]

        assert await service.services.db.read(read) == [
            (0, "user.reset-totp", "operator", "started"),
            (0, "user.reset-totp", "operator", "done"),
            (1, "totp.reset", "operator", "done"),
        ]


@pytest.mark.parametrize("name", ["nobody", "ghost"])
async def test_who_cannot_sign_in_has_nothing_to_reset(tmp_path: Path, name: str) -> None:
    async with api(tmp_path) as service:
        await service.services.db.run(lambda c: users.insert_user(c, "ghost", now_ms=1) and None)
        with pytest.raises(ActFailed) as refused:
            await perform(service.services, "user.reset-totp", {"user": name}, OPERATOR)
        assert refused.value.code == "unknown_user"


async def test_users_are_listed_with_what_they_sign_in_with_and_nothing_that_proves_it(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        await service.authenticator()
        await service.services.db.run(lambda c: users.insert_user(c, "ghost", now_ms=1) and None)
        ada, ghost = (await perform(service.services, "user.list", {}, OPERATOR))["users"]
        assert ada == {
            "user": "ada",
            "signs_in": True,
            "owns_installation": True,
            "totp": True,
            "recovery_codes_left": 10,
            "held_until_ms": None,
            "accounts": [{"account": "main", "role": "owner"}],
        }
        assert (ghost["user"], ghost["signs_in"], ghost["accounts"]) == ("ghost", False, [])
