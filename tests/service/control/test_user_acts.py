"""The owner invites people on the host."""

from pathlib import Path

import pytest

from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator
from tests.service.api import api, code_of

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
