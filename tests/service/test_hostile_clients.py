"""What the catalogue of abuse says of clients, over all routes or all options, named by its ids."""

import ast
import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest
import structlog
import typer.main
from prometheus_client import generate_latest

from service.accounts import totp
from service.app import OPENAPI_PATH
from service.audit.exported import document
from service.audit.reading import following, newest_by_chain
from service.cli.commands import app as commands
from service.observability.logs import configure_logging
from service.settings import Settings
from tests.service.accounts import test_sign_in_api as people
from tests.service.accounts.test_sign_in_api import bearer, enrol, post, register, token_of
from tests.service.api import Api, api, code_of
from tests.service.documented import Documented, operations
from tests.service.kinds import Callers, callers

ROOT: Final = Path(__file__).parents[2]
PASSWORD: Final = "a canary that sings in no log"
OTHER: Final = "and another one of its kind"
HOSTILE_IDS: Final = (
    "",
    "a" * 65,
    "a\nX-Injected: 1",
    "a\r\n\r\n<html>",
    "=cmd|' /C calc'!A0",
    "a,b",
    "\u202eevil",
    "zero\u200bwidth",
    "\uff41",
    "a\u0000b",
    "../../etc/passwd",
    "%0d%0a",
    "'; DROP TABLE orders; --",
)
HOSTILE_AMOUNTS: Final[tuple[Any, ...]] = (
    "-1", "1e18", "NaN", "Infinity", "-0", "0x10", " 1", "1 ", "+1", "1_000", "\uff11", "\u0661", "1,5", "", ".", "1.",
    ".5", "1" * 100, str(2**256), 1, 0.1, 0.1 + 0.2, True, [], {},
)  # fmt: skip


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open") as found:
        yield found


async def routes_of(service: Api) -> list[Documented]:
    return list(operations((await service.ask("GET", OPENAPI_PATH)).json()))


def kind_of(one: Documented) -> str:
    return "session of owner" if one.needs == "session" else "nothing" if one.needs == "public" else "all"


async def answers(
    service: Api, made: Callers, one: Documented, body: Mapping[str, Any]
) -> tuple[int, str, str]:  # fmt: skip
    known = dict.fromkeys(one.ids, "1") | {"chain": "ethereum"}
    answer = await made.ask(kind_of(one), one.method, one.target(known), body=json.dumps(body).encode())
    return answer.status_code, code_of(answer) if answer.is_error else "", answer.text


async def test_f94_a_client_id_with_anything_but_plain_characters_is_refused_on_every_route(service: Api) -> None:
    made, tried = await callers(service), 0
    for one in await routes_of(service):
        for body in list(one.bodies())[:1]:
            for name in [found for found in body if found.startswith("client_")]:
                for hostile in HOSTILE_IDS:
                    status, code, text = await answers(service, made, one, body | {name: hostile})
                    assert (status, code) == (422, "invalid_request"), (one.path, hostile)
                    assert hostile == "" or json.dumps(hostile) not in text, (one.path, hostile)
                    tried += 1
    assert tried >= 3 * len(HOSTILE_IDS)


async def test_f94_a_hostile_market_or_asset_comes_back_in_no_header_and_as_plain_json(service: Api) -> None:
    made, tried = await callers(service), 0
    for one in await routes_of(service):
        for body in list(one.bodies())[:1]:
            for name in [found for found in body if found in ("market", "asset", "label", "name", "account")]:
                for hostile in HOSTILE_IDS:
                    known = dict.fromkeys(one.ids, "1") | {"chain": "ethereum"}
                    raw = orjson.dumps(body | {name: hostile})
                    answer = await made.ask(kind_of(one), one.method, one.target(known), body=raw)
                    headers = " ".join(f"{key}: {value}" for key, value in answer.headers.items())
                    assert "Injected" not in headers
                    assert answer.headers["content-type"].startswith("application/"), one.path
                    json.loads(answer.text)
                    tried += 1
    assert tried >= 8 * len(HOSTILE_IDS)


async def test_f58_f59_amounts_that_are_no_plain_decimal_text_are_refused_on_every_route(service: Api) -> None:
    made, tried = await callers(service), 0
    for one in await routes_of(service):
        for body in one.bodies():
            for name in [found for found in body if found == "amount" or found.endswith("_amount")]:
                for hostile in HOSTILE_AMOUNTS:
                    status, code, _ = await answers(service, made, one, body | {name: hostile})
                    # Without nodes the chain is what is answered first, but never a success and never a fault.
                    # What is said of the text itself is looked at over one: `tests/e2e/test_hostile_amounts.py`.
                    assert status in (400, 404, 409, 422, 503), (one.path, hostile, status)
                    assert code != "internal_error", (one.path, hostile)
                    if not isinstance(hostile, str):
                        assert (status, code) in ((422, "invalid_request"), (400, "invalid_json")), (one.path, hostile)
                    tried += 1
    assert tried >= 4 * len(HOSTILE_AMOUNTS)


async def test_f73_an_unknown_key_and_a_wrong_signature_cost_the_same_checks_and_answer_the_same(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await callers(service)
    # Of the signature. That rows were read may show in microseconds; a key id has 64 random bits.
    calls: list[str] = []
    real = hmac.compare_digest

    def counted(one: Any, other: Any) -> bool:
        calls.append("compare")
        return bool(real(one, other))

    seen = []
    for kind in ("bad signature", "unknown key"):
        await made.ask(kind, "GET", "/v1/ethereum/balances")
        calls.clear()
        with monkeypatch.context() as patched:
            patched.setattr("service.auth.signature.hmac", SimpleNamespace(compare_digest=counted, digest=hmac.digest))
            answer = await made.ask(kind, "GET", "/v1/ethereum/balances")
        body = {name: value for name, value in answer.json().items() if name != "instance"}
        seen.append((answer.status_code, body, set(answer.headers), calls.count("compare")))
    assert seen[0] == seen[1]
    # A signature of the same length is compared for a key that is not there, too.
    assert seen[0][3] >= 1


def test_f57_nothing_here_signs_typed_data_or_permits() -> None:
    """No code signs what a client or a contract chose: only transactions of our own making.

    That nodes are never asked to sign is `chains/rpc/provider.py`'s.
    """
    names = {
        "encode_typed_data",
        "sign_typed_data",
        "sign_message",
        "signTypedData",
        "eth_signTypedData_v4",
        "eth_sign",
    }
    for folder in ("chains", "contracts", "service"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if not any(name in text for name in names):
                continue
            for node in ast.walk(ast.parse(text)):
                named = {getattr(node, "id", None), getattr(node, "attr", None)}
                assert not named & names, f"{path}:{getattr(node, 'lineno', 0)}"


async def test_f81_no_route_takes_an_address_to_connect_to(service: Api) -> None:
    """The service connects to what its operator set, and to nothing that a client names: there are no webhooks."""
    page = (await service.ask("GET", OPENAPI_PATH)).json()
    names = [name for one in operations(page) for name in (*_body_names(one), *(p["name"] for p in one.parameters))]
    assert len(names) > 50
    assert not [
        name for name in names if any(part in name.lower() for part in ("url", "uri", "webhook", "callback", "host"))
    ]
    assert '"format":"uri"' not in json.dumps(page).replace(" ", "")


def test_f81_f85_the_settings_name_no_secret_in_the_environment_and_every_address_is_the_operators() -> None:
    """Of passwords there are files only; what may be an address of somebody else's is an endpoint's or a signer's."""
    fields = set(Settings.model_fields)
    assert not [name for name in fields if "password" in name and not name.endswith("_file")]
    assert not [name for name in fields if "secret" in name or "mnemonic" in name or "private_key" in name]
    assert {name for name in fields if "url" in name} <= {"database_url"}


def test_f85_no_command_takes_a_secret_as_an_argument() -> None:
    """What is on a command line is in the process list."""
    secret = ("password", "secret", "mnemonic", "private_key", "seed", "totp", "recovery", "token", "code")
    for path, command in _commands(typer.main.get_command(commands)):
        for parameter in command.params:
            name = parameter.name or ""
            if any(part in name.split("_") or name == part for part in secret):
                is_flag = bool(getattr(parameter, "is_flag", False))
                assert is_flag or name.endswith("_file"), f"{path}: {name}"


async def test_f84_secrets_of_people_and_keys_are_in_no_log_at_debug_no_page_no_database_and_no_export(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PASSWORD", PASSWORD)
    lines: list[Any] = []
    before = structlog.get_config()
    async with api(tmp_path, registration="open", log_level="debug") as service:
        with (tmp_path / "service.log").open("w") as log:
            configure_logging(service.services.settings, log)
            caplog.set_level(logging.DEBUG)
            try:
                await register(service)
                token = await token_of(service, password=PASSWORD)
                seed, codes = await enrol(service, token)
                made = await callers(service)
                for one in await routes_of(service):
                    await made.ask(kind_of(one), one.method, one.target(dict.fromkeys(one.ids, "1") | {"chain": "x"}))
                    bad = {"password": PASSWORD, "totp": "000000", "new_password": OTHER, "secret": codes[0]}
                    await post(service, "sign-in", bad | {"name": "bob"}, bearer(token))
                    lines.append(
                        (await made.ask("nothing", one.method, one.path.replace("{", "").replace("}", ""))).text
                    )
                await service.services.refusals.flush(service.services.db, service.services.master)
            finally:
                structlog.configure(**before)
        page = (await service.ask("GET", OPENAPI_PATH)).text
        metrics = generate_latest(service.services.metrics.registry)
        ends = await service.services.db.read(newest_by_chain)
        exported = [
            repr(document(entry))
            for chain, seq in ends.items()
            for entry in await service.services.db.read(
                lambda c, chain=chain, seq=seq: following(c, chain, after_seq=0, up_to=seq, limit=1_000)  # type: ignore[misc]
            )
        ]
        secret_of_key = service.keys["read"].secret
        master = service.services.settings.master_key_file.read_text().strip()
    stored = b"".join(path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file())
    texts = "\n".join([page, caplog.text, (tmp_path / "service.log").read_text(), *lines, *exported, metrics.decode()])
    assert len(exported) > 5
    assert "request" in (tmp_path / "service.log").read_text()
    secrets = [
        PASSWORD,
        OTHER,
        token,
        totp.secret_text(seed),
        seed.hex(),
        *codes,
        str(secret_of_key),
        master.split()[-1],
    ]
    for secret in secrets:
        assert len(secret) > 8
        assert secret not in texts
        assert secret.encode() not in stored, secret[:4]
    assert seed not in stored


def _body_names(one: Documented) -> Iterator[str]:
    for body in one.bodies():
        yield from body


def _commands(command: Any, path: str = "cambist") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")
