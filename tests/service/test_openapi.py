"""The OpenAPI page shows what to send and what comes back: nothing on it is without an example."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.service.api import Api, api


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Mapping[str, Any]]:
    async with api(tmp_path) as service:
        found: Api = service
        answer = await found.ask("GET", "/v1/openapi.json")
        yield answer.json()


def unshown(schema: Mapping[str, Any], page: Mapping[str, Any], at: str) -> Iterator[str]:
    """Where a schema has values of which no example can be composed."""
    if {"examples", "enum", "const"} & schema.keys() or schema.get("type") in ("boolean", "null"):
        return
    if "$ref" in schema:
        yield from unshown(page["components"]["schemas"][schema["$ref"].rpartition("/")[2]], page, at)
    elif "anyOf" in schema:
        yield from unshown(schema["anyOf"][0], page, at)
    elif "items" in schema:
        yield from unshown(schema["items"], page, f"{at}[]")
    elif "properties" in schema:
        for name, inner in schema["properties"].items():
            yield from unshown(inner, page, f"{at}.{name}")
    else:
        yield at


async def test_every_parameter_body_and_answer_has_an_example(page: Mapping[str, Any]) -> None:
    missing: list[str] = []
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            at = f"{method} {path}"
            for parameter in operation.get("parameters", ()):
                missing += unshown(parameter["schema"], page, f"{at} {parameter['name']}")
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            assert answers, at
            for part in (*bodies, *answers):
                missing += unshown(part["content"]["application/json"]["schema"], page, at)
    assert not missing


async def test_what_is_accepted_once_is_answered_with_another_status_the_second_time(page: Mapping[str, Any]) -> None:
    accepting = [
        operation["responses"]
        for operations in page["paths"].values()
        for operation in operations.values()
        if "202" in operation["responses"]
    ]
    assert len(accepting) == 7
    for responses in accepting:
        assert responses["200"]["content"] == responses["202"]["content"]
        assert "this client id made it before" in responses["200"]["description"]
