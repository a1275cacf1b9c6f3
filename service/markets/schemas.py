"""Bodies and answers of the market routes. Amounts and prices are decimal text; a JSON number is refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

AmountText = Annotated[str, Field(min_length=1, max_length=160, examples=["0.25"])]
"""A decimal number as text. What it may be depends on the asset, so that its own error says it."""


class Document(BaseModel):
    """Strict, closed, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Amount(Document):
    asset: str = Field(examples=["USDC"])
    amount: str = Field(examples=["2998.437709"])


class Block(Document):
    """The block that an answer was read at, and how old it was then."""

    number: int
    hash: str
    age_ms: int


class Pong(Document):
    status: Literal["ok"] = "ok"


class Time(Document):
    server_time_ms: int


class ChainOut(Document):
    key: str = Field(examples=["ethereum"])
    chain_id: int = Field(examples=[1])
    name: str
    aliases: list[str]
    native_asset: str = Field(examples=["ETH"])
    block_time_ms: int
    confirmed_depth: int
    status: Literal["ok", "unknown", "not_active"]
    """`unknown`: the node did not answer. `not_active`: no RPC endpoint is configured."""
    head: Block | None


class Chains(Document):
    chains: list[ChainOut]


class AssetOut(Document):
    id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    symbol: str = Field(examples=["USDC"])
    name: str
    decimals: int
    address: str | None
    """None for the chain's native asset."""


class Assets(Document):
    chain: str
    assets: list[AssetOut]


class MarketOut(Document):
    symbol: str = Field(examples=["ETHUSDC"])
    base: str
    quote: str
    base_id: str
    quote_id: str
    base_decimals: int
    quote_decimals: int
    min_base: str
    """The smallest step of a base amount; what is worth trading is a matter of gas."""
    min_quote: str


class Markets(Document):
    chain: str
    markets: list[MarketOut]


class Reference(Document):
    source: Literal["chainlink"]
    price: str
    age_ms: int


class TickerOut(Document):
    market: str
    status: Literal["ok", "unknown"]
    problem: str | None
    probe: Amount
    """The amount of base that bid and ask are for."""
    bid: str | None
    ask: str | None
    mid: str | None
    reference: Reference | None


class Tickers(Document):
    chain: str
    block: Block
    tickers: list[TickerOut]


class HopOut(Document):
    venue: str
    pool: str
    token_in: str
    token_out: str
    fee_pips: int


class Route(Document):
    venue: str
    lp_fee_pips: int
    """Fees of all pools on the way together, in millionths; they are inside the price."""
    hops: list[HopOut]


class Gas(Document):
    units: str
    native: Amount
    quote: Amount | None
    """What the gas is worth in the market's quote asset; None when no pool says."""


class QuoteOut(Document):
    chain: str
    market: str
    side: Literal["buy", "sell"]
    exact: Literal["sell", "buy"]
    """Which of the two amounts is the fixed one."""
    sell: Amount
    buy: Amount
    max_sell: Amount
    min_buy: Amount
    price: str | None
    mid_price: str | None
    price_impact_bps: int
    slippage_bps: int
    route: Route
    gas: Gas
    block: Block
    expires_ms: int


class ContractCallIn(Document):
    to: str = Field(max_length=64, description="An address, a contract's name in the registry, or a token's symbol.")
    function: str | dict[str, Any] = Field(
        description="A signature, an entry of a JSON ABI, or with `abi` a function's name.",
        examples=["balanceOf(address)(uint256)"],
    )
    abi: str | None = Field(default=None, max_length=64, description="A packaged ABI, such as `erc20`.")
    args: list[Any] = Field(default_factory=list, max_length=64)
    block: str | None = Field(default=None, max_length=66, description="A number or a hash; the head if left out.")


class ContractValue(Document):
    name: str
    type: str
    value: Any
    """Integers as text, bytes as hex, tuples with names as objects."""


class ContractCallOut(Document):
    chain: str
    to: str
    function: str
    outputs: list[ContractValue]
    block: Block
