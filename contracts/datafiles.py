"""Reads the packaged JSON data and an operator's own, and checks each field as it is taken.

Guarantees: works from an installed wheel; a wrong or missing field is an `InvalidData` that names file and field.
Not guaranteed: anything about the chain; tests compare the packaged data with a fork.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any, Final

from chains.types import Address, InvalidAddress, parse_address
from contracts.errors import InvalidData

MAX_FILE_BYTES: Final = 1_000_000
"""The packaged files have a few kilobytes."""


class Fields:
    """One JSON object, read field by field; `refuse_unknown` at the end catches misspelt ones."""

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, dict):
            raise InvalidData(f"{where}: must be an object")
        self.where = where
        self._values: dict[str, Any] = values
        self._seen: set[str] = set()

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise InvalidData(f"{self.where} {key}: must be text")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def integer(self, key: str, *, low: int, high: int) -> int:
        value = self._take(key)
        if type(value) is not int or not low <= value <= high:
            raise InvalidData(f"{self.where} {key}: must be a whole number from {low} to {high}")
        return value

    def address(self, key: str) -> Address:
        try:
            return parse_address(self.text(key))
        except InvalidAddress as exc:
            raise InvalidData(f"{self.where} {key}: {exc}") from exc

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._take(key) if key in self._values else []
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise InvalidData(f"{self.where} {key}: must be a list of texts")
        return tuple(values)

    def child(self, key: str) -> "Fields":
        return Fields(f"{self.where} {key}", self._take(key))

    def children(self, key: str) -> list["Fields"]:
        values = self._take(key)
        if not isinstance(values, list):
            raise InvalidData(f"{self.where} {key}: must be a list")
        return [Fields(f"{self.where} {key}[{i}]", value) for i, value in enumerate(values)]

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def plain(self) -> dict[str, Any]:
        """All fields as they were read, for who writes the file again."""
        return dict(self._values)

    def refuse_unknown(self) -> None:
        """Raises: InvalidData: a field that nobody asked for."""
        if unknown := sorted(set(self._values) - self._seen):
            raise InvalidData(f"{self.where}: unknown field {unknown[0]!r}")

    def _take(self, key: str) -> Any:
        self._seen.add(key)
        if key not in self._values:
            raise InvalidData(f"{self.where}: field {key!r} is missing")
        return self._values[key]


def read_packaged(name: str) -> Fields:
    """A file of `contracts/data/`. Raises: InvalidData: there is none."""
    source = resources.files("contracts").joinpath("data", name)
    if not source.is_file():
        raise InvalidData(f"{name}: not among the packaged data files; give the operator's own")
    return _parse(source.read_text("utf-8"), name)


def read_file(path: Path) -> Fields:
    """An operator's file of the same shape. Raises: InvalidData: unreadable or too large."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidData(f"{path.name}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidData(f"{path.name}: cannot be read ({type(exc).__name__})") from exc
    return _parse(text, path.name)


def _parse(text: str, name: str) -> Fields:
    try:
        return Fields(name, json.loads(text))
    except ValueError as exc:
        raise InvalidData(f"{name}: not JSON ({exc})") from exc
