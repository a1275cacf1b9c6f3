"""One read on its way over several endpoints: which calls have an answer, and what is said of the others in the end."""

from typing import Any, Final

from chains.errors import RpcError, RpcRefused, RpcUnavailable, WrongChain
from chains.rpc.endpoint import Calls


class Older(RpcUnavailable):
    """The answer is behind what was answered before."""


class Nothing:
    """Null where there should be a block."""


NOTHING: Final = Nothing()
Outcome = list[Any] | RpcError | WrongChain


class Round:
    """The calls of one read on their way over several endpoints."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.answers: dict[int, Any] = {}
        self.missing = dict.fromkeys(range(len(calls)))
        """Positions without an answer, as an ordered set."""
        self.reasons: dict[int, RpcError | Nothing] = {}
        """Of each call without an answer: the most telling objection so far."""
        self._failures: dict[int, list[RpcError | WrongChain]] = {}

    @property
    def is_heard(self) -> bool:
        """Of every call that has no answer, some endpoint has said why."""
        return all(index in self.reasons for index in self.missing)

    def failed(self, index: int, failure: RpcError | WrongChain) -> None:
        self._failures.setdefault(index, []).append(failure)

    def objected(self, index: int, objection: RpcError | Nothing) -> None:
        if _weight(objection) >= _weight(self.reasons.get(index)):
            self.reasons[index] = objection

    def answer(self, index: int, *, pool: str) -> Any | RpcError:
        if index in self.answers:
            return self.answers[index]
        reason = self.reasons.get(index)
        if isinstance(reason, Nothing):
            return None
        if reason is not None:
            return reason
        method, failures = self.calls[index][0], self._failures.get(index, [])
        if len(failures) == 1 and isinstance(failures[0], RpcError):
            return failures[0]
        told = "; ".join(str(failure) for failure in failures) or "every endpoint serves another chain"
        return RpcUnavailable(f"no endpoint answered: {told}", endpoint=pool, method=method)


def _weight(reason: RpcError | Nothing | None) -> int:
    """A node's own words say more than null, and null more than an answer that was refused here."""
    if reason is None:
        return 0
    if isinstance(reason, RpcRefused):
        return 3
    return 2 if isinstance(reason, Nothing) else 1
