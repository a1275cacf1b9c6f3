"""What a node means when it refuses signed bytes: a table of wordings, each with the client it comes from.

Order matters: revert wording comes first, since a contract chooses its text (`execution reverted: nonce too low` is no
node's verdict). Matching is on lower case, with the JSON-RPC code as a last resort.

An operator may add phrases for texts that no row knows (`NodeErrors`, the table `node_errors` of a chain's file). They
name only verdicts after which the slot keeps its nonce and the same bytes may be sent again, and count for sends alone:
a phrase that is wrong delays a transaction, and can neither end one nor reject a plan.

Guarantees: unknown wording is `UNKNOWN`, never a verdict; a phrase takes time in proportion to the text.
Not guaranteed: that a verdict is true; a node answers "nonce too low" also for our own mined transaction.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SendVerdict(StrEnum):
    """What a refusal means; the comment says what the lane does."""

    ALREADY_KNOWN = "already_known"
    """The node has these bytes: as good as accepted."""
    NONCE_TOO_LOW = "nonce_too_low"
    """Something with this nonce is mined: look for receipts of all own attempts first."""
    NONCE_TOO_HIGH = "nonce_too_high"
    """A lower nonce has not reached this node: send the lower ones again, then this."""
    REPLACE_UNDERPRICED = "replace_underpriced"
    """Another transaction with this nonce waits in the pool; replacing it takes 10 % more."""
    UNDERPRICED = "underpriced"
    """Below what the node takes: same nonce, other fees."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The wallet cannot pay now: keep the nonce, send the same bytes after funding."""
    FEE_CAP_NODE = "fee_cap_node"
    """Above this node's own fee cap; another node may have accepted it."""
    POOL_LIMIT = "pool_limit"
    """The node's pool or rate limit is full: the same bytes later."""
    PERMANENT = "permanent"
    """No node takes these bytes: the slot needs another payload."""
    REVERTED = "reverted"
    """The node executed the transaction before accepting it and it reverted."""
    UNKNOWN = "unknown"
    """Wording nobody has met: the outcome is unknown, the same bytes may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One row of the table. `pattern` is a regular expression over the lower-cased message."""

    verdict: SendVerdict
    pattern: str
    client: str


def _row(verdict: SendVerdict, client: str, pattern: str) -> Wording:
    return Wording(verdict=verdict, pattern=pattern, client=client)


_V: Final = SendVerdict
WORDINGS: Final[tuple[Wording, ...]] = (
    # Revert wording first: what follows it is a contract's text.
    _row(_V.REVERTED, "geth, erigon, bor, anvil", r"^execution reverted"),
    _row(_V.REVERTED, "besu, hosted", r"(?:^|: )(?:transaction )?(?:execution )?reverted\b"),
    _row(_V.REVERTED, "hardhat", r"^vm exception while processing transaction: revert"),
    # Already in the pool.
    _row(_V.ALREADY_KNOWN, "geth, erigon, bor", r"\balready known\b"),
    _row(_V.ALREADY_KNOWN, "geth (old), besu", r"(?<!un)known transaction"),
    _row(_V.ALREADY_KNOWN, "nethermind, gnosis", r"\balreadyknown\b"),
    _row(_V.ALREADY_KNOWN, "anvil 1.7.1", r"transaction already imported"),
    _row(_V.ALREADY_KNOWN, "parity", r"same hash was already imported"),
    _row(_V.ALREADY_KNOWN, "anvil", r"^tx: \[0x[0-9a-f]+\] already imported"),
    _row(_V.ALREADY_KNOWN, "erigon", r"existing txn with same hash"),
    _row(_V.ALREADY_KNOWN, "substrate", r"pool\(alreadyimported\)"),
    _row(_V.ALREADY_KNOWN, "sei", r"tx already exists in cache"),
    # Another transaction of ours with that nonce is in the pool (not the same as already known).
    _row(_V.REPLACE_UNDERPRICED, "nethermind", r"\bownnoncealreadyused\b"),
    _row(_V.REPLACE_UNDERPRICED, "geth, erigon, bor, besu, anvil 1.7.1", r"replacement transaction underpriced"),
    _row(_V.REPLACE_UNDERPRICED, "geth", r"future transaction tries to replace pending"),
    _row(_V.REPLACE_UNDERPRICED, "nethermind", r"\breplacementnotallowed\b"),
    _row(_V.REPLACE_UNDERPRICED, "erigon", r"could not replace existing tx|replaced by transaction with higher tip"),
    _row(_V.REPLACE_UNDERPRICED, "anvil", r"insufficient gas price to replace existing transaction"),
    _row(
        _V.REPLACE_UNDERPRICED, "parity, klaytn", r"there is another (?:transaction with|tx which has the) same nonce"
    ),
    # The nonce is behind.
    _row(_V.NONCE_TOO_LOW, "geth, erigon, bor, besu, anvil 1.7.1", r"nonce too low"),
    _row(_V.NONCE_TOO_LOW, "nethermind", r"\boldnonce\b"),
    _row(_V.NONCE_TOO_LOW, "ethers", r"nonce has already been used"),
    _row(_V.NONCE_TOO_LOW, "arbitrum", r"invalid transaction nonce"),
    _row(_V.NONCE_TOO_LOW, "parity", r"transaction nonce is too low"),
    _row(_V.NONCE_TOO_LOW, "substrate", r"pool\(stale\)"),
    _row(_V.NONCE_TOO_LOW, "harmony", r"transaction already finalized"),
    # The nonce is ahead.
    _row(_V.NONCE_TOO_HIGH, "geth", r"nonce too high"),
    _row(_V.NONCE_TOO_HIGH, "nethermind", r"\bnoncegap\b"),
    _row(_V.NONCE_TOO_HIGH, "besu", r"nonce too far in the future"),
    _row(_V.NONCE_TOO_HIGH, "besu", r"nonce is too distant from current sender nonce"),
    _row(_V.NONCE_TOO_HIGH, "besu", r"invalid transaction with a lower nonce exists"),
    _row(_V.NONCE_TOO_HIGH, "nethermind", r"nonce too far in future|\bnoncetoofarinfuture\b"),
    _row(_V.NONCE_TOO_HIGH, "hosted", r"exceeds next nonce|nonce out of range|tx-nonce-too-high"),
    # Limits of pools and endpoints. Before the permanent ones: "account limit exceeded" is no verdict on the bytes.
    _row(_V.POOL_LIMIT, "geth, bor", r"txpool is full"),
    _row(_V.POOL_LIMIT, "geth", r"account limit exceeded"),
    _row(_V.POOL_LIMIT, "geth (EIP-7702)", r"in-flight transaction limit reached"),
    _row(_V.POOL_LIMIT, "geth (EIP-7702)", r"gapped-nonce tx from delegated accounts"),
    _row(_V.POOL_LIMIT, "geth", r"address already reserved"),
    _row(_V.POOL_LIMIT, "geth, erigon (EIP-7702)", r"authority already reserved"),
    _row(_V.POOL_LIMIT, "erigon", r"sub-pool is full|^spammer$"),
    _row(_V.POOL_LIMIT, "parity", r"too many transactions in the queue"),
    _row(_V.POOL_LIMIT, "arbitrum", r"\bqueue full|pending tx pool full|dropped due to l2 congestion"),
    _row(_V.POOL_LIMIT, "hosted", r"too many requests|rate limit"),
    # Permanent fee nonsense, before the softer fee wordings that share words with it.
    _row(_V.PERMANENT, "geth", r"max priority fee per gas higher than max fee per gas"),
    _row(_V.PERMANENT, "geth", r"max (?:priority )?fee per gas higher than 2\^256-1"),
    _row(_V.PERMANENT, "besu", r"max priority fee per gas exceeds max fee per gas"),
    _row(_V.PERMANENT, "anvil", r"`max_priority_fee_per_gas` greater than `max_fee_per_gas`"),
    # Fees.
    _row(_V.UNDERPRICED, "geth, bor", r"transaction underpriced"),
    _row(_V.UNDERPRICED, "geth, bor", r"transaction gas price below minimum|gas tip cap \d+, minimum needed \d+"),
    _row(_V.UNDERPRICED, "geth, anvil 1.7.1", r"max fee per gas less than block base fee"),
    _row(_V.UNDERPRICED, "nethermind", r"\bfeetoolow"),
    _row(_V.UNDERPRICED, "besu", r"gas price below configured minimum gas price"),
    _row(_V.UNDERPRICED, "besu", r"gas price below current base fee"),
    _row(_V.UNDERPRICED, "erigon, optimism", r"^underpriced$|\bfee too low\b"),
    _row(_V.UNDERPRICED, "parity", r"gas price is too low\. it does not satisfy"),
    _row(_V.UNDERPRICED, "arbitrum", r"gas price too low"),
    # The node's own cap on what a transaction may cost.
    _row(_V.FEE_CAP_NODE, "geth (hosted)", r"tx fee \(.*\) exceeds the configured cap"),
    _row(_V.FEE_CAP_NODE, "besu", r"transaction fee cap exceeded"),
    # Funds.
    _row(_V.INSUFFICIENT_FUNDS, "geth, erigon, bor, anvil 1.7.1", r"insufficient funds for (?:gas|transfer)"),
    _row(_V.INSUFFICIENT_FUNDS, "geth", r"transaction would cause overdraft"),
    _row(_V.INSUFFICIENT_FUNDS, "geth (estimate)", r"gas required exceeds allowance"),
    _row(_V.INSUFFICIENT_FUNDS, "nethermind", r"\binsufficientfunds\b"),
    _row(_V.INSUFFICIENT_FUNDS, "besu", r"upfront cost exceeds account balance"),
    _row(_V.INSUFFICIENT_FUNDS, "erigon, bor", r"(?:^|: )insufficient funds$"),
    _row(_V.INSUFFICIENT_FUNDS, "geth (old), parity", r"^insufficient balance for trans(?:fer|action)"),
    _row(_V.INSUFFICIENT_FUNDS, "parity", r"^insufficient funds\. the account"),
    _row(_V.INSUFFICIENT_FUNDS, "arbitrum", r"not enough funds for gas"),
    # No node takes these.
    _row(_V.PERMANENT, "geth", r"exceeds block gas limit"),
    _row(_V.PERMANENT, "geth, anvil 1.7.1", r"intrinsic gas too (?:low|high)"),
    _row(_V.PERMANENT, "geth", r"oversized data"),
    _row(_V.PERMANENT, "geth", r"invalid sender"),
    _row(_V.PERMANENT, "geth", r"negative value"),
    _row(_V.PERMANENT, "geth", r"gas uint64 overflow"),
    _row(_V.PERMANENT, "geth", r"insufficient gas for floor data gas cost"),
    _row(_V.PERMANENT, "geth", r"max initcode size exceeded"),
    _row(_V.PERMANENT, "geth", r"only replay-protected"),
    _row(_V.PERMANENT, "geth, anvil 1.7.1", r"invalid chain id"),
    _row(_V.PERMANENT, "nethermind", r"\bsenderiscontract\b"),
    _row(_V.PERMANENT, "nethermind", r"\bgaslimitexceeded\b"),
    _row(_V.PERMANENT, "nethermind", r"^invalid$"),
    _row(_V.PERMANENT, "besu", r"intrinsic gas exceeds gas limit"),
    _row(_V.PERMANENT, "geth, anvil, nethermind", r"sender not an eoa"),
    _row(_V.PERMANENT, "geth", r"nonce has max value"),
    _row(_V.PERMANENT, "geth, anvil", r"transaction type not supported"),
    _row(_V.PERMANENT, "geth", r"invalid transaction v, r, s values"),
    _row(_V.PERMANENT, "besu, parity", r"^invalid (?:signature|rlp data|transaction type)\b"),
    _row(_V.PERMANENT, "besu", r"^wrong chainid$|^chainid not supported$|^chainid is required$"),
    _row(_V.PERMANENT, "nethermind", r"\bint256overflow\b|\bfailedtoresolvesender\b"),
    _row(_V.PERMANENT, "nethermind", r": invalid$|^invalid, transaction hash is null"),
    _row(_V.PERMANENT, "nethermind", r"failed to recover sender|transaction cost overflow|^transaction invalid$"),
    _row(_V.PERMANENT, "erigon", r"^gasuintoverflow$|^intrinsicgas$|^rlptoolong$|^initcode too large$"),
    _row(_V.PERMANENT, "erigon", r"^gas limit is too high$|transaction type is not activated yet"),
    _row(_V.PERMANENT, "anvil", r"failed to decode signed transaction|^transaction data is empty$"),
    _row(_V.PERMANENT, "anvil", r"signed for another chain|gas limit is greater than the block gas limit"),
    _row(_V.PERMANENT, "parity", r"not enough gas to cover minimal cost|transaction cost exceeds current gas limit"),
    _row(_V.PERMANENT, "parity", r"transaction is too big, see chain specification"),
)

CODES: Final[dict[int, SendVerdict]] = {
    3: SendVerdict.REVERTED,  # geth: the call reverted
    -32005: SendVerdict.POOL_LIMIT,  # EIP-1474: limit exceeded
}
"""Verdicts by JSON-RPC code alone, for wording that no row knows."""

_COMPILED: Final = tuple((re.compile(row.pattern), row.verdict) for row in WORDINGS)


CONFIGURABLE: Final = frozenset(
    {
        SendVerdict.ALREADY_KNOWN,
        SendVerdict.NONCE_TOO_LOW,
        SendVerdict.NONCE_TOO_HIGH,
        SendVerdict.REPLACE_UNDERPRICED,
        SendVerdict.UNDERPRICED,
        SendVerdict.INSUFFICIENT_FUNDS,
        SendVerdict.FEE_CAP_NODE,
        SendVerdict.POOL_LIMIT,
    }
)
"""What an operator's phrase may mean. Not among them: what gives bytes up (permanent, reverted)."""
MIN_PHRASE: Final = 6
"""Characters without blanks and stars: "error" is in too many texts."""
MAX_PHRASE: Final = 200
MAX_PHRASES: Final = 100
_STAR: Final = "*"


class InvalidPhrase(ValueError):
    """A configured phrase cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class NodeErrors:
    """The table, and after it the operator's phrases: text in lower case, `*` for anything between."""

    phrases: tuple[tuple[SendVerdict, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, configured: Mapping[str, Sequence[str]]) -> "NodeErrors":
        """Phrases by the verdict's name. Raises: InvalidPhrase."""
        phrases = tuple(
            (_configurable(name), _parts(phrase)) for name, several in configured.items() for phrase in several
        )
        if len(phrases) > MAX_PHRASES:
            raise InvalidPhrase(f"at most {MAX_PHRASES} phrases, there are {len(phrases)}")
        return cls(phrases)

    def classify_send(self, code: int | None, message: str, data: object = None) -> SendVerdict:
        """The verdict behind a refusal of signed bytes."""
        known = _by_table(code, message, data)
        if known is not None:
            return known
        for text in _texts(message, data):
            for verdict, parts in self.phrases:
                if _contains(text, parts):
                    return verdict
        return _by_code(code)


BUILT_IN: Final = NodeErrors()


def classify(code: int | None, message: str, data: object = None) -> SendVerdict:
    """The verdict behind a JSON-RPC error, by the table alone. `data` is looked at only when it is text that some
    nodes put there."""
    known = _by_table(code, message, data)
    return _by_code(code) if known is None else known


def _by_table(code: int | None, message: str, data: object) -> SendVerdict | None:
    if code == 3:
        return SendVerdict.REVERTED
    for text in _texts(message, data):
        for pattern, verdict in _COMPILED:
            if pattern.search(text):
                return verdict
    return None


def _by_code(code: int | None) -> SendVerdict:
    return CODES.get(code, SendVerdict.UNKNOWN) if code is not None else SendVerdict.UNKNOWN


def _texts(message: str, data: object) -> list[str]:
    """The message; and the data, where Nethermind and some gateways put the wording behind "Internal error"."""
    texts = [message]
    if isinstance(data, str) and data and not data.startswith("0x"):
        texts.append(data)
    return [_plain(text) for text in texts]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _configurable(name: str) -> SendVerdict:
    if name not in CONFIGURABLE:
        raise InvalidPhrase(f"{name}: a phrase may mean {', '.join(sorted(CONFIGURABLE))}")
    return SendVerdict(name)


def _parts(phrase: str) -> tuple[str, ...]:
    """Between the stars. Raises: InvalidPhrase."""
    parts = tuple(part for part in (_plain(part) for part in phrase.split(_STAR)) if part)
    if len(phrase) > MAX_PHRASE or not phrase.isprintable():
        raise InvalidPhrase(f"a phrase has at most {MAX_PHRASE} printable characters: {phrase[:40]!r}...")
    if sum(len(part.replace(" ", "")) for part in parts) < MIN_PHRASE:
        raise InvalidPhrase(f"{phrase!r} has fewer than {MIN_PHRASE} characters: it is in too many texts")
    return parts


def _contains(text: str, parts: Sequence[str]) -> bool:
    """The parts occur in the text, in order and apart from each other: found from the left, in one pass."""
    start = 0
    for part in parts:
        found = text.find(part, start)
        if found < 0:
            return False
        start = found + len(part)
    return True
