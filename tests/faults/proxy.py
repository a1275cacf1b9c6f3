"""A JSON-RPC proxy that misbehaves on command: between the service, or a pool, and Anvil.

    async with FaultProxy(anvil_url, name="a") as proxy:              # in the test's own loop
        proxy.add(Rule(action=Drop(), method="eth_sendRawTransaction", phase=Phase.AFTER))
        ... use proxy.url ...

    with ThreadedProxy(FaultProxy(anvil_url)) as proxy:               # for synchronous tests (tests/faults/remote.py)
        proxy.add(...)                                                # all methods of FaultProxy that do not await

    ProxyControl(proxy.url).add(rule)                                 # from another process, over /control

Guarantees: rules apply to each element of a batch; what is forwarded keeps its order; every raw transaction that
reaches the proxy is recorded, whatever then happens to it. Several proxies may stand in front of one Anvil and
share a `Recorder`. A fault that concerns the whole response (Drop, HttpStatus, ...) hits the whole batch.
Not guaranteed: speed. Decoding a send costs about 1 ms.
"""

import asyncio
import json
import random
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import WSMsgType, web

from tests.faults.emulation import Emulation, Orphans, refusal
from tests.faults.falsify import Answer, frozen_answer, frozen_call, lied
from tests.faults.observed import Recorder, SeenTx, decode_raw, tx_to_json
from tests.faults.rendering import ResponseFault, respond
from tests.faults.rules import (
    CloseSocket,
    Delay,
    Drop,
    EmptyLogs,
    Freeze,
    HttpStatus,
    Lie,
    Malformed,
    NodeError,
    Phase,
    Rule,
    Silence,
    SlowLoris,
    Swallow,
    WrongHash,
    rule_from_json,
)

SEND: Final = "eth_sendRawTransaction"
NOTIFICATION: Final = "eth_subscription"
ANVIL_KNOWN: Final = "transaction already imported"
REMEMBERED_CALLS: Final = 20_000
MAX_REQUEST_BYTES: Final = 64 * 2**20


@dataclass(slots=True, kw_only=True)
class _Call:
    """One JSON-RPC call on its way through."""

    id: Any
    method: str
    params: list[Any]
    rules: Sequence[Rule]
    answer: Answer | None = None
    """Set before forwarding: the node does not see the call."""
    fault: ResponseFault | None = None
    tx: SeenTx | None = None
    freezes: list[Freeze] = field(default_factory=list)

    @property
    def is_decided(self) -> bool:
        return self.answer is not None or self.fault is not None


class FaultProxy:
    """See the module. `seed` decides what rules with a probability do."""

    def __init__(
        self,
        upstream: str,
        *,
        name: str = "proxy",
        seed: int = 0,
        recorder: Recorder | None = None,
        emulation: Emulation | None = None,
    ) -> None:
        self.name = name
        self.recorder = recorder if recorder is not None else Recorder()
        self.emulation = emulation if emulation is not None else Emulation()
        self.calls: deque[tuple[str, list[Any]]] = deque(maxlen=REMEMBERED_CALLS)
        """(method, params) of every call that came in."""
        self._upstream = upstream
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._matched: Counter[int] = Counter()
        self._applied: Counter[int] = Counter()
        self._orphans = Orphans()
        self._observing = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._closing = asyncio.Event()

    # -- scripting (from any thread) ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    def add(self, *rules: Rule) -> None:
        with self._lock:
            self._rules = [*self._rules, *rules]
            for rule in rules:  # an id may be that of an object long gone
                self._matched.pop(id(rule), None)
                self._applied.pop(id(rule), None)

    def prepend(self, rule: Rule) -> None:
        """Add a rule that is tried before those that are there."""
        with self._lock:
            self._rules = [rule, *self._rules]
            self._matched.pop(id(rule), None)
            self._applied.pop(id(rule), None)

    def remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules = [other for other in self._rules if other is not rule]

    def clear(self) -> None:
        """Behave. What was recorded stays."""
        with self._lock:
            self._rules = []

    def applied(self, rule: Rule) -> int:
        """How often this rule (the object) decided something."""
        with self._lock:
            return self._applied[id(rule)]

    def count(self, method: str) -> int:
        """How many calls of a method came in."""
        return sum(1 for seen, _ in tuple(self.calls) if seen == method)

    def emulate(self, emulation: Emulation) -> None:
        self.emulation = emulation

    # -- running ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a restart takes the same port again, so that clients find it where it was."""
        self._closing.clear()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.add_routes(
            [
                web.post("/control/rules", self._control_add),
                web.delete("/control/rules", self._control_clear),
                web.put("/control/emulation", self._control_emulate),
                web.post("/control/observe", self._control_observe),
                web.get("/control/seen", self._control_seen),
                web.post("/{path:.*}", self._http),
                web.get("/{path:.*}", self._socket),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Connection refused from now on."""
        self._closing.set()
        await self.close_sockets()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        self._runner = self._session = None

    async def close_sockets(self) -> None:
        """Close every WebSocket that is open."""
        for socket in tuple(self._sockets):
            await socket.close()

    async def observe(self) -> list[str]:
        """Look at the head for reorgs now (each request does it too); hashes of what went back into the pool."""
        if not self.emulation.reinject_orphans:
            return []
        async with self._observing:
            return await self._orphans.observe(self.recorder, self._ask)

    # -- the way of a call --------------------------------------------------------------------------------

    async def _http(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            refused = {"code": -32700, "message": "parse error"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": refused})
        try:
            payload, fault = await self._through(body)
        except aiohttp.ClientError:
            payload, fault = None, HttpStatus(status=502)
        return await respond(request, payload, fault=fault, closing=self._closing)

    async def _through(self, body: Any) -> tuple[Any, ResponseFault | None]:
        """The response to a call or a batch, and what is to be wrong with it."""
        await self.observe()
        calls = [self._arriving(one) for one in (body if isinstance(body, list) else [body])]
        for call in calls:
            await self._before(call)
        await self._forward([call for call in calls if not call.is_decided])
        for call in calls:
            await self._after(call)
        answers = [{"jsonrpc": "2.0", "id": call.id, **(call.answer or {"result": None})} for call in calls]
        fault = next((call.fault for call in calls if call.fault is not None), None)
        return (answers if isinstance(body, list) else answers[0]), fault

    def _arriving(self, body: dict[str, Any]) -> _Call:
        method, params = body.get("method", ""), list(body.get("params") or [])
        self.calls.append((method, params))
        call = _Call(id=body.get("id"), method=method, params=params, rules=self._matching(method, params))
        if method == SEND and params:
            call.tx = decode_raw(params[0])
        return call

    def _matching(self, method: str, params: Sequence[Any]) -> list[Rule]:
        chosen = []
        with self._lock:
            for rule in self._rules:
                if not rule.fits(method, params):
                    continue
                self._matched[id(rule)] += 1
                count = self._matched[id(rule)]
                due = count > rule.skip and (rule.nth is None or count == rule.nth)
                due = due and (rule.times is None or self._applied[id(rule)] < rule.times)
                if due and (rule.probability >= 1 or self._random.random() < rule.probability):
                    self._applied[id(rule)] += 1
                    chosen.append(rule)
        return chosen

    async def _before(self, call: _Call) -> None:
        for rule in call.rules:
            match rule.action:
                case Freeze() as freeze:
                    moved = await frozen_call(freeze, call.method, call.params, ask=self._ask)
                    if isinstance(moved, dict):
                        call.answer = moved
                    else:
                        call.params = moved
                        call.freezes.append(freeze)
                case Swallow() if call.tx is not None:
                    call.answer = {"result": call.tx.hash}
                case _ if rule.phase is Phase.BEFORE:
                    await self._decide(call, rule)
            if call.is_decided:
                break
        if not call.is_decided and call.tx is not None:
            call.answer = await refusal(self.emulation, call.tx, recorder=self.recorder, ask=self._ask)
        if call.is_decided and call.tx is not None:
            self._note(call.tx, forwarded=False, answer=call.answer)

    async def _forward(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        batch = [
            {"jsonrpc": "2.0", "id": index, "method": call.method, "params": call.params}
            for index, call in enumerate(calls)
        ]
        found = {answer["id"]: answer for answer in await self._post(batch)}
        for index, call in enumerate(calls):
            answer = {key: value for key, value in found[index].items() if key in ("result", "error")}
            if call.tx is not None:
                known = answer.get("error", {}).get("message", "") == ANVIL_KNOWN
                if known and self.emulation.already_known_text is not None:
                    answer = {"error": {"code": -32000, "message": self.emulation.already_known_text}}
                self._note(call.tx, forwarded=True, answer=answer, known=known)
            for freeze in call.freezes:
                answer = frozen_answer(freeze, call.method, answer)
            call.answer = answer

    async def _after(self, call: _Call) -> None:
        for rule in call.rules:
            if call.fault is not None:
                return
            match rule.action:
                case Lie() as lie if call.answer is not None:
                    call.answer = lied(lie, call.method, call.params, answer=call.answer)
                case WrongHash() if call.tx is not None and call.answer is not None and "result" in call.answer:
                    call.answer = {"result": "0x" + "ab" * 32}
                case Freeze() | Swallow():
                    pass
                case _ if rule.phase is Phase.AFTER:
                    await self._decide(call, rule)

    async def _decide(self, call: _Call, rule: Rule) -> None:
        """What actions do that are the same on both sides of the node."""
        match rule.action:
            case Delay(seconds=seconds):
                await asyncio.sleep(seconds)
            case NodeError(code=code, text=text, data=data):
                call.answer = {"error": {"code": code, "message": text} | ({} if data is None else {"data": data})}
            case EmptyLogs() if call.method == "eth_getLogs":
                call.answer = {"result": []}
            case Drop() | Silence() | CloseSocket() | HttpStatus() | Malformed() | SlowLoris() as fault:
                call.fault = fault

    def _note(self, tx: SeenTx, *, forwarded: bool, answer: Answer | None, known: bool = False) -> None:
        said = None
        if forwarded and answer is not None:
            said = str(answer.get("result") or answer["error"]["message"])
        accepted = forwarded and (known or (answer is not None and "result" in answer))
        self.recorder.note(tx, proxy=self.name, forwarded=forwarded, answer=said, accepted=accepted)

    async def _ask(self, method: str, params: Sequence[Any]) -> Answer:
        answer: Answer = await self._post({"jsonrpc": "2.0", "id": 0, "method": method, "params": list(params)})
        return answer

    async def _post(self, payload: Any) -> Any:
        if self._session is None:
            raise RuntimeError("the proxy is not running")
        async with self._session.post(self._upstream, json=payload) as response:
            return await response.json(content_type=None)

    # -- WebSocket ----------------------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self._session is None:
            raise RuntimeError("the proxy is not running")
        client = web.WebSocketResponse()
        await client.prepare(request)
        self._sockets.add(client)
        try:
            async with self._session.ws_connect(self._upstream.replace("http", "ws", 1)) as node:
                pumps = [
                    asyncio.create_task(self._to_node(client, node)),
                    asyncio.create_task(self._to_client(client, node)),
                ]
                done, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pending:
                    pump.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
                for pump in done:
                    pump.result()
        finally:
            self._sockets.discard(client)
            await client.close()
        return client

    async def _to_node(self, client: web.WebSocketResponse, node: aiohttp.ClientWebSocketResponse) -> None:
        async for message in client:
            if message.type is not WSMsgType.TEXT:
                continue
            body = json.loads(message.data)
            if isinstance(body, dict) and body.get("method") in ("eth_subscribe", "eth_unsubscribe"):
                # Subscriptions belong to the connection; the rest goes through the rules as over HTTP.
                call = self._arriving(body)
                await self._before(call)
                if not call.is_decided:
                    await node.send_str(message.data)
                    continue
                payload, fault = {"jsonrpc": "2.0", "id": call.id, **(call.answer or {})}, call.fault
            else:
                payload, fault = await self._through(body)
            if isinstance(fault, Drop | CloseSocket):
                await client.close()
            elif fault is None:
                await client.send_json(payload)

    async def _to_client(self, client: web.WebSocketResponse, node: aiohttp.ClientWebSocketResponse) -> None:
        async for message in node:
            if message.type is not WSMsgType.TEXT:
                continue
            body = json.loads(message.data)
            passes = True
            if body.get("method") == NOTIFICATION:
                for rule in self._matching(NOTIFICATION, [body.get("params")]):
                    match rule.action:
                        case Delay(seconds=seconds):
                            await asyncio.sleep(seconds)
                        case CloseSocket():
                            await client.close()
                            return
                        case _:
                            passes = False
            if passes:
                await client.send_str(message.data)

    # -- control endpoint ---------------------------------------------------------------------------------

    async def _control_add(self, request: web.Request) -> web.Response:
        self.add(rule_from_json(await request.json()))
        return web.json_response({})

    async def _control_clear(self, request: web.Request) -> web.Response:
        self.clear()
        return web.json_response({})

    async def _control_emulate(self, request: web.Request) -> web.Response:
        self.emulate(Emulation(**await request.json()))
        return web.json_response({})

    async def _control_observe(self, request: web.Request) -> web.Response:
        return web.json_response(await self.observe())

    async def _control_seen(self, request: web.Request) -> web.Response:
        sendings = [asdict(sending) for sending in self.recorder.sendings]
        return web.json_response({"txs": [tx_to_json(tx) for tx in self.recorder.txs], "sendings": sendings})
