"""One attempt at a slot, signed: its intent's payload, or an empty self-send that closes the nonce.

Guarantees: nonce, chain and gas limit are the slot's; a self-send moves nothing. Nothing is stored or sent here.
"""

from typing import Final

from chains.signing.signer import Signer
from chains.tx.model import Attempt, AttemptKind, AttemptState, OpenTx, Tx
from chains.types import Fees, UnsignedTx

CANCEL_GAS: Final = 60_000
"""Most gas of a self-send: 21,000, and some for the code that an account may delegate to (EIP-7702)."""


def cancel_gas(tx: Tx) -> int:
    """Gas limit of a self-send at the slot."""
    return min(tx.gas_limit, CANCEL_GAS)


async def sign_attempt(signer: Signer, slot: OpenTx, fees: Fees, *, kind: AttemptKind, now_ms: int) -> Attempt:
    """Raises: SigningError."""
    tx, call = slot.tx, slot.intent.call
    real = kind is AttemptKind.REAL
    unsigned = UnsignedTx(
        chain_id=tx.lane.chain_id,
        nonce=tx.nonce,
        to=call.to if real else tx.lane.wallet,
        data=call.data if real else b"",
        value_wei=call.value_wei if real else 0,
        gas_limit=tx.gas_limit if real else cancel_gas(tx),
        fees=fees,
    )
    done = await signer.sign(tx.lane.wallet, unsigned)
    return Attempt(
        hash=done.hash,
        tx_id=tx.id,
        kind=kind,
        raw=done.raw,
        fees=fees,
        gas_limit=unsigned.gas_limit,
        state=AttemptState.SIGNED,
        created_ms=now_ms,
    )
