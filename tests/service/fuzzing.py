"""Requests out of the OpenAPI page: its examples, then what schemathesis makes up, right and wrong; and what every
answer must be.

Cases are the same at each run; `CAMBIST_FUZZ_EXAMPLES` makes more of them (by default so few that all routes take
seconds).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx
import jsonschema_rs
import orjson
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from service.errors import ERRORS
from service.problems import MEDIA_TYPE
from tests.service.documented import Documented, example_of, operations

EXAMPLES: Final = int(os.environ.get("CAMBIST_FUZZ_EXAMPLES", "2"))
BASE: Final = "http://127.0.0.1"
CHAIN: Final = "{chain}"
NUMBERED: Final = ("order_id", "withdrawal_id", "transaction_id", "entry_id")
FIRST: Final = 3
"""Of what the requests before have made: made-up numbers alone would never meet any of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """One request. `target` is path and query as they are sent, and signed."""

    method: str
    path: str
    needs: str
    target: str
    body: bytes
    media_type: str | None

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.body[:500]!r}"


def made_up(page: Mapping[str, Any], *, chain: str, examples: int = EXAMPLES) -> Iterator[Fuzzed]:
    """Requests to every route of the page, about `chain` for the most part."""
    for one in operations(page):
        yield from _documented(one, chain)
    bare = _without_security(page)
    for found in schemathesis.openapi.from_dict(bare).get_all_operations():
        operation = cast("Any", found).ok()
        needs = page["paths"][operation.path][operation.method.lower()]["x-cambist-permission"]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for number, case in enumerate(_cases(operation, mode, examples)):
                if CHAIN in operation.path and number % 4 != 3:
                    case.path_parameters["chain"] = chain
                for name in NUMBERED:
                    if f"{{{name}}}" in operation.path and number % 2:
                        case.path_parameters[name] = 1 + number // 2 % FIRST
                yield _request(case, operation.path, needs)


def judge(page: Mapping[str, Any], request: Fuzzed, answer: httpx.Response, *, may_fail: frozenset[str]) -> None:
    """That an answer is documented. `may_fail` are the codes of 5xx that are right here: a chain without nodes."""
    place = (str(request), answer.status_code, answer.text[:500])
    if answer.is_error:
        assert answer.headers["content-type"] == MEDIA_TYPE, place
        problem = answer.json()
        assert set(problem) - {"errors"} == {"type", "title", "status", "code", "detail", "hint", "instance"}, place
        kind = ERRORS[problem["code"]]
        assert (answer.status_code, problem["status"]) == (kind.status, kind.status), place
        assert kind.status < 500 or kind.code in may_fail, place
        return
    responses = page["paths"][request.path][request.method.lower()]["responses"]
    assert str(answer.status_code) in responses, place
    schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
    assert answer.headers["content-type"] == "application/json", place
    whole = {**schema, "components": page["components"]}
    errors = [str(error)[:300] for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(answer.json())]
    assert not errors, (*place, errors)


def _documented(one: Documented, chain: str) -> Iterator[Fuzzed]:
    """What the page's own examples make."""
    known = {found["name"]: example_of(found["schema"], one.page) for found in one.parameters} | {"chain": chain}
    for body in [orjson.dumps(found) for found in one.bodies()] or [b""]:
        yield Fuzzed(
            method=one.method,
            path=one.path,
            needs=one.needs,
            target=one.target(known),
            body=body,
            media_type="application/json" if body else None,
        )


def _cases(operation: Any, mode: GenerationMode, examples: int) -> Sequence[Any]:
    found: list[Any] = []

    @settings(
        max_examples=examples,
        phases=[Phase.explicit, Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(case)

    try:
        cast("Callable[[], None]", collect)()
    except Unsatisfiable:
        # Nothing about a route without parameters can be wrong.
        return []
    return found


def _request(case: Any, path: str, needs: str) -> Fuzzed:
    given_ = case.as_transport_kwargs(base_url=BASE)
    made = httpx.Request(given_["method"], given_["url"], params=given_.get("params") or None)
    body, media_type = b"", None
    if "json" in given_:
        body, media_type = json.dumps(given_["json"]).encode(), "application/json"
    elif given_.get("data"):
        data = given_["data"]
        body = data if isinstance(data, bytes) else str(data).encode("utf-8", "replace")
        media_type = given_["headers"].get("Content-Type")
    return Fuzzed(
        method=given_["method"],
        path=path,
        needs=needs,
        target=made.url.raw_path.decode("ascii"),
        body=body,
        media_type=media_type,
    )


def _without_security(page: Mapping[str, Any]) -> dict[str, Any]:
    """Credentials are put on afterwards: made-up ones would stop every request at the door."""
    bare = deepcopy(dict(page))
    bare["components"].pop("securitySchemes", None)
    for found in bare["paths"].values():
        for operation in found.values():
            operation.pop("security", None)
    return bare
