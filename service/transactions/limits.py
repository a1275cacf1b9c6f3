"""What may leave a wallet by a transaction, and what left beyond it. Pure."""

from collections.abc import Mapping, Sequence

from contracts.assets import AssetId
from service.transactions.model import Terms


def most_out(*, max_out: Mapping[AssetId, int], value_wei: int, native: AssetId) -> dict[AssetId, int]:
    """The most that may leave, by asset: what was declared, and of native coins the value sent with the call."""
    return dict(max_out) | ({native: value_wei} if value_wei else {})


def beyond(terms: Terms, moved: Mapping[AssetId, int]) -> Sequence[AssetId]:
    """The assets of which more left than the terms allow; `moved` is signed, gas left out."""
    return sorted(asset for asset, raw in moved.items() if -raw > terms.max_out.get(asset, 0))
