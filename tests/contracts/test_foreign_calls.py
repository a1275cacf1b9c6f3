"""Which calls nobody may make, what a call grants to others, and calldata that is what it decodes to."""

import pytest
from eth_utils.crypto import keccak

from chains.client import SimLog
from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId, address_bytes, address_from_bytes
from contracts.abi import Function, encode_call, load_abi
from contracts.assets import load_assets
from contracts.deployments import load_deployments
from contracts.errors import AbiError, UnknownCalldata
from contracts.foreign_calls import TOKEN_FUNCTIONS, decoded, grants, is_contract, why_never
from contracts.permit2 import PERMIT2

ETHEREUM, POLYGON = ChainId(1), ChainId(137)
ASSETS = {chain: load_assets(chain) for chain in (ETHEREUM, POLYGON)}
DEPLOYMENTS = load_deployments()
WALLET, VAULT = address_from_bytes(b"\x11" * 20), address_from_bytes(b"\x77" * 20)
USDC = ASSETS[ETHEREUM].by_symbol("USDC")
PING = keccak(text="ping()")[:4]


def never(to: Address, data: bytes = PING, chain: ChainId = ETHEREUM) -> str | None:
    call = CallRequest(to=to, data=data)
    return why_never(call, assets=ASSETS[chain], deployments=DEPLOYMENTS, wallets=frozenset({WALLET}))


def test_a_contract_that_is_none_of_ours_is_for_the_key_to_decide() -> None:
    assert never(VAULT) is None
    assert never(VAULT, keccak(text="transfer(address,uint256)")[:4]) is None


@pytest.mark.parametrize("chain", [ETHEREUM, POLYGON])
@pytest.mark.parametrize("signature", TOKEN_FUNCTIONS)
def test_no_listed_token_is_moved_or_approved_by_a_call(chain: ChainId, signature: str) -> None:
    for asset in ASSETS[chain]:
        if not asset.is_native:
            assert never(asset.token_address, keccak(text=signature)[:4] + bytes(64), chain), asset.symbol


def test_the_table_has_the_well_known_selectors() -> None:
    known = {"a9059cbb", "23b872dd", "095ea7b3", "39509351", "a457c2d7", "d505accf", "8fcbaf0c", "e3ee160e", "ef55bec6"}
    assert known <= {keccak(text=signature)[:4].hex() for signature in TOKEN_FUNCTIONS}


@pytest.mark.parametrize("chain", [ETHEREUM, POLYGON])
def test_no_contract_of_the_registry_is_called(chain: ChainId) -> None:
    for name, address in DEPLOYMENTS.contracts(chain).items():
        assert never(address, chain=chain), name


@pytest.mark.parametrize(
    "to",
    [
        WALLET,
        PERMIT2,
        ZERO_ADDRESS,
        Address("0x0000000000000000000000000000000000000001"),
        Address("0x0000000000000000000000000000000000001010"),
    ],
)
def test_wallets_permit2_and_system_contracts_are_not_called(to: Address) -> None:
    assert never(to)
    assert never(to, chain=POLYGON)


@pytest.mark.parametrize("data", [b"", b"\x01\x02\x03"])
def test_a_call_names_a_function(data: bytes) -> None:
    assert never(VAULT, data)


def test_a_wallet_that_delegates_is_no_contract() -> None:
    assert not is_contract(b"")
    assert not is_contract(bytes.fromhex("ef0100") + bytes(20))
    assert is_contract(b"\x60\x00")


DEPOSIT = Function.from_abi({"name": "deposit", "inputs": [{"type": "uint256"}, {"type": "bytes"}]})


def test_calldata_is_what_encodes_to_the_very_same_bytes() -> None:
    data = encode_call(DEPOSIT, 5, b"\x01\x02")
    assert decoded(DEPOSIT, data) == (5, b"\x01\x02")
    with pytest.raises(UnknownCalldata):
        decoded(DEPOSIT, data + bytes(32))
    with pytest.raises(AbiError):
        decoded(DEPOSIT, PING + data[4:])


def approval(owner: Address, spender: Address, amount: int, token: Address = USDC.token_address) -> SimLog:
    topics = (load_abi("erc20").event("Approval").topic, *(bytes(12) + address_bytes(one) for one in (owner, spender)))
    return SimLog(address=token, topics=topics, data=amount.to_bytes(32, "big"))


def test_a_grant_is_what_stands_in_the_end_of_the_wallet_s_listed_tokens() -> None:
    logs = [
        approval(WALLET, VAULT, 5),
        approval(WALLET, VAULT, 7),
        approval(WALLET, PERMIT2, 3),
        approval(WALLET, PERMIT2, 0),
        approval(VAULT, PERMIT2, 9),
        approval(WALLET, VAULT, 9, token=VAULT),
        SimLog(address=USDC.token_address, topics=(), data=b""),
    ]
    found = grants(logs, wallet=WALLET, assets=ASSETS[ETHEREUM])
    assert [(one.asset.symbol, one.spender, one.amount) for one in found] == [("USDC", VAULT, 7)]
