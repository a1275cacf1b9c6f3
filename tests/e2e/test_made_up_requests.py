"""Made-up requests to the whole API over a chain: no 5xx, and no answer that is not documented.

Without a chain: `tests/service/test_made_up_requests.py`.
"""

from pathlib import Path

import httpx

from scripts.devnet.network import LocalChain
from service.app import OPENAPI_PATH
from service.auth.callers import KEY
from service.settings import Settings
from tests.e2e.harness import Stack, running, with_settings
from tests.e2e.people import Person, person
from tests.service.fuzzing import EXAMPLES, Fuzzed, judge, made_up

FUNDS = {"ethereum": {"ETH": 5 * 10**18, "USDC": 5_000 * 10**6}}
MANY = 1_000_000
ACCEPTED = 202
EXPECTED = frozenset({"history_not_ready"})
"""Codes of 5xx that are right over a chain whose node answers, with no worker that reads its past."""


def unlimited(stack: Stack) -> Stack:
    """Without limits on how often: thousands of requests in a minute are what is tried here."""
    return with_settings(stack, **{name: MANY for name in Settings.model_fields if name.endswith("_per_minute")})


async def ask(stack: Stack, owner: Person, request: Fuzzed) -> httpx.Response:
    if request.needs == "session":
        return await owner.ask(request.method, request.target, body=request.body)
    wanted = request.needs.split(" or ")[0]
    key = None if wanted == "public" else "read" if wanted == KEY else wanted
    headers = stack.headers(request.method, request.target, request.body, key=key)
    if request.media_type is not None:
        headers["content-type"] = request.media_type
    return await stack.client.request(request.method, request.target, content=request.body, headers=headers)


async def test_no_made_up_request_gets_an_undocumented_answer(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as started:
        stack = unlimited(started)
        page = (await stack.client.get(OPENAPI_PATH)).json()
        statuses: set[int] = set()
        # A session that is ended by one of them is made anew.
        owner = await person(stack)
        for request in made_up(page, chain="ethereum", examples=max(1, EXAMPLES // 2)):
            answer = await ask(stack, owner, request)
            if answer.status_code == 401 and request.needs == "session":
                owner = await person(stack)
                answer = await ask(stack, owner, request)
            judge(page, request, answer, may_fail=EXPECTED)
            statuses.add(answer.status_code)
            if answer.status_code == ACCEPTED:
                # The same client id once more: what was made before, with a status of its own.
                judge(page, request, await ask(stack, owner, request), may_fail=EXPECTED)
        assert {200, 202, 404, 422} <= statuses
        # Whatever of it was accepted is executed, and the books are right to the wei.
        for _ in range(4):
            await stack.round()
        await stack.check_books()
