"""ABIs from `abis/`, and encoding and decoding of calls with no node.

Guarantees: decoded addresses are checksummed `Address`, tuples are `tuple`, bytes are `bytes`; malformed bytes
raise `AbiError` and nothing else. Not guaranteed: that decoded calldata was canonical; whoever needs that encodes
it again and compares (`contracts.decoding`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from eth_abi.abi import decode as _decode
from eth_abi.abi import encode as _encode
from eth_abi.abi import is_encodable_type
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.grammar import normalize
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from chains.types import Address
from contracts.errors import AbiError, UndecodableReturn

SELECTOR_BYTES: Final = 4
MAX_DEPTH: Final = 8
"""Tuples in tuples; no protocol comes near. ABI fragments may come from outside."""
MAX_ARRAY_DEPTH: Final = 3
"""Arrays in arrays: each level multiplies what hostile bytes can make a decoder do."""
MAX_PARAMS: Final = 64
MAX_WORDS: Final = 1_024
"""Largest static size of one parameter, 32-byte words: decoding `T[n]` takes time in proportion to `n`."""
_ARRAYS: Final = re.compile(r"([a-z0-9]{1,12})((?:\[[0-9]{0,4}\])*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One input or output: its canonical type (tuples as `(uint256,address)`) and the parts of a tuple.

    `words` is the least number of 32-byte words that its value takes.
    """

    name: str
    type: str
    components: tuple["Param", ...] = ()
    array_depth: int = 0
    words: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A contract function: `selector` is the first four bytes of keccak(signature)."""

    name: str
    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]
    signature: str
    selector: bytes

    @classmethod
    def from_abi(cls, entry: Mapping[str, Any]) -> "Function":
        """From one entry of a JSON ABI. Raises: AbiError: it is not a function's."""
        if entry.get("type", "function") != "function":
            raise AbiError("the ABI entry is not a function")
        name, inputs = _name(entry), _params(entry.get("inputs", []))
        signature = f"{name}({','.join(param.type for param in inputs)})"
        return cls(
            name=name,
            inputs=inputs,
            outputs=_params(entry.get("outputs", [])),
            signature=signature,
            selector=keccak(text=signature)[:SELECTOR_BYTES],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A contract event: `topic` is keccak(signature), the first topic of its logs."""

    name: str
    signature: str
    topic: bytes

    @classmethod
    def from_abi(cls, entry: Mapping[str, Any]) -> "Event":
        name = _name(entry)
        signature = f"{name}({','.join(param.type for param in _params(entry.get('inputs', [])))})"
        return cls(name=name, signature=signature, topic=keccak(text=signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class Abi:
    """The functions and events of one contract that this project uses."""

    name: str
    functions: tuple[Function, ...]
    events: tuple[Event, ...]

    def function(self, name: str) -> Function:
        """By name, or by signature where a name is overloaded. Raises: AbiError."""
        found = [f for f in self.functions if name in (f.name, f.signature)]
        if len(found) != 1:
            raise AbiError(f"{self.name} has {len(found)} functions called {name!r}")
        return found[0]

    def event(self, name: str) -> Event:
        """Raises: AbiError."""
        for event in self.events:
            if event.name == name:
                return event
        raise AbiError(f"{self.name} has no event {name!r}")


def abi_names() -> tuple[str, ...]:
    """The packaged ABIs."""
    files = (entry.name for entry in resources.files("abis").iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))


@cache
def load_abi(name: str) -> Abi:
    """`abis/<name>.json`, read once a process. Raises: AbiError: there is no such file."""
    source = resources.files("abis").joinpath(f"{name}.json")
    if not name.replace("_", "").isalnum() or not source.is_file():
        raise AbiError(f"there is no ABI called {name!r}")
    entries = json.loads(source.read_text("utf-8"))
    return Abi(
        name=name,
        functions=tuple(Function.from_abi(e) for e in entries if e["type"] == "function"),
        events=tuple(Event.from_abi(e) for e in entries if e["type"] == "event"),
    )


def encode_call(function: Function, *arguments: Any) -> bytes:
    """Selector and arguments. Raises: AbiError: wrong number, type or range."""
    if len(arguments) != len(function.inputs):
        raise AbiError(f"{function.signature} takes {len(function.inputs)} arguments, not {len(arguments)}")
    try:
        encoded: bytes = _encode([param.type for param in function.inputs], list(arguments))
    except (EncodingError, ValueError, TypeError, OverflowError) as exc:
        raise AbiError(f"{function.signature}: {exc}") from exc
    return function.selector + encoded


def decode_input(function: Function, data: bytes) -> tuple[Any, ...]:
    """The arguments of calldata of that function. Raises: AbiError: other selector, malformed arguments."""
    if data[:SELECTOR_BYTES] != function.selector:
        raise AbiError(f"the calldata is not a call of {function.signature}")
    return _values(function.inputs, data[SELECTOR_BYTES:], what=function.signature)


def decode_output(function: Function, data: bytes) -> tuple[Any, ...]:
    """The values a call returned. Raises: UndecodableReturn."""
    try:
        return _values(function.outputs, data, what=function.signature)
    except AbiError as exc:
        raise UndecodableReturn(str(exc), data=data) from exc


def _values(params: tuple[Param, ...], data: bytes, *, what: str) -> tuple[Any, ...]:
    try:
        raw = _decode([param.type for param in params], data)
    except (DecodingError, ValueError, OverflowError) as exc:  # ValueError: UnicodeDecodeError of a `string`
        raise AbiError(f"{len(data)} bytes do not decode as {what}: {type(exc).__name__}") from exc
    return tuple(_own(param, value, depth=param.array_depth) for param, value in zip(params, raw, strict=True))


def _own(param: Param, value: Any, *, depth: int) -> Any:
    """eth_abi's lower-case addresses become ours, at any depth."""
    if depth:
        return tuple(_own(param, item, depth=depth - 1) for item in value)
    if param.components:
        return tuple(_own(p, v, depth=p.array_depth) for p, v in zip(param.components, value, strict=True))
    if param.type.startswith("address"):
        return Address(to_checksum_address(value))
    return value


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name.replace("_", "").replace("$", "").isalnum() or not name.isascii():
        raise AbiError("the ABI entry has no valid name")
    return name


def _params(entries: object, *, depth: int = 0) -> tuple[Param, ...]:
    if not isinstance(entries, Sequence) or isinstance(entries, str) or len(entries) > MAX_PARAMS:
        raise AbiError(f"ABI parameters are a list of at most {MAX_PARAMS}")
    if depth > MAX_DEPTH:
        raise AbiError(f"the ABI nests tuples deeper than {MAX_DEPTH}")
    return tuple(_param(entry, depth=depth) for entry in entries)


def _param(entry: object, *, depth: int) -> Param:
    if not isinstance(entry, Mapping):
        raise AbiError("an ABI parameter is an object with a type")
    declared = entry.get("type")
    match = _ARRAYS.fullmatch(declared) if isinstance(declared, str) else None
    if match is None:
        raise AbiError("an ABI parameter has no valid type")
    components = _params(entry.get("components", []), depth=depth + 1)
    base, arrays = match.groups()
    if (base == "tuple") != bool(components):
        raise AbiError(f"the ABI parameter type {declared!r} does not fit its components")
    lengths = arrays[1:-1].split("][") if arrays else []
    words = sum(component.words for component in components) or 1
    for length in lengths:
        words *= int(length or 1)
    if len(lengths) > MAX_ARRAY_DEPTH or words > MAX_WORDS:
        raise AbiError(f"the ABI parameter type {declared!r} is too large")
    type_ = f"({','.join(c.type for c in components)}){arrays}" if components else _canonical(f"{base}{arrays}")
    if not is_encodable_type(type_):
        raise AbiError(f"{declared!r} is not an ABI type")
    return Param(
        name=str(entry.get("name", "")), type=type_, components=components, array_depth=len(lengths), words=words
    )


def _canonical(type_: str) -> str:
    """`uint` -> `uint256`: signatures, hence selectors, have the long form."""
    canonical: str = normalize(type_)  # type: ignore[no-untyped-call]  # eth_abi leaves it untyped
    return canonical
