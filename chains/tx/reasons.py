"""Why a plan is rejected, a lane held, or a slot left as it is: codes that programs may rely on, as "code: text"."""

from enum import StrEnum


class RejectCode(StrEnum):
    """Nothing was taken: no nonce, no fee."""

    EXPIRED = "expired"
    """`valid_until_ms` passed before the plan was placed."""
    PRESIGN_REFUSED = "presign_refused"
    """The check before signing says that the payload is not what was wanted, or a limit no longer holds."""
    PAYLOAD_MISMATCH = "payload_mismatch"
    """An intent's payload does not have its payload hash."""
    NO_SIGNER = "no_signer"
    """No key is unlocked for the wallet."""
    SIMULATION_REVERTED = "simulation_reverted"
    """A call of the plan reverts on the latest block."""
    SIMULATION_REFUSED = "simulation_refused"
    """The node refuses to execute the plan at all: too much gas, malformed."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The native balance does not cover the value sent. Where only the fees on top are missing, the plan waits."""
    FEE_CAP = "fee_cap"
    """The fees needed now are above the chain's caps."""
    UNUSABLE_ROW = "unusable_row"
    """A row of the plan makes no sense: something else than the engine has written it."""
    SIGNED_BEFORE = "signed_before"
    """This process has signed its payload at another nonce: what is stored of that was removed or moved."""
    GIVEN_UP = "given_up"
    """A person gave it up while it waited."""
    EARLIER_STEP_FAILED = "earlier_step_failed"
    """Of a plan placed step by step: a step before was mined as reverted or cancelled, or lost its nonce."""


class HoldCode(StrEnum):
    """The lane takes no new work until a person releases it."""

    FOREIGN_NONCE = "foreign_nonce"
    """The wallet's nonce was used, or is about to be, by a transaction that is not ours."""
    NONCE_AHEAD = "nonce_ahead"
    """The chain's nonce is behind ours with nothing open: another chain, a restored backup, or a reset node."""
    SIGNING_FAILED = "signing_failed"
    """The signer refused after the nonce was taken; the slot is tried again."""
    DEEP_REORG = "deep_reorg"
    """A block that the books rest on, or all that is remembered of the chain, left it. Holds the chain's lanes."""
    FINALITY_VIOLATED = "finality_violated"
    """A block that the chain had called final is another one now. Holds the chain's lanes."""
    PAYLOAD_MISMATCH = "payload_mismatch"
    """An open slot or its stored payload was changed by something else than the engine."""
    UNUSABLE_ROW = "unusable_row"
    """A row of an open slot, or of the lane's plans, makes no sense: something else than the engine has written it."""
    CONTRADICTED = "contradicted"
    """Several endpoints agree that a transaction did not end as one of them had told, and as it was booked."""


class NoteCode(StrEnum):
    """Why a slot that waits keeps the price it has, or is not closed yet. It is looked at again with each block."""

    FEE_CAP = "fee_cap"
    """What nodes would take for a replacement is above the chain's caps."""
    BUMPS_USED = "bumps_used"
    """It was made dearer as often as the chain's policy allows."""
    NO_SIGNER = "no_signer"
    """No key is unlocked for the wallet."""
    SIGNING_FAILED = "signing_failed"
    """The signer refused."""
    DISPLACED = "displaced"
    """Its attempts were signed for another nonce or wallet than the slot has now: nothing more is signed for it."""


def reason(code: RejectCode | HoldCode | NoteCode, text: str) -> str:
    """The stored form, text cut to a length that fits a row and a screen."""
    return f"{code}: {text[:400]}"
