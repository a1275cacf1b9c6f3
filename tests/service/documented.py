"""What the OpenAPI page says of each route, and requests made of its examples: for tests that go over all routes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from service.auth.callers import Needs

BODY_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """One method of one path. `needs` is the page's `x-cambist-permission`."""

    method: str
    path: str
    needs: str
    parameters: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any] | None
    page: Mapping[str, Any] = field(repr=False)

    @property
    def ids(self) -> Sequence[str]:
        """Its path parameters that name an object."""
        return [name for name in re.findall(r"\{(\w+)\}", self.path) if name != "chain"]

    def target(self, known: Mapping[str, str], query: Mapping[str, Any] | None = None) -> str:
        """Path and query; path parameters from `known`, the query from there, or without one from the examples."""
        path = re.sub(r"\{(\w+)\}", lambda found: quote(str(known[found[1]]), safe=""), self.path)
        given = self.query() if query is None else query
        return f"{path}?{urlencode(given)}" if given else path

    def query(self) -> dict[str, Any]:
        """The required query parameters, by their examples."""
        return {
            one["name"]: example_of(one["schema"], self.page)
            for one in self.parameters
            if one["in"] == "query" and one.get("required")
        }

    def plausible_body(self, **changed: Any) -> bytes:
        """The body of the examples, with other values where they are of this body; empty where it takes none."""
        if self.body is None:
            return b""
        found = example_of(self.body, self.page)
        return orjson.dumps(found | {name: value for name, value in changed.items() if name in found})

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Bodies of the examples: with what is required alone, and with each one of what may be left out."""
        schema = self.body
        if schema is None:
            return
        if "$ref" in schema:
            schema = self.page["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        examples = {name: example_of(inner, self.page) for name, inner in schema.get("properties", {}).items()}
        least = {name: examples[name] for name in schema.get("required", ())}
        yield least
        for name, value in examples.items():
            if name not in least:
                yield least | {name: value}


def operations(page: Mapping[str, Any]) -> Iterator[Documented]:
    """All of an OpenAPI page."""
    for path, found in page["paths"].items():
        for method, one in found.items():
            body = one.get("requestBody", {}).get("content", {}).get(BODY_TYPE, {}).get("schema")
            yield Documented(
                method=method.upper(),
                path=path,
                needs=one["x-cambist-permission"],
                parameters=one.get("parameters", ()),
                body=body,
                page=page,
            )


def example_of(schema: Mapping[str, Any], page: Mapping[str, Any]) -> Any:
    """A value of that schema, out of its examples."""
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return example_of(page["components"]["schemas"][schema["$ref"].rpartition("/")[2]], page)
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], page)
    if "items" in schema:
        return [example_of(schema["items"], page)]
    if "properties" in schema:
        return {name: example_of(inner, page) for name, inner in schema["properties"].items()}
    return {"boolean": False, "null": None, "object": {}, "string": "x", "integer": 1}[schema["type"]]


def needed(permission: Needs) -> str:
    """A route's caller as the page says it."""
    return "public" if permission is None else str(permission)
