"""`python -m scripts.bench signing`: one signature, beside coincurve alone and eth_account, in interleaved rounds.

Ours is what a local key does with an EIP-1559 token transfer: encode, hash, sign, assemble, hash. The check of the
recovered sender, which every attempt passes before it is stored, is an elliptic-curve multiplication dearer than the
signature's; it is measured with it and apart.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Final

import coincurve
from eth_account import Account
from rich.console import Console
from rich.table import Table

from chains.signing import eip1559
from chains.signing.signer import LocalSigner, UnlockedKey
from chains.types import ChainId, Fees, UnsignedTx

MOST_TIMES: Final = 2.0
ROUNDS: Final = 15
"""Odd; the first is not counted."""
EACH: Final = 400
"""Signatures of a kind in a round."""
GWEI: Final = 10**9


def run(*, console: Console) -> bool:
    """Measure once; True if the bar holds."""
    secret, digest = secrets.token_bytes(32), secrets.token_bytes(32)
    key, ours = coincurve.PrivateKey(secret), UnlockedKey(secret)
    signer, account = LocalSigner([ours]), Account.from_key(secret)
    tx = UnsignedTx(
        chain_id=ChainId(1),
        nonce=7,
        to=ours.address,
        data=bytes.fromhex("a9059cbb") + bytes(64),
        value_wei=0,
        gas_limit=80_000,
        fees=Fees(max_fee_wei=60 * GWEI, priority_fee_wei=GWEI),
    )
    fields = {
        "type": 2,
        "chainId": 1,
        "nonce": tx.nonce,
        "to": tx.to,
        "data": tx.data,
        "value": 0,
        "gas": tx.gas_limit,
        "maxFeePerGas": tx.fees.max_fee_wei,
        "maxPriorityFeePerGas": tx.fees.priority_fee_wei,
    }
    raw = ours.sign(tx).raw
    if raw != bytes(account.sign_transaction(fields).raw_transaction):
        raise AssertionError("the bytes are not eth_account's")
    loop = asyncio.new_event_loop()
    kinds: dict[str, tuple[Callable[[], object], int]] = {
        "coincurve alone": (lambda: key.sign_recoverable(digest, hasher=None), EACH),
        "ours": (lambda: ours.sign(tx), EACH),
        "ours, sender recovered and checked": (lambda: loop.run_until_complete(signer.sign(ours.address, tx)), EACH),
        "the check apart": (lambda: eip1559.is_signed_by(raw, ours.address), EACH),
        "eth_account": (lambda: account.sign_transaction(fields), EACH // 20),
    }
    took: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS + 1):
        for name, (work, times) in kinds.items():
            began = time.perf_counter()
            for _ in range(times):
                work()
            took[name].append((time.perf_counter() - began) / times * 1e6)
    loop.close()
    medians = {name: statistics.median(each[1:]) for name, each in took.items()}
    base = medians["coincurve alone"]
    table = Table("what", "µs, median", "x coincurve", title=f"signing, {ROUNDS} interleaved rounds")
    for name, median in medians.items():
        table.add_row(name, f"{median:.1f}", f"{median / base:.2f}")
    console.print(table)
    held = medians["ours"] <= MOST_TIMES * base
    console.print(f"bar: ours within {MOST_TIMES:.0f}x of coincurve alone; the check comes on top")
    console.print("PASS" if held else "FAIL")
    return held
