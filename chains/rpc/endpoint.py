"""One endpoint of a pool: dialled before use, probed, paced and counted.

Guarantees: chain id and genesis are checked before the first use and again before the next use after any failure;
what it says is never used while they are wrong. The address is in no figure; the name is.
Not guaranteed: that a request goes elsewhere when this one fails (the pool's task).
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from chains.errors import (
    RpcError,
    RpcProtocolError,
    RpcRefused,
    RpcThrottled,
    RpcUnavailable,
    WrongChain,
    WrongGenesis,
)
from chains.rpc import codec
from chains.rpc.budget import Budget, Pace
from chains.rpc.health import Answered, Event, Failed, Health, HealthPolicy, Probed, State, WrongChainSeen, step
from chains.rpc.transport import Transport
from chains.tx.store import Clock
from chains.types import BlockHash, ChainId

T = TypeVar("T")
Calls = Sequence[tuple[str, Sequence[Any]]]

SEND: Final = "eth_sendRawTransaction"
LATENCY_WEIGHT: Final = 0.3
"""Share of the newest request in the moving average: the last ten or so decide."""
GENESIS_EVERY: Final = 20
"""Probes. A proxy behind the same connection may start to lead to another chain with the same id."""
_RATE_LIMIT_CODES: Final = (-32005, 429)
_RATE_LIMIT_TEXTS: Final = ("too many requests", "rate limit", "request limit", "exceeded its throughput")

_RELAY: Final = Health(state=State.ALIVE, is_checked=True, was_judged=True)
"""Of a send-only endpoint, which no probe judges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """How to use one endpoint. The order in the pool is the order of preference among equals.

    `send_only` endpoints (relays) get signed transactions and nothing else, not even a probe: the signature names the
    chain. Where there are `private` ones, which are send-only too, signed transactions go to them and to no other.
    """

    transport: Transport
    send_only: bool = False
    private: bool = False
    budget: Budget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFigures:
    """One endpoint's counters and gauges."""

    name: str
    state: str
    send_only: bool
    head: int | None
    finalized: int | None
    latency_ms: int | None
    requests: int
    failures: int
    throttled: int
    sends: int
    in_flight: int
    state_changes: int


class Identity:
    """Which chain it has to be. Without a known genesis the first endpoint that is dialled tells it to all."""

    def __init__(self, chain_id: ChainId, genesis: BlockHash | None) -> None:
        self.chain_id = chain_id
        self.genesis = genesis

    def check(self, chain_id: int, genesis: str | None, endpoint: str) -> None:
        """Raises: WrongChain, WrongGenesis."""
        if chain_id != self.chain_id:
            raise WrongChain(f"serves chain id {chain_id} where {self.chain_id} is configured", endpoint=endpoint)
        if genesis is None:
            return
        if self.genesis is None:
            self.genesis = BlockHash(genesis)
        elif genesis != self.genesis:
            raise WrongGenesis(
                f"its genesis {genesis} is not {self.genesis}: another chain with the same id", endpoint=endpoint
            )


class Endpoint:
    """See the module. `best` tells the highest believable head and finalized block, the endpoint's own included."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        identity: Identity,
        policy: HealthPolicy,
        clock: Clock,
        rng: random.Random,
        best: Callable[["Endpoint"], tuple[int | None, int | None]],
        on_change: Callable[[str, State, State], None],
    ) -> None:
        self.send_only = config.send_only
        self.health = _RELAY if config.send_only else Health()
        self.head: int | None = None
        self.finalized: int | None = None
        self.seen_at_s = 0.0
        """When `head` was said, monotonic."""
        self.latency_s: float | None = None
        self.pace = Pace(config.budget, rng=rng)
        self._transport = config.transport
        self._identity = identity
        self._policy = policy
        self._clock = clock
        self._best = best
        self._on_change = on_change
        self._dialling = asyncio.Lock()
        self._dials = 0
        """Dials and probes that have ended."""
        self._dial_failure: RpcError | WrongChain | None = None
        self._is_syncing = False
        self._probes = 0
        self._requests = self._failures = self._throttled = self._sends = self._in_flight = self._changes = 0

    def __repr__(self) -> str:
        return f"Endpoint(name={self.name!r}, state={self.state})"

    @property
    def name(self) -> str:
        return self._transport.name

    @property
    def state(self) -> State:
        return self.health.state

    @property
    def wrong_chain(self) -> WrongChain | None:
        """What the last dial found, where it is that nothing of this endpoint may be used."""
        failure = self._dial_failure
        return failure if self.state is State.WRONG_CHAIN and isinstance(failure, WrongChain) else None

    def figures(self) -> EndpointFigures:
        return EndpointFigures(
            name=self.name,
            state=str(self.state),
            send_only=self.send_only,
            head=self.head,
            finalized=self.finalized,
            latency_ms=None if self.latency_s is None else round(self.latency_s * 1000),
            requests=self._requests,
            failures=self._failures,
            throttled=self._throttled,
            sends=self._sends,
            in_flight=self._in_flight,
            state_changes=self._changes,
        )

    # -- use ----------------------------------------------------------------------------------------------

    async def read(self, calls: Calls) -> list[Any | RpcError]:
        """Answers in order, an `RpcRefused` in its place. Who asks has spent the budget for it (`pace`).

        Raises: RpcUnavailable, RpcProtocolError, WrongChain.
        """
        await self._ready()
        return await self._exchange(calls)

    async def send(self, raws: Sequence[str]) -> list[Any | RpcError]:
        """As `read`, for signed transactions as hex."""
        if not self.send_only:
            await self._ready()
        self._sends += len(raws)
        self.pace.spend(len(raws), self._clock.monotonic_s())
        return await self._exchange([(SEND, [raw]) for raw in raws], is_send=True)

    async def probe(self) -> bool:
        """Look at chain id, head, `finalized` and syncing, without a verdict yet. Whether it answered well."""
        async with self._dialling:
            try:
                await self._dial()
            except (RpcError, WrongChain):
                return False  # already an event
        return True

    def judge(self) -> None:
        """The verdict on what the last probe saw, beside what is known of the others by now."""
        own = self.head or 0
        best_head, best_finalized = self._best(self)
        self.note(
            Probed(
                head=own,
                finalized=self.finalized,
                is_syncing=self._is_syncing,
                best_head=own if best_head is None else best_head,
                best_finalized=best_finalized,
            )
        )

    def note(self, event: Event) -> None:
        before, self.health = self.health.state, step(self.health, event, self._policy)
        if self.health.state is not before:
            self._changes += 1
            self._on_change(self.name, before, self.health.state)

    def note_head(self, number: int) -> None:
        self.head = number
        self.seen_at_s = self._clock.monotonic_s()

    def timed_out(self) -> None:
        """Who asked has given up waiting."""
        self._failures += 1
        self.note(Failed())

    def note_slow(self, elapsed_s: float) -> None:
        """It has not answered for so long, and someone else did."""
        self._measure(elapsed_s)

    async def close(self) -> None:
        await self._transport.close()

    # -- private ------------------------------------------------------------------------------------------

    async def _ready(self) -> None:
        """Dialled and checked. Who waited for another's dial shares its outcome, so that a hundred reads of a silent
        endpoint wait for one time-out and not for a hundred in a row. Raises: RpcError, WrongChain.
        """
        dials_before = self._dials
        if not self._needs_dial():
            return
        async with self._dialling:
            if not self._needs_dial():
                return
            if self._dials != dials_before and self._dial_failure is not None:
                raise self._dial_failure
            await self._dial()
            self.judge()

    def _needs_dial(self) -> bool:
        return not self.health.is_checked

    async def _dial(self) -> None:
        self._dial_failure = None
        try:
            await self._look()
        except (RpcError, WrongChain) as exc:
            self._dial_failure = exc
            raise
        finally:
            self._dials += 1

    async def _look(self) -> None:
        """Dial and probe in one request. Raises: RpcError, WrongChain, after having noted them."""
        wants_genesis = not self.health.is_checked or self._probes % GENESIS_EVERY == 0
        self._probes += 1
        calls: list[tuple[str, Sequence[Any]]] = [
            ("eth_chainId", []),
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_getBlockByNumber", ["finalized", False]),
            ("eth_syncing", []),
        ]
        calls += [("eth_getBlockByNumber", ["0x0", False])] if wants_genesis else []
        self.pace.spend(len(calls), self._clock.monotonic_s())
        chain_id, head, finalized, syncing, *genesis = await self._exchange(calls)
        try:
            self._identity.check(
                self._decoded(chain_id, codec.quantity),
                self._decoded(genesis[0], codec.header).hash if genesis else None,
                self.name,
            )
            self.note_head(self._decoded(head, codec.header).number)
            # A young chain has no finalized block, and some nodes do not know the tag or eth_syncing.
            is_known = finalized is not None and not isinstance(finalized, RpcError)
            self.finalized = self._decoded(finalized, codec.header).number if is_known else None
        except WrongChain:
            self.note(WrongChainSeen())
            raise
        except RpcError:
            self.note(Failed())
            raise
        self._is_syncing = isinstance(syncing, dict)

    def _decoded(self, answer: Any, decode: Callable[[Any], T]) -> T:
        if isinstance(answer, RpcError):
            raise answer
        try:
            return decode(answer)
        except codec.Malformed as exc:
            raise RpcProtocolError(str(exc), endpoint=self.name, method="probe") from exc

    async def _exchange(self, calls: Calls, *, is_send: bool = False) -> list[Any | RpcError]:
        began_s = self._clock.monotonic_s()
        self._requests += len(calls)
        self._in_flight += 1
        try:
            answers = await self._asked(calls)
            # Of a batch of sends the others may have been taken: each keeps its own answer.
            for answer in answers if not is_send else ():
                self._refuse_if_throttled(answer)
        except RpcThrottled as exc:
            self._throttled += 1
            self.pace.throttled(exc.retry_after_s, self._clock.monotonic_s())
            raise
        except (RpcUnavailable, RpcProtocolError):
            self._failures += 1
            self.note(Failed())
            raise
        finally:
            self._in_flight -= 1
        self.pace.answered()
        self._measure(self._clock.monotonic_s() - began_s)
        self.note(Answered())
        if self.send_only and self.health.state is not State.ALIVE:
            self.health = _RELAY
        return answers

    async def _asked(self, calls: Calls) -> list[Any | RpcError]:
        try:
            if len(calls) > 1:
                return await self._transport.batch(calls)
            return [await self._transport.request(*calls[0])]
        except RpcRefused as refused:  # of a batch: as a whole
            return [refused] * len(calls)

    def _refuse_if_throttled(self, answer: Any) -> None:
        if not isinstance(answer, RpcRefused):
            return
        text = answer.node_message.lower()
        if answer.code in _RATE_LIMIT_CODES or any(known in text for known in _RATE_LIMIT_TEXTS):
            raise RpcThrottled(answer.node_message, endpoint=self.name, method=answer.method)

    def _measure(self, elapsed_s: float) -> None:
        old = self.latency_s
        self.latency_s = elapsed_s if old is None else old + LATENCY_WEIGHT * (elapsed_s - old)
