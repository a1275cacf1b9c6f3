"""Bodies and answers of the market routes. Amounts and prices are decimal text; a JSON number is refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VenueName = Literal["uniswap_v3", "uniswap_v2", "quickswap_v2"]
"""`contracts.deployments.Venue` as a client writes it; a test holds the two equal."""
AmountText = Annotated[str, Field(min_length=1, max_length=160, examples=["0.25"])]
"""A decimal number as text. What it may be depends on the asset, so that its own error says it."""


ChainKey = Annotated[str, Field(examples=["ethereum"])]
MarketName = Annotated[str, Field(examples=["ETHUSDC"])]
PriceText = Annotated[str, Field(examples=["2998.437709"])]
"""Quote asset for one unit of base."""
HashText = Annotated[str, Field(examples=["0x5f0d2d6f4a4b1f8f1d3a6a52e0c6e1a9a2c9b7a8f0e1d2c3b4a5968778695a4b"])]
AddressText = Annotated[str, Field(examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"])]
BlockNumber = Annotated[int, Field(examples=[23_900_000])]
Millis = Annotated[int, Field(examples=[1_795_367_295_041])]
"""UTC, since 1970."""
AgeMs = Annotated[int, Field(examples=[4_210])]
Pips = Annotated[int, Field(examples=[500])]
"""Millionths."""


class Document(BaseModel):
    """Strict, closed, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Amount(Document):
    asset: str = Field(examples=["USDC"])
    amount: str = Field(examples=["2998.437709"])


class Block(Document):
    """The block that an answer was read at, and how old it was then."""

    number: BlockNumber
    hash: HashText
    age_ms: AgeMs


class Pong(Document):
    status: Literal["ok"] = "ok"


class Time(Document):
    server_time_ms: Millis


class ChainOut(Document):
    key: ChainKey
    chain_id: int = Field(examples=[1])
    name: str = Field(examples=["Ethereum"])
    aliases: list[str] = Field(examples=[["eth", "mainnet"]])
    native_asset: str = Field(examples=["ETH"])
    block_time_ms: int = Field(examples=[12_000])
    confirmed_depth: int = Field(examples=[2])
    status: Literal["ok", "unknown", "not_active"]
    """`unknown`: the node did not answer. `not_active`: no RPC endpoint is configured."""
    head: Block | None


class Chains(Document):
    chains: list[ChainOut]


class AssetOut(Document):
    id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    symbol: str = Field(examples=["USDC"])
    name: str = Field(examples=["USD Coin"])
    decimals: int = Field(examples=[6])
    address: AddressText | None
    """None for the chain's native asset."""


class Assets(Document):
    chain: ChainKey
    assets: list[AssetOut]


class MarketOut(Document):
    symbol: MarketName
    base: str = Field(examples=["ETH"])
    quote: str = Field(examples=["USDC"])
    base_id: str = Field(examples=["eip155:1/slip44:60"])
    quote_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    base_decimals: int = Field(examples=[18])
    quote_decimals: int = Field(examples=[6])
    tick: str | None = Field(examples=["0.01"])
    """The price step of the book, six digits of the price; None while the market has no price."""
    step: str = Field(examples=["0.00000001"])
    """The step of base amounts in the exchange's eight places; of market orders they may be finer, to the base unit."""
    min_quote: str | None = Field(examples=["1"])
    """The least that an order may be worth in quote; None while the market has no price."""


class Markets(Document):
    chain: ChainKey
    markets: list[MarketOut]


class Reference(Document):
    source: Literal["chainlink"]
    price: PriceText
    age_ms: AgeMs


class HopOut(Document):
    venue: str = Field(examples=["uniswap_v3"])
    pool: AddressText
    token_in: str = Field(examples=["WETH"])
    token_out: str = Field(examples=["USDC"])
    fee_pips: Pips


class RouteLeg(Document):
    share_bps: int = Field(examples=[6_200])
    """Part of what is sold, in basis points, rounded."""
    sell: str = Field(examples=["0.5"])
    buy: str = Field(examples=["1499.21"])
    hops: list[HopOut]


class Route(Document):
    venues: list[str] = Field(examples=[["uniswap_v3"]])
    router: AddressText
    lp_fee_pips: Pips
    """Fees of all pools on the way together, in millionths; they are inside the price."""
    legs: list[RouteLeg]
    """Paths of the one transaction, executed in this order."""


class Gas(Document):
    """The most that the swap may cost: an upper estimate of units at the highest fee it offers."""

    units: str = Field(examples=["224915"])
    native: Amount
    quote: Amount | None
    """What the gas is worth in the market's quote asset; None when no pool says."""


class QuoteOut(Document):
    chain: ChainKey
    market: MarketName
    side: Literal["buy", "sell"]
    exact: Literal["sell", "buy"]
    """Which of the two amounts is the fixed one."""
    sell: Amount
    buy: Amount
    max_sell: Amount
    min_buy: Amount
    price: PriceText | None
    mid_price: PriceText | None
    price_impact_bps: int = Field(examples=[3])
    slippage_bps: int = Field(examples=[50])
    route: Route
    gas: Gas
    firm: bool | None = Field(examples=[None])
    """With `firm=true`: whether a simulation from the key's wallet moved exactly these amounts."""
    block: Block
    checked_ms: Millis
    """When the node last said that this block is its head."""
    expires_ms: Millis


class DepthOut(Document):
    chain: ChainKey
    market: MarketName
    base: str = Field(examples=["ETH"])
    quote: str = Field(examples=["USDC"])
    synthetic: Literal[True] = True
    """Pools have no orders: a level is what they trade up to its price, fees inside."""
    tick: str = Field(examples=["0.01"])
    bids: list[tuple[str, str]] = Field(examples=[[["2998.5", "1.25"]]])
    """Price and base amount, best first."""
    asks: list[tuple[str, str]] = Field(examples=[[["3001.51", "1.25"]]])
    block: Block
    checked_ms: Millis


class PoolOut(Document):
    venue: VenueName
    address: AddressText
    fee_pips: Pips
    token0: str = Field(examples=["USDC"])
    token1: str = Field(examples=["WETH"])
    price: PriceText | None
    """The market's mid price in this pool, fee left out; None without liquidity at its price."""
    reserves: tuple[str, str] | None = Field(examples=[["3000000", "1000"]])
    """A V2 pair's, of token0 and token1."""
    liquidity: str | None = Field(examples=["1518129116516325613903"])
    """A V3 pool's in range, in its own unit."""
    tick: int | None = Field(examples=[196_256])


class PoolsOut(Document):
    chain: ChainKey
    market: MarketName
    pools: list[PoolOut]
    block: Block
    checked_ms: Millis


class CandidateOut(Document):
    path: str = Field(examples=["WETH -uniswap_v3/500-> USDC"])
    router: str = Field(examples=["swap_router_02"])
    chosen: bool
    amount: str = Field(examples=["1499.21"])
    """What this way alone gives (or takes, where the bought amount is fixed), in `judged_in`."""
    net: str = Field(examples=["1497.9"])
    """The same after the gas that it costs."""
    gas_units: int = Field(examples=[128_000])


class RoutesOut(Document):
    chain: ChainKey
    market: MarketName
    exact: Literal["sell", "buy"]
    judged_in: str = Field(examples=["USDC"])
    """The asset whose amount is not fixed; gas is counted in it."""
    candidates: list[CandidateOut]
    """The best splits, if any, then each path that fills the trade alone, the best first."""
    route: Route
    net: str = Field(examples=["1498.0"])
    gain: str = Field(examples=["0.31"])
    """How much better the winner's net is than the best single path's."""
    reason: str = Field(examples=["two legs give 0.31 USDC more than the best path alone, after 0.12 USDC more of gas"])
    block: Block
    checked_ms: Millis


class ContractCallIn(Document):
    to: str = Field(
        max_length=64,
        description="An address, a contract's name in the registry, or a token's symbol.",
        examples=["USDC"],
    )
    function: str | dict[str, Any] = Field(
        description="A signature, an entry of a JSON ABI, or with `abi` a function's name.",
        examples=["balanceOf(address)(uint256)"],
    )
    abi: str | None = Field(
        default=None, max_length=64, description="A packaged ABI, such as `erc20`.", examples=[None]
    )
    args: list[Any] = Field(
        default_factory=list, max_length=64, examples=[["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]]
    )
    block: str | None = Field(
        default=None,
        max_length=66,
        description="A number or a hash; the head if left out.",
        examples=["23900000"],
    )


class ContractValue(Document):
    name: str = Field(examples=["balance"])
    type: str = Field(examples=["uint256"])
    value: Any = Field(examples=["2500500000"])
    """Integers as text, bytes as hex, tuples with names as objects."""


class ContractCallOut(Document):
    chain: ChainKey
    to: AddressText
    function: str = Field(examples=["balanceOf(address)"])
    outputs: list[ContractValue]
    block: Block
