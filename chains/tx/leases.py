"""Who works on what, where several processes share one store: a lease for each chain, one for each lane.

    chain lease   follows the chain: heads, receipts, the cursor            one process
    lane lease    places, replaces and sends for one (chain, wallet)        one process

A lease says who acts; the fence says who may write. `guard` runs inside every unit of work of the engine, before the
work: a process that was taken for dead (stopped, cut off, too slow) and comes back finds all its writes refused,
whatever it believes to hold, and also once it has joined again: what it had begun before rests on what it read then.
`holds` is the cheap local answer, asked before a byte leaves.

Guarantees asked of an implementation: at most one process holds a lease; `holds` is False from the moment on at which
another process might have been given the lease; nothing that a process wrote is lost to a later holder.
Not guaranteed: that a send which had passed `holds` is not still under way when another takes over. It carries bytes
that are stored, and the next holder sends and watches the same.
"""

from collections.abc import Callable, Collection
from typing import Generic, NewType, Protocol, TypeVar

from chains.tx.model import Lane
from chains.tx.store import StaleState, UnitOfWork
from chains.types import ChainId

T = TypeVar("T")
U = TypeVar("U")
U_contra = TypeVar("U_contra", contravariant=True)

LeaseName = NewType("LeaseName", str)
"""`chain:1`, `lane:1:0x...`"""
Term = NewType("Term", str)
"""From when a process joined the others until it leaves or is taken for dead."""


class LeaseLost(StaleState):
    """This process was taken for dead, and another may work on what it held: nothing was written."""


def chain_lease(chain_id: ChainId) -> LeaseName:
    return LeaseName(f"chain:{chain_id}")


def lane_lease(lane: Lane) -> LeaseName:
    return LeaseName(f"lane:{lane.chain_id}:{lane.wallet}")


class Leases(Protocol[U_contra]):
    """The leases of this process."""

    def holds(self, name: LeaseName) -> bool:
        """Whether this process is sure to hold it now. No I/O."""
        ...

    async def claim(self, names: Collection[LeaseName]) -> None:
        """Take those of them that are free and that this process should have; `holds` tells which."""
        ...

    def unwanted(self) -> frozenset[LeaseName]:
        """Held leases that another living process should have, to be given back when nothing is under way there."""
        ...

    async def give_back(self, names: Collection[LeaseName]) -> None:
        """Free them for others. From the call on `holds` is False for them."""
        ...

    def term(self) -> Term | None:
        """The one that what begins now belongs to. No I/O."""
        ...

    def guard(self, uow: U_contra, term: Term | None) -> None:
        """In a unit of work of that term: go on only while no other process can have taken over. Raises: LeaseLost."""
        ...


class SoleLeases(Generic[U]):
    """For the only process on its store: it holds everything."""

    def holds(self, name: LeaseName) -> bool:
        return True

    async def claim(self, names: Collection[LeaseName]) -> None:
        """Nothing to do."""

    def unwanted(self) -> frozenset[LeaseName]:
        return frozenset()

    async def give_back(self, names: Collection[LeaseName]) -> None:
        """Nobody is there to take them."""

    def term(self) -> Term | None:
        return None

    def guard(self, uow: U, term: Term | None) -> None:
        """Nobody else is there."""


class FencedUnitOfWork(Generic[U]):
    """A unit of work whose every write passes the fence first. Reads need none: what follows from them is a write.

    Each write belongs to the term in which it is asked for, or all of them to one (`of_this_term`).
    """

    def __init__(
        self, inner: UnitOfWork[U], leases: Leases[U], *, term: Callable[[], Term | None] | None = None
    ) -> None:
        self._inner = inner
        self._leases = leases
        self._term = leases.term if term is None else term

    def of_this_term(self) -> "FencedUnitOfWork[U]":
        """The same for what begins now: nothing of it is written in a later term."""
        term = self._leases.term()
        return FencedUnitOfWork(self._inner, self._leases, term=lambda: term)

    async def run(self, work: Callable[[U], T]) -> T:
        """Raises: LeaseLost, and what `work` raises."""
        term = self._term()

        def guarded(uow: U) -> T:
            self._leases.guard(uow, term)
            return work(uow)

        return await self._inner.run(guarded)

    async def read(self, work: Callable[[U], T]) -> T:
        return await self._inner.read(work)
