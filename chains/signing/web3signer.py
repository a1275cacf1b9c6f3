"""`Signer` over a remote Web3Signer (or Clef): `eth_signTransaction` on JSON-RPC, HTTPS with a client certificate.

Guarantees: the answer is used only when it is, to the byte, the transaction that was asked for, signed with low s by
the sender asked for; whatever else comes back is refused. Time and size are bounded, redirects are not followed, the
address and the certificate's password are in no error or repr. Nothing is asked twice by itself.
Not guaranteed: that a request which raised `SignerUnavailable` was not signed. The bytes would be for the same nonce
and payload, so the lane may ask again, for that slot only.
"""

import asyncio
import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from chains.errors import SignerUnavailable, SigningError
from chains.rpc import codec
from chains.signing import eip1559
from chains.types import Address, SignedTx, UnsignedTx

MAX_ANSWER_BYTES: Final = 2**20
"""A signed transaction has at most 128 KiB in any client's pool, so 256 KiB as hex."""
_MESSAGE_LIMIT: Final = 300
_BUSY_CODES: Final = (-32603, -32005)
"""Internal error and limit exceeded: nothing about this transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerTls:
    """Paths of the certificates. `ca_file` None: the system's authorities. Web3Signer knows its clients by theirs."""

    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    client_key_password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises: OSError, ssl.SSLError."""
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.client_cert_file is not None:
            context.load_cert_chain(self.client_cert_file, self.client_key_file, self.client_key_password)
        return context


class Web3Signer:
    """See the module. Certificates are read, and the connection opened, with the first request."""

    def __init__(self, url: str, *, tls: SignerTls, name: str = "web3signer", timeout_s: float = 10.0) -> None:
        """Raises: ValueError: the address is not https."""
        if not url.startswith("https://"):
            raise ValueError("a remote signer is reached over https:// only")
        self.name = name
        self._url = url
        self._tls = tls
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._opening = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Web3Signer(name={self.name!r})"

    async def addresses(self) -> Sequence[Address]:
        """Raises: SignerUnavailable, SigningError."""
        answer = await self._request("eth_accounts", [])
        try:
            return tuple(codec.address(one) for one in codec.sequence(answer))
        except codec.Malformed as exc:
            raise SigningError(f"{self.name}: eth_accounts: {exc}") from exc

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        """Raises:
        SignerUnavailable: no usable answer; it may have signed.
        SigningError: it refuses, or signed something else.
        """
        eip1559.signing_hash(tx)  # refuses fields out of range before they leave
        answer = await self._request("eth_signTransaction", [_request_of(sender, tx)])
        # Web3Signer answers the bytes, Clef and geth an object that holds them.
        encoded = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            raw = codec.data(encoded)
        except codec.Malformed as exc:
            raise SigningError(f"{self.name}: the answer holds no signed transaction") from exc
        return eip1559.verified(raw, tx, sender=sender)

    async def prove(self, sender: Address) -> None:
        """Raises: SignerUnavailable; SigningError: it does not list the address."""
        if sender not in await self.addresses():
            raise SigningError(f"{self.name} has no key for {sender}")

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- private ------------------------------------------------------------------------------------------

    async def _request(self, method: str, params: Sequence[Any]) -> Any:
        call_id = next(self._ids)
        payload = orjson.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": list(params)})
        failure: SigningError
        try:
            async with asyncio.timeout(self._timeout_s):
                return self._outcome(call_id, await self._post(payload))
        except TimeoutError:
            failure = SignerUnavailable(f"{self.name}: {method}: no answer in {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as exc:
            # Their texts hold the address. Certificate files that cannot be read are OSErrors too.
            failure = SignerUnavailable(f"{self.name}: {method}: no connection ({type(exc).__name__})")
        # Raised out here so that the original is not even its context.
        raise failure

    async def _post(self, payload: bytes) -> bytes:
        session = await self._open()
        async with session.post(self._url, data=payload, allow_redirects=False) as response:
            if response.status == 429 or response.status >= 500:
                raise SignerUnavailable(f"{self.name}: HTTP {response.status}")
            if response.status != 200:
                raise SigningError(f"{self.name}: HTTP {response.status}")
            body = await response.content.read(MAX_ANSWER_BYTES + 1)
            while len(body) <= MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
                body += more
            if len(body) > MAX_ANSWER_BYTES:
                raise SigningError(f"{self.name}: the answer is over {MAX_ANSWER_BYTES} bytes")
            return body

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None or self._session.closed:
                context = await asyncio.to_thread(self._tls.context)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context, limit=8),
                    headers={"Content-Type": "application/json", "User-Agent": "cambist"},
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                )
            return self._session

    def _outcome(self, call_id: int, body: bytes) -> Any:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise SignerUnavailable(f"{self.name}: the answer is not JSON") from None
        if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
            raise SignerUnavailable(f"{self.name}: the answer is not JSON-RPC 2.0")
        error = answer.get("error")
        if error is None:
            if answer.get("id") != call_id:
                raise SignerUnavailable(f"{self.name}: the answer carries another id")
            return answer.get("result")
        code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
        told = str(message)[:_MESSAGE_LIMIT]
        if code in _BUSY_CODES:
            raise SignerUnavailable(f"{self.name}: {told} ({code})")
        raise SigningError(f"{self.name} refuses: {told} ({code})")


def _request_of(sender: Address, tx: UnsignedTx) -> dict[str, str]:
    return {
        "type": "0x2",
        "chainId": hex(tx.chain_id),
        "from": sender,
        "to": tx.to,
        "nonce": hex(tx.nonce),
        "gas": hex(tx.gas_limit),
        "maxFeePerGas": hex(tx.fees.max_fee_wei),
        "maxPriorityFeePerGas": hex(tx.fees.priority_fee_wei),
        "value": hex(tx.value_wei),
        "data": "0x" + tx.data.hex(),
    }
