"""Meeting a chain: the check that its endpoints serve the chain of the database, made before anything else is asked.

A service may start while no endpoint of a chain answers. Whatever first asks that chain then tries the check, until it
has passed once; so the chain comes up with the first endpoint that answers, and others never wait for it.

Guarantees: before the check has passed nothing is read through `before(...)`, and nothing sent; requests that come
while the check is being made share its outcome. What is wrong for good (another chain, another database) is logged
once as critical, and looks to those who ask like an endpoint that does not answer.
Not guaranteed: anything afterwards; the pool checks each endpoint again on every dial.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.errors import RpcError, RpcUnavailable, WrongChain
from chains.rpc.pool import RpcPool
from chains.rpc.transport import Transport
from chains.tx.store import Clock
from service.db.engine import Database
from service.db.errors import WrongDatabase
from service.endpoints import check_chain

_log: Final = structlog.get_logger("cambist.endpoints")


class Meeting:
    """Of one chain."""

    def __init__(self, config: ChainConfig, pool: RpcPool, *, db: Database, clock: Clock) -> None:
        self._pool = pool
        self._client = EvmClient(config, pool)
        self._db = db
        self._clock = clock
        self._lock = asyncio.Lock()
        self._met = False
        self._tries = 0
        self._failure = ""
        self._is_told = False

    async def meet(self) -> None:
        """Make the check, unless it has passed.

        Raises:
            WrongChain, WrongDatabase: it is not the chain of the database.
            RpcError: no endpoint answers.
        """
        async with self._lock:
            if not self._is_met():
                await self._check()

    def before(self, transport: Transport) -> Transport:
        """The same transport, which asks nothing before the chain was met."""
        return _MetFirst(self, transport)

    async def ensure(self, method: str) -> None:
        """`meet` for a request. Raises: RpcError: not now."""
        if self._is_met():
            return
        tries = self._tries
        async with self._lock:
            # Who waited while somebody else tried takes that outcome.
            if not self._is_met() and self._tries == tries:
                await self._try()
            if not self._is_met():
                raise RpcUnavailable(self._failure, endpoint=self._pool.name, method=method)

    # -- private ------------------------------------------------------------------------------------------

    def _is_met(self) -> bool:
        return self._met

    async def _check(self) -> None:
        await check_chain(self._pool, self._client, db=self._db, clock=self._clock)
        self._met = True

    async def _try(self) -> None:
        try:
            await self._check()
        except RpcError as exc:
            self._failure = f"the chain was not met yet: {exc}"
        except (WrongChain, WrongDatabase) as exc:
            self._failure = f"it is not the chain of this database: {exc}"
            if not self._is_told:
                _log.critical("chain not usable", chain=self._client.config.key, reason=str(exc))
                self._is_told = True
        else:
            _log.info("chain met", chain=self._client.config.key)
        finally:
            self._tries += 1


class _MetFirst:
    """A `Transport`. Closing it closes nothing."""

    def __init__(self, meeting: Meeting, transport: Transport) -> None:
        self._meeting = meeting
        self._transport = transport

    @property
    def name(self) -> str:
        return self._transport.name

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        await self._meeting.ensure(method)
        return await self._transport.request(method, params)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        await self._meeting.ensure("batch")
        return await self._transport.batch(calls)

    async def close(self) -> None:
        return None
