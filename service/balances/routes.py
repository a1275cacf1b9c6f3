"""Routes of balances, for the key's own wallet: what it has now, and its books against the chain."""

from fastapi import APIRouter

from service.auth.callers import ReadCaller
from service.balances.reading import read_balances
from service.balances.schemas import BalancesAnswer, ReconciliationAnswer, balances_answer, reconciliation_answer
from service.journal.reconcile import reconcile_chain
from service.markets.listing import block_of
from service.markets.lookup import ChainName, Here, chain_named

router = APIRouter(prefix="/v1", tags=["balances"])


@router.get("/{chain}/balances")
async def get_balances(chain: ChainName, caller: ReadCaller, services: Here) -> BalancesAnswer:
    """All listed assets of the wallet at the chain's latest block. One that cannot be read is `unknown`, not zero."""
    runtime = chain_named(services, chain)
    balances = await read_balances(services, caller.wallet, chain=runtime.config.key)
    block = block_of(balances.block, now_ms=services.clock.now_ms())
    return balances_answer(balances, chain=runtime.config.key, wallet=caller.wallet.address, block=block)


@router.get("/{chain}/reconciliation")
async def get_reconciliation(chain: ChainName, caller: ReadCaller, services: Here) -> ReconciliationAnswer:
    """Opening balances plus the journal against the chain, at the block up to which everything is booked.

    What came in from outside, deposits for now included, is `unexplained` with its amount.
    """
    runtime = chain_named(services, chain)
    report = await reconcile_chain(services, caller.wallet, chain=runtime.config.key)
    return reconciliation_answer(report, wallet=caller.wallet.address)
