"""The checks before a token is listed, and what they say: refusals, warnings that a person has to accept, and notes.

Guarantees: a finding has a stable code; a token that could not be tried out is refused, not passed over; everything is
read at one block. What the token says of itself is shown with its hidden characters written out.
Not guaranteed: that a token with no findings is harmless, or stays as it is. `docs/assets.md` says what cannot be seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from chains.errors import ExecutionReverted, MethodUnavailable, RpcRefused
from chains.types import Address, BlockRef, Header
from contracts import erc20
from contracts.assets import APPROVE_RESET, NO_RETURN, Asset, AssetList, token_id
from contracts.call import execute
from contracts.errors import ContractError, QuoteError
from contracts.listing import TokenFacts, Trait, read_token
from contracts.listing_round_trip import RoundTrip, try_round_trip
from contracts.listing_text import LONG_NAME, LONG_SYMBOL, look_alikes, shown, text_problem, unusual_text
from contracts.listing_transfers import Tried, Trouble, try_transfers
from contracts.pools import PoolDirectory, PoolState, discover, pool_keys, read_states
from service.journal.needs import ChainParts

USUAL_DECIMALS: Final = range(1, 19)
MOST_DECIMALS: Final = 36
_TRAITS: Final = {
    Trait.PAUSE: "somebody may be able to stop all transfers",
    Trait.BLOCK: "somebody may be able to block accounts",
    Trait.TAX: "somebody may be able to switch a tax on, although there is none now",
    Trait.LIMIT: "there may be limits on what is moved or held at once",
    Trait.REBASE: "balances may change without a transfer; the books would not know",
}


class Level(StrEnum):
    """What a finding means for listing."""

    REFUSED = "refused"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    level: Level
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `asset` is the token as it would be listed, under its label; None when it cannot be."""

    chain: str
    block: BlockRef
    facts: TokenFacts
    asset: Asset | None
    pools: tuple[PoolState, ...]
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.level is Level.REFUSED)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.level is Level.WARNING)


async def check_token(
    chain: ChainParts, address: Address, *, label: str | None = None, holder: Address | None = None
) -> Report:
    """Look at the token and try it out at the head.

    `label` is the symbol that the operator wants to list it under. `holder`: an account that has some, where no pool
    has.

    Raises:
        ChainError: the node did not answer.
    """
    header = await chain.client.head()
    facts = await read_token(chain.client, address, block=header.ref)
    findings = [*_words(facts), *_powers(facts), *_others(chain.assets, facts, label=label)]
    asset = None
    pools: tuple[PoolState, ...] = ()
    if facts.decimals is not None and not facts.is_wallet and facts.decimals <= MOST_DECIMALS:
        try:
            pools = await _pools(chain, address, block=header.ref)
        except (ExecutionReverted, RpcRefused):
            # One balanceOf that burns everything takes the other reads of its call with it.
            findings.append(_refused("no_balance", "balanceOf() does not answer with the gas that others need"))
        asset = _asset(chain, facts, decimals=facts.decimals, label=label)
        findings += _liquidity(chain, pools)
        tried, trouble = await _transfers(chain, address, holder=holder, pools=pools, header=header)
        findings += trouble
        if tried is not None:
            seen = {NO_RETURN: tried.no_return, APPROVE_RESET: tried.approve_reset}
            asset = replace(asset, flags=frozenset(flag for flag, is_so in seen.items() if is_so))
            if all(one.level is not Level.REFUSED for one in trouble):
                findings += await _round_trip(chain, asset, header=header)
    return Report(
        chain=chain.config.key, block=header.ref, facts=facts, asset=asset, pools=pools, findings=tuple(findings)
    )


def with_asset(assets: AssetList, asset: Asset) -> AssetList:
    """The list with the token in it, for quotes; the list itself when the token is in there."""
    if asset.address is not None and assets.find_address(asset.address) is not None:
        return assets
    probe = asset if asset.symbol not in {one.symbol for one in assets} else replace(asset, symbol=f"NEW{asset.symbol}")
    return AssetList(assets.chain_id, [*assets, probe], wrapped=assets.wrapped, connectors=assets.connectors)


def _words(facts: TokenFacts) -> Iterator[Finding]:
    """What the contract says of itself."""
    if facts.is_wallet:
        what = "a wallet that has delegated (EIP-7702)" if facts.code_bytes else "a wallet, or nothing at all"
        yield _refused("no_contract", f"there is no contract at {facts.address}: it is {what}")
        return
    if facts.decimals is None:
        yield _refused("no_decimals", "decimals() does not answer, or not with a number up to 255")
    elif facts.decimals > MOST_DECIMALS:
        yield _refused("absurd_decimals", f"it has {facts.decimals} decimals; at most {MOST_DECIMALS} are listed")
    elif facts.decimals not in USUAL_DECIMALS:
        yield _warning("unusual_decimals", f"it has {facts.decimals} decimals")
    if facts.symbol is None:
        yield _refused("no_symbol", "symbol() does not answer, or with text that is empty, huge or hides characters")
    elif problem := text_problem(facts.symbol):
        yield _refused("deceptive_symbol", f"its symbol {shown(facts.symbol)!r} {problem}")
    elif unusual := unusual_text(facts.symbol, longest=LONG_SYMBOL):
        yield _warning("unusual_symbol", f"its symbol {shown(facts.symbol)!r} {unusual}")
    if facts.name is None:
        yield _warning("no_name", "name() does not answer, or with text that is empty, huge or hides characters")
    elif unusual := text_problem(facts.name) or unusual_text(facts.name, longest=LONG_NAME):
        yield _warning("unusual_name", f"its name {shown(facts.name)!r} {unusual}")
    if facts.total_supply is None:
        yield _refused("no_supply", "totalSupply() does not answer")
    elif facts.total_supply == 0:
        yield _warning("nothing_issued", "nothing of it exists")


def _powers(facts: TokenFacts) -> Iterator[Finding]:
    """What somebody may do with it."""
    if (proxy := facts.proxy) is not None:
        text = f"it is a proxy ({proxy.kind}); its code is at {proxy.implementation}"
        yield (
            _warning("proxy", f"{text}, and whoever controls it can put other code there")
            if proxy.can_change
            else _note("clone", f"{text}, for good")
        )
    for trait, functions in facts.traits.items():
        yield _warning(f"can_{trait}", f"{_TRAITS[trait]}: {', '.join(functions[:3])}")


def _others(assets: AssetList, facts: TokenFacts, *, label: str | None) -> Iterator[Finding]:
    """What it may be mistaken for."""
    if (listed := assets.find_address(facts.address)) is not None:
        yield _note("listed", f"it is listed already, as {listed.symbol}")
    texts = [text for text in (facts.symbol, label) if text is not None]
    for text in look_alikes(assets, address=facts.address, texts=texts, name=facts.name):
        yield _warning("look_alike", text)
    if label is not None and facts.symbol is not None and label != facts.symbol:
        yield _note("other_label", f"it calls itself {shown(facts.symbol)!r}, and would be listed as {label}")


def _liquidity(chain: ChainParts, pools: Sequence[PoolState]) -> Iterator[Finding]:
    if not pools:
        names = ", ".join(asset.symbol for asset in chain.assets.connectors)
        yield _warning("no_pool", f"no pool trades it against {names}: a market of it would answer no_route")


async def _transfers(
    chain: ChainParts, token: Address, *, holder: Address | None, pools: Sequence[PoolState], header: Header
) -> tuple[Tried | None, list[Finding]]:
    held = 0
    if holder is None and pools:
        deepest = max(pools, key=lambda state: state.holding_of(token))
        holder = deepest.address
    if holder is not None:
        try:
            held = await execute(chain.client, erc20.balance_of(token, holder), block=header.ref)
        except (ContractError, ExecutionReverted, RpcRefused):
            return None, [_refused("no_balance", f"balanceOf({holder}) does not answer")]
    if holder is None or held == 0:
        return None, [
            _refused("not_tried", "no pool holds any of it, so its transfers cannot be tried; name a holder of it")
        ]
    try:
        tried = await try_transfers(chain.client, token, holder=holder, held=held, block=header)
    except MethodUnavailable:
        return None, [_refused("not_tried", "the node has no eth_simulateV1, so its transfers cannot be tried")]
    except RpcRefused as exc:
        return None, [_refused("not_tried", f"the node refused to simulate its transfers: {exc.node_message}")]
    return tried, [_transfer_finding(trouble, tried) for trouble in tried.troubles]


def _transfer_finding(trouble: Trouble, tried: Tried) -> Finding:
    where = f"{trouble.move}, {trouble.amount} base units"
    if trouble.refused:
        return _refused("answers_false", f"a transfer answers false ({where})")
    if trouble.reverted is not None:
        text = f"a transfer reverts ({where}): {shown(trouble.reverted)}"
        smallest = trouble.amount == tried.amounts[0]
        return _refused("transfer_reverts", text) if smallest else _warning("amount_limited", text)
    if trouble.tax_bps:
        return _refused(
            "taxed",
            f"it keeps {trouble.tax_bps} basis points of a transfer ({where}): {trouble.left} left,"
            f" {trouble.arrived} arrived",
        )
    return _refused("odd_transfer", f"{trouble.left} left and {trouble.arrived} arrived ({where})")


async def _round_trip(chain: ChainParts, asset: Asset, *, header: Header) -> list[Finding]:
    if chain.assets.wrapped.address == asset.address:
        return []
    assets = with_asset(chain.assets, asset)
    listed = assets.by_address(asset.token_address)
    try:
        trip = await try_round_trip(chain.client, listed, assets=assets, deployments=chain.deployments, block=header)
    except QuoteError as exc:
        return [_warning("no_round_trip", f"buying and selling could not be tried: {exc}")]
    except RpcRefused as exc:
        return [_refused("not_tried", f"the node refused to simulate a purchase: {exc.node_message}")]
    return [] if trip.is_honest else [_round_trip_finding(trip)]


def _round_trip_finding(trip: RoundTrip) -> Finding:
    if trip.failed is not None:
        return _refused("cannot_trade", f"a stranger's purchase and sale fails at {shown(trip.failed)}")
    return _refused(
        "taxed",
        f"a purchase brought {trip.bought_tokens} of {trip.quoted_tokens} base units quoted, and selling them"
        f" {trip.returned_wei} of {trip.quoted_wei} wei",
    )


async def _pools(chain: ChainParts, token: Address, *, block: BlockRef) -> tuple[PoolState, ...]:
    """The pools that hold any, between the token and the tokens that routes pass through; the deepest first."""
    venues = [found.venue for found in chain.deployments.venues(chain.config.chain_id)]
    others = [asset.token_address for asset in chain.assets.connectors if asset.address != token]
    keys = [key for other in others for key in pool_keys(venues, (token, other))]
    directory = PoolDirectory(chain.config.chain_id)
    await discover(chain.client, directory, deployments=chain.deployments, keys=keys, block=block)
    states = await read_states(chain.client, directory, deployments=chain.deployments, keys=keys, block=block)
    return tuple(sorted(states, key=lambda state: -state.holding_of(token)))


def _asset(chain: ChainParts, facts: TokenFacts, *, decimals: int, label: str | None) -> Asset:
    plain = facts.name is not None and facts.name.isascii() and text_problem(facts.name) is None
    symbol = label or "".join(one for one in (facts.symbol or "").upper() if one.isascii() and one.isalnum())[:16]
    return Asset(
        id=token_id(chain.config.chain_id, facts.address),
        chain_id=chain.config.chain_id,
        symbol=symbol or "UNNAMED",
        name=facts.name[:LONG_NAME] if plain and facts.name else symbol or "UNNAMED",
        decimals=decimals,
        address=facts.address,
        onchain_symbols=(facts.symbol,) if facts.symbol is not None else (),
    )


def _refused(code: str, text: str) -> Finding:
    return Finding(level=Level.REFUSED, code=code, text=text)


def _warning(code: str, text: str) -> Finding:
    return Finding(level=Level.WARNING, code=code, text=text)


def _note(code: str, text: str) -> Finding:
    return Finding(level=Level.NOTE, code=code, text=text)
