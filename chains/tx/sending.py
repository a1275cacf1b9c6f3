"""Hands stored bytes to the node and records what it says. The only place that sends.

Guarantees: only bytes that are durable are sent, and always the same bytes for an attempt; a refusal changes no state
but the attempt's `node_answer`; an attempt is not sent twice at the same time. Not guaranteed: that an attempt whose
answer was lost did not arrive; it is sent again until it is mined.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from chains.crashpoints import reach
from chains.errors import RpcError, RpcRefused
from chains.node_errors import SendVerdict
from chains.tx.context import EngineParts
from chains.tx.leases import lane_lease
from chains.tx.model import UNMINED_TX_STATES, Attempt, AttemptKind, AttemptState, OpenTx, TxId, TxState, Wish
from chains.tx.store import StaleState
from chains.types import TxHash

U = TypeVar("U")

REBROADCAST_BLOCKS: Final = 5
"""Block times after which an accepted attempt that is not mined is sent again: pools drop transactions silently."""
REBROADCAST_MOST_MS: Final = 50_000
"""However slow the blocks: what a pool dropped is back within a minute, with the time that an engine takes to look."""
MAX_SENDS: Final = 100
"""Attempts in one JSON-RPC batch: what hosted nodes take, and what one lost answer leaves in doubt."""
FIRST_RETRY_MS: Final = 250
"""After which an attempt of which nothing was heard is sent again for the first time: it holds up those behind it."""
SEND_FOR_S: Final = 0.5
"""How long stored bytes are sent on the strength of one look at their slots: half of the second within which a pause
has to hold, on an endpoint that is slow to answer."""
RETRY_BLOCKS: Final = 1
"""Block times after which an attempt that no node has accepted is sent again."""
_GOOD: Final = (SendVerdict.ALREADY_KNOWN,)
_TOO_CHEAP: Final = frozenset({SendVerdict.UNDERPRICED, SendVerdict.REPLACE_UNDERPRICED})
_OTHERS_STAND: Final = _TOO_CHEAP | {SendVerdict.INSUFFICIENT_FUNDS, SendVerdict.FEE_CAP_NODE}
"""Refusals of a replacement after which the cheaper attempts before it are what can still be mined."""

_GIVEN_UP: Final = frozenset({SendVerdict.PERMANENT, SendVerdict.REVERTED})

log = logging.getLogger(__name__)


def is_underpriced(attempt: Attempt) -> bool:
    """The last answer to it was that its price is too low, or too little above that of the one it should replace."""
    return _verdict(attempt) in _TOO_CHEAP


def is_unfunded(attempt: Attempt) -> bool:
    """The last answer to it was that the wallet cannot pay for it: a higher price is of no use."""
    return _verdict(attempt) == SendVerdict.INSUFFICIENT_FUNDS


def is_refused_for_good(attempt: Attempt) -> bool:
    """It was never taken, and the last answer was that no node takes such bytes, or that they revert before they are
    taken. Only built-in wordings say so; an operator's phrases and unknown texts never do."""
    return attempt.state is AttemptState.SIGNED and _verdict(attempt) in _GIVEN_UP


def sendable(slot: OpenTx) -> list[OpenTx]:
    """The slot once for each attempt to send again, that attempt being its last: the newest, and after it was refused
    for its price also those before it. Never a payload beside or instead of a self-send that is wanted."""
    newest = slot.attempts[-1]
    closing = slot.tx.wish is Wish.CANCEL or newest.kind is AttemptKind.CANCEL
    chosen = range(len(slot.attempts)) if _verdict(newest) in _OTHERS_STAND else [len(slot.attempts) - 1]
    return [
        replace(slot, attempts=slot.attempts[: index + 1])
        for index in chosen
        if not closing or slot.attempts[index].kind is AttemptKind.CANCEL
    ]


def _verdict(attempt: Attempt) -> str:
    return (attempt.node_answer or "").partition(":")[0]


class Sender(Generic[U]):
    """Sends attempts of one chain. Remembers when each was tried last; after a restart all are due at once."""

    def __init__(self, parts: EngineParts[U]) -> None:
        self._parts = parts
        self._tried_s: dict[TxHash, float] = {}
        self._lost: dict[TxHash, int] = {}
        """How often in a row nothing was heard of it."""
        self._in_flight: set[TxHash] = set()

    def claim(self, attempts: Sequence[Attempt]) -> None:
        """Before they are saved: whoever saves them sends them first, nobody else meanwhile."""
        now_s = self._parts.clock.monotonic_s()
        self._tried_s.update((attempt.hash, now_s) for attempt in attempts)

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """These are due at once: a reorg took them out of the chain."""
        for attempt in attempts:
            self._tried_s.pop(attempt.hash, None)

    async def rebroadcast(self, slots: Sequence[OpenTx], *, only_due: bool) -> list[TxId]:
        """Send what each unmined slot has to send (`sendable`), in the order given, for `SEND_FOR_S`.

        The answer are the slots that were not come to: to be read again first, since they may be closed by now.
        """
        # Forgotten by age, not by what is open: an attempt being saved right now is not among the slots yet.
        oldest_s = self._parts.clock.monotonic_s() - self._patience_ms / 1000
        self._tried_s = {tx_hash: at_s for tx_hash, at_s in self._tried_s.items() if at_s > oldest_s}
        self._lost = {tx_hash: times for tx_hash, times in self._lost.items() if tx_hash in self._tried_s}
        unmined = [
            one for slot in slots if slot.tx.state in UNMINED_TX_STATES and slot.attempts for one in sendable(slot)
        ]
        due = [slot for slot in unmined if not only_due or self._is_due(slot.attempts[-1])]
        until_s = self._parts.clock.monotonic_s() + SEND_FOR_S
        for start in range(0, len(due), MAX_SENDS):
            if start and self._parts.clock.monotonic_s() >= until_s:
                return list(dict.fromkeys(slot.tx.id for slot in due[start:]))
            await self._send_some(due[start : start + MAX_SENDS])
        return []

    async def send(self, slots: Sequence[OpenTx]) -> None:
        """Send the newest attempt of each slot, in the order given, and record the answers; `MAX_SENDS` at a time.
        Never raises for an answer."""
        for start in range(0, len(slots), MAX_SENDS):
            await self._send_some(slots[start : start + MAX_SENDS])

    async def _send_some(self, slots: Sequence[OpenTx]) -> None:
        slots = [
            slot
            for slot in slots
            # Another process may have the lane by now, and may have replaced or closed what this one knows of.
            if slot.attempts[-1].hash not in self._in_flight and self._parts.leases.holds(lane_lease(slot.tx.lane))
        ]
        if not slots:
            return
        hashes = [slot.attempts[-1].hash for slot in slots]
        self._in_flight.update(hashes)
        try:
            self.claim([slot.attempts[-1] for slot in slots])
            answers = await self._answers([slot.attempts[-1] for slot in slots])
            reach("K8")
            told = list(zip(slots, answers, strict=True))
            for tx_hash, answer in zip(hashes, answers, strict=True):
                if answer is not None and answer.startswith(SendVerdict.UNKNOWN):
                    self._lost[tx_hash] = self._lost.get(tx_hash, 0) + 1
                else:
                    self._lost.pop(tx_hash, None)
            await self._note([(slot, answer) for slot, answer in told if answer is not None])
            await self._mark_sent([slot for slot, answer in told if answer is None])
            reach("K8b")
        finally:
            self._in_flight.difference_update(hashes)

    # -- private ------------------------------------------------------------------------------------------

    @property
    def _patience_ms(self) -> int:
        return min(REBROADCAST_BLOCKS * self._parts.config.block_time_ms, REBROADCAST_MOST_MS)

    def _is_due(self, attempt: Attempt) -> bool:
        tried_s = self._tried_s.get(attempt.hash)
        if tried_s is None:
            return True
        retry_ms = RETRY_BLOCKS * self._parts.config.block_time_ms
        after_ms = self._patience_ms if attempt.state is AttemptState.SENT else min(retry_ms, self._patience_ms)
        if self._lost.get(attempt.hash) == 1:
            after_ms = min(FIRST_RETRY_MS, after_ms)
        return (self._parts.clock.monotonic_s() - tried_s) * 1000 >= after_ms

    async def _answers(self, attempts: Sequence[Attempt]) -> list[str | None]:
        """None where the node has the bytes, else the class and wording of its answer."""
        try:
            results = await self._parts.client.send_raw_all([attempt.raw for attempt in attempts])
        except RpcError as exc:
            return [f"{SendVerdict.UNKNOWN}: {exc}"] * len(attempts)
        answers: list[str | None] = []
        for result in results:
            if not isinstance(result, RpcError):
                answers.append(None)
            elif isinstance(result, RpcRefused):
                verdict = self._parts.config.node_errors.classify_send(result.code, result.node_message, result.data)
                answers.append(None if verdict in _GOOD else f"{verdict}: {result.node_message}")
            else:
                answers.append(f"{SendVerdict.UNKNOWN}: {result}")
        return answers

    async def _note(self, refused: Sequence[tuple[OpenTx, str]]) -> None:
        new: list[tuple[TxHash, str]] = []
        for slot, answer in refused:
            attempt, tx = slot.attempts[-1], slot.tx
            log.warning("%s nonce %d: %s was not accepted: %s", tx.lane.wallet, tx.nonce, attempt.hash, answer)
            if attempt.node_answer != answer:
                new.append((attempt.hash, answer))

        def work(u: U) -> None:
            for tx_hash, answer in new:
                self._parts.store.note_answer(u, tx_hash, answer)

        if new:
            await self._parts.uow.run(work)

    async def _mark_sent(self, slots: Sequence[OpenTx]) -> None:
        if not slots:
            return
        try:
            await self._parts.uow.run(lambda u: self._write_sent(u, slots))
        except StaleState:
            # One of them was mined meanwhile: the confirmer has it. The others still count as sent.
            await self._parts.uow.run(lambda u: self._write_sent(u, self._unsettled(u, slots)))

    def _unsettled(self, uow: U, slots: Sequence[OpenTx]) -> Sequence[OpenTx]:
        sendable = self._parts.store.sendable(uow, [slot.attempts[-1].hash for slot in slots])
        return [slot for slot in slots if slot.attempts[-1].hash in sendable]

    def _write_sent(self, uow: U, slots: Sequence[OpenTx]) -> None:
        now_ms = self._parts.clock.now_ms()
        # As stored, not as read: the answer to an earlier send may have been recorded since these slots were read.
        became = self._parts.store.mark_sent(uow, [slot.attempts[-1].hash for slot in slots], now_ms)
        new = [slot for slot in {slot.tx.id: slot for slot in slots}.values() if slot.tx.id in became]
        if new:
            sent = [(slot.intent, replace(slot.tx, state=TxState.BROADCAST, updated_ms=now_ms)) for slot in new]
            self._parts.observer.on_sent(uow, sent)
