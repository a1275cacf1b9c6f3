"""The MAC over what was asked for, so that a row edited in the database is not signed.

A withdrawal's destination is in an allowlist with a MAC of its own; of a contract call only contract and function are,
and its arguments decide where things go. Guarantees: `verify` finds any changed column of what was asked for, also one
copied from another row. Not guaranteed: states; what has ended has no MAC any more
(`lifecycle.ENDED`).
"""

import hmac
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import orjson

from contracts.assets import AssetId
from service.auth.authority import Tampered
from service.auth.secrets import MasterKey
from service.db.models import transactions
from service.transactions.model import Terms, Transaction

_PURPOSE = "transactions"


def asked_mac(master: MasterKey, terms: Terms) -> bytes:
    """HMAC-SHA256 over all terms."""
    return hmac.digest(master.subkey(_PURPOSE), _encoded(columns(terms)), sha256)


def verify(master: MasterKey, transaction: Transaction) -> None:
    """Raises: Tampered."""
    if not hmac.compare_digest(asked_mac(master, transaction.terms), transaction.asked_mac):
        raise Tampered(transactions)


def columns(terms: Terms) -> dict[str, Any]:
    """The terms as their columns."""
    return asdict(terms) | {"approvals": texts(terms.approvals), "max_out": texts(terms.max_out)}


def texts(amounts: Mapping[AssetId, int]) -> dict[str, str] | None:
    """Amounts as they are stored; None for none."""
    return {asset: str(raw) for asset, raw in amounts.items()} or None


def amounts(stored: Mapping[str, str] | None) -> dict[AssetId, int]:
    """The inverse of `texts`."""
    return {AssetId(asset): int(raw) for asset, raw in (stored or {}).items()}


def _encoded(values: Mapping[str, Any]) -> bytes:
    # As JSON of texts with their kind: 1 and "1", nothing and "" differ. Rows from before these two have none.
    left_out = {name for name in ("calls_hash", "valid_until_ms") if values[name] is None}
    plain = {name: _plain(value) for name, value in values.items() if name not in left_out}
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    match value:
        case None:
            return None
        case int():
            return ["int", str(value)]
        case bytes():
            return ["bytes", value.hex()]
        case dict():
            return ["amounts", value]
        case other:
            return ["text", str(other)]
