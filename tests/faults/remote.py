"""The fault proxy for those who are not in its event loop: as a thread, or over its control endpoint."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Coroutine
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.faults.emulation import Emulation
from tests.faults.observed import SeenTx, Sending, tx_from_json
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Rule, rule_to_json

T = TypeVar("T")
CONTROL_TIMEOUT_S: Final = 60.0


class ThreadedProxy:
    """Runs a `FaultProxy` in a thread with a loop of its own. Its scripting methods may be called directly."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fault-{proxy.name}", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.call(self.proxy.start())
        return self.proxy

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.call(self.proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one of the proxy's coroutines (`stop`, `start`, `observe`, `close_sockets`) in its thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class ProxyControl:
    """Scripts a proxy of another process, by its address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, *rules: Rule) -> Self:
        for rule in rules:
            self._send("POST", "rules", rule_to_json(rule))
        return self

    def clear(self) -> None:
        self._send("DELETE", "rules")

    def emulate(self, emulation: Emulation) -> None:
        self._send("PUT", "emulation", asdict(emulation))

    def observe(self) -> list[str]:
        return list(self._send("POST", "observe"))

    def seen(self) -> tuple[list[SeenTx], list[Sending]]:
        """Distinct transactions and every time one passed."""
        found = self._send("GET", "seen")
        return [tx_from_json(tx) for tx in found["txs"]], [Sending(**sending) for sending in found["sendings"]]

    def _send(self, verb: str, what: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self._url}/control/{what}", method=verb, data=None if body is None else json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S) as response:
            return json.loads(response.read())
