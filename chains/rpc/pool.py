"""Several endpoints of one chain as one `Transport`: an `EvmClient(config, pool)` just works.

    reads   best endpoint first (state, freshness, budget, latency, configured order), the next one when it fails,
            refuses for want of data, or is slow (hedging: after `hedge_after_s` a second one is asked too)
    quorum  what moves money: `need` endpoints must give the same answer, else `QuorumNotReached`
    sends   to all endpoints at once, send-only ones included, or to the private ones alone where there are any;
            success beats error (chains/rpc/broadcast.py)

Guarantees:
- no answer of an endpoint whose chain id or genesis is another one is used; both are checked on every dial, and a
  dial precedes the first use and the first use after any failure (chains/rpc/endpoint.py);
- monotonic: `finalized` never goes back behind what was answered before; the head goes back only after `head_hold_s`
  in which no endpoint had it any more (a reorg to a shorter chain);
- the last usable endpoint is never disabled: when none is alive, the least bad ones are asked;
- send-only endpoints see signed transactions and nothing else; sends never wait for a budget or a back-off;
- figures and errors name endpoints, never their addresses; nothing is sent twice to one endpoint.

Not guaranteed: that reads at `latest` of two different values see the same block (pin them to a `BlockRef`), nor that a
single endpoint tells the truth (that is what `quorum` is for). State is held by this process alone.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from chains.errors import RpcError, RpcNotSent, RpcProtocolError, RpcRefused, RpcThrottled, RpcUnavailable, WrongChain
from chains.node_errors import BUILT_IN, NodeErrors
from chains.rpc import codec
from chains.rpc.broadcast import Tally, raw_params
from chains.rpc.endpoint import SEND, Calls, Endpoint, EndpointConfig, Identity
from chains.rpc.health import RANK, State
from chains.rpc.policy import Counts, PoolFigures, PoolPolicy
from chains.rpc.quorum import Agreed, Ballot, QuorumNotReached, QuorumView
from chains.rpc.reads import Moves, answered_number, is_elsewhere, is_unpinned, moves, needs_head, should_exist
from chains.rpc.rounds import NOTHING, Nothing, Older, Outcome, Round
from chains.rpc.transport import Transport
from chains.tx.store import Clock
from chains.types import BlockHash, ChainId

SECOND_HIGHEST_FROM: Final = 3
"""Endpoints: from here on the best head is the second highest, so that one liar cannot make the others lag."""


class RpcPool:
    """See the module. `genesis` None: the first endpoint dialled tells it; give the one the database is bound to."""

    def __init__(
        self,
        endpoints: Sequence[EndpointConfig],
        *,
        name: str,
        chain_id: ChainId,
        clock: Clock,
        genesis: BlockHash | None = None,
        policy: PoolPolicy | None = None,
        node_errors: NodeErrors = BUILT_IN,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_change: Callable[[str, State, State], None] = lambda name, old, new: None,
    ) -> None:
        """Raises: ValueError: no endpoint that may be read from, a private one that may, or two of one name."""
        if any(config.private and not config.send_only for config in endpoints):
            raise ValueError("a private endpoint is send-only")
        if all(config.send_only for config in endpoints):
            raise ValueError("a pool needs an endpoint that is not send-only")
        if len({config.transport.name for config in endpoints}) < len(endpoints):
            raise ValueError("the endpoints of a pool need different names")
        self.policy = policy or PoolPolicy()
        self._name = name
        self._clock = clock
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._node_errors = node_errors
        self._identity = Identity(chain_id, genesis)
        self._endpoints = [
            Endpoint(
                config,
                identity=self._identity,
                policy=self.policy.health,
                clock=clock,
                rng=self._rng,
                best=self._best,
                on_change=on_change,
            )
            for config in endpoints
        ]
        private = [one for one, config in zip(self._endpoints, endpoints, strict=True) if config.private]
        self._senders = private or self._endpoints
        self._readers = [endpoint for endpoint in self._endpoints if not endpoint.send_only]
        self._served = {Moves.HEAD: 0, Moves.FINALIZED: 0}
        self._head_held_at_s = 0.0
        self._counts = Counts()
        self._sending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"RpcPool(name={self._name!r}, endpoints={self._endpoints!r})"

    @property
    def name(self) -> str:
        return self._name

    # -- Transport ----------------------------------------------------------------------------------------

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        [answer] = await self.batch([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Calls) -> list[Any | RpcError]:
        """Each answer, or the error that a `request` of it would have raised, in its place. Never raises RpcError."""
        raws = raw_params(calls)
        if not raws:
            return await self._read(calls)
        answers: dict[int, Any] = dict(zip(raws, await self._broadcast(list(raws.values())), strict=True))
        reads = [index for index in range(len(calls)) if index not in raws]
        if reads:
            answers |= zip(reads, await self._read([calls[index] for index in reads]), strict=True)
        return [answers[index] for index in range(len(calls))]

    async def close(self) -> None:
        """Stop what is still being sent and close every endpoint."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for endpoint in self._endpoints:
            await endpoint.close()

    # -- care ---------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Probe all endpoints again and again until stopped."""
        while not stop.is_set():
            await self.probe()
            pause_s = self.policy.probe_every_s * self._rng.uniform(0.8, 1.2)
            try:
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def probe(self) -> None:
        """Look at every endpoint once, at the same time, and then judge them beside each other."""
        answered = await asyncio.gather(*(self._probe(endpoint) for endpoint in self._readers))
        for endpoint, did in zip(self._readers, answered, strict=True):
            if did:
                endpoint.judge()

    async def settle(self) -> None:
        """Wait until every endpoint has answered, or failed, what was sent so far."""
        await asyncio.gather(*self._sending)

    def wrong_chain(self) -> WrongChain | None:
        """Why nothing can be read at all: every endpoint serves another chain. None while one may serve this one."""
        found = [endpoint.wrong_chain for endpoint in self._readers]
        return found[0] if all(found) else None

    @property
    def can_agree(self) -> bool:
        """Whether there are two or more endpoints to read from, so that one's word need not be taken alone."""
        return len(self._readers) > 1

    def figures(self) -> PoolFigures:
        counts = self._counts
        return PoolFigures(
            endpoints=tuple(endpoint.figures() for endpoint in self._endpoints),
            served_head=self._served[Moves.HEAD],
            served_finalized=self._served[Moves.FINALIZED],
            **{name: getattr(counts, name) for name in Counts.__slots__},
        )

    # -- quorum -------------------------------------------------------------------------------------------

    async def quorum(self, method: str, params: Sequence[Any], *, need: int = 2) -> Agreed:
        """An answer that `need` endpoints give alike. With fewer endpoints configured it says `is_degraded`.

        Raises: QuorumNotReached, RpcUnavailable: too few agree or answer. RpcRefused: so many refuse alike.
        """
        [agreed] = await self.quorum_batch([(method, params)], need=need)
        if isinstance(agreed, RpcError):
            raise agreed
        return agreed

    async def quorum_batch(self, calls: Calls, *, need: int = 2) -> list[Agreed | RpcError]:
        """`quorum` of several calls; `need` endpoints are asked at first, the others for what is not agreed on."""
        self._counts.quorum_reads += len(calls)
        if len(self._readers) < need:
            self._counts.quorum_degraded += len(calls)
            answers = await self._read(calls)
            return [
                one if isinstance(one, RpcError) else Agreed(value=one, agreed=1, asked=1, is_degraded=True)
                for one in answers
            ]
        ballots = [Ballot(method) for method, _ in calls]
        voters, missing = deque(self._order(calls)), list(range(len(calls)))
        while missing and voters:
            lacking = max(need - ballots[index].best[1] for index in missing)
            now = [voters.popleft() for _ in range(min(lacking, len(voters)))]
            asked = [calls[index] for index in missing]
            outcomes = await asyncio.gather(*(self._heard_in_time(endpoint, asked) for endpoint in now))
            for endpoint, outcome in zip(now, outcomes, strict=True):
                for place, index in enumerate(missing):
                    ballots[index].asked += 1
                    if not isinstance(outcome, Exception) and not _is_void(outcome[place]):
                        self._vote(ballots[index], endpoint, calls[index], answer=outcome[place])
            missing = [index for index in missing if ballots[index].best[1] < need]
        self._counts.quorum_failures += len(missing)
        self._counts.quorum_disagreements += sum(ballot.is_split for ballot in ballots)
        return [self._elected(ballot, method, need=need) for ballot, (method, _) in zip(ballots, calls, strict=True)]

    def with_quorum(self, need: int = 2) -> Transport:
        """The pool as a `Transport` whose every read is a quorum read: `EvmClient(config, pool.with_quorum())`."""
        return QuorumView(self, need)

    async def _heard_in_time(self, endpoint: Endpoint, calls: Calls) -> Outcome:
        """An attempt that makes way for the next voter when it takes too long."""
        try:
            async with asyncio.timeout(self.policy.quorum_timeout_s):
                return await self._attempt(endpoint, calls)
        except TimeoutError:
            endpoint.timed_out()
            return RpcUnavailable("no answer in time", endpoint=endpoint.name, method=calls[0][0])

    def _vote(self, ballot: Ballot, endpoint: Endpoint, call: tuple[str, Sequence[Any]], *, answer: Any) -> None:
        if not isinstance(self._objection(endpoint, call, answer=answer), RpcError):
            ballot.vote(answer)

    def _elected(self, ballot: Ballot, method: str, *, need: int) -> Agreed | RpcError:
        value, agreed = ballot.best
        if agreed < need:
            return QuorumNotReached(endpoint=self._name, method=method, need=need, agreed=agreed, asked=ballot.asked)
        return value if isinstance(value, RpcError) else Agreed(value=value, agreed=agreed, asked=ballot.asked)

    # -- reads --------------------------------------------------------------------------------------------

    async def _read(self, calls: Calls) -> list[Any | RpcError]:
        self._counts.reads += len(calls)
        round_ = Round(calls)
        order = self._order(calls)
        await self._ask_in_turn(round_, order)
        if round_.missing and any(isinstance(round_.reasons.get(index), Older) for index in round_.missing):
            # Two answers may have overtaken each other: ask the best one once more before giving up.
            await self._ask_in_turn(round_, order[:1])
        return [round_.answer(index, pool=self._name) for index in range(len(calls))]

    async def _ask_in_turn(self, round_: Round, order: Sequence[Endpoint]) -> None:
        if len(order) == 1:  # no one to fail over to or to hedge with, hence no task
            outcome = await self._attempt(order[0], [round_.calls[index] for index in round_.missing])
            self._take(round_, order[0], list(round_.missing), outcome=outcome)
            return
        waiting = deque(order)
        running: dict[asyncio.Task[Outcome], tuple[Endpoint, list[int], float]] = {}
        try:
            while round_.missing and (running or waiting):
                if not running:
                    if round_.is_heard and waiting[0].state is State.UNREACHABLE and waiting[0].health.failures:
                        return  # someone answered; a dead endpoint would only cost time
                    self._launch(round_, running, waiting.popleft())
                patience = self.policy.hedge_after_s if waiting else None
                done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self._counts.hedges += 1
                    self._launch(round_, running, waiting.popleft())
                for task in done:
                    endpoint, indexes, _ = running.pop(task)
                    self._take(round_, endpoint, indexes, outcome=task.result())
                self._counts.failovers += bool(done and round_.missing and not running and waiting)
        finally:
            for task, (endpoint, _, began_s) in running.items():
                if not round_.missing:
                    endpoint.note_slow(self._clock.monotonic_s() - began_s)
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _launch(
        self,
        round_: Round,
        running: dict[asyncio.Task[Outcome], tuple[Endpoint, list[int], float]],
        endpoint: Endpoint,
    ) -> None:
        indexes = list(round_.missing)
        task = asyncio.create_task(self._attempt(endpoint, [round_.calls[index] for index in indexes]))
        running[task] = (endpoint, indexes, self._clock.monotonic_s())

    async def _attempt(self, endpoint: Endpoint, calls: Calls) -> Outcome:
        """One endpoint's answers, or why there are none."""
        now_s = self._clock.monotonic_s()
        method = calls[0][0]
        wait_s = endpoint.pace.wait_s(len(calls), now_s)
        if wait_s > self.policy.max_wait_s:
            return RpcThrottled("asked too often lately", endpoint=endpoint.name, method=method)
        endpoint.pace.spend(len(calls), now_s)
        try:
            if wait_s > 0:
                await self._sleep(wait_s)
            needed = max((number for call in calls if (number := needs_head(*call)) is not None), default=0)
            if needed > (endpoint.head or 0):
                [head] = await endpoint.read([("eth_blockNumber", [])])
                endpoint.note_head(codec.quantity(head))
                if endpoint.head is None or endpoint.head < needed:
                    return RpcUnavailable(f"has not reached block {needed}", endpoint=endpoint.name, method=method)
            return await endpoint.read(calls)
        except codec.Malformed as exc:
            return RpcProtocolError(str(exc), endpoint=endpoint.name, method=method)
        except (RpcError, WrongChain) as exc:
            return exc

    def _take(self, round_: Round, endpoint: Endpoint, indexes: Sequence[int], *, outcome: Outcome) -> None:
        for place, index in enumerate(indexes):
            if index not in round_.missing:
                continue
            if isinstance(outcome, Exception):
                round_.failed(index, outcome)
                continue
            answer = outcome[place]
            objection = self._objection(endpoint, round_.calls[index], answer=answer)
            if objection is None:
                round_.answers[index] = answer
                del round_.missing[index]
            else:
                round_.objected(index, objection)

    def _objection(
        self, endpoint: Endpoint, call: tuple[str, Sequence[Any]], *, answer: Any
    ) -> RpcError | Nothing | None:
        """Why another endpoint is to be asked, if so; else the floors rise to this answer."""
        method, params = call
        floor = moves(method, params)
        if isinstance(answer, RpcRefused):
            return answer if is_elsewhere(answer) else None
        if answer is None:
            was_there = floor is not None and self._served[floor] > 0
            return NOTHING if was_there or should_exist(method, params, self._served[Moves.HEAD]) else None
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            return RpcProtocolError("a JSON number where text was promised", endpoint=endpoint.name, method=method)
        if floor is None:
            return None
        try:
            number = answered_number(answer)
        except codec.Malformed as exc:
            return RpcProtocolError(str(exc), endpoint=endpoint.name, method=method)
        if floor is Moves.HEAD:
            endpoint.note_head(number)
        if self._is_implausible(endpoint, number):
            self._counts.implausible += 1
            return RpcProtocolError(f"block {number} is far above all others", endpoint=endpoint.name, method=method)
        return self._raise_floor(floor, number, endpoint=endpoint, method=method)

    def _raise_floor(self, floor: Moves, number: int, *, endpoint: Endpoint, method: str) -> RpcError | None:
        served = self._served[floor]
        if number < served:
            if floor is Moves.FINALIZED or self._is_head_held():
                self._counts.older_refused += 1
                return Older(f"block {number}, after {served} was served", endpoint=endpoint.name, method=method)
            self._counts.head_rewinds += 1
        self._served[floor] = number
        if floor is Moves.HEAD:
            self._head_held_at_s = self._clock.monotonic_s()
        return None

    def _is_implausible(self, endpoint: Endpoint, number: int) -> bool:
        others = [
            other.head
            for other in self._readers
            if other is not endpoint and other.state is State.ALIVE and other.head is not None
        ]
        return len(others) >= 2 and number - max(others) > self.policy.implausible_ahead_blocks

    def _order(self, calls: Calls) -> list[Endpoint]:
        """Who is asked, best first. Empty when every endpoint serves another chain."""
        usable = [endpoint for endpoint in self._readers if endpoint.state is not State.WRONG_CHAIN]
        fresh = [endpoint for endpoint in usable if endpoint.state in (State.ALIVE, State.FINALIZED_LAGGING)]
        if fresh and any(is_unpinned(*call) for call in calls):
            # What lags would answer from the past without a sign of it.
            usable = [endpoint for endpoint in usable if endpoint.state not in (State.LAGGING, State.SYNCING)]
        now_s = self._clock.monotonic_s()

        def preference(endpoint: Endpoint) -> tuple[int, bool, float, int]:
            return (
                RANK[endpoint.state],
                endpoint.head is not None and endpoint.head < self._served[Moves.HEAD],
                endpoint.pace.wait_s(len(calls), now_s),
                # Powers of two from 32 ms: a preference that noise does not change.
                int((endpoint.latency_s or 0.0) * 1000 / 32).bit_length(),
            )

        return sorted(usable, key=preference)

    # -- sends --------------------------------------------------------------------------------------------

    async def _broadcast(self, raws: Sequence[str]) -> list[Any | RpcError]:
        self._counts.sends += len(raws)
        tally = Tally(raws, node_errors=self._node_errors)
        tasks: dict[asyncio.Task[None], str] = {}
        for endpoint in self._senders:
            if endpoint.state is not State.WRONG_CHAIN:
                tasks[asyncio.create_task(self._send(endpoint, raws, tally=tally))] = endpoint.name
        # They go on when the first success is returned, or the caller gives up: what is sent cannot be unsent.
        self._sending.update(tasks)
        for task in tasks:
            task.add_done_callback(self._sending.discard)
        if not tasks:
            tally.failed(RpcNotSent("every endpoint serves another chain", endpoint=self._name, method=SEND))
        pending = set(tasks)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.policy.send_timeout_s
        while pending and not tally.is_settled and (left := deadline - loop.time()) > 0:
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        still_open = [tasks[task] for task in pending]
        return [tally.outcome(index, still_open=still_open) for index in range(len(raws))]

    async def _send(self, endpoint: Endpoint, raws: Sequence[str], *, tally: Tally) -> None:
        try:
            answers = await endpoint.send(raws)
        except RpcError as exc:
            tally.failed(exc)
        except WrongChain as exc:
            tally.failed(RpcNotSent(str(exc), endpoint=endpoint.name, method=SEND))
        else:
            contradictions, wrong_hashes = tally.answered(endpoint.name, answers)
            self._counts.contradictions += contradictions
            self._counts.wrong_hashes += wrong_hashes

    # -- care ---------------------------------------------------------------------------------------------

    async def _probe(self, endpoint: Endpoint) -> bool:
        if endpoint.pace.is_blocked(self._clock.monotonic_s()):
            return False  # it asked to be left alone
        try:
            async with asyncio.timeout(self.policy.probe_timeout_s):
                return await endpoint.probe()
        except TimeoutError:
            endpoint.timed_out()
            return False

    def _best(self, asked: Endpoint) -> tuple[int | None, int | None]:
        known = [
            endpoint
            for endpoint in self._readers
            if endpoint is asked or (endpoint.state is not State.WRONG_CHAIN and endpoint.health.failures == 0)
        ]
        best_head = _believable([endpoint.head for endpoint in known])
        if best_head is not None and self._is_head_held():
            # Who was left behind by the others does not catch up by their failing.
            best_head = max(best_head, self._served[Moves.HEAD])
        return best_head, _believable([endpoint.finalized for endpoint in known])

    def _is_head_held(self) -> bool:
        return self._clock.monotonic_s() - self._head_held_at_s < self.policy.head_hold_s


def _is_void(answer: Any) -> bool:
    """A refusal for want of data or method is no vote."""
    return isinstance(answer, RpcRefused) and is_elsewhere(answer)


def _believable(numbers: Sequence[int | None]) -> int | None:
    known = sorted((number for number in numbers if number is not None), reverse=True)
    if not known:
        return None
    return known[1] if len(known) >= SECOND_HIGHEST_FROM else known[0]
