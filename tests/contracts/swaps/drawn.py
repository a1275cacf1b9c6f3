"""Swaps as hypothesis draws them: every router, one to many legs, mixed versions, native ends."""

from collections.abc import Sequence

from hypothesis import strategies as st

from chains.types import Address, CallRequest, ChainId, address_from_bytes
from contracts.assets import Asset, AssetList, load_assets
from contracts.decoding import DecodedCall, decode_call
from contracts.deployments import Router, RouterKind, Venue, load_deployments
from contracts.pools import V2_FEE, V3_FEE_TIERS
from contracts.routes import Exact
from contracts.swaps import MAX_DEADLINE_S, MAX_HOPS, Swap, SwapLeg, encode_swap

DEPLOYMENTS = load_deployments()
LISTS = {chain_id: load_assets(chain_id) for chain_id in (ChainId(1), ChainId(137))}
ETHEREUM = LISTS[ChainId(1)]
ALICE = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
MOST_LEGS = 4
AMOUNTS = st.integers(1, (2**128 - 1) // MOST_LEGS) | st.integers(1, 10**6)
# Above the precompiles and SwapRouter02's two placeholders.
ACCOUNTS = st.integers(2**32, 2**160 - 1).map(lambda value: address_from_bytes(value.to_bytes(20, "big")))


def decode(call: CallRequest, chain_id: int = 1) -> DecodedCall:
    return decode_call(DEPLOYMENTS, LISTS[ChainId(chain_id)], ChainId(chain_id), call)


def encode(swap: Swap) -> CallRequest:
    return encode_swap(swap, deployments=DEPLOYMENTS, assets=LISTS[swap.chain_id])


def router(chain_id: int, kind: RouterKind) -> Router:
    return next(found for found in DEPLOYMENTS.routers(ChainId(chain_id)) if found.kind is kind)


@st.composite
def swaps(draw: st.DrawFn, *, least_legs: int = 1) -> Swap:
    """Any swap that has an encoding."""
    chain_id = draw(st.sampled_from(sorted(LISTS)))
    assets = LISTS[chain_id]
    routers = DEPLOYMENTS.routers(chain_id)
    if least_legs > 1:
        routers = tuple(found for found in routers if found.kind is RouterKind.SWAP_ROUTER_02)
    through = draw(st.sampled_from(routers))
    tokens = [asset for asset in assets if not asset.is_native]
    first, last = draw(st.lists(st.sampled_from(tokens), min_size=2, max_size=2, unique=True))
    exact: Exact = draw(st.sampled_from(["in", "out"]))
    legs = draw(
        st.lists(
            _legs(tokens, ends=(first, last), through=through, exact=exact),
            min_size=least_legs,
            max_size=MOST_LEGS if through.kind is RouterKind.SWAP_ROUTER_02 else 1,
        )
    )
    return Swap(
        chain_id=chain_id,
        router=through.address,
        sold=draw(_end(first, assets=assets)),
        bought=draw(_end(last, assets=assets)),
        exact=exact,
        max_in=sum(leg.max_in for leg in legs),
        min_out=sum(leg.exact_out for leg in legs) if exact == "out" else draw(AMOUNTS),
        recipient=draw(ACCOUNTS),
        deadline_s=draw(st.integers(1, MAX_DEADLINE_S - 1)),
        legs=tuple(legs),
    )


def _end(token: Asset, *, assets: AssetList) -> st.SearchStrategy[Asset]:
    return st.sampled_from([token, assets.native]) if token == assets.wrapped else st.just(token)


@st.composite
def _legs(
    draw: st.DrawFn, tokens: Sequence[Asset], *, ends: tuple[Asset, Asset], through: Router, exact: Exact
) -> SwapLeg:
    between = [token for token in tokens if token not in ends]
    middle = draw(st.lists(st.sampled_from(between), max_size=MAX_HOPS - 1, unique=True))
    hops = len(middle) + 1
    venue = st.sampled_from(sorted(through.venues))
    venues = [draw(venue) for _ in range(hops)] if exact == "in" else [draw(venue)] * hops
    return SwapLeg(
        path=tuple(token.token_address for token in (ends[0], *middle, ends[1])),
        venues=tuple(venues),
        fees_pips=tuple(draw(st.sampled_from(V3_FEE_TIERS)) if v is Venue.UNISWAP_V3 else V2_FEE for v in venues),
        max_in=draw(AMOUNTS),
        exact_out=draw(AMOUNTS) if exact == "out" else 0,
    )
