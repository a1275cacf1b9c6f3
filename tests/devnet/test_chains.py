"""The local chains are what docs/devnet.md says they are."""

from __future__ import annotations

import pytest

from scripts.devnet import DevRpc, LocalChain, fund_native, fund_token
from scripts.devnet.calls import Contract, Reverted, hexed
from scripts.devnet.catalogue import CHAINS, ETHEREUM, POLYGON, START_PRICES, ChainSpec, Venue
from scripts.devnet.cheats import impersonate
from scripts.devnet.liquidity import V2_FACTORIES, V2_ROUTERS, pool_address

pytestmark = pytest.mark.chain

FOREVER = 2**40
EXACT_INPUT_SINGLE = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
QUOTE_EXACT_INPUT_SINGLE = (
    "quoteExactInputSingle((address,address,uint256,uint24,uint160))(uint256,uint160,uint32,uint256)"
)
TRADER = "0x00000000000000000000000000000000000070AD"
# From the real networks: what the factories must make of our tokens and bytecode.
REAL_POOLS = {
    "ethereum": {
        "uniswap_v2 WETH/USDC 0.3 %": "0xB4e16d0168e52d35CaCD2c6185b44281Ec28C9Dc",
        "uniswap_v2 WETH/USDT 0.3 %": "0x0d4a11d5EEaaC28EC3F61d100daF4d40471f1852",
        "uniswap_v3 WETH/USDC 0.05 %": "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640",
        "uniswap_v3 WETH/USDC 0.3 %": "0x8ad599c3A0ff1De082011EFDDc58f1908eb6e6D8",
        "uniswap_v3 WETH/USDT 0.05 %": "0x11b815efB8f581194ae79006d24E0d814B7697F6",
        "uniswap_v3 WETH/USDT 0.3 %": "0x4e68Ccd3E89f51C3074ca5072bbAC773960dFa36",
        "uniswap_v3 WBTC/WETH 0.3 %": "0xCBCdF9626bC03E24f779434178A73a0B4bad62eD",
        "uniswap_v3 USDC/USDT 0.01 %": "0x3416cF6C708Da44DB2624D63ea0AAef7113527C6",
        "uniswap_v3 DAI/USDC 0.01 %": "0x5777d92f208679DB4b9778590Fa3CAB3aC9e2168",
    },
    "polygon": {
        "quickswap_v2 WPOL/USDC 0.3 %": "0x6D9e8dbB2779853db00418D4DcF96F3987CFC9D2",
        "quickswap_v2 WPOL/WETH 0.3 %": "0xadbF1854e5883eB8aa7BAf50705338739e558E5b",
        "uniswap_v3 WPOL/USDC 0.05 %": "0xB6e57ed85c4c9dbfEF2a68711e9d6f36c56e0FcB",
        "uniswap_v3 WPOL/WETH 0.3 %": "0x167384319B41F7094e62f7506409Eb38079AbfF8",
        "uniswap_v3 USDCE/USDC 0.01 %": "0xD36ec33c8bed5a9F7B6630855f1533455b98a418",
    },
}


@pytest.fixture(params=[ETHEREUM, POLYGON], ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> ChainSpec:
    found: ChainSpec = request.param
    return found


@pytest.fixture
def rpc(spec: ChainSpec, request: pytest.FixtureRequest) -> DevRpc:
    chain: LocalChain = request.getfixturevalue(spec.name)
    return DevRpc(chain.rpc_url)


def test_every_contract_of_the_catalogue_has_code(rpc: DevRpc, spec: ChainSpec) -> None:
    addresses = [
        *spec.contracts.values(),
        *(token.address for token in spec.tokens.values()),
        *(feed.address for feed in spec.feeds.values()),
    ]
    codes = rpc.batch([("eth_getCode", address, "latest") for address in addresses])
    assert [address for address, code in zip(addresses, codes, strict=True) if code == "0x"] == []


def test_tokens_answer_their_symbol_and_decimals(rpc: DevRpc, spec: ChainSpec) -> None:
    for token in spec.tokens.values():
        contract = Contract(rpc, token.address)
        assert contract.view("symbol()(string)") == token.onchain_symbol
        assert contract.view("decimals()(uint8)") == token.decimals


def test_factories_routers_and_quoters_point_at_each_other(rpc: DevRpc, spec: ChainSpec) -> None:
    at = spec.contracts
    wrapped = spec.tokens[spec.wrapped].address.lower()
    for name in ("SwapRouter", "SwapRouter02", "QuoterV2", "Quoter", "NonfungiblePositionManager"):
        contract = Contract(rpc, at[name])
        assert contract.view("factory()(address)") == at["UniswapV3Factory"].lower()
        assert contract.view("WETH9()(address)") == wrapped
    for venue in {pool.venue for pool in spec.pools} & set(V2_ROUTERS):
        router = Contract(rpc, at[V2_ROUTERS[venue]])
        assert router.view("factory()(address)") == at[V2_FACTORIES[venue]].lower()
        assert router.view("WETH()(address)") == wrapped


def test_pools_are_at_their_real_addresses(rpc: DevRpc, spec: ChainSpec) -> None:
    found = {pool.label: pool_address(rpc, spec, pool=pool) for pool in spec.pools}
    assert set(found.values()).isdisjoint({"0x" + "0" * 40})
    expected = REAL_POOLS[spec.name]
    assert {label: found[label] for label in expected} == expected


def test_a_v3_swap_gives_exactly_what_quoter_v2_says_and_crosses_ticks(rpc: DevRpc, spec: ChainSpec) -> None:
    for pool in [pool for pool in spec.pools if pool.venue is Venue.UNISWAP_V3]:
        sold, bought = spec.tokens[pool.base], spec.tokens[pool.quote]
        # Eight per cent of the pool's depth: beyond the ends of its narrow positions.
        amount = 8 * pool.depth_usd * 10 ** (sold.decimals + 8) // START_PRICES[sold.prices] // 100
        impersonate(rpc, TRADER)
        fund_token(rpc, spec.name, pool.base, TRADER, amount)
        Contract(rpc, sold.address).send(
            "approve(address,uint256)", spec.contracts["SwapRouter02"], amount, sender=TRADER
        )
        quoter = Contract(rpc, spec.contracts["QuoterV2"])
        route = (sold.address, bought.address, amount, pool.fee, 0)
        quoted, _, ticks_crossed, _ = quoter.view(QUOTE_EXACT_INPUT_SINGLE, route)
        token = Contract(rpc, bought.address)
        before = token.view("balanceOf(address)(uint256)", TRADER)
        Contract(rpc, spec.contracts["SwapRouter02"]).send(
            EXACT_INPUT_SINGLE,
            (sold.address, bought.address, pool.fee, TRADER, amount, quoted, 0),
            sender=TRADER,
        )
        assert token.view("balanceOf(address)(uint256)", TRADER) - before == quoted, pool.label
        assert ticks_crossed > 0, pool.label


def test_a_v2_swap_of_native_coin_gives_exactly_what_the_router_says(rpc: DevRpc, spec: ChainSpec) -> None:
    venue = next(iter({pool.venue for pool in spec.pools} & set(V2_ROUTERS)))
    router = Contract(rpc, spec.contracts[V2_ROUTERS[venue]])
    usdc = Contract(rpc, spec.tokens["USDC"].address)
    path = [spec.tokens[spec.wrapped].address, usdc.address]
    impersonate(rpc, TRADER)
    quoted = router.view("getAmountsOut(uint256,address[])(uint256[])", 10**18, path)[-1]
    router.send(
        "swapExactETHForTokens(uint256,address[],address,uint256)",
        quoted,
        path,
        TRADER,
        FOREVER,
        sender=TRADER,
        value=10**18,
    )
    assert usdc.view("balanceOf(address)(uint256)", TRADER) == quoted


def test_feeds_answer_the_starting_price_and_are_fresh(rpc: DevRpc, spec: ChainSpec) -> None:
    now = int(rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    for base, feed in spec.feeds.items():
        proxy = Contract(rpc, feed.address)
        rounds = proxy.view("latestRoundData()(uint80,int256,uint256,uint256,uint80)")
        assert proxy.view("decimals()(uint8)") == 8
        assert rounds[1] == START_PRICES[base]
        assert now - rounds[3] <= 5
        assert rounds[0] == rounds[4] > 0


def test_every_listed_token_can_be_funded(rpc: DevRpc, spec: ChainSpec) -> None:
    for token in spec.tokens.values():
        for _ in range(2):
            fund_token(rpc, spec.name, token.symbol, TRADER, 10**token.decimals)
        balance = Contract(rpc, token.address).view("balanceOf(address)(uint256)", TRADER)
        assert balance == 2 * 10**token.decimals


def test_funded_wrapped_coins_can_be_unwrapped(rpc: DevRpc, spec: ChainSpec) -> None:
    wrapped = Contract(rpc, spec.tokens[spec.wrapped].address)
    impersonate(rpc, TRADER)
    backing = int(rpc("eth_getBalance", wrapped.address, "latest"), 16)
    fund_token(rpc, spec.name, spec.wrapped, TRADER, 10**24)
    wrapped.send("withdraw(uint256)", 10**24, sender=TRADER)
    assert int(rpc("eth_getBalance", wrapped.address, "latest"), 16) == backing


def test_funding_native_adds(rpc: DevRpc, spec: ChainSpec) -> None:
    for _ in range(2):
        fund_native(rpc, TRADER, 5)
    assert int(rpc("eth_getBalance", TRADER, "latest"), 16) == 10
    assert spec.name in CHAINS


def test_multicall3_reports_a_revert_beside_an_answer(rpc: DevRpc, spec: ChainSpec) -> None:
    multicall = Contract(rpc, spec.contracts["Multicall3"])
    weth = spec.tokens[spec.wrapped].address
    decimals, nonsense = bytes.fromhex("313ce567"), bytes.fromhex("deadbeef")
    calls = [(weth, True, decimals), (spec.contracts["QuoterV2"], True, nonsense)]
    answers = multicall.view("aggregate3((address,bool,bytes)[])((bool,bytes)[])", calls)
    assert answers[0] == (True, (18).to_bytes(32, "big"))
    assert answers[1][0] is False
    assert multicall.view("getChainId()(uint256)") == spec.chain_id


def test_usdc_is_circles_proxy_with_the_real_domain_separator(ethereum: LocalChain) -> None:
    usdc = Contract(DevRpc(ethereum.rpc_url), ETHEREUM.tokens["USDC"].address)
    separator = hexed(usdc.view("DOMAIN_SEPARATOR()(bytes32)"))
    assert separator == "0x06c37168a7db5138defc7866392bb87a741f9b3d104deb5094588ce041cae335"
    assert usdc.view("version()(string)") == "2"
    # The proxy shows its administration to the administrator only.
    assert usdc.view("name()(string)") == "USD Coin"


def test_usdt_returns_nothing_and_refuses_to_change_an_allowance(ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    usdt = Contract(rpc, ETHEREUM.tokens["USDT"].address)
    spender = ETHEREUM.contracts["SwapRouter02"]
    impersonate(rpc, TRADER)
    fund_token(rpc, "ethereum", "USDT", TRADER, 10**6)
    # Nothing to decode: a caller that expects a bool finds no bytes.
    assert usdt.view("transfer(address,uint256)", spender, 1, sender=TRADER) == ()
    usdt.send("approve(address,uint256)", spender, 5, sender=TRADER)
    with pytest.raises(Reverted):
        usdt.send("approve(address,uint256)", spender, 6, sender=TRADER)
    usdt.send("approve(address,uint256)", spender, 0, sender=TRADER)
    usdt.send("approve(address,uint256)", spender, 6, sender=TRADER)
    usdt.send("transfer(address,uint256)", spender, 10**6, sender=TRADER)
    assert usdt.view("balanceOf(address)(uint256)", TRADER) == 0
