"""What the fault proxy can do to a call, as plain values: actions, and rules that say when they apply.

    Rule(action=Drop(), method="eth_sendRawTransaction", phase=Phase.AFTER, nth=1)     forwarded, answer lost
    Rule(action=NodeError(code=-32000, text="nonce too low"), method="eth_sendRawTransaction", times=2)
    Rule(action=Freeze(block=100))                                                     a node that stopped at block 100

`BEFORE` means that the node never sees the call, `AFTER` that it does and its answer is replaced or spoiled (before,
Malformed and SlowLoris spoil a null result). Freeze and Lie work on both sides whatever the phase says; Swallow and
WrongHash concern sends only.

Rules are tried in the order they were added; Delay, Freeze and Lie let the next ones apply too, the first other
action decides. A rule counts the calls that it matches; `nth`, `skip` and `times` refer to that count.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final


class Phase(StrEnum):
    BEFORE = "before"
    AFTER = "after"


class Flaw(StrEnum):
    """How an answer is malformed."""

    TRUNCATED = "truncated"
    NOT_JSON = "not_json"
    EMPTY = "empty"
    DUPLICATE_KEYS = "duplicate_keys"
    WRONG_ID = "wrong_id"
    HUGE = "huge"
    DEEP = "deep"
    NAN = "nan"
    HUGE_NUMBER = "huge_number"
    """A JSON integer of 2^256, where text was promised."""


class About(StrEnum):
    """What a node can lie about."""

    BALANCE = "balance"
    RECEIPT_STATUS = "receipt_status"
    NONCE = "nonce"
    GAS_PRICE = "gas_price"
    """`eth_gasPrice`, `eth_maxPriorityFeePerGas` and the rewards of `eth_feeHistory`."""
    BASE_FEE = "base_fee"
    CHAIN_ID = "chain_id"
    GENESIS = "genesis"
    FINALIZED_HASH = "finalized_hash"
    GAS_ESTIMATE = "gas_estimate"
    CALL = "call"
    """The bytes that `eth_call` returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Wait, then go on."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Close the connection without an answer; a WebSocket notification is not passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Never answer, and keep the connection open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSocket:
    """Close the WebSocket; as Drop elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpStatus:
    """An HTTP status with a body that is not JSON, as load balancers answer."""

    status: int
    body: str = "<html><body>upstream error</body></html>"
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeError:
    """A JSON-RPC error object."""

    code: int
    text: str
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """An answer that is not what JSON-RPC promises. `size` is bytes (huge) or levels (deep)."""

    flaw: Flaw
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLoris:
    """The answer, one byte at a time."""

    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Everything that depends on the head is answered as at `block`, like a node that stopped importing there."""

    block: int
    finalized: int | None = None
    """What the tags `finalized` and `safe` mean; else the true one, at most `block`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """One value in answers replaced."""

    about: About
    value: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyLogs:
    """`eth_getLogs` answers `[]`, as a node behind its load balancer does past its own head (go-ethereum#24078)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swallow:
    """A send is answered with its right hash and goes nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongHash:
    """A send is forwarded and answered with another transaction's hash."""


Action = (
    Delay
    | Drop
    | Silence
    | CloseSocket
    | HttpStatus
    | NodeError
    | Malformed
    | SlowLoris
    | Freeze
    | Lie
    | EmptyLogs
    | Swallow
    | WrongHash
)
ACTIONS: Final[Mapping[str, type[Action]]] = {
    kind.__name__: kind
    for kind in (
        Delay,
        Drop,
        Silence,
        CloseSocket,
        HttpStatus,
        NodeError,
        Malformed,
        SlowLoris,
        Freeze,
        Lie,
        EmptyLogs,
        Swallow,
        WrongHash,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When an action applies. Everything that is given must match."""

    action: Action
    method: str | None = None
    """Exact, or with `*` as in `eth_get*`; None is every method."""
    when: Callable[[Sequence[Any]], bool] | None = None
    """A predicate over the params, for rules added in process."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Param path -> value, can travel: `{"0.to": "0xabc...", "1": "latest"}`. Case is ignored."""
    nth: int | None = None
    """Only this matching call, from 1."""
    skip: int = 0
    """Not the first so many matching calls."""
    times: int | None = None
    """At most so often."""
    probability: float = 1.0
    phase: Phase = Phase.BEFORE
    name: str = ""

    def fits(self, method: str, params: Sequence[Any]) -> bool:
        """Whether method and params match; the counts are the proxy's."""
        if self.method is not None and not fnmatch.fnmatchcase(method, self.method):
            return False
        if self.when is not None and not self.when(params):
            return False
        return all(_same(_at(params, path), wanted) for path, wanted in self.where.items())


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """For the control endpoint. Raises: ValueError: a predicate cannot travel."""
    if rule.when is not None:
        raise ValueError("a rule with `when` cannot be sent to another process; use `where`")
    values = {item.name: getattr(rule, item.name) for item in fields(rule) if item.name not in ("action", "when")}
    return values | {"where": dict(rule.where), "action": {"kind": type(rule.action).__name__, **asdict(rule.action)}}


def rule_from_json(values: Mapping[str, Any]) -> Rule:
    given = dict(values)
    action = dict(given.pop("action"))
    kind = ACTIONS[action.pop("kind")]
    if "flaw" in action:
        action["flaw"] = Flaw(action["flaw"])
    if "about" in action:
        action["about"] = About(action["about"])
    return Rule(action=kind(**action), **given | {"phase": Phase(given.get("phase", Phase.BEFORE))})


def _at(params: Sequence[Any], path: str) -> Any:
    value: Any = params
    for part in path.split("."):
        if isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return found.lower() == wanted.lower()
    return bool(found == wanted)
