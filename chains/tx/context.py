"""What the parts of one chain's engine share."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.errors import RpcError, SignerUnavailable
from chains.headstate import HeadStore
from chains.signing.signer import Signer
from chains.tx.leases import Leases
from chains.tx.signing import SignedHere
from chains.tx.store import (
    Clock,
    PreSignCheck,
    StaleState,
    StoreUnavailable,
    TxObserver,
    TxStore,
    UnitOfWork,
    UnusableRow,
)

U = TypeVar("U")

TRANSIENT: Final = (RpcError, SignerUnavailable, StaleState, StoreUnavailable, UnusableRow)
"""What the engine logs and tries again: an endpoint or a signer that gave no usable answer, a lost race for a row, and
a row that makes no sense, until somebody has put it right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts(Generic[U]):
    """One chain's endpoint and configuration, and what the caller supplies."""

    client: EvmClient
    config: ChainConfig
    signer: Signer
    store: TxStore[U]
    heads: HeadStore[U]
    uow: UnitOfWork[U]
    """Fenced: it writes only while this process may hold leases."""
    leases: Leases[U]
    check: PreSignCheck
    observer: TxObserver[U]
    clock: Clock
    witness: EvmClient | None = None
    """The same chain where several endpoints must say the same; asked before what is for ever (chains.tx.witness)."""
    signed: SignedHere = field(default_factory=SignedHere)
    """One of an engine, whatever parts of it share."""


class Backoff:
    """Doubling waits between failures, back to the first after a success."""

    def __init__(self, *, first_ms: int = 200, most_ms: int = 10_000) -> None:
        self._first_ms = first_ms
        self._most_ms = most_ms
        self._next_ms = first_ms

    def succeeded(self) -> None:
        self._next_ms = self._first_ms

    def failed(self) -> int:
        """How long to wait now, milliseconds."""
        wait_ms, self._next_ms = self._next_ms, min(2 * self._next_ms, self._most_ms)
        return wait_ms


async def wait_for_any(*events: asyncio.Event, timeout_ms: int) -> None:
    """Return when one of the events is set or the time has passed."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
