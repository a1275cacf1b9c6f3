"""Made-up requests to the whole API with no chain active: every answer is a documented one.

With a chain: `tests/e2e/test_made_up_requests.py`.
"""

from pathlib import Path

import pytest

from service.app import OPENAPI_PATH
from tests.service.api import api
from tests.service.fuzzing import Fuzzed, judge, made_up
from tests.service.kinds import KINDS, callers

WITHOUT_NODES = frozenset({"chain_not_active"})


def kind_for(request: Fuzzed) -> str:
    """A caller that the route takes."""
    return "session of owner" if request.needs == "session" else "nothing" if request.needs == "public" else "all"


@pytest.mark.deep
async def test_no_made_up_request_gets_an_undocumented_answer(tmp_path: Path) -> None:
    async with api(tmp_path, registration="open") as service:
        made = await callers(service)
        page = (await service.ask("GET", OPENAPI_PATH)).json()
        tried: set[tuple[str, str]] = set()
        statuses: set[int] = set()
        for number, request in enumerate(made_up(page, chain="ethereum")):
            kind = kind_for(request)
            assert KINDS[kind]
            more = {} if request.media_type is None else {"content-type": request.media_type}
            answer = await made.ask(kind, request.method, request.target, body=request.body, more=more)
            judge(page, request, answer, may_fail=WITHOUT_NODES)
            tried.add((request.method, request.path))
            statuses.add(answer.status_code)
            if number % 50 == 0:
                # What sessions did to their own access, and rate limits, are not what is looked for here.
                service.clock.advance_ms(60_000)
        assert len(tried) == sum(len(operations) for operations in page["paths"].values())
        assert {200, 404, 422} <= statuses
