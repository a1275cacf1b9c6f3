"""What a call of a contract would do to a wallet, simulated with the approvals before it, and judged by its terms.

Guarantees: every listed asset's balance is read before and after, native coins too; a listed token that says, in the
simulation, that more of it may be taken than is declared is found; what cannot be read or simulated is an error, never
"nothing". Not guaranteed: the same when the call is mined; tokens that are not listed, and NFTs, are not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.errors import ExecutionReverted, MethodUnavailable, RpcRefused
from chains.tx.simulation import padded_gas
from chains.types import Address, CallRequest, Header
from chains.units import format_units
from contracts import erc20
from contracts.arrival import Moved, moved
from contracts.assets import AssetId, AssetList
from contracts.call import execute
from contracts.deployments import MULTICALL3
from contracts.errors import UndecodableReturn
from contracts.foreign_calls import Grant, grants
from service.errors import ApiError
from service.journal.needs import ChainParts
from service.markets.quotes import APPROVE_GAS


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a call may do: `most` leaves at most, by asset; `contract` may be left with `approvals`."""

    contract: Address
    most: Mapping[AssetId, int]
    approvals: Mapping[AssetId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Signed changes of listed assets, gas left out; allowances beyond what is declared; `gas_limit` for all steps."""

    changes: Mapping[AssetId, int]
    granted: Sequence[Grant]
    gas_limit: int
    head: Header


async def simulate(
    chain: ChainParts, wallet: Address, calls: Sequence[CallRequest], *, allowed: Allowed, head: Header
) -> Outcome:
    """The approvals and the call, in the block after the head.

    Raises:
        ApiError: would_revert; simulation_unavailable; balance_unknown.
        ChainError: the node did not answer.
    """
    assets = list(chain.assets)
    found = await _moved(chain, wallet, calls, head=head)
    if found.logs is None:
        raise ApiError("simulation_unavailable", "the node's simulation does not tell what a call approves")
    told = grants(found.logs, wallet=wallet, assets=chain.assets)
    return Outcome(
        changes={asset.id: raw for asset, raw in zip(assets, found.changes, strict=True) if raw},
        granted=[one for one in told if await _is_more(chain, wallet, one, allowed=allowed, head=head)],
        gas_limit=padded_gas(found.gas_used, data=calls[-1].data) + (len(calls) - 1) * APPROVE_GAS,
        head=head,
    )


def refusal(outcome: Outcome, *, allowed: Allowed, assets: AssetList) -> ApiError | None:
    """Why the call is refused by what it would do; None: it is not."""
    for asset_id, raw in outcome.changes.items():
        asset, most = assets.by_id(asset_id), allowed.most.get(asset_id, 0)
        if -raw > most:
            left, declared = format_units(-raw, asset.decimals), format_units(most, asset.decimals)
            return ApiError("out_too_large", f"{left} {asset.symbol} would leave, and {declared} may")
    for grant in outcome.granted:
        amount = format_units(grant.amount, grant.asset.decimals)
        return ApiError("out_too_large", f"{grant.spender} could take {amount} {grant.asset.symbol} afterwards")
    return None


async def _moved(chain: ChainParts, wallet: Address, calls: Sequence[CallRequest], *, head: Header) -> Moved:
    try:
        return await moved(
            chain.client,
            calls,
            wallet=wallet,
            assets=list(chain.assets),
            multicall=chain.deployments.address(chain.config.chain_id, MULTICALL3),
            head=head,
        )
    except ExecutionReverted as exc:
        raise ApiError("would_revert", f"it would fail on the chain: {exc.reason or 'no reason given'}") from exc
    except MethodUnavailable as exc:
        raise ApiError("simulation_unavailable", "the chain's node has no eth_simulateV1") from exc
    except RpcRefused as exc:
        # Says nothing of the call itself: before a signature it waits, it is not let pass.
        raise ApiError("simulation_unavailable", f"the node refuses to execute it: {exc.node_message}") from exc
    except UndecodableReturn as exc:
        raise ApiError("balance_unknown", "a listed token's balance cannot be read beside the call") from exc


async def _is_more(chain: ChainParts, wallet: Address, grant: Grant, *, allowed: Allowed, head: Header) -> bool:
    """Whether the allowance is new, and not one that was declared: some tokens tell of one that went down, too."""
    if grant.spender == allowed.contract and grant.amount <= allowed.approvals.get(grant.asset.id, 0):
        return False
    now = erc20.allowance(grant.asset.token_address, wallet, spender=grant.spender)
    return grant.amount > await execute(chain.client, now, block=head.ref)
