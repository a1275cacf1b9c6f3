"""A Web3Signer for tests: JSON-RPC over HTTPS, which knows its clients by their certificates."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chains.signing.signer import UnlockedKey
from chains.signing.web3signer import SignerTls
from chains.types import Address, ChainId, Fees, UnsignedTx

PASSWORD = "certificate password canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path
    stranger_key: Path


def make_certificates(folder: Path) -> Certificates:
    """An authority, a server and a client of it, and a client of nobody. Keys have mode 600."""
    now = datetime.datetime.now(datetime.UTC)

    def make(
        name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, *, password: bytes = b""
    ) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password)
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file = folder / f"{name}.key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return certificate, key

    authority = make("ca", None)
    make("server", authority)
    make("client", authority, password=PASSWORD.encode())
    make("stranger", None)
    return Certificates(
        ca=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
        stranger=folder / "stranger.pem",
        stranger_key=folder / "stranger.key",
    )


@dataclass(slots=True)
class SigningService:
    """A signing service with one key; `answer` makes its response from the request, honestly unless it is replaced."""

    key: UnlockedKey
    url: str = ""
    answer: Callable[[dict[str, Any]], Any] = field(init=False)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answer = self.honest

    def honest(self, request: dict[str, Any]) -> dict[str, Any]:
        """Signs what it is asked, from what the request says, as Web3Signer does."""
        if request["method"] == "eth_accounts":
            return {"result": [self.key.address.lower()]}
        [asked] = request["params"]
        return {"result": "0x" + self.key.sign(parsed(asked)).raw.hex()}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        made = self.answer(body)
        if asyncio.iscoroutine(made):
            made = await made
        if isinstance(made, web.StreamResponse):
            return made
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], **made})


def parsed(asked: dict[str, str]) -> UnsignedTx:
    return UnsignedTx(
        chain_id=ChainId(int(asked["chainId"], 16)),
        nonce=int(asked["nonce"], 16),
        to=Address(asked["to"]),
        data=bytes.fromhex(asked["data"][2:]),
        value_wei=int(asked["value"], 16),
        gas_limit=int(asked["gas"], 16),
        fees=Fees(max_fee_wei=int(asked["maxFeePerGas"], 16), priority_fee_wei=int(asked["maxPriorityFeePerGas"], 16)),
    )


def tls_of(certificates: Certificates) -> SignerTls:
    return SignerTls(
        client_cert_file=certificates.client,
        client_key_file=certificates.client_key,
        client_key_password=PASSWORD,
        ca_file=certificates.ca,
    )


@asynccontextmanager
async def signing_service(certificates: Certificates, key: UnlockedKey) -> AsyncIterator[SigningService]:
    """Over HTTPS on this machine; only clients with a certificate of the authority get in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.server, certificates.server_key)
    running = SigningService(key=key)
    app = web.Application()
    app.add_routes([web.post("/", running.handle)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    running.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()
