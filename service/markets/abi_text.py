"""Functions and values of contract calls as clients write them: signatures, JSON arguments, JSON results.

    "balanceOf(address)(uint256)"                                     inputs, then outputs
    "function slot0() view returns (uint160 sqrtPriceX96, int24 tick)"  as in Solidity
    {"name": "balanceOf", "inputs": [...], "outputs": [...]}          one entry of a JSON ABI

Guarantees: integers are decimal text in both directions (a JSON number above 2^53 loses digits in most clients);
addresses keep their checksum; everything malformed raises `InvalidCall` with what is wrong.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chains.types import InvalidAddress, parse_address
from contracts.abi import Function, Param
from contracts.errors import AbiError

MAX_SIGNATURE: Final = 2_000
"""Characters; the longest function of the packaged ABIs has about 200."""
MAX_NESTING: Final = 8
MAX_TEXT: Final = 20_000
"""Characters of one `bytes` or `string` argument."""

_TOKEN: Final = re.compile(r"\s*([A-Za-z_$][A-Za-z0-9_$]*|[(),]|(?:\[[0-9]*\])+)", re.ASCII)
_INT: Final = re.compile(r"0|-?[1-9][0-9]{0,77}", re.ASCII)
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_INT_TYPE: Final = re.compile(r"u?int[0-9]*", re.ASCII)
_LOCATIONS: Final = frozenset({"memory", "calldata", "storage", "indexed", "payable"})
_VIEW: Final = frozenset({"view", "pure"})
_VISIBILITY: Final = frozenset({"external", "public"})
_MUTATING: Final = frozenset({"payable", "nonpayable"})


class InvalidCall(ValueError):
    """The function or one of its arguments is not what it must be; the message says which."""


def parse_function(text: str | Mapping[str, Any]) -> Function:
    """A function from a signature or a JSON ABI entry. Raises: InvalidCall: malformed, or declared to change state."""
    entry = _entry(text) if isinstance(text, str) else text
    if entry.get("stateMutability") in _MUTATING or entry.get("constant") is False:
        raise InvalidCall("the function is not view or pure; only reads are possible here")
    return _function(entry)


def parse_sent_function(text: str | Mapping[str, Any]) -> Function:
    """A function that is to be called by a transaction. Raises: InvalidCall: malformed, or declared to only read."""
    entry = _entry(text) if isinstance(text, str) else text
    if entry.get("stateMutability") in _VIEW or entry.get("constant") is True:
        raise InvalidCall("the function is view or pure: it is read, not sent")
    return _function(entry)


def _function(entry: Mapping[str, Any]) -> Function:
    try:
        return Function.from_abi(entry)
    except AbiError as exc:
        raise InvalidCall(str(exc)) from exc


def arguments(function: Function, values: Sequence[Any]) -> list[Any]:
    """JSON arguments as the encoder wants them. Raises: InvalidCall."""
    if len(values) != len(function.inputs):
        raise InvalidCall(f"{function.signature} takes {len(function.inputs)} arguments, not {len(values)}")
    return [
        _argument(param, value, depth=param.array_depth, at=f"argument {index}")
        for index, (param, value) in enumerate(zip(function.inputs, values, strict=True))
    ]


def result(param: Param, value: Any) -> Any:
    """A decoded value as JSON: integers as text, bytes as hex, tuples as objects when all their parts have names."""
    return _result(param, value, depth=param.array_depth)


def _argument(param: Param, value: Any, *, depth: int, at: str) -> Any:
    if depth:
        items = _list(value, at)
        return [_argument(param, item, depth=depth - 1, at=f"{at}[{i}]") for i, item in enumerate(items)]
    if param.components:
        return _tuple(param, value, at=at)
    base = param.type.partition("[")[0]
    if _INT_TYPE.fullmatch(base):
        if not isinstance(value, str) or not _INT.fullmatch(value):
            raise InvalidCall(f'{at}: {base} is a whole number as text, such as "1000"')
        return int(value)
    if base == "bool":
        if not isinstance(value, bool):
            raise InvalidCall(f"{at}: bool is true or false")
        return value
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise InvalidCall(f"{at}: {base} is text of at most {MAX_TEXT} characters")
    if base == "address":
        try:
            return parse_address(value)
        except InvalidAddress as exc:
            raise InvalidCall(f"{at}: {exc}") from exc
    if base.startswith("bytes"):
        if not _HEX.fullmatch(value):
            raise InvalidCall(f"{at}: {base} is 0x followed by an even number of hex digits")
        return bytes.fromhex(value[2:])
    return value


def _tuple(param: Param, value: Any, *, at: str) -> tuple[Any, ...]:
    if isinstance(value, Mapping):
        names = [part.name for part in param.components]
        if set(value) != set(names) or len(set(names)) != len(names):
            raise InvalidCall(f"{at}: the tuple's fields are {', '.join(names)}")
        value = [value[name] for name in names]
    items = _list(value, at)
    if len(items) != len(param.components):
        raise InvalidCall(f"{at}: the tuple has {len(param.components)} parts")
    return tuple(
        _argument(part, item, depth=part.array_depth, at=f"{at}.{part.name or i}")
        for i, (part, item) in enumerate(zip(param.components, items, strict=True))
    )


def _list(value: Any, at: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidCall(f"{at}: a list is needed")
    return value


def _result(param: Param, value: Any, *, depth: int) -> Any:
    if depth:
        return [_result(param, item, depth=depth - 1) for item in value]
    if param.components:
        parts = [
            (part.name, _result(part, item, depth=part.array_depth))
            for part, item in zip(param.components, value, strict=True)
        ]
        named = len({name for name, _ in parts if name}) == len(parts)
        return dict(parts) if named else [item for _, item in parts]
    if isinstance(value, bool | str):
        return value
    return str(value) if isinstance(value, int) else "0x" + bytes(value).hex()


def _entry(text: str) -> Mapping[str, Any]:
    """A JSON ABI entry from a signature."""
    if len(text) > MAX_SIGNATURE:
        raise InvalidCall(f"a signature has at most {MAX_SIGNATURE} characters")
    reader = _Reader(text)
    name = reader.word()
    if name == "function":
        name = reader.word()
    entry: dict[str, Any] = {"type": "function", "name": name, "inputs": reader.params(0), "outputs": []}
    while (token := reader.peek()) is not None and token not in ("(", "returns"):
        word = reader.word()
        if word in _VIEW | _MUTATING:
            entry["stateMutability"] = word
        elif word not in _VISIBILITY:
            raise InvalidCall(f"{word!r} was not expected in the signature")
    if reader.peek() == "returns":
        reader.word()
    if reader.peek() is not None:
        entry["outputs"] = reader.params(0)
    if reader.peek() is not None:
        raise InvalidCall("the signature goes on after its outputs")
    return entry


class _Reader:
    """Reads tokens of a signature from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        text = text.strip().removesuffix(";")
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise InvalidCall(f"{text[position : position + 20]!r} was not expected in the signature")
            self._tokens.append(match.group(1))
            position = match.end()
            if not text[position:].strip():
                break
        self._next = 0

    def peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if token is None or (wanted is not None and token != wanted):
            raise InvalidCall(f"{wanted or 'more'!r} was expected in the signature, not {token or 'its end'!r}")
        self._next += 1
        return token

    def word(self) -> str:
        token = self.take()
        if not (token[0].isalpha() or token[0] in "_$"):
            raise InvalidCall(f"a name was expected in the signature, not {token!r}")
        return token

    def params(self, depth: int) -> list[dict[str, Any]]:
        if depth > MAX_NESTING:
            raise InvalidCall(f"tuples nest at most {MAX_NESTING} deep")
        self.take("(")
        found: list[dict[str, Any]] = []
        while self.peek() != ")":
            if found:
                self.take(",")
            found.append(self._param(depth))
        self.take(")")
        return found

    def _param(self, depth: int) -> dict[str, Any]:
        param: dict[str, Any] = {"name": ""}
        if self.peek() == "tuple":
            self.word()
        if self.peek() == "(":
            param |= {"type": "tuple", "components": self.params(depth + 1)}
        else:
            word = self.word()
            # `uint` is an alias of `uint256` (Solidity); selectors are made of the canonical name.
            param["type"] = f"{word}256" if word in ("uint", "int") else word
        token = self.peek()
        if token is not None and token.startswith("["):
            param["type"] += self.take()
        while (token := self.peek()) is not None and token not in (",", ")"):
            word = self.word()
            if word not in _LOCATIONS:
                param["name"] = word
        return param
