"""What is on the local chains, as data: tokens, feeds, pools, protocol addresses, starting prices.

Guarantees: every address is the one of the real network, in EIP-55 form. Prices are where the local markets
start, not what they are at a later moment: compare with a quote or a feed, never with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

FEED_DECIMALS = 8
UNIT = 10**FEED_DECIMALS


class Venue(StrEnum):
    """Whose pool it is."""

    UNISWAP_V2 = "uniswap_v2"
    UNISWAP_V3 = "uniswap_v3"
    QUICKSWAP_V2 = "quickswap_v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A listed ERC-20. `symbol` is our label, `onchain_symbol` what the contract answers.

    `prices` names the entry of `START_PRICES` that values it.
    """

    symbol: str
    address: str
    decimals: int
    prices: str
    onchain_symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A Chainlink proxy: USD price of `base` with 8 decimals."""

    base: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool to be made. `fee` in hundredths of a basis point; `depth_usd` is the worth of both sides."""

    venue: Venue
    base: str
    quote: str
    fee: int
    depth_usd: int

    @property
    def label(self) -> str:
        return f"{self.venue} {self.base}/{self.quote} {self.fee / 10_000:g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSpec:
    """One network. `base_fee_wei` is what a fork of the local chain starts from."""

    name: str
    chain_id: int
    native: str
    wrapped: str
    tokens: Mapping[str, Token]
    feeds: Mapping[str, Feed]
    contracts: Mapping[str, str]
    pools: tuple[Pool, ...]
    base_fee_wei: int


# USD with 8 decimals.
START_PRICES: Mapping[str, int] = {
    "ETH": 3_000 * UNIT,
    "BTC": 60_000 * UNIT,
    "POL": UNIT // 2,
    "USDC": UNIT,
    "USDT": UNIT,
    "DAI": UNIT,
}

# At the same address on both networks.
UNISWAP_V3 = {
    "UniswapV3Factory": "0x1F98431c8aD98523631AE4a59f267346ea31F984",
    "TickLens": "0xbfd8137f7d1516D3ea5cA83523914859ec47F573",
    "Quoter": "0xb27308f9F90D607463bb33eA1BeBb41C27CE5AB6",
    "SwapRouter": "0xE592427A0AEce92De3Edee1F18E0157C05861564",
    "NFTDescriptor": "0x42B24A95702b9986e82d421cC3568932790A48Ec",
    "NonfungibleTokenPositionDescriptor": "0x91ae842A5Ffd8d12023116943e72A606179294f3",
    "NonfungiblePositionManager": "0xC36442b4a4522E871399CD717aBDD847Ab11FE88",
    "QuoterV2": "0x61fFE014bA17989E743c5F6cB21bF9697530B21e",
    "SwapRouter02": "0x68b3465833fb72A70ecDF485E0e4C7bD8665Fc45",
}
MULTICALL3 = {"Multicall3": "0xcA11bde05977b3631167028862bE2a173976CA11"}


def _token(symbol: str, address: str, *, decimals: int, prices: str, onchain: str | None = None) -> Token:
    return Token(symbol=symbol, address=address, decimals=decimals, prices=prices, onchain_symbol=onchain or symbol)


def _named(*tokens: Token) -> dict[str, Token]:
    return {token.symbol: token for token in tokens}


def _feeds(addresses: Mapping[str, str]) -> dict[str, Feed]:
    return {base: Feed(base=base, address=address) for base, address in addresses.items()}


def _pool(venue: Venue, pair: str, *, fee: int, depth_usd: int) -> Pool:
    base, _, quote = pair.partition("/")
    return Pool(venue=venue, base=base, quote=quote, fee=fee, depth_usd=depth_usd)


ETHEREUM = ChainSpec(
    name="ethereum",
    chain_id=1,
    native="ETH",
    wrapped="WETH",
    tokens=_named(
        _token("WETH", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", decimals=18, prices="ETH"),
        _token("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", decimals=6, prices="USDC"),
        _token("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7", decimals=6, prices="USDT"),
        _token("DAI", "0x6B175474E89094C44Da98b954EedeAC495271d0F", decimals=18, prices="DAI"),
        _token("WBTC", "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599", decimals=8, prices="BTC"),
    ),
    feeds=_feeds(
        {
            "ETH": "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419",
            "BTC": "0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c",
            "USDC": "0x8fFfFfd4AfB6115b954Bd326cbe7B4BA576818f6",
            "USDT": "0x3E7d1eAB13ad0104d2750B8863b489D65364e32D",
            "DAI": "0xAed0c38402a5d19df6E4c03F4E2DceD6e29c1ee9",
        }
    ),
    contracts={
        **UNISWAP_V3,
        **MULTICALL3,
        "UniswapV2Factory": "0x5C69bEe701ef814a2B6a3EDD4B1652CB9cc5aA6f",
        "UniswapV2Router02": "0x7a250d5630B4cF539739dF2C5dAcb4c659F2488D",
    },
    pools=(
        _pool(Venue.UNISWAP_V2, "WETH/USDC", fee=3000, depth_usd=18_000_000),
        _pool(Venue.UNISWAP_V2, "WETH/USDT", fee=3000, depth_usd=18_000_000),
        _pool(Venue.UNISWAP_V2, "WBTC/WETH", fee=3000, depth_usd=6_000_000),
        _pool(Venue.UNISWAP_V3, "WETH/USDC", fee=500, depth_usd=60_000_000),
        _pool(Venue.UNISWAP_V3, "WETH/USDC", fee=3000, depth_usd=40_000_000),
        _pool(Venue.UNISWAP_V3, "WETH/USDT", fee=500, depth_usd=20_000_000),
        _pool(Venue.UNISWAP_V3, "WETH/USDT", fee=3000, depth_usd=20_000_000),
        _pool(Venue.UNISWAP_V3, "WBTC/WETH", fee=500, depth_usd=20_000_000),
        _pool(Venue.UNISWAP_V3, "WBTC/WETH", fee=3000, depth_usd=30_000_000),
        _pool(Venue.UNISWAP_V3, "USDC/USDT", fee=100, depth_usd=20_000_000),
        _pool(Venue.UNISWAP_V3, "DAI/USDC", fee=100, depth_usd=20_000_000),
    ),
    base_fee_wei=10 * 10**9,
)

POLYGON = ChainSpec(
    name="polygon",
    chain_id=137,
    native="POL",
    wrapped="WPOL",
    tokens=_named(
        _token("WPOL", "0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270", decimals=18, prices="POL"),
        _token("USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", decimals=6, prices="USDC"),
        _token("USDCE", "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174", decimals=6, prices="USDC", onchain="USDC.e"),
        _token("USDT", "0xc2132D05D31c914a87C6611C10748AEb04B58e8F", decimals=6, prices="USDT"),
        _token("WETH", "0x7ceB23fD6bC0adD59E62ac25578270cFf1b9f619", decimals=18, prices="ETH"),
    ),
    feeds=_feeds(
        {
            "POL": "0xAB594600376Ec9fD91F8e885dADF0CE036862dE0",
            "ETH": "0xF9680D99D6C9589e2a93a78A04A279e509205945",
            "USDC": "0xfE4A8cc5b5B2366C1B58Bea3858e81843581b2F7",
            "USDT": "0x0A6513e40db6EB1b165753AD52E80663aeA50545",
        }
    ),
    contracts={
        **UNISWAP_V3,
        **MULTICALL3,
        "QuickSwapFactory": "0x5757371414417b8C6CAad45bAeF941aBc7d3Ab32",
        "QuickSwapRouter": "0xa5E0829CaCEd8fFDD4De3c43696c57F7D7A678ff",
    },
    pools=(
        _pool(Venue.QUICKSWAP_V2, "WPOL/USDC", fee=3000, depth_usd=4_000_000),
        _pool(Venue.QUICKSWAP_V2, "WPOL/WETH", fee=3000, depth_usd=4_000_000),
        _pool(Venue.QUICKSWAP_V2, "WETH/USDC", fee=3000, depth_usd=4_000_000),
        _pool(Venue.QUICKSWAP_V2, "USDCE/USDC", fee=3000, depth_usd=2_000_000),
        _pool(Venue.UNISWAP_V3, "WPOL/USDC", fee=500, depth_usd=6_000_000),
        _pool(Venue.UNISWAP_V3, "WPOL/USDC", fee=3000, depth_usd=4_000_000),
        _pool(Venue.UNISWAP_V3, "WPOL/WETH", fee=3000, depth_usd=6_000_000),
        _pool(Venue.UNISWAP_V3, "WETH/USDC", fee=500, depth_usd=12_000_000),
        _pool(Venue.UNISWAP_V3, "USDCE/USDC", fee=100, depth_usd=8_000_000),
        _pool(Venue.UNISWAP_V3, "USDC/USDT", fee=100, depth_usd=4_000_000),
    ),
    base_fee_wei=30 * 10**9,
)

CHAINS: Mapping[str, ChainSpec] = {spec.name: spec for spec in (ETHEREUM, POLYGON)}
