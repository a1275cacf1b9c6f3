"""Taking a plan on, once: what orders and withdrawals share of accepting a request.

    1. a client id seen before answers with what it made, or is a conflict
    2. prepare: the network is asked, nothing is written
    3. one unit of work: the request's nonce, the client id again, pauses and holds, then all rows of what is accepted

Guarantees: what `accept_once` returned is durable; the same client id makes one thing, however many requests race in
any number of processes, and each of their nonces is used; what is refused has reserved and queued nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from chains.crashpoints import reach
from chains.errors import ChainError
from chains.tx.model import Lane, PlanId
from contracts.assets import AssetId
from contracts.errors import ContractError
from service.auth.callers import Caller
from service.build import ChainRuntime, Services
from service.errors import ApiError
from service.journal import reservations
from service.markets.state.model import StaleMarket
from service.pauses import refuse_if_paused
from service.plans.funds import BalanceUnknown
from service.plans.refusals import not_enough, refuse_if_held

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Generic[T]):
    """`created` is False when the client id was known already: the value is then as it is now."""

    value: T
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """What a plan takes, by asset, and what was there at a block of that height; base units."""

    wanted: Mapping[AssetId, int]
    balances: Mapping[AssetId, int]
    height: int


async def accept_once(
    services: Services,
    runtime: ChainRuntime,
    caller: Caller,
    *,
    known: Callable[[Connection], T | None],
    prepare: Callable[[], Awaitable[P]],
    accept: Callable[[Connection, Lane, P], T],
) -> Accepted[T]:
    """Accept, or answer with what the same client id made before.

    `known` finds that, and raises for other parameters; `accept` writes the rows.

    Raises:
        ApiError, and what `prepare` raises: nothing was reserved or queued.
    """
    db, lane = services.db, Lane(chain_id=runtime.config.chain_id, wallet=caller.wallet.address)

    def repeat(c: Connection) -> Accepted[T]:
        caller.claim_nonce(c)
        found = known(c)
        if found is None:
            raise ApiError("try_again", "the request met another one; send it again")
        return Accepted(value=found, created=False)

    def take_on(c: Connection) -> Accepted[T]:
        caller.claim_nonce(c)
        if (found := known(c)) is not None:
            return Accepted(value=found, created=False)
        refuse_if_paused(c, chain_id=lane.chain_id, wallet=lane.wallet, key_id=caller.key_id)
        refuse_if_held(c, lane)
        return Accepted(value=accept(c, lane, prepared), created=True)

    if await db.read(known) is not None:
        return await db.run(repeat)
    try:
        prepared = await prepare()
    except (ApiError, ChainError, ContractError, BalanceUnknown, StaleMarket):
        # A request with the same client id may have been accepted meanwhile, and even have spent the funds.
        if await db.read(known) is None:
            raise
        return await db.run(repeat)
    reach("K1")
    try:
        accepted = await db.run(take_on)
    except IntegrityError:
        # Two processes on PostgreSQL: the other request with this client id committed first.
        accepted = await db.run(repeat)
    reach("K2")
    if accepted.created:
        runtime.engine.wake()
    return accepted


def hold_funds(
    c: Connection, runtime: ChainRuntime, caller: Caller, *, plan_id: PlanId, funds: Funds, now_ms: int
) -> None:
    """Reserve what the plan takes. Raises: ApiError: insufficient_balance, insufficient_gas."""
    try:
        reservations.hold(
            c,
            account_id=caller.account_id,
            wallet_id=caller.wallet.id,
            chain_id=runtime.config.chain_id,
            plan_id=plan_id,
            amounts=funds.wanted,
            now_ms=now_ms,
            available=funds.balances,
            available_at=funds.height,
        )
    except reservations.NotEnoughFree as short:
        raise not_enough(runtime, short.asset_id, wanted=short.wanted, free=short.free) from short
