"""Whether the process lives and whether it can do its work, for supervisors and load balancers.

`/livez` answers as long as the process does. `/readyz` asks the database and every chain, whether one of its endpoints
is alive, and compares how far the books are behind the chain: a worker that no longer works shows there, whatever the
reason; and the loops of this process have to give signs of life.

Guarantees: the answer comes within `TIMEOUT_S` and a moment; it names no address and no account. Not guaranteed:
that a chain's endpoint is honest.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, Literal

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from chains.errors import ChainError
from chains.rpc.health import State
from service.auth.callers import PublicCaller
from service.build import ChainRuntime, Services
from service.db.errors import DatabaseError
from service.db.headstore import SqlHeadStore
from service.db.models import chain_bindings
from service.db.txstore import SqlTxStore
from service.markets.lookup import Here

router = APIRouter(tags=["health"])

TIMEOUT_S: Final = 3.0
MAX_LAG_BLOCKS: Final = 64
"""How far the books may be behind the newest confirmed block: minutes, where a healthy worker is at 0 to 2 blocks."""

Health = Literal["ok", "unreachable", "stale", "behind", "frozen"]
_FRESH: Final = (State.ALIVE, State.FINALIZED_LAGGING)


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each part by itself; `status` is `ok` when all are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["ok", "not_ready"]
    database: Health
    chains: dict[str, Health] = Field(
        description="By chain: no endpoint answers (`unreachable`), those that do are all behind the chain (`stale`),"
        " the books are (`behind`), or the chain waits for a person (`frozen`).",
        examples=[{"ethereum": "ok", "polygon": "ok"}],
    )
    workers: dict[str, Literal["ok", "silent"]] = Field(
        description="By loop of this process: `silent` when it gave no sign of life for too long.",
        examples=[{"engine-ethereum": "ok", "history-ethereum": "ok", "books": "ok", "prune-nonces": "ok"}],
    )


@router.get("/livez")
async def livez(caller: PublicCaller) -> Alive:
    """200 while the process answers at all."""
    return Alive()


@router.get("/readyz", responses={status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Readiness}})
async def readyz(caller: PublicCaller, services: Here, response: Response) -> Readiness:
    """200 when everything works, 503 with what does not."""
    found = await readiness(services)
    if found.status != "ok":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return found


async def readiness(services: Services) -> Readiness:
    """Ask everything at once."""
    database, *chains = await asyncio.gather(
        _within(_database(services)), *(_within(_chain(services, chain)) for chain in services.chains.values())
    )
    late = services.heartbeats.late()
    well = database == "ok" and all(chain == "ok" for chain in chains) and not any(late.values())
    return Readiness(
        status="ok" if well else "not_ready",
        database=database,
        chains=dict(zip(services.chains, chains, strict=True)),
        workers={name: "silent" if is_late else "ok" for name, is_late in late.items()},
    )


async def _within(question: Awaitable[Health]) -> Health:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await question
    except (TimeoutError, ChainError, DatabaseError):
        return "unreachable"


async def _database(services: Services) -> Health:
    await services.db.read(lambda c: c.execute(select(chain_bindings.c.chain_id).limit(1)).first())
    return "ok"


async def _chain(services: Services, chain: ChainRuntime) -> Health:
    chain_id = chain.config.chain_id
    cursor, frozen = await services.db.read(
        lambda c: (SqlTxStore().cursor(c, chain_id), SqlHeadStore().frozen(c, chain_id))
    )
    if frozen is not None:
        return "frozen"
    head = await chain.client.head()
    if not any(endpoint.state in _FRESH for endpoint in chain.endpoints.figures().endpoints if not endpoint.send_only):
        # The pool answers from the least bad ones then.
        return "stale"
    if cursor is None:
        # No wallet yet, so no books either.
        return "ok"
    newest_confirmed = head.number - chain.config.finality.confirmed_depth + 1
    return "ok" if newest_confirmed - cursor.number <= MAX_LAG_BLOCKS else "behind"
