"""What each route weighs: what a request takes of its address's or key's weight a minute, and whether it is an order.

The one place for it: a test walks all routes and fails on one that is not here. A weight stands for work: what is
answered from memory costs 1 or 2, a node call or a walk through the database some 5 to 20, what is built for one
request more. Paths that are no route, and methods that a path does not take, weigh 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Query = Mapping[str, str]

UNDECLARED: Final = 20
"""What a route weighs that is not here; the test says so."""
NO_ROUTE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """`by_query`: the weight where the query decides; what it makes of nonsense is refused later anyway."""

    weight: int
    by_query: Callable[[Query], int] | None = None
    is_order: bool = False
    """Counts for the account's orders in 10 s and a day as well."""

    def of(self, query: Query) -> int:
        return self.weight if self.by_query is None else self.by_query(query)


def _depth(query: Query) -> int:
    """As on the exchange: a book is built and shown as deep as asked for."""
    limit = _int(query.get("limit"), default=100)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50


def _ticker(query: Query) -> int:
    return 2 if "market" in query else 40


def _candles(query: Query) -> int:
    """Candles of 3 and 5 minutes are made of up to five rows each; 1,000 of them are 5,000 rows."""
    derived = 4 if query.get("interval") in ("3m", "5m") else 1
    return 2 * derived if _int(query.get("limit"), default=500) <= 500 else 5 * derived


def _trades(query: Query) -> int:
    return 5 if _int(query.get("limit"), default=500) <= 500 else 10


def _int(text: str | None, *, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else default


def _w(weight: int, by_query: Callable[[Query], int] | None = None) -> Weight:
    return Weight(weight=weight, by_query=by_query)


_ORDER: Final = Weight(weight=1, is_order=True)

WEIGHTS: Final[Mapping[tuple[str, str], Weight]] = MappingProxyType(
    {
        ("GET", "/livez"): _w(1),
        ("GET", "/readyz"): _w(1),
        ("GET", "/v1/ping"): _w(1),
        ("GET", "/v1/time"): _w(1),
        ("GET", "/v1/openapi.json"): _w(10),
        # Market data.
        ("GET", "/v1/chains"): _w(5),
        ("GET", "/v1/{chain}/assets"): _w(10),
        ("GET", "/v1/{chain}/markets"): _w(20),
        ("GET", "/v1/{chain}/ticker"): _w(40, _ticker),
        ("GET", "/v1/{chain}/depth"): _w(50, _depth),
        ("GET", "/v1/{chain}/trades"): _w(10, _trades),
        ("GET", "/v1/{chain}/candles"): _w(20, _candles),
        ("GET", "/v1/{chain}/pools"): _w(5),
        ("GET", "/v1/{chain}/quote"): _w(5),
        ("GET", "/v1/{chain}/routes"): _w(20),
        ("POST", "/v1/{chain}/contracts/call"): _w(5),
        # A key's wallet.
        ("GET", "/v1/{chain}/balances"): _w(5),
        ("GET", "/v1/{chain}/reconciliation"): _w(20),
        ("GET", "/v1/{chain}/deposit-address"): _w(1),
        ("GET", "/v1/key"): _w(1),
        ("POST", "/v1/key/check"): _w(2),
        # Orders. What takes one off weighs next to nothing: nobody must be kept from it.
        ("POST", "/v1/{chain}/orders"): _ORDER,
        ("POST", "/v1/{chain}/orders/test"): _w(10),
        ("POST", "/v1/{chain}/orders/replace"): _ORDER,
        ("GET", "/v1/orders"): _w(5),
        ("GET", "/v1/orders/{order_id}"): _w(2),
        ("DELETE", "/v1/{chain}/orders"): _w(1),
        ("DELETE", "/v1/orders/{order_id}"): _w(1),
        ("DELETE", "/v1/orders/by-client-id/{client_order_id}"): _w(1),
        ("GET", "/v1/fills"): _w(5),
        # Withdrawals and other transactions.
        ("POST", "/v1/{chain}/withdrawals"): _w(1),
        ("POST", "/v1/{chain}/withdrawals/estimate"): _w(10),
        ("GET", "/v1/withdrawals"): _w(5),
        ("GET", "/v1/withdrawals/{withdrawal_id}"): _w(2),
        ("DELETE", "/v1/withdrawals/{withdrawal_id}"): _w(1),
        ("POST", "/v1/{chain}/transactions"): _w(1),
        ("POST", "/v1/{chain}/transactions/test"): _w(10),
        ("GET", "/v1/transactions"): _w(5),
        ("GET", "/v1/transactions/{transaction_id}"): _w(2),
        ("POST", "/v1/{chain}/wrap"): _w(1),
        ("POST", "/v1/{chain}/unwrap"): _w(1),
        ("GET", "/v1/{chain}/allowances"): _w(20),
        ("POST", "/v1/{chain}/allowances/revoke"): _w(1),
        # Keys and addresses.
        ("GET", "/v1/keys"): _w(5),
        ("POST", "/v1/keys"): _w(5),
        ("GET", "/v1/keys/{key_id}"): _w(2),
        ("PATCH", "/v1/keys/{key_id}"): _w(5),
        ("DELETE", "/v1/keys/{key_id}"): _w(1),
        ("POST", "/v1/keys/{key_id}/activate"): _w(5),
        ("POST", "/v1/keys/{key_id}/rotate"): _w(5),
        ("GET", "/v1/addresses"): _w(5),
        ("POST", "/v1/addresses"): _w(10),
        ("PATCH", "/v1/addresses/{entry_id}"): _w(5),
        ("DELETE", "/v1/addresses/{entry_id}"): _w(1),
        ("PUT", "/v1/address-cooling"): _w(5),
        ("GET", "/v1/audit"): _w(20),
        ("GET", "/v1/approvals"): _w(5),
        ("GET", "/v1/approvals/{withdrawal_id}"): _w(2),
        ("POST", "/v1/approvals/{withdrawal_id}/approve"): _w(5),
        ("POST", "/v1/approvals/{withdrawal_id}/reject"): _w(1),
        ("GET", "/v1/approval-policy"): _w(2),
        ("PUT", "/v1/approval-policy"): _w(5),
        # Members.
        ("GET", "/v1/members"): _w(2),
        ("POST", "/v1/members"): _w(5),
        ("PATCH", "/v1/members/{user_id}"): _w(5),
        ("DELETE", "/v1/members/{user_id}"): _w(1),
        ("POST", "/v1/memberships"): _w(5),
        ("POST", "/v1/invitations"): _w(5),
        ("DELETE", "/v1/invitations/{invitation_id}"): _w(1),
        # People; what hashes a password or looks at a code has a smaller limit of its own.
        ("POST", "/v1/auth/register"): _w(10),
        ("POST", "/v1/auth/sign-in"): _w(10),
        ("POST", "/v1/auth/sign-out"): _w(1),
        ("GET", "/v1/auth/me"): _w(1),
        ("GET", "/v1/auth/sessions"): _w(2),
        ("DELETE", "/v1/auth/sessions"): _w(2),
        ("DELETE", "/v1/auth/sessions/{session_id}"): _w(1),
        ("POST", "/v1/auth/password"): _w(10),
        ("POST", "/v1/auth/totp"): _w(5),
        ("POST", "/v1/auth/totp/confirm"): _w(5),
        ("POST", "/v1/auth/recovery-codes"): _w(5),
    }
)
"""By method and template of the path."""
