"""Owner's acts on the lists of assets: show, check, add, remove.

Guarantees: nothing is listed that the checks refuse, nor with a warning that the owner has not named; what is listed is
in use from the next start of every process, and not before. Not guaranteed: that other hosts' processes have the same
file; it lies in each data directory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from chains.errors import ExecutionReverted, RpcRefused
from chains.types import Address, ChainId, InvalidAddress, parse_address
from chains.units import format_units
from contracts.abi import load_abi
from contracts.assets import MAX_SYMBOL, Asset, AssetList, Feed, is_symbol
from contracts.call import call_one, execute
from contracts.chainlink import cross_rate, feed_decimals, latest_answers, latest_round
from contracts.deployments import MULTICALL3
from contracts.errors import ContractError, InvalidData
from contracts.listing_text import shown
from contracts.pools import PoolState
from service.assets import file as additions
from service.assets.checking import Finding, Report, check_token
from service.assets.usage import usage_of
from service.build import ChainRuntime, Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.markets.guards import deviates, deviation_bps
from service.markets.guards_reading import feed_address

AT_NEXT_START: Final = "It is in use after the next start of every Cambist process of this installation."


class ListAssets(Params):
    chain: str


class CheckAsset(Params):
    chain: str
    address: str
    label: str | None = Field(default=None, max_length=MAX_SYMBOL)
    holder: str | None = None


class AddAsset(Params):
    chain: str
    address: str
    label: str = Field(max_length=MAX_SYMBOL)
    quotes: list[str] = Field(min_length=1, max_length=16)
    """Symbols of listed assets that it is to be traded for."""
    accepted: list[str] = Field(default_factory=list)
    """Codes of the warnings that the owner has seen and accepts."""
    unguarded: bool = False
    feed: str | None = None
    heartbeat_s: int | None = Field(default=None, ge=1, le=7 * 24 * 3_600)
    holder: str | None = None


class RemoveAsset(Params):
    chain: str
    symbol: str
    despite_balances: bool = False


async def list_(services: Services, params: ListAssets) -> dict[str, Any]:
    """The chain's assets and markets: those in use, and those that the next start will have."""
    chain_id = _chain_id(services, params.chain)
    now = services.assets[chain_id]
    file = services.settings.assets_file(chain_id)
    try:
        added = set(additions.added_symbols(chain_id, file))
        then = additions.load_listed(chain_id, file)
    except InvalidData as exc:
        raise ActFailed("bad_assets_file", str(exc), hint=f"Correct {file}; see docs/assets.md.") from exc
    return {
        "chain": params.chain,
        "assets": [_asset_document(asset, then, now=now, added=asset.symbol in added) for asset in then]
        + [
            {**_asset_document(asset, now, now=now, added=True), "status": "until the next start"}
            for asset in now
            if asset not in then
        ],
    }


async def check(services: Services, params: CheckAsset) -> dict[str, Any]:
    """Look at a token and try it out; nothing is written."""
    runtime = _runtime(services, params.chain)
    report = await check_token(
        runtime,
        _address(params.address),
        label=None if params.label is None else _label(params.label),
        holder=None if params.holder is None else _address(params.holder),
    )
    return _report_document(report, runtime.assets)


async def add(services: Services, params: AddAsset) -> dict[str, Any]:
    """Check a token, and write it into the operator's file."""
    runtime = _runtime(services, params.chain)
    chain_id, label, address = runtime.config.chain_id, _label(params.label), _address(params.address)
    file = services.settings.assets_file(chain_id)
    listed = _listed(chain_id, file)
    if (same := listed.find_address(address)) is not None:
        raise ActFailed("already_listed", f"{address} is listed as {same.symbol}", hint="cambist asset list")
    if label in {asset.symbol for asset in listed}:
        raise ActFailed("label_taken", f"an asset is listed as {label} already", hint="Choose another label.")
    for quote in params.quotes:
        if quote not in {asset.symbol for asset in listed}:
            raise ActFailed("unknown_quote", f"{quote!r} is not a listed asset", hint="cambist asset list")
    feed = await _feed(runtime, params, label=label)
    holder = None if params.holder is None else _address(params.holder)
    report = await check_token(runtime, address, label=label, holder=holder)
    if report.refusals or report.asset is None:
        raise ActFailed("token_refused", _texts(report.refusals), hint="docs/assets.md says what each finding means.")
    if unseen := [one for one in report.warnings if one.code not in params.accepted]:
        codes = ",".join(dict.fromkeys(one.code for one in unseen))
        raise ActFailed("warnings", _texts(unseen), hint=f"If that is as you want it: --accept {codes}")
    if feed is not None:
        await _check_feed(services, runtime, feed, report=report, asset=report.asset)
    markets = tuple(f"{label}/{quote}" for quote in params.quotes)
    asset = Asset(
        id=report.asset.id,
        chain_id=chain_id,
        symbol=label,
        name=report.asset.name,
        decimals=report.asset.decimals,
        address=address,
        flags=report.asset.flags,
        onchain_symbols=report.asset.onchain_symbols,
        usd_feed=None if feed is None else feed.name,
    )
    addition = additions.Addition(
        token=asset,
        markets=markets,
        unguarded=markets if params.unguarded else (),
        feed=feed if feed is not None and feed.name not in listed.feeds else None,
    )
    try:
        additions.add(chain_id, file, addition)
    except InvalidData as exc:
        raise ActFailed("does_not_fit", str(exc), hint="Choose another label or other quote assets.") from exc
    except OSError as exc:
        raise ActFailed("not_written", f"{file}: {exc.strerror}", hint="Nothing was listed.") from exc
    return {
        "chain": params.chain,
        "symbol": label,
        "address": address,
        "markets": [market.replace("/", "") for market in markets],
        "file": str(file),
        "warnings": [one.text for one in report.warnings],
        "opinions": _opinions_text(listed, feed, params),
        "next": AT_NEXT_START,
    }


async def remove(services: Services, params: RemoveAsset) -> dict[str, Any]:
    """Take an added token out of the operator's file."""
    chain_id = _chain_id(services, params.chain)
    file = services.settings.assets_file(chain_id)
    listed = _listed(chain_id, file)
    if params.symbol not in additions.added_symbols(chain_id, file):
        raise ActFailed(
            "not_added", f"{params.symbol!r} is not among what was added on {params.chain}", hint="cambist asset list"
        )
    asset = listed.by_symbol(params.symbol)
    usage = await services.db.read(lambda c: usage_of(c, asset.id, chain_id=chain_id))
    if usage.under_way:
        kinds = {"order": usage.orders, "withdrawal": usage.withdrawals, "transaction": usage.transactions}
        named = [f"{kind} {one}" for kind, ids in kinds.items() for one in ids]
        raise ActFailed(
            "in_use",
            f"{params.symbol} is in use: {', '.join(named[:10]) or 'an open plan holds some'}",
            hint="Wait until they are final, or cancel them.",
        )
    balances = ", ".join(f"{label} has {format_units(raw, asset.decimals)}" for label, raw in usage.balances)
    if usage.balances and not params.despite_balances:
        raise ActFailed(
            "has_balances",
            f"wallets have {params.symbol}: {balances}",
            hint="Sell or move it first; with --despite-balances the coins stay where they are, the books keep their"
            " entries, and neither shows nor checks them until it is listed again.",
        )
    try:
        additions.remove(chain_id, file, params.symbol)
    except InvalidData as exc:
        raise ActFailed("does_not_fit", str(exc), hint="Remove what needs it first.") from exc
    except OSError as exc:
        raise ActFailed("not_written", f"{file}: {exc.strerror}", hint="Nothing was removed.") from exc
    return {
        "chain": params.chain,
        "symbol": params.symbol,
        "left_behind": balances,
        "file": str(file),
        "next": "It is gone after the next start of every Cambist process of this installation.",
    }


async def _feed(runtime: ChainRuntime, params: AddAsset, *, label: str) -> Feed | None:
    """The token's USD feed: a listed one by name, or one by address, read now. Raises: ActFailed."""
    if params.feed is None:
        return None
    if params.feed in runtime.assets.feeds:
        return runtime.assets.feeds[params.feed]
    if params.heartbeat_s is None:
        raise ActFailed(
            "heartbeat_needed",
            "a feed by address needs its heartbeat in seconds",
            hint="data.chain.link shows it; listed feeds go by name: " + ", ".join(runtime.assets.feeds),
        )
    address = _address(params.feed)
    description = call_one(address, load_abi("chainlink_aggregator").function("description"))
    try:
        said = str(await execute(runtime.client, description, block="latest"))
        decimals = await execute(runtime.client, feed_decimals(address), block="latest")
        await execute(runtime.client, latest_round(address), block="latest")
    except (ContractError, ExecutionReverted, RpcRefused) as exc:
        raise ActFailed("not_a_feed", f"{address} does not answer as a Chainlink feed") from exc
    name = f"added_{label.lower()}_usd"
    return Feed(
        name=name, heartbeat_s=params.heartbeat_s, decimals=decimals, description=shown(said) or name, address=address
    )


async def _check_feed(services: Services, runtime: ChainRuntime, feed: Feed, *, report: Report, asset: Asset) -> None:
    """That the feed says what the token's deepest pool says: it may be another token's, or not in USD.

    Raises: ActFailed.
    """
    for pool in report.pools:
        token = asset.token_address
        other = next(one for one in (pool.key.token0, pool.key.token1) if one != token)
        quote = runtime.assets.by_address(other)
        quote_feed = feed_address(runtime, quote)
        if quote_feed is None:
            continue
        own_feed = feed.address or runtime.deployments.address(runtime.config.chain_id, feed.name)
        multicall = runtime.deployments.address(runtime.config.chain_id, MULTICALL3)
        answers = await latest_answers(runtime.client, [own_feed, quote_feed], multicall=multicall, block=report.block)
        own, its = answers[own_feed], answers[quote_feed]
        if own is None or its is None:
            raise ActFailed("not_a_feed", f"{own_feed} or {quote_feed} has no valid answer now")
        told, pooled = cross_rate(asset, quote, base_usd=own, quote_usd=its), pool.price_from(token)
        bound = services.settings.max_price_deviation_bps
        if deviates(pooled, told, bps=bound):
            raise ActFailed(
                "feed_disagrees",
                f"by its feed ({feed.description}) the token is {deviation_bps(pooled, told)} basis points away from"
                f" its price in {quote.symbol} in pool {pool.address}, and the bound is {bound}",
                hint="Is it this token's feed, and in USD?",
            )
        return


def _opinions_text(listed: AssetList, feed: Feed | None, params: AddAsset) -> str:
    if params.unguarded:
        return "Its markets trade without a second opinion on their price where there is none."
    blind = [quote for quote in params.quotes if feed is None or listed.usd_feed(listed.by_symbol(quote)) is None]
    if not blind:
        return "Chainlink has a second opinion on its price."
    return (
        f"Chainlink has none on its price in {', '.join(blind)}: orders are taken only while a V3 pool of the pair"
        " remembers its prices."
    )


def _report_document(report: Report, assets: AssetList) -> dict[str, Any]:
    facts, proxy = report.facts, report.facts.proxy
    return {
        "chain": report.chain,
        "address": facts.address,
        "block": {"number": report.block.number, "hash": report.block.hash},
        "verdict": "refused" if report.refusals else "warnings" if report.warnings else "ok",
        "findings": [{"level": one.level, "code": one.code, "text": one.text} for one in report.findings],
        "symbol": None if facts.symbol is None else shown(facts.symbol),
        "name": None if facts.name is None else shown(facts.name),
        "decimals": facts.decimals,
        "total_supply": None
        if facts.total_supply is None or facts.decimals is None
        else format_units(facts.total_supply, facts.decimals),
        "code_bytes": facts.code_bytes,
        "proxy": None if proxy is None else {"kind": proxy.kind, "implementation": proxy.implementation},
        "flags": [] if report.asset is None else sorted(report.asset.flags),
        "pools": [_pool_document(pool, report, assets) for pool in report.pools],
    }


def _pool_document(pool: PoolState, report: Report, assets: AssetList) -> dict[str, Any]:
    token = report.facts.address
    quote = assets.by_address(next(one for one in (pool.key.token0, pool.key.token1) if one != token))
    return {
        "venue": pool.key.venue,
        "fee_pips": pool.key.fee_pips,
        "pool": pool.address,
        "tokens": format_units(pool.holding_of(token), report.facts.decimals or 0),
        "quote": quote.symbol,
        "quote_amount": format_units(pool.holding_of(quote.token_address), quote.decimals),
    }


def _asset_document(asset: Asset, assets: AssetList, *, now: AssetList, added: bool) -> dict[str, Any]:
    return {
        "symbol": asset.symbol,
        "name": asset.name,
        "decimals": asset.decimals,
        "address": asset.address,
        "flags": sorted(asset.flags),
        "feed": asset.usd_feed,
        "added": added,
        "status": "in use" if asset in now else "at the next start",
        "markets": [market.symbol for market in assets.markets.values() if asset in (market.base, market.quote)],
        "unguarded": [
            market.symbol
            for market in assets.markets.values()
            if asset in (market.base, market.quote) and not market.guarded
        ],
    }


def _texts(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{one.code}: {one.text}" for one in findings)


def _runtime(services: Services, name: str) -> ChainRuntime:
    """Raises: ActFailed: no such chain, or none that could be asked."""
    _chain_id(services, name)
    runtime = services.chains.get(name)
    if runtime is None:
        raise ActFailed("chain_not_active", f"{name} has no RPC endpoint configured here", hint="cambist config check")
    return runtime


def _chain_id(services: Services, name: str) -> ChainId:
    config = services.configs.get(name)
    if config is None or config.chain_id not in services.assets:
        known = ", ".join(key for key, one in services.configs.items() if one.chain_id in services.assets)
        raise ActFailed("no_such_chain", f"no chain with a list of assets is called {name!r}; known: {known}")
    return config.chain_id


def _listed(chain_id: ChainId, file: Path) -> AssetList:
    try:
        return additions.load_listed(chain_id, file)
    except InvalidData as exc:
        raise ActFailed("bad_assets_file", str(exc), hint=f"Correct {file}; see docs/assets.md.") from exc


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidAddress as exc:
        raise ActFailed("bad_address", str(exc)) from exc


def _label(text: str) -> str:
    if not is_symbol(text):
        raise ActFailed("bad_label", f"a label is 1 to {MAX_SYMBOL} capital letters and digits, such as UNI")
    return text
