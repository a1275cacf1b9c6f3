"""Cancelling many at once: the log names each of them, since who keeps orders asks it before acting on one."""

import ipaddress
from dataclasses import replace
from typing import cast

import orjson
from sqlalchemy import Connection

from service.audit.acts import MAX_ITEMS, ORDER_CANCELLED
from service.audit.reading import Wanted, newest
from service.auth.callers import Caller
from service.auth.keymemory import WalletRef
from service.auth.keys import NewKey, Permission, create_key
from service.build import Services
from service.db.engine import Database
from service.orders.altered import why_rolled_back
from service.orders.cancelling import cancel_all
from service.orders.model import Order
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS
from tests.service.ledger_node import scripted_services
from tests.service.orders.resting_seed import seed_rest

MANY = 2 * MAX_ITEMS + 1


async def test_each_of_many_orders_that_are_cancelled_together_is_known_as_cancelled(
    sqlite_db: Database, clock: FakeClock
) -> None:
    services = replace(scripted_services(sqlite_db, clock), chains={})  # no engine is to be woken

    def seed(c: Connection) -> tuple[list[Order], Caller]:
        first = seed_rest(c, master=services.master)
        owner, made = first.owner, [first.order]
        of = (owner, first.key_id)
        made += [seed_rest(c, number=number, of=of, master=services.master).order for number in range(1, MANY)]
        asks = NewKey(
            account_id=owner.account_id,
            wallet_id=owner.wallet_id,
            label="trade",
            permissions=frozenset({Permission.READ, Permission.TRADE}),
        )
        key = create_key(c, asks, master=services.master, now_ms=NOW_MS).key
        caller = Caller(
            key=key,
            wallet=WalletRef(id=owner.wallet_id, address=owner.address, label="main"),
            client_ip=ipaddress.ip_address("127.0.0.1"),
            nonce="n",
            timestamp_ms=NOW_MS,
        )
        return made, caller

    made, caller = await sqlite_db.run(seed)
    assert await sqlite_db.read(lambda c: {why_rolled_back(c, one) for one in made}) == {None}
    done = await cancel_all(cast("Services", services), caller, chain_id=ETHEREUM, market=None)
    assert len(done.cancelled) == MANY
    told = await sqlite_db.read(lambda c: {why_rolled_back(c, one) for one in made})
    assert told == {"the audit log says that it was cancelled"}
    entries = await sqlite_db.read(lambda c: newest(c, Wanted(act=ORDER_CANCELLED), limit=9))
    assert [len(orjson.loads(entry.details)["orders"]) for entry in entries] == [MAX_ITEMS, MAX_ITEMS, 1]
