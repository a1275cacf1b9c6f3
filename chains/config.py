"""What a chain is, as data: ids, native asset, block time, fee caps and finality.

Guarantees: a `ChainConfig` that exists is complete and consistent; adding an EVM chain is a table in a TOML file;
amounts are `int` wei (text in TOML). Not guaranteed: that an endpoint serves that chain (`EvmClient.verify_chain`).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from chains.node_errors import BUILT_IN, InvalidPhrase, NodeErrors
from chains.types import Address, ChainId, InvalidAddress, parse_address

MAX_CONFIG_BYTES: Final = 1_000_000
"""A chain table has about 700 bytes; a file a thousand times larger is a mistake."""

MOST_BUMPS: Final = 20
"""1.1^20 = 6.7: past that the fee caps are the better bound, and each attempt is one more receipt to ask for."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_WEI: Final = re.compile(r"0|[1-9][0-9]{0,30}", re.ASCII)
_MAX_INT: Final = 2**53
"""JSON and databases keep ints up to here exact."""


class InvalidChainConfig(ValueError):
    """A chain table is incomplete or inconsistent; the message names the table and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """Bounds of what is ever offered for a transaction, wei. `max_tx_cost_wei` caps gas limit x max fee."""

    max_fee_cap_wei: int
    priority_floor_wei: int
    priority_cap_wei: int
    max_tx_cost_wei: int

    def __post_init__(self) -> None:
        if not 0 <= self.priority_floor_wei <= self.priority_cap_wei <= self.max_fee_cap_wei:
            raise InvalidChainConfig("fees: priority_floor_wei <= priority_cap_wei <= max_fee_cap_wei must hold")
        if self.max_fee_cap_wei < 1 or self.max_tx_cost_wei < 1:
            raise InvalidChainConfig("fees: max_fee_cap_wei and max_tx_cost_wei must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityPolicy:
    """Depths count the mined block itself: depth 1 is "just mined"."""

    confirmed_depth: int
    use_finalized_tag: bool
    min_final_depth: int

    def __post_init__(self) -> None:
        if self.confirmed_depth < 1:
            raise InvalidChainConfig("finality: confirmed_depth must be at least 1")
        if self.min_final_depth < self.confirmed_depth:
            raise InvalidChainConfig("finality: min_final_depth must not be below confirmed_depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingPolicy:
    """How long a sent transaction may wait, how often it is made dearer, and how many of a lane may be unmined.

    Six bumps raise a fee by 1.1^6 = 1.77 at least; geth keeps 16 slots an account for certain (AccountSlots).
    """

    bump_after_blocks: int = 5
    max_bumps: int = 6
    max_in_flight: int = 16

    def __post_init__(self) -> None:
        if self.bump_after_blocks < 1 or self.max_in_flight < 1:
            raise InvalidChainConfig("sending: bump_after_blocks and max_in_flight must be at least 1")
        if not 0 <= self.max_bumps <= MOST_BUMPS:
            raise InvalidChainConfig(f"sending: max_bumps must be 0 to {MOST_BUMPS}")


SENDING: Final = SendingPolicy()
"""For chains that say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """One EVM chain. `key` names it in URLs, settings and files; `aliases` are accepted on input only."""

    chain_id: ChainId
    key: str
    name: str
    native_symbol: str
    native_slip44: int
    wrapped_native: Address
    block_time_ms: int
    poa: bool
    fees: FeePolicy
    finality: FinalityPolicy
    aliases: tuple[str, ...] = ()
    sending: SendingPolicy = SENDING
    node_errors: NodeErrors = BUILT_IN


def load_chains(extra: Path | None = None) -> Mapping[str, ChainConfig]:
    """The packaged chains, with the operator's file merged over them key by key.

    Raises:
        InvalidChainConfig: unreadable file, unknown or missing key, wrong type, or two chains that share an id or name.
    """
    tables = _parse(resources.files("chains").joinpath("chains.toml").read_text("utf-8"), source="chains.toml")
    if extra is not None:
        tables = _merge(tables, _parse(_read(extra), source=extra.name))
    chains = {key: _chain(key, table) for key, table in tables.items()}
    _check_unique(chains)
    return MappingProxyType(chains)


def find_chain(chains: Mapping[str, ChainConfig], name: str) -> ChainConfig | None:
    """The chain with that key or alias."""
    return chains.get(name) or next((chain for chain in chains.values() if name in chain.aliases), None)


# -- private ----------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InvalidChainConfig(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidChainConfig(f"{path.name} cannot be read: {type(exc).__name__}") from exc


def _parse(text: str, *, source: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidChainConfig(f"{source} is not TOML: {exc}") from exc
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidChainConfig(f"{source}: {key} is not a chain table; a chain is [its-name]")
    return tables


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = _merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _chain(key: str, table: Mapping[str, Any]) -> ChainConfig:
    if not _NAME.fullmatch(key):
        raise InvalidChainConfig(f"chain name {key!r}: lower-case letters, digits and dashes, at most 32")
    reader = _Table(f"[{key}]", table)
    fees = _Table(f"[{key}.fees]", reader.table("fees"))
    finality = _Table(f"[{key}.finality]", reader.table("finality"))
    sending = _Table(f"[{key}.sending]", reader.table("sending") if "sending" in table else {})
    try:
        chain = ChainConfig(
            chain_id=ChainId(reader.integer("chain_id", low=1)),
            key=key,
            name=reader.text("name"),
            native_symbol=reader.text("native_symbol"),
            native_slip44=reader.integer("native_slip44", low=0),
            wrapped_native=reader.address("wrapped_native"),
            block_time_ms=reader.integer("block_time_ms", low=50),
            poa=reader.flag("poa", default=False),
            fees=FeePolicy(
                max_fee_cap_wei=fees.wei("max_fee_cap_wei"),
                priority_floor_wei=fees.wei("priority_floor_wei"),
                priority_cap_wei=fees.wei("priority_cap_wei"),
                max_tx_cost_wei=fees.wei("max_tx_cost_wei"),
            ),
            finality=FinalityPolicy(
                confirmed_depth=finality.integer("confirmed_depth", low=1),
                use_finalized_tag=finality.flag("use_finalized_tag"),
                min_final_depth=finality.integer("min_final_depth", low=1),
            ),
            aliases=reader.names("aliases"),
            sending=SendingPolicy(
                bump_after_blocks=sending.integer("bump_after_blocks", low=1, default=SENDING.bump_after_blocks),
                max_bumps=sending.integer("max_bumps", low=0, default=SENDING.max_bumps),
                max_in_flight=sending.integer("max_in_flight", low=1, default=SENDING.max_in_flight),
            ),
            node_errors=_node_errors(key, reader.table("node_errors") if "node_errors" in table else {}),
        )
    except InvalidChainConfig as exc:
        raise InvalidChainConfig(f"[{key}]: {exc}" if not str(exc).startswith("[") else str(exc)) from exc
    for part in (reader, fees, finality, sending):
        part.refuse_unknown()
    return chain


def _node_errors(key: str, table: Mapping[str, Any]) -> NodeErrors:
    for name, phrases in table.items():
        if type(phrases) is not list or not all(type(phrase) is str for phrase in phrases):
            raise InvalidChainConfig(f"[{key}.node_errors] {name}: must be a list of texts")
    try:
        return NodeErrors.of(table)
    except InvalidPhrase as exc:
        raise InvalidChainConfig(f"[{key}.node_errors] {exc}") from exc


def _check_unique(chains: Mapping[str, ChainConfig]) -> None:
    ids: dict[int, str] = {}
    names: dict[str, str] = {}
    for chain in chains.values():
        if (other := ids.setdefault(chain.chain_id, chain.key)) != chain.key:
            raise InvalidChainConfig(f"[{chain.key}] chain_id: {chain.chain_id} is also that of [{other}]")
        for name in (chain.key, *chain.aliases):
            if name in names:
                raise InvalidChainConfig(f"[{chain.key}]: the name {name!r} is also used by [{names[name]}]")
            names[name] = chain.key


class _Table:
    """Reads typed values out of one TOML table and remembers which keys it knows."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where = where
        self._values = values
        self._known: set[str] = set()

    def _get(self, key: str, kind: type, *, says: str) -> Any:
        self._known.add(key)
        if key not in self._values:
            raise InvalidChainConfig(f"{self._where} {key}: missing")
        value = self._values[key]
        if type(value) is not kind:  # bool is an int to isinstance
            raise InvalidChainConfig(f"{self._where} {key}: must be {says}")
        return value

    def text(self, key: str) -> str:
        value: str = self._get(key, str, says="text")
        if not 0 < len(value) <= 32 or not value.isprintable() or value.strip() != value:
            raise InvalidChainConfig(f"{self._where} {key}: must be 1 to 32 printable characters")
        return value

    def integer(self, key: str, *, low: int, default: int | None = None) -> int:
        if default is not None and key not in self._values:
            return default
        value: int = self._get(key, int, says="a whole number")
        if not low <= value < _MAX_INT:
            raise InvalidChainConfig(f"{self._where} {key}: must be at least {low} and below 2^53")
        return value

    def wei(self, key: str) -> int:
        value: str = self._get(key, str, says='wei as text, such as "30000000000"')
        if not _WEI.fullmatch(value):
            raise InvalidChainConfig(f'{self._where} {key}: must be wei as text, such as "30000000000"')
        return int(value)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        if default is not None and key not in self._values:
            return default
        value: bool = self._get(key, bool, says="true or false")
        return value

    def address(self, key: str) -> Address:
        try:
            return parse_address(self._get(key, str, says="an address"))
        except InvalidAddress as exc:
            raise InvalidChainConfig(f"{self._where} {key}: {exc}") from exc

    def names(self, key: str) -> tuple[str, ...]:
        if key not in self._values:
            return ()
        values: list[Any] = self._get(key, list, says="a list of names")
        for value in values:
            if type(value) is not str or not _NAME.fullmatch(value):
                raise InvalidChainConfig(f"{self._where} {key}: {value!r} is not a chain name")
        return tuple(values)

    def table(self, key: str) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._get(key, dict, says="a table")
        return value

    def refuse_unknown(self) -> None:
        if unknown := sorted(set(self._values) - self._known):
            raise InvalidChainConfig(f"{self._where} {', '.join(unknown)}: unknown key")
