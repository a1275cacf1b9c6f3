"""Between a plain swap and its calldata. `encode_swap` is the only way calldata is made; `decode_swap` holds bytes
against it.

Guarantees: `decode_swap(encode_swap(s)) == s`; calldata that decodes is, byte for byte and with its value, what
encoding the answer gives, so that it does what the answer says and nothing else; no swap is encoded or decoded that
`model.check` refuses. Not guaranteed: that the call would succeed.
"""

from chains.types import CallRequest
from contracts.assets import AssetList
from contracts.deployments import Deployments, RouterKind
from contracts.errors import UnknownCalldata
from contracts.swaps import router_02, swap_router_02
from contracts.swaps.model import Swap, check, router_at


def encode_swap(swap: Swap, *, deployments: Deployments, assets: AssetList) -> CallRequest:
    """The one encoding of a swap. Raises: UnsafeSwap: see `model.check`."""
    router = check(swap, deployments=deployments, assets=assets)
    return swap_router_02.encode(swap) if router.kind is RouterKind.SWAP_ROUTER_02 else router_02.encode(swap)


def decode_swap(call: CallRequest, *, deployments: Deployments, assets: AssetList) -> Swap:
    """What swap the call is.

    Raises:
        ContractError: it is none, or not one that we would send, or not in the bytes in which we would.
    """
    router = router_at(deployments, assets.chain_id, call.to)
    parse = swap_router_02.parse if router.kind is RouterKind.SWAP_ROUTER_02 else router_02.parse
    swap = parse(call, router=router, assets=assets)
    # Encoding checks the swap, and leaves no room for bytes that were not looked at.
    if encode_swap(swap, deployments=deployments, assets=assets) != call:
        raise UnknownCalldata("the bytes or the value are not those of the call that they decode to")
    return swap
