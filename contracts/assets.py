"""Assets, amounts and markets of a chain: what is listed, and under which names.

Guarantees: an asset is its CAIP-19 id; symbols and addresses are unique in a chain's list; the native asset has no
address. Lists come from `contracts/data/assets-<chain id>.json` or an operator's file of the same shape, and an
operator's additions come on top; a test compares the packaged ones with the contracts. Not guaranteed: that an
unlisted token is harmless, or that a listed market has liquidity now.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, NewType

from chains.types import Address, ChainId
from chains.units import MAX_DECIMALS, format_units
from contracts.datafiles import Fields, read_file, read_packaged
from contracts.errors import AssetMismatch, InvalidData, UnlistedAsset

AssetId = NewType("AssetId", str)
"""CAIP-19 text: `eip155:1/slip44:60` (native), `eip155:1/erc20:0xChecksummed`."""

APPROVE_RESET: Final = "approve_reset"
"""The token refuses to change an allowance that is not zero (USDT): set it to zero first."""
NO_RETURN: Final = "no_return"
"""transfer and approve return nothing instead of a bool (USDT)."""
_FLAGS: Final = frozenset({APPROVE_RESET, NO_RETURN})
MAX_SYMBOL: Final = 16
_MAX_SLIP44: Final = 2**31
_MAX_HEARTBEAT_S: Final = 7 * 24 * 3_600
_MAX_FEED_DECIMALS: Final = 36
ADDITIONS_VERSION: Final = 1
"""Shape of an operator's file of additions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A listed asset. `address` is None for the chain's native asset.

    `onchain_symbols` are what the contract may answer to `symbol()` (bridged USDC is `USDCE` here and `USDC.e`
    there). `usd_feed` names one of the list's feeds.
    """

    id: AssetId
    chain_id: ChainId
    symbol: str
    name: str
    decimals: int
    address: Address | None
    flags: frozenset[str] = frozenset()
    onchain_symbols: tuple[str, ...] = ()
    usd_feed: str | None = None

    @property
    def is_native(self) -> bool:
        return self.address is None

    @property
    def token_address(self) -> Address:
        """The token's address. Raises: AssetMismatch: the asset is native and has none."""
        if self.address is None:
            raise AssetMismatch(f"{self.symbol} is the native asset of chain {self.chain_id} and has no address")
        return self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What is expected of a Chainlink feed: how often it answers at least, in which decimals, under which title.

    `address` None: the registry of deployments has it, under `name`.
    """

    name: str
    heartbeat_s: int
    decimals: int
    description: str
    address: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAmount:
    """Base units of one asset; may be negative (a difference)."""

    asset: Asset
    raw: int

    def __add__(self, other: "TokenAmount") -> "TokenAmount":
        return TokenAmount(asset=self.asset, raw=self.raw + self._same(other))

    def __sub__(self, other: "TokenAmount") -> "TokenAmount":
        return TokenAmount(asset=self.asset, raw=self.raw - self._same(other))

    def __str__(self) -> str:
        return f"{format_units(self.raw, self.asset.decimals)} {self.asset.symbol}"

    def _same(self, other: "TokenAmount") -> int:
        if other.asset.id != self.asset.id:
            raise AssetMismatch(f"{self.asset.id} and {other.asset.id} are different assets")
        return other.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Buying is getting `base` for `quote`. `ETHUSDC` settles in the native asset, `WETHUSDC` in the token.

    `guarded` False: the operator has it traded with no second opinion on its price where there is none.
    """

    symbol: str
    base: Asset
    quote: Asset
    guarded: bool = True


class AssetList:
    """The listed assets of one chain, in the order of the file: the native asset first."""

    def __init__(
        self,
        chain_id: ChainId,
        assets: Sequence[Asset],
        *,
        wrapped: Asset,
        connectors: Sequence[Asset] = (),
        pairs: Sequence[tuple[Asset, Asset]] = (),
        feeds: Sequence[Feed] = (),
        unguarded: Collection[str] = (),
    ) -> None:
        natives = [asset for asset in assets if asset.is_native]
        if len(natives) != 1:
            raise InvalidData(f"chain {chain_id}: exactly one native asset is needed, not {len(natives)}")
        self.chain_id: Final = chain_id
        self.native: Final = natives[0]
        self.wrapped: Final = wrapped
        self.connectors: Final = tuple(connectors)
        """Tokens that a route may pass through, the most liquid first."""
        self._assets: Final = tuple(assets)
        self._by_id: Final = {asset.id: asset for asset in assets}
        self._by_symbol: Final = {asset.symbol: asset for asset in assets}
        self._by_address: Final = {asset.address: asset for asset in assets if asset.address is not None}
        if any(asset.chain_id != chain_id for asset in assets):
            raise InvalidData(f"chain {chain_id}: an asset of another chain is in the list")
        if not len(self._assets) == len(self._by_id) == len(self._by_symbol) == len(self._by_address) + 1:
            raise InvalidData(f"chain {chain_id}: two assets share a symbol or an address")
        if any(asset.is_native or asset.id not in self._by_id for asset in (wrapped, *connectors)):
            raise InvalidData(f"chain {chain_id}: wrapped and connectors must be tokens of the list")
        self.feeds: Final = MappingProxyType({feed.name: feed for feed in feeds})
        if len(self.feeds) != len(feeds):
            raise InvalidData(f"chain {chain_id}: two feeds have the same name")
        made = [self._market(base, quote, unguarded=unguarded) for base, quote in pairs]
        self.markets: Final = MappingProxyType({market.symbol: market for market in made})
        if len(self.markets) != len(made):
            raise InvalidData(f"chain {chain_id}: two markets have the same symbol")
        if unknown := sorted(set(unguarded) - set(self.markets)):
            raise InvalidData(f"chain {chain_id}: {unknown[0]!r} is not a market that could be unguarded")

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, asset: object) -> bool:
        return isinstance(asset, Asset) and self._by_id.get(asset.id) == asset

    def by_id(self, asset_id: str) -> Asset:
        """Raises: UnlistedAsset."""
        return self._found(self._by_id.get(AssetId(asset_id)), asset_id)

    def by_symbol(self, symbol: str) -> Asset:
        """Symbols are case-sensitive labels. Raises: UnlistedAsset."""
        return self._found(self._by_symbol.get(symbol), symbol)

    def by_address(self, address: Address) -> Asset:
        """Raises: UnlistedAsset."""
        return self._found(self._by_address.get(address), address)

    def find_address(self, address: Address) -> Asset | None:
        """The listed token at that address, if there is one."""
        return self._by_address.get(address)

    def token_of(self, asset: Asset) -> Asset:
        """What stands for the asset in pools: the wrapped token for the native asset, else itself."""
        return self.wrapped if asset.is_native else asset

    def usd_feed(self, asset: Asset) -> Feed | None:
        """The asset's feed, if it has one in the list."""
        return None if asset.usd_feed is None else self.feeds.get(asset.usd_feed)

    def _market(self, base: Asset, quote: Asset, *, unguarded: Collection[str]) -> Market:
        if base not in self or quote not in self or self.token_of(base) == self.token_of(quote):
            raise InvalidData(f"chain {self.chain_id}: {base.symbol}/{quote.symbol} is not a market of two assets")
        symbol = base.symbol + quote.symbol
        return Market(symbol=symbol, base=base, quote=quote, guarded=symbol not in unguarded)

    def _found(self, asset: Asset | None, wanted: str) -> Asset:
        if asset is None:
            raise UnlistedAsset(self.chain_id, wanted)
        return asset


def load_assets(chain_id: ChainId, file: Path | None = None, *, additions: Path | None = None) -> AssetList:
    """The chain's list, packaged or from an operator's file of the same shape, and the operator's additions to it.

    Raises: InvalidData: also when additions use a symbol, an address or a market's symbol that is taken.
    """
    fields = read_file(file) if file is not None else read_packaged(f"assets-{chain_id}.json")
    fields.integer("chain_id", low=chain_id, high=chain_id)
    parts = [_part(chain_id, fields)]
    assets = [_native(chain_id, fields.child("native")), *parts[0].tokens]
    wrapped, connectors = fields.text("wrapped"), fields.texts("connectors")
    fields.refuse_unknown()
    if additions is not None:
        parts.append(read_additions(chain_id, additions))
        assets += parts[1].tokens
    by_symbol = {asset.symbol: asset for asset in assets}

    def named(symbol: str) -> Asset:
        if symbol not in by_symbol:
            raise InvalidData(f"chain {chain_id}: {symbol!r} is not among the listed assets")
        return by_symbol[symbol]

    feeds = {feed.name for part in parts for feed in part.feeds}
    if blind := [asset.symbol for asset in assets if asset.usd_feed is not None and asset.usd_feed not in feeds]:
        raise InvalidData(f"chain {chain_id}: the feed of {blind[0]} is not among the listed feeds")
    pairs = [pair.partition("/") for part in parts for pair in part.markets]
    return AssetList(
        chain_id,
        assets,
        wrapped=named(wrapped),
        connectors=[named(symbol) for symbol in connectors],
        pairs=[(named(base), named(quote)) for base, _, quote in pairs],
        feeds=[feed for part in parts for feed in part.feeds],
        unguarded={pair.replace("/", "") for part in parts for pair in part.unguarded},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What a file adds to a list: tokens, feeds, and markets as `BASE/QUOTE`, some of them unguarded."""

    tokens: tuple[Asset, ...] = ()
    feeds: tuple[Feed, ...] = ()
    markets: tuple[str, ...] = ()
    unguarded: tuple[str, ...] = ()


def read_additions(chain_id: ChainId, file: Path) -> Additions:
    """An operator's additions: `version`, `chain_id`, then `tokens`, `feeds`, `markets`, `unguarded`.

    Raises: InvalidData.
    """
    fields = read_file(file)
    fields.integer("version", low=ADDITIONS_VERSION, high=ADDITIONS_VERSION)
    fields.integer("chain_id", low=chain_id, high=chain_id)
    additions = _part(chain_id, fields)
    fields.refuse_unknown()
    return additions


def _part(chain_id: ChainId, fields: Fields) -> Additions:
    """What the packaged list and the operator's additions have in common."""
    listed = fields.child("feeds") if "feeds" in fields.names() else None
    feeds = () if listed is None else tuple(_feed(name, listed.child(name)) for name in listed.names())
    return Additions(
        tokens=tuple(_token(chain_id, token) for token in fields.children("tokens")),
        feeds=feeds,
        markets=fields.texts("markets"),
        unguarded=fields.texts("unguarded"),
    )


def markets(assets: AssetList) -> Mapping[str, Market]:
    """The chain's markets by symbol, in the order of the file."""
    return assets.markets


def native_id(chain_id: int, slip44: int) -> AssetId:
    """CAIP-19 id of a native asset (namespace slip44)."""
    return AssetId(f"eip155:{chain_id}/slip44:{slip44}")


def token_id(chain_id: int, address: Address) -> AssetId:
    """CAIP-19 id of an ERC-20 token (namespace erc20), with the checksummed address."""
    return AssetId(f"eip155:{chain_id}/erc20:{address}")


def _native(chain_id: ChainId, fields: Fields) -> Asset:
    asset = Asset(
        id=native_id(chain_id, fields.integer("slip44", low=0, high=_MAX_SLIP44)),
        chain_id=chain_id,
        symbol=_symbol(fields),
        name=fields.text("name"),
        decimals=fields.integer("decimals", low=0, high=MAX_DECIMALS),
        address=None,
        usd_feed=fields.optional_text("usd_feed"),
    )
    fields.refuse_unknown()
    return asset


def _token(chain_id: ChainId, fields: Fields) -> Asset:
    address = fields.address("address")
    symbol = _symbol(fields)
    flags = frozenset(fields.texts("flags"))
    if not flags <= _FLAGS:
        raise InvalidData(f"{fields.where} flags: only {', '.join(sorted(_FLAGS))} are known")
    asset = Asset(
        id=token_id(chain_id, address),
        chain_id=chain_id,
        symbol=symbol,
        name=fields.text("name"),
        decimals=fields.integer("decimals", low=0, high=MAX_DECIMALS),
        address=address,
        flags=flags,
        onchain_symbols=fields.texts("onchain_symbols") or (symbol,),
        usd_feed=fields.optional_text("usd_feed"),
    )
    fields.refuse_unknown()
    return asset


def _feed(name: str, fields: Fields) -> Feed:
    feed = Feed(
        name=name,
        heartbeat_s=fields.integer("heartbeat_s", low=1, high=_MAX_HEARTBEAT_S),
        decimals=fields.integer("decimals", low=0, high=_MAX_FEED_DECIMALS),
        description=fields.text("description"),
        address=fields.address("address") if "address" in fields.names() else None,
    )
    fields.refuse_unknown()
    return feed


def is_symbol(text: str) -> bool:
    """Whether an asset may be called that: it stands in URLs, and two of them together are a market's symbol."""
    return bool(text) and text.isascii() and text.isalnum() and text == text.upper() and len(text) <= MAX_SYMBOL


def _symbol(fields: Fields) -> str:
    symbol = fields.text("symbol")
    if not is_symbol(symbol):
        raise InvalidData(f"{fields.where} symbol: upper-case letters and digits, at most {MAX_SYMBOL}")
    return symbol
