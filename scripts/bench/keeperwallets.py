"""Wallets of `scripts.bench keeperchain`: with funds of each asset, an account and a trade key."""

from __future__ import annotations

from typing import Final

from chains.signing.signer import UnlockedKey
from chains.types import Address
from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.rpc import DevRpc
from service.accounts.people import ensure_account
from service.accounts.registration import register_wallet
from service.auth.key_model import NewKey, Permission
from service.auth.keys import create_key
from service.build import Services
from tests.e2e.harness import ApiKey, Stack, client_of

FUNDS: Final = {"ETH": "100", "WETH": "60", "WBTC": "2", "USDC": "150000", "USDT": "150000"}


def fund(rpc: DevRpc, address: Address) -> None:
    decimals = {"ETH": 18, "WETH": 18, "WBTC": 8, "USDC": 6, "USDT": 6}
    for symbol, amount in FUNDS.items():
        raw = int(amount) * 10 ** decimals[symbol]
        if symbol == "ETH":
            fund_native(rpc, address, raw)
        else:
            fund_token(rpc, "ethereum", symbol, address, raw)


async def stack_of(services: Services, key: UnlockedKey, rpc: DevRpc, *, number: int) -> Stack:
    """An account with this wallet and a trade key."""
    now_ms = services.clock.now_ms()
    account = await services.db.run(
        lambda c: ensure_account(c, f"bench {number}", owner=f"owner {number}", master=services.master, now_ms=now_ms)
    )
    wallet = await register_wallet(
        services, account_id=account.id, address=key.address, label="main", signer="keystore"
    )
    new = NewKey(
        account_id=account.id,
        wallet_id=wallet.id,
        label="trade",
        permissions=frozenset({Permission.READ, Permission.TRADE}),
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    if made.secret is None:
        raise AssertionError("an HMAC key has a secret")
    held = ApiKey(id=made.key.id, secret=made.secret.encode())
    return Stack(
        services=services,
        client=client_of(services),
        wallet=wallet,
        keys={"read": held, "trade": held},
        rpcs={"ethereum": rpc},
        signing_key=key,
    )
