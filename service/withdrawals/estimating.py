"""What a withdrawal would be if it were asked for now: fee, what arrives, who has to approve, what to look at twice.

Guarantees: refused for the same reasons as placing it, but for funds that other plans hold: it is "not covered" then.
Nothing is reserved, counted or remembered.
Not guaranteed: that fees, balances and thresholds are the same a moment later.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from chains.tx.simulation import TRANSFER_GAS
from chains.types import Address, ChainId
from service.approvals.model import Why
from service.auth import budgets
from service.auth.callers import Caller
from service.auth.caveats import limits
from service.build import ChainRuntime, Services
from service.withdrawals import storage
from service.withdrawals.model import AmountIs
from service.withdrawals.placement import cost_of, prepare_allowed, why_approval
from service.withdrawals.preparing import Asked, Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """Something to look at twice. Not a refusal."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`why` a second person would be needed; `covered` by what is free now."""

    prepared: Prepared
    covered: bool
    why: Why | None
    warnings: tuple[Caution, ...]


async def estimate(services: Services, runtime: ChainRuntime, caller: Caller, *, asked: Asked) -> Estimate:
    """Raises: ApiError, ChainError, BalanceUnknown: as placing it would."""
    prepared = await prepare_allowed(services, runtime, caller, asked=asked)

    def read(c: Connection) -> tuple[Why | None, bool]:
        now_ms = services.clock.now_ms()
        budgets.check(
            c, caller.key_id, caveats=limits(caller.key), cost=cost_of(runtime, asked, prepared), now_ms=now_ms
        )
        why = why_approval(c, services, runtime, caller=caller, asked=asked, prepared=prepared)
        chain_id = runtime.config.chain_id
        return why, _is_known(c, caller, chain_id=chain_id, destination=asked.destination)

    why, is_known = await services.db.read(read)
    code = await runtime.client.code(asked.destination)
    covered = all(raw <= prepared.free.get(asset, 0) for asset, raw in prepared.funds.wanted.items())
    return Estimate(
        prepared=prepared,
        covered=covered,
        why=why,
        warnings=tuple(_warnings(asked, prepared, is_contract=bool(code), is_known=is_known, covered=covered)),
    )


def _is_known(c: Connection, caller: Caller, *, chain_id: ChainId, destination: Address) -> bool:
    return storage.was_paid(c, caller.account_id, chain_id=chain_id, destination=destination)


def _warnings(asked: Asked, prepared: Prepared, *, is_contract: bool, is_known: bool, covered: bool) -> list[Caution]:
    found: list[Caution] = []
    if is_contract:
        uses = f"; receiving may use {prepared.gas_limit} gas" if prepared.gas_limit > TRANSFER_GAS else ""
        found.append(Caution(code="contract_recipient", text=f"the address is a contract{uses}"))
    if not is_known:
        found.append(Caution(code="first_time", text="nothing was withdrawn to this address before"))
    if not covered:
        found.append(Caution(code="not_covered", text="what is free now does not cover amount and fee"))
    native_net = asked.asset.is_native and asked.amount_is is AmountIs.NET
    if native_net and prepared.max_fee_wei > prepared.amount:
        found.append(Caution(code="fees_above_amount", text="the fee may be more than what arrives"))
    return found
