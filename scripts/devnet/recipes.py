"""The steps that turn an empty chain into Ethereum or Polygon as the catalogue describes them.

Sources of the deployer nonces and of the constructor arguments: the real deployments (see docs/devnet.md). What
has no historical deployer here is placed in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.devnet.catalogue import ETHEREUM, POLYGON, START_PRICES, ChainSpec
from scripts.devnet.placing import TREASURY, InPlace, Nonce, Place, Send, Step, StoreText, own_address

UNISWAP_V3_DEPLOYER = "0x6C9FC64A53c1b71FB3f9Af64d1ae3A4931A5f4E9"
UNISWAP_V2_DEPLOYER = "0x9C33eaCc2F50E39940D3AfaF2c7B8246B681A374"
UNISWAP_V2_FEE_SETTER = "0xc0a4272bb5df52134178Df25d77561CfB17ce407"
MULTICALL3_DEPLOYER = "0x05f32B3cC3888453ff71B01135B34FF8e41263F2"
WETH_DEPLOYER = "0x4F26FfBe5F04ED43630fdC30A87638d53D0b0876"
USDC_DEPLOYER = "0x95Ba4cF87D6723ad9C0Db21737D862bE80e93911"
USDT_DEPLOYER = "0x36928500Bc1dCd7af6a2B4008875CC336b927D57"
USDC_IMPLEMENTATION = {
    1: "0x43506849D7C04F9138D1A2050bbF3A0c054402dd",
    137: "0x235ae97b28466Db30469b89A9fe4cFf0659f82cb",
}
ZERO_ADDRESS = "0x" + "0" * 40
NO_MINT_LIMIT = 2**256 - 1
# Whole tokens that the treasury starts with; pools and order flow live from it.
SUPPLY = 10**10
WRAPPED_NATIVE = {1: 100_000, 137: 50_000_000}


def ethereum() -> Iterator[Step]:
    """Chain 1: tokens, Uniswap V2 and V3, Multicall3, feeds; no pools yet."""
    spec = ETHEREUM
    weth, usdt, dai, wbtc = (spec.tokens[symbol] for symbol in ("WETH", "USDT", "DAI", "WBTC"))
    yield Place(name="WETH9", artifact="WETH9", address=weth.address, how=Nonce(deployer=WETH_DEPLOYER, nonce=446))
    yield from _usdc(spec, proxy=Nonce(deployer=USDC_DEPLOYER, nonce=20))
    yield Place(
        name="USDT (stand-in)",
        artifact="no_return_token",
        address=usdt.address,
        how=Nonce(deployer=USDT_DEPLOYER, nonce=6),
        types=("string", "string", "uint8", "address"),
        arguments=("Tether USD", "USDT", usdt.decimals, TREASURY),
    )
    yield Send(target=usdt.address, signature="issue(uint256)", arguments=(SUPPLY * 10**usdt.decimals,))
    yield Place(
        name="DAI (stand-in)",
        artifact="DaiLikePermitMock",
        address=dai.address,
        how=InPlace(),
        types=("string", "string", "address", "uint256"),
        arguments=("Dai Stablecoin", "DAI", TREASURY, SUPPLY * 10**dai.decimals),
    )
    yield _plain_token(spec, wbtc.symbol, name="Wrapped BTC")
    yield from _multicall3(spec)
    factory, router = spec.contracts["UniswapV2Factory"], spec.contracts["UniswapV2Router02"]
    yield Place(
        name="UniswapV2Factory",
        artifact="UniswapV2Factory",
        address=factory,
        how=Nonce(deployer=UNISWAP_V2_DEPLOYER, nonce=0),
        types=("address",),
        arguments=(UNISWAP_V2_FEE_SETTER,),
    )
    yield Place(
        name="UniswapV2Router02",
        artifact="UniswapV2Router02",
        address=router,
        how=Nonce(deployer=UNISWAP_V2_DEPLOYER, nonce=3),
        types=("address", "address"),
        arguments=(factory, weth.address),
    )
    yield from _uniswap_v3(spec, v2_factory=factory)
    yield from _feeds(spec)
    yield _wrap(spec)


def polygon() -> Iterator[Step]:
    """Chain 137: tokens, QuickSwap V2, Uniswap V3, Multicall3, feeds; no pools yet."""
    spec = POLYGON
    wpol = spec.tokens["WPOL"].address
    yield Place(name="WPOL (WETH9's bytecode)", artifact="WETH9", address=wpol, how=InPlace())
    yield StoreText(address=wpol, slot=0, text="Wrapped Polygon Ecosystem Token")
    yield StoreText(address=wpol, slot=1, text="WPOL")
    yield from _usdc(spec, proxy=InPlace(owner=USDC_DEPLOYER))
    yield _plain_token(spec, "USDCE", name="USD Coin (PoS)")
    yield _plain_token(spec, "USDT", name="(PoS) Tether USD")
    yield _plain_token(spec, "WETH", name="Wrapped Ether")
    yield from _multicall3(spec)
    factory, router = spec.contracts["QuickSwapFactory"], spec.contracts["QuickSwapRouter"]
    yield Place(
        name="QuickSwap factory (UniswapV2Factory's bytecode)",
        artifact="UniswapV2Factory",
        address=factory,
        how=InPlace(),
        types=("address",),
        arguments=(TREASURY,),
    )
    yield Place(
        name="QuickSwap router (UniswapV2Router02's bytecode)",
        artifact="UniswapV2Router02",
        address=router,
        how=InPlace(),
        types=("address", "address"),
        arguments=(factory, wpol),
    )
    # Uniswap had no V2 on Polygon when SwapRouter02 was deployed there: its V2 functions stay without a factory.
    yield from _uniswap_v3(spec, v2_factory=ZERO_ADDRESS)
    yield from _feeds(spec)
    yield _wrap(spec)


RECIPES = {ETHEREUM.name: ethereum, POLYGON.name: polygon}


def aggregator_address(spec: ChainSpec, base: str) -> str:
    """Where the mock aggregator behind a local feed lives."""
    return own_address(f"{spec.name} {base}/USD aggregator")


def _multicall3(spec: ChainSpec) -> Iterator[Step]:
    yield Place(
        name="Multicall3",
        artifact="Multicall3",
        address=spec.contracts["Multicall3"],
        how=Nonce(deployer=MULTICALL3_DEPLOYER, nonce=0),
    )


def _uniswap_v3(spec: ChainSpec, *, v2_factory: str) -> Iterator[Step]:
    at = spec.contracts
    factory, wrapped = at["UniswapV3Factory"], spec.tokens[spec.wrapped].address

    def placed(name: str, nonce: int, *arguments: str, libraries: tuple[str, ...] = ()) -> Place:
        return Place(
            name=name,
            artifact=name,
            address=at[name],
            how=Nonce(deployer=UNISWAP_V3_DEPLOYER, nonce=nonce),
            types=("address",) * len(arguments),
            arguments=arguments,
            libraries={library: at[library] for library in libraries},
        )

    yield placed("UniswapV3Factory", 0)
    yield placed("TickLens", 2)
    yield placed("Quoter", 3, factory, wrapped)
    yield placed("SwapRouter", 4, factory, wrapped)
    yield placed("NFTDescriptor", 5)
    yield Place(
        name="NonfungibleTokenPositionDescriptor",
        artifact="NonfungibleTokenPositionDescriptor",
        address=at["NonfungibleTokenPositionDescriptor"],
        how=Nonce(deployer=UNISWAP_V3_DEPLOYER, nonce=6),
        types=("address", "bytes32"),
        arguments=(wrapped, spec.native.encode().ljust(32, b"\0")),
        libraries={"NFTDescriptor": at["NFTDescriptor"]},
    )
    yield placed("NonfungiblePositionManager", 8, factory, wrapped, at["NonfungibleTokenPositionDescriptor"])
    yield placed("QuoterV2", 13, factory, wrapped)
    yield placed("SwapRouter02", 14, v2_factory, factory, at["NonfungiblePositionManager"], wrapped)
    # Governance added the 0.01 % tier later: fee 100, tick spacing 1.
    yield Send(
        target=factory,
        signature="enableFeeAmount(uint24,int24)",
        arguments=(100, 1),
        sender=UNISWAP_V3_DEPLOYER,
    )


def _usdc(spec: ChainSpec, *, proxy: Nonce | InPlace) -> Iterator[Step]:
    """Circle's FiatToken: library, implementation, proxy, then the four initializers in their order."""
    token = spec.tokens["USDC"]
    implementation = USDC_IMPLEMENTATION[spec.chain_id]
    checker = own_address("SignatureChecker library")
    yield Place(name="SignatureChecker", artifact="SignatureChecker", address=checker, how=InPlace())
    yield Place(
        name="USDC implementation",
        artifact="FiatTokenV2_2",
        address=implementation,
        how=InPlace(owner=USDC_DEPLOYER),
        libraries={"SignatureChecker": checker},
    )
    yield Place(
        name="USDC proxy",
        artifact="FiatTokenProxy",
        address=token.address,
        how=proxy,
        types=("address",),
        arguments=(implementation,),
    )
    calls: tuple[tuple[str, tuple[object, ...]], ...] = (
        (
            "initialize(string,string,string,uint8,address,address,address,address)",
            ("USD Coin", "USDC", "USD", token.decimals, TREASURY, TREASURY, TREASURY, TREASURY),
        ),
        ("initializeV2(string)", ("USD Coin",)),
        # Whoever is named here loses the right to hold USDC: the lost-and-found account of the contract.
        ("initializeV2_1(address)", (own_address("USDC lost and found"),)),
        ("initializeV2_2(address[],string)", ((), "USDC")),
        ("configureMinter(address,uint256)", (TREASURY, NO_MINT_LIMIT)),
        ("mint(address,uint256)", (TREASURY, SUPPLY * 10**token.decimals)),
    )
    for signature, arguments in calls:
        yield Send(target=token.address, signature=signature, arguments=arguments)


def _plain_token(spec: ChainSpec, symbol: str, *, name: str) -> Place:
    token = spec.tokens[symbol]
    return Place(
        name=f"{symbol} (stand-in)",
        artifact="TokenCustomDecimalsMock",
        address=token.address,
        how=InPlace(),
        types=("string", "string", "uint256", "uint8"),
        arguments=(name, token.onchain_symbol, SUPPLY * 10**token.decimals, token.decimals),
    )


def _feeds(spec: ChainSpec) -> Iterator[Step]:
    for base, feed in spec.feeds.items():
        aggregator = aggregator_address(spec, base)
        yield Place(
            name=f"{base}/USD aggregator",
            artifact="MockV3Aggregator",
            address=aggregator,
            how=InPlace(),
            types=("uint8", "int256"),
            arguments=(8, START_PRICES[base]),
        )
        yield Place(
            name=f"{base}/USD proxy",
            artifact="EACAggregatorProxy",
            address=feed.address,
            how=InPlace(),
            types=("address", "address"),
            arguments=(aggregator, ZERO_ADDRESS),
        )


def _wrap(spec: ChainSpec) -> Step:
    whole = WRAPPED_NATIVE[spec.chain_id]
    return Send(target=spec.tokens[spec.wrapped].address, signature="deposit()", value=whole * 10**18)
