"""What several endpoints said to the same signed bytes, and the one answer that follows from it.

Success beats error. Without a success the answer is the one whose consequence can be taken back: "already known", then
verdicts that keep the slot (nonce, fees, funds), and last those that give the bytes up (permanent, reverted, a node's
own fee cap). These count only when every other endpoint is known not to have taken the bytes: while one outcome is
unknown, so is the whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eth_utils.crypto import keccak

from chains.errors import RpcError, RpcNotSent, RpcProtocolError, RpcRefused, RpcUnavailable
from chains.node_errors import BUILT_IN, NodeErrors, SendVerdict
from chains.rpc.endpoint import SEND

_SOFTEST_FIRST: Final = (
    SendVerdict.ALREADY_KNOWN,
    SendVerdict.NONCE_TOO_LOW,
    SendVerdict.UNKNOWN,
    SendVerdict.POOL_LIMIT,
    SendVerdict.NONCE_TOO_HIGH,
    SendVerdict.REPLACE_UNDERPRICED,
    SendVerdict.UNDERPRICED,
    SendVerdict.INSUFFICIENT_FUNDS,
    SendVerdict.FEE_CAP_NODE,
    SendVerdict.REVERTED,
    SendVerdict.PERMANENT,
)
_GIVES_UP: Final = frozenset({SendVerdict.FEE_CAP_NODE, SendVerdict.REVERTED, SendVerdict.PERMANENT})
_FITS_SUCCESS: Final = frozenset({SendVerdict.ALREADY_KNOWN, SendVerdict.NONCE_TOO_LOW, SendVerdict.POOL_LIMIT})
"""What an endpoint may say beside another's success without either being wrong."""


class Tally:
    """Outcomes by endpoint of some raw transactions (hex), in their order."""

    def __init__(self, raws: Sequence[str], *, node_errors: NodeErrors = BUILT_IN) -> None:
        self._node_errors = node_errors
        self.hashes = ["0x" + keccak(hexstr=raw).hex() for raw in raws]
        self._accepted = [False] * len(raws)
        self._errors: list[list[RpcError]] = [[] for _ in raws]
        self._denied = [0] * len(raws)

    @property
    def is_settled(self) -> bool:
        """Every transaction has been taken by someone."""
        return all(self._accepted)

    def failed(self, error: RpcError) -> None:
        """An endpoint gave no answer to any of them."""
        for errors in self._errors:
            errors.append(error)

    def answered(self, endpoint: str, answers: Sequence[Any | RpcError]) -> tuple[int, int]:
        """An endpoint's answers, in order. How many of them contradict others (success at one endpoint, at another a
        verdict that cannot be true at the same time), and how many carry the hash of another transaction.
        """
        contradictions = wrong_hashes = 0
        for index, answer in enumerate(answers):
            if isinstance(answer, RpcError):
                self._errors[index].append(answer)
                if isinstance(answer, RpcRefused) and self._verdict(answer) not in _FITS_SUCCESS:
                    self._denied[index] += 1
                    contradictions += self._accepted[index]
            elif isinstance(answer, str) and answer.lower() == self.hashes[index]:
                contradictions += 0 if self._accepted[index] else self._denied[index]
                self._accepted[index] = True
            else:
                wrong_hashes += 1
                self._errors[index].append(
                    RpcProtocolError("answered with another transaction's hash", endpoint=endpoint, method=SEND)
                )
        return contradictions, wrong_hashes

    def outcome(self, index: int, *, still_open: Sequence[str]) -> str | RpcError:
        """The hash, or the error to act on. `still_open`: endpoints that have not answered."""
        if self._accepted[index]:
            return self.hashes[index]
        errors = self._errors[index]
        refusals = sorted(
            (error for error in errors if isinstance(error, RpcRefused)),
            key=lambda refused: _SOFTEST_FIRST.index(self._verdict(refused)),
        )
        unknown: list[RpcError] = [error for error in errors if not isinstance(error, RpcRefused | RpcNotSent)] + [
            RpcUnavailable("no answer in time", endpoint=name, method=SEND) for name in still_open
        ]
        if refusals and not (unknown and self._verdict(refusals[0]) in _GIVES_UP):
            return refusals[0]
        return (unknown or errors)[0]

    def _verdict(self, refused: RpcRefused) -> SendVerdict:
        return self._node_errors.classify_send(refused.code, refused.node_message, refused.data)


def raw_params(calls: Sequence[tuple[str, Sequence[Any]]]) -> Mapping[int, str]:
    """Position -> raw transaction of the sends among some calls."""
    return {index: params[0] for index, (method, params) in enumerate(calls) if method == SEND}
