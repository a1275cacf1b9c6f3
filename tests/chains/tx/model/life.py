"""One life of the engine's process: time that jumps, and an end that may come at any touch with the world.

Time moves only while everything waits, then at once to the next timer: time-outs, hedges and back-offs happen in the
order they would, in no time. A life ends at its n-th touch (a request before it leaves, an answer when it arrives, a
commit before or after it is durable, a signature before or after it is made) or at a crash point. From there on it
can do nothing: whatever it still tries ends as well. A request that was on its way may yet arrive.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final, TypeVar

from chains.errors import RpcError, SignerUnavailable
from chains.signing.signer import Signer
from chains.types import Address, SignedTx, UnsignedTx
from tests.chains.tx.model.node import SEND, NodeModel
from tests.clock import FakeClock

T = TypeVar("T")

PAUSES_S: Final = (0.0, 0.0, 0.0, 0.01, 0.03, 0.2)
"""How long a way takes; so different that what was asked later may be answered first."""


class Killed(BaseException):
    """Stands for kill -9: passes everything that catches exceptions."""


class _Jumping(selectors.SelectSelector):
    """Nothing comes from outside: waiting for it is moving the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if timeout > 0:
            self._clock.advance_ms(int(timeout * 1000) + 1)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that lives by the clock of the test."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Jumping(clock))
        self._test_clock = clock

    def time(self) -> float:
        return self._test_clock.monotonic_s()

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end; whatever it left behind ends with it."""
        try:
            return self.run_until_complete(work)
        finally:
            if left := asyncio.all_tasks(self):
                for task in left:
                    task.cancel()
                self.run_until_complete(asyncio.wait(left))


class Life:
    """From a start to an end. `chance` draws how long things take."""

    def __init__(self, chance: Random, *, touches: int | None) -> None:
        self.chance = chance
        self.is_over = False
        self.touches_left = touches

    def end(self) -> None:
        self.is_over = True
        raise Killed

    def touch(self) -> None:
        """Raises: Killed: this is where it ends, or it has ended."""
        if self.is_over:
            raise Killed
        if self.touches_left is not None:
            self.touches_left -= 1
            if self.touches_left < 0:
                self.end()

    async def pause(self) -> None:
        """A way there or back; the life may end meanwhile, elsewhere."""
        await asyncio.sleep(self.chance.choice(PAUSES_S))


class Line:
    """A `Transport`: one life's connection to a node."""

    def __init__(self, node: NodeModel, life: Life) -> None:
        self.name = node.name
        self._node = node
        self._life = life

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        [answer] = await self.batch([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        life = self._life
        life.touch()
        try:
            await life.pause()
        finally:
            arrives = not life.is_over or (calls[0][0] == SEND and life.chance.random() < 0.5)
        answers = self._node.serve(calls) if arrives else []
        life.touch()
        await life.pause()
        if life.is_over:
            raise Killed
        return answers

    async def close(self) -> None:
        """Nothing is open."""


class MortalSigner:
    """A signer across a wire: it may be silent before or after it signed, and the life may end around it."""

    def __init__(self, inner: Signer, life: Life, *, is_silent: Callable[[], bool]) -> None:
        self._inner = inner
        self._life = life
        self._is_silent = is_silent

    async def addresses(self) -> Sequence[Address]:
        return await self._inner.addresses()

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        self._life.touch()
        await self._life.pause()
        signed = await self._inner.sign(sender, tx)
        self._life.touch()
        if self._is_silent():
            raise SignerUnavailable("no answer in time")
        return signed
