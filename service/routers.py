"""All routers of the API, in the order in which their routes are matched."""

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter

from service.accounts.member_routes import router as members
from service.accounts.routes import router as accounts
from service.addresses.routes import router as addresses
from service.approvals.routes import router as approvals
from service.audit.routes import router as audit
from service.balances.routes import router as balances
from service.deposits.routes import router as deposits
from service.health import router as health
from service.keys.routes import router as keys
from service.markets.history.routes import router as history
from service.markets.routes import router as markets
from service.orders.routes import router as orders
from service.transactions.routes import router as transactions
from service.withdrawals.routes import router as withdrawals

ROUTERS: Final[Sequence[APIRouter]] = (
    health,
    accounts,
    members,
    addresses,
    keys,
    audit,
    markets,
    history,
    balances,
    deposits,
    orders,
    withdrawals,
    approvals,
    transactions,
)
