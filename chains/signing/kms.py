"""`Signer` over keys that never leave AWS KMS (key spec ECC_SECG_P256K1, usage SIGN_VERIFY).

KMS signs a digest and answers DER (r, s) with any s and without the recovery id. Here s is brought into the lower half
(EIP-2), and the recovery id is the one of the two that recovers the key's own address.

Guarantees: an address is used only after it has been derived from the public key that KMS gives for its key id; a
signature only after it recovered that address over the very transaction asked for. boto3 (extra `aws`) is imported with
the first use of `BotoKms`, and its calls run in threads.
Not guaranteed: that a request which raised `SignerUnavailable` was not signed (see web3signer).
"""

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import coincurve
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from chains.errors import SignerUnavailable, SigningError
from chains.signing import eip1559
from chains.types import Address, SignedTx, UnsignedTx

T = TypeVar("T")

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1 (SEC 2, 2.4.1)."""
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html and CommonErrors: these say nothing of the request.
_BUSY: Final = frozenset(
    {
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "ThrottlingException",
        "LimitExceededException",
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)


class KmsClient(Protocol):
    """The two calls that are needed. Both raise SignerUnavailable or SigningError, nothing else."""

    async def public_key(self, key_id: str) -> bytes:
        """DER SubjectPublicKeyInfo."""
        ...

    async def sign_digest(self, key_id: str, digest: bytes) -> bytes:
        """ECDSA_SHA_256 over a digest as it is (MessageType DIGEST); DER."""
        ...


class KmsSigner:
    """`keys`: address -> KMS key id, ARN or alias."""

    def __init__(self, client: KmsClient, keys: Mapping[Address, str], *, timeout_s: float = 10.0) -> None:
        self._client = client
        self._keys = dict(keys)
        self._timeout_s = timeout_s
        self._checked: set[Address] = set()

    def __repr__(self) -> str:
        return f"KmsSigner(addresses={list(self._keys)!r})"

    async def addresses(self) -> Sequence[Address]:
        """As configured; each is checked against its key before its first signature."""
        return tuple(self._keys)

    async def prove(self, sender: Address) -> None:
        """Raises: SignerUnavailable; SigningError: no KMS key is configured for it, or the key is another address's."""
        await self._within_time(self._check(sender, self._key_id(sender)))

    async def close(self) -> None:
        """boto3's connections close with the process."""

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        """Raises:
        SignerUnavailable: no usable answer; it may have signed.
        SigningError: no key for `sender`, another key's signature, or KMS refuses.
        """
        key_id = self._key_id(sender)
        digest = eip1559.signing_hash(tx)
        der = await self._within_time(self._checked_signature(sender, key_id, digest))
        r, s = _low_s(der)
        for parity in (0, 1):
            if _recovers(sender, digest, parity=parity, r=r, s=s):
                return eip1559.verified(eip1559.assemble(tx, parity=parity, r=r, s=s).raw, tx, sender=sender)
        raise SigningError(f"the signature made for {sender} is not its own; nothing was sent")

    def _key_id(self, sender: Address) -> str:
        key_id = self._keys.get(sender)
        if key_id is None:
            raise SigningError(f"no KMS key for {sender}")
        return key_id

    async def _within_time(self, asking: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asking
        except TimeoutError:
            raise SignerUnavailable(f"KMS: no answer in {self._timeout_s:g} s") from None

    async def _checked_signature(self, sender: Address, key_id: str, digest: bytes) -> bytes:
        await self._check(sender, key_id)
        return await self._client.sign_digest(key_id, digest)

    async def _check(self, sender: Address, key_id: str) -> None:
        if sender in self._checked:
            return
        found = address_of_spki(await self._client.public_key(key_id))
        if found != sender:
            raise SigningError(f"the KMS key configured for {sender} is that of {found}")
        self._checked.add(sender)


class BotoKms:
    """`KmsClient` over boto3. Credentials come from boto3's own chain (role, environment, files), never from us."""

    def __init__(self, *, region: str | None = None, endpoint_url: str | None = None, timeout_s: float = 5.0) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._timeout_s = timeout_s
        self._opening = asyncio.Lock()
        self._boto: Any = None

    async def public_key(self, key_id: str) -> bytes:
        answer = await self._ask(lambda boto: boto.get_public_key(KeyId=key_id))
        if answer.get("KeySpec") != "ECC_SECG_P256K1" or answer.get("KeyUsage") != "SIGN_VERIFY":
            raise SigningError("the KMS key is not an ECC_SECG_P256K1 key for SIGN_VERIFY")
        return bytes(answer["PublicKey"])

    async def sign_digest(self, key_id: str, digest: bytes) -> bytes:
        answer = await self._ask(
            lambda boto: boto.sign(KeyId=key_id, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
        )
        return bytes(answer["Signature"])

    async def _ask(self, call: Callable[[Any], Mapping[str, Any]]) -> Mapping[str, Any]:
        async with self._opening:
            if self._boto is None:
                self._boto = await asyncio.to_thread(self._open)
        return await asyncio.to_thread(_translated, call, self._boto)

    def _open(self) -> Any:
        try:
            boto3 = importlib.import_module("boto3")
            config = importlib.import_module("botocore.config")
        except ImportError:
            raise SigningError("AWS KMS needs boto3: install cambist with the extra `aws`") from None
        # Two tries: a signature asked for twice is for the same slot, and the outer time-out bounds both.
        settings = config.Config(
            connect_timeout=self._timeout_s, read_timeout=self._timeout_s, retries={"total_max_attempts": 2}
        )
        # A client each: boto3's default session is shared state and not thread-safe to create from.
        session = boto3.session.Session(region_name=self._region)
        return session.client("kms", endpoint_url=self._endpoint_url, config=settings)


def address_of_spki(spki: bytes) -> Address:
    """The address of a DER public key. Raises: SigningError: it is not a secp256k1 key."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise SigningError("KMS answered something that is not a public key") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256K1):
        raise SigningError("the KMS key is not on the curve secp256k1")
    return eip1559.address_of(coincurve.PublicKey(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)))


def _low_s(der: bytes) -> tuple[int, int]:
    try:
        r, s = decode_dss_signature(der)
    except ValueError as exc:
        raise SigningError("KMS answered something that is not a DER signature") from exc
    if not (0 < r < ORDER and 0 < s < ORDER):
        raise SigningError("the signature from KMS is out of range")
    return r, min(s, ORDER - s)


def _recovers(sender: Address, digest: bytes, *, parity: int, r: int, s: int) -> bool:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,))
    try:
        public = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        return False  # no such point for this recovery id
    return eip1559.address_of(public) == sender


def _translated(call: Callable[[Any], Mapping[str, Any]], boto: Any) -> Mapping[str, Any]:
    """The call, with botocore's errors as ours. Their messages name key ids, never secrets; codes are enough here."""
    exceptions = importlib.import_module("botocore.exceptions")
    try:
        return call(boto)
    except exceptions.ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code"))
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = SignerUnavailable if code in _BUSY or status >= 500 or status == 429 else SigningError
        raise kind(f"KMS refuses: {code}") from None
    except exceptions.BotoCoreError as exc:
        # No connection, time-out; also no credentials, which a person has to provide before the same works again.
        raise SignerUnavailable(f"KMS: {type(exc).__name__}") from None
