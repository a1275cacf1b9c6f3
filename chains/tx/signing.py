"""One attempt at a slot, signed: its intent's payload, or an empty self-send that closes the nonce.

Guarantees: nonce, chain and gas limit are the slot's; a self-send moves nothing; the payload of an intent that was
signed at one nonce is not signed at another by the same process, whatever its rows say by then (`SignedHere`). Nothing
is stored or sent here.
"""

from collections import OrderedDict
from typing import Final

from chains.errors import SigningError
from chains.signing.signer import Signer
from chains.tx.model import Attempt, AttemptKind, AttemptState, IntentId, OpenTx, Tx
from chains.types import Fees, UnsignedTx

CANCEL_GAS: Final = 60_000
"""Most gas of a self-send: 21,000, and some for the code that an account may delegate to (EIP-7702)."""


MOST_SIGNED: Final = 100_000
"""Intents remembered: days of a busy installation, in some 20 MB."""


class SignedHere:
    """At which nonce this process has signed an intent's payload: what somebody who changes rows cannot take back.

    Not guaranteed: anything of what other processes signed, or this one before it was started, or long ago.
    """

    def __init__(self, most: int = MOST_SIGNED) -> None:
        self._most: Final = most
        self._nonces: OrderedDict[IntentId, int] = OrderedDict()

    def nonce_of(self, intent_id: IntentId) -> int | None:
        return self._nonces.get(intent_id)

    def note(self, intent_id: IntentId, nonce: int) -> None:
        """Before the signature: a signer whose answer is lost may have made it.

        Raises: SigningError: it was signed at another nonce.
        """
        known = self._nonces.setdefault(intent_id, nonce)
        if known != nonce:
            raise SigningError(f"{intent_id} was signed at nonce {known}; its slot is at {nonce} now")
        while len(self._nonces) > self._most:
            self._nonces.popitem(last=False)


def cancel_gas(tx: Tx) -> int:
    """Gas limit of a self-send at the slot."""
    return min(tx.gas_limit, CANCEL_GAS)


async def sign_attempt(
    signer: Signer, slot: OpenTx, fees: Fees, *, kind: AttemptKind, now_ms: int, signed: SignedHere
) -> Attempt:
    """Raises: SigningError."""
    tx, call = slot.tx, slot.intent.call
    real = kind is AttemptKind.REAL
    if real:
        signed.note(slot.intent.id, tx.nonce)
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
