"""The account of a trial: its people and keys, made in the first life and found again by the others.

    trade       orders, wraps, revocations; with a limit of each kind a day, far away, so that all is counted
    withdraw    to the trial's destination, and calls of its vault; with such limits too
    book        withdrawals to the address book, made by the owner in a session
    approver    of a second person, who decides about what waits

Guarantees: written to its file whole, once everything in the database is durable.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from chains.signing.signer import UnlockedKey
from chains.types import parse_address
from service.accounts import people, users
from service.accounts.people import Role, ensure_account
from service.accounts.registration import register_wallet
from service.accounts.wallets import Wallet, get_wallet
from service.approvals import policies
from service.approvals.model import Thresholds
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.restrictions import AllowedCall, Restrictions
from service.build import ChainRuntime, Services
from service.ids import new_id
from tests.crash.subjects import THRESHOLD
from tests.e2e.harness import ApiKey, client_of
from tests.e2e.people import signed_in

KEY_LIFETIME_MS: Final = 48 * 3_600_000
LONG_AGO_MS: Final = 72 * 3_600_000
"""When the people joined and set up their authenticators: nothing of theirs is held any more."""
PLENTY: Final = 10**30
"""A limit that is counted and never reached."""
DEPOSIT: Final = "0x47e7ef24"
"""deposit(address,uint256)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    token: str
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """What the lives of a trial share. `mid` is the price at the beginning, `tick` what prices are multiples of."""

    wallet: int
    keys: Mapping[str, Mapping[str, str]]
    owner: Person
    approver: Person
    started_ms: int
    mid: str
    tick: str

    def api_keys(self) -> dict[str, ApiKey]:
        return {name: ApiKey(id=held["id"], secret=held["secret"].encode()) for name, held in self.keys.items()}

    def price(self, bps: int) -> str:
        """So many basis points above the one at the beginning, on the tick."""
        wanted = Decimal(self.mid) * (10_000 + bps) / 10_000
        return str(wanted.quantize(Decimal(self.tick)))


async def settle_in(
    services: Services, key: UnlockedKey, *, chain: str, market: str, names: Mapping[str, str], file: Path
) -> None:
    """Make all of it."""
    runtime, now_ms, master = services.chains[chain], services.clock.now_ms(), services.master
    async with client_of(services) as client:
        depth = (await client.get(f"/v1/{chain}/depth?market={market}&limit=5")).raise_for_status().json()
    account = await services.db.run(
        lambda c: ensure_account(c, "trial", owner="tester", master=master, now_ms=now_ms - LONG_AGO_MS)
    )
    wallet = await register_wallet(
        services, account_id=account.id, address=key.address, label="main", signer="keystore"
    )

    ids = [new_id(services.clock) for _ in range(2)]

    def write(c: Connection) -> tuple[Person, Person, dict[str, Mapping[str, str]]]:
        [owner_id] = [one.user_id for one in people.members(c, account.id, master=master)]
        approver_id = users.insert_user(c, "cleo", now_ms=now_ms).id
        joined_ms = now_ms - LONG_AGO_MS
        people.add_member(c, approver_id, account_id=account.id, role=Role.APPROVER, master=master, now_ms=joined_ms)
        usdc = runtime.assets.by_symbol("USDC")
        policies.change(
            c, account.id, Thresholds(assets={usdc.id: THRESHOLD}), user_id=owner_id, master=master, now_ms=now_ms
        )
        wanted = _keys(runtime, wallet, names, owner_id=owner_id, approver_id=approver_id, now_ms=now_ms)
        made = {name: _key(c, services, new, now_ms=now_ms) for name, new in wanted.items()}
        owner = _person(c, services, "tester", session_id=ids[0], now_ms=now_ms)
        return owner, _person(c, services, "cleo", session_id=ids[1], now_ms=now_ms), made

    owner, approver, keys = await services.db.run(write)
    found = Household(
        wallet=wallet.id,
        keys=keys,
        owner=owner,
        approver=approver,
        started_ms=now_ms,
        mid=str((Decimal(depth["bids"][0][0]) + Decimal(depth["asks"][0][0])) * 5 / 10),
        tick=depth["tick"],
    )
    temporary = file.with_suffix(f".{secrets.token_hex(4)}")
    temporary.write_text(json.dumps(asdict(found)))
    temporary.rename(file)


def read_household(file: Path) -> Household:
    found = json.loads(file.read_text())
    people_of_it = {name: Person(**found[name]) for name in ("owner", "approver")}
    return Household(**found | people_of_it)


async def wallet_of(services: Services, household: Household) -> Wallet:
    wallet = await services.db.read(lambda c: get_wallet(c, household.wallet, master=services.master))
    assert wallet is not None
    return wallet


# -- private ----------------------------------------------------------------------------------------------


def _keys(
    runtime: ChainRuntime, wallet: Wallet, names: Mapping[str, str], *, owner_id: int, approver_id: int, now_ms: int
) -> Mapping[str, NewKey]:
    chain_id, native, usdc = runtime.config.chain_id, runtime.assets.native.id, runtime.assets.by_symbol("USDC").id
    call = AllowedCall(chain_id=chain_id, contract=parse_address(names["vault"]), selector=DEPOSIT, max_value_wei=0)
    destination = Destination(chain_id=chain_id, address=parse_address(names["destination"]))
    by_asset = {native: PLENTY, usdc: PLENTY}

    def new(label: str, permission: Permission, **more: Any) -> NewKey:
        networks = () if permission is Permission.TRADE else (parse_network("127.0.0.1/32"),)
        return NewKey(
            account_id=wallet.account_id,
            wallet_id=wallet.id,
            label=label,
            permissions=frozenset({Permission.READ, permission}),
            expires_ms=now_ms + KEY_LIFETIME_MS,
            ip_allowlist=networks,
            **more,
        )

    gas = {chain_id: PLENTY}
    trades = Restrictions(daily_orders=10**6, daily_usd=PLENTY, daily_gas=gas, daily_sold=by_asset)
    pays = Restrictions(
        daily_withdrawals=10**6,
        daily_withdrawal_usd=PLENTY,
        daily_gas=gas,
        daily_withdrawn=by_asset,
        calls=frozenset({call}),
    )
    return {
        "trade": new("trade", Permission.TRADE, restrictions=trades),
        "withdraw": new("withdraw", Permission.WITHDRAW, restrictions=pays, destinations=(destination,)),
        "book": new("book", Permission.WITHDRAW, made_by=owner_id),
        "approver": new("approver", Permission.WITHDRAW, made_by=approver_id),
    }


def _key(c: Connection, services: Services, new: NewKey, *, now_ms: int) -> Mapping[str, str]:
    made = create_key(c, new, master=services.master, now_ms=now_ms)
    assert made.secret is not None
    return {"id": made.key.id, "secret": made.secret}


def _person(c: Connection, services: Services, name: str, *, session_id: str, now_ms: int) -> Person:
    """With an authenticator, signed in."""
    user = users.user_named(c, name)
    assert user is not None
    token, seed = signed_in(
        c, user, session_id=session_id, lasts_ms=KEY_LIFETIME_MS, master=services.master, now_ms=now_ms
    )
    return Person(token=token, seed=seed.hex())
