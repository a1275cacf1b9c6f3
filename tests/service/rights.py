"""What every route needs, written down a second time: a route whose declaration is wrong must not define what is right.

A new route has to be added here, and whoever reads the change sees what it lets whom do.
"""

from typing import Final

RIGHTS: Final = {
    # Prices, lists, health: on the chain for all, or never secret. Registering and signing in prove who asks.
    "public": """
        GET  /livez
        GET  /readyz
        GET  /v1/ping
        GET  /v1/time
        GET  /v1/chains
        GET  /v1/{chain}/assets
        GET  /v1/{chain}/candles
        GET  /v1/{chain}/depth
        GET  /v1/{chain}/markets
        GET  /v1/{chain}/pools
        GET  /v1/{chain}/ticker
        GET  /v1/{chain}/trades
        POST /v1/auth/register
        POST /v1/auth/sign-in
    """,
    # What a key may ask of itself.
    "key": """
        GET  /v1/key
        POST /v1/key/check
    """,
    # A view call of a contract is a POST for the size of what it asks; it is sent to no pool.
    "read": """
        GET  /v1/fills
        GET  /v1/orders
        GET  /v1/orders/{order_id}
        GET  /v1/transactions
        GET  /v1/transactions/{transaction_id}
        GET  /v1/withdrawals
        GET  /v1/withdrawals/{withdrawal_id}
        GET  /v1/{chain}/allowances
        GET  /v1/{chain}/balances
        GET  /v1/{chain}/deposit-address
        GET  /v1/{chain}/quote
        GET  /v1/{chain}/reconciliation
        GET  /v1/{chain}/routes
        POST /v1/{chain}/contracts/call
    """,
    # What changes holdings into others of the same wallet, and takes allowances back.
    "trade": """
        POST   /v1/{chain}/orders
        POST   /v1/{chain}/orders/replace
        POST   /v1/{chain}/orders/test
        DELETE /v1/{chain}/orders
        DELETE /v1/orders/{order_id}
        DELETE /v1/orders/by-client-id/{client_order_id}
        POST   /v1/{chain}/wrap
        POST   /v1/{chain}/unwrap
        POST   /v1/{chain}/allowances/revoke
    """,
    # What may leave the wallet.
    "withdraw": """
        POST /v1/{chain}/withdrawals
        POST /v1/{chain}/withdrawals/estimate
        POST /v1/{chain}/transactions
        POST /v1/{chain}/transactions/test
    """,
    # What takes back or agrees to what would leave: another person's key or session.
    "withdraw or session": """
        DELETE /v1/withdrawals/{withdrawal_id}
        GET    /v1/approvals
        GET    /v1/approvals/{withdrawal_id}
        POST   /v1/approvals/{withdrawal_id}/approve
        POST   /v1/approvals/{withdrawal_id}/reject
    """,
    # What keys, people and places are: no key changes that.
    "session": """
        GET    /v1/auth/me
        GET    /v1/auth/sessions
        DELETE /v1/auth/sessions
        DELETE /v1/auth/sessions/{session_id}
        POST   /v1/auth/sign-out
        POST   /v1/auth/password
        POST   /v1/auth/recovery-codes
        POST   /v1/auth/totp
        POST   /v1/auth/totp/confirm
        GET    /v1/keys
        POST   /v1/keys
        GET    /v1/keys/{key_id}
        PATCH  /v1/keys/{key_id}
        DELETE /v1/keys/{key_id}
        POST   /v1/keys/{key_id}/activate
        POST   /v1/keys/{key_id}/rotate
        GET    /v1/addresses
        POST   /v1/addresses
        PATCH  /v1/addresses/{entry_id}
        DELETE /v1/addresses/{entry_id}
        PUT    /v1/address-cooling
        GET    /v1/approval-policy
        PUT    /v1/approval-policy
        GET    /v1/members
        POST   /v1/members
        PATCH  /v1/members/{user_id}
        DELETE /v1/members/{user_id}
        POST   /v1/memberships
        POST   /v1/invitations
        DELETE /v1/invitations/{invitation_id}
        GET    /v1/audit
    """,
}


def by_route() -> dict[tuple[str, str], str]:
    """(method, path) to what it needs."""
    found: dict[tuple[str, str], str] = {}
    for need, routes in RIGHTS.items():
        for method, path in (line.split() for line in routes.strip().splitlines()):
            assert (method, path) not in found, "a route needs one thing"
            found[method, path] = need
    return found
