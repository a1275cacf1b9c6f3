"""F84: what is written when something fails, and what objects say of themselves, holds no secret."""

import base64
import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from chains.errors import ChainError
from scripts.devnet.network import LocalChain
from service.auth.secrets import MasterKey
from service.cli.commands import app
from service.observability.logs import configure_logging
from service.process import reasons
from service.settings import Settings
from tests.e2e.harness import running

FUNDS: Final = {"ethereum": {"ETH": 10**18}}
OURS: Final = ("chains.", "service.", "contracts.")
MOST_OBJECTS: Final = 20_000


def shown_in(text: str, canaries: dict[str, bytes]) -> list[str]:
    """Which secrets are in the text, as they are, or as hex, base64, decimal or Python's bytes."""
    return [
        name
        for name, raw in canaries.items()
        if any(
            form in text
            for form in (
                raw.hex(),
                raw.hex().upper(),
                base64.b64encode(raw).decode(),
                str(int.from_bytes(raw)),
                repr(raw)[2:-1],
            )
        )
    ]


def fails_with_secrets_at_hand(private_key: bytes, master: MasterKey) -> None:
    """Frames, arguments and a chain of causes that hold secrets; the texts do not."""
    seed = private_key.hex()
    try:
        raise ValueError(f"not usable: {len(seed)} digits")
    except ValueError as exc:
        raise ChainError(f"with {master!r}") from exc


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_F84_a_crash_report_has_its_traceback_and_no_secret_of_its_frames(tmp_path: Path, log_format: Any) -> None:
    private_key = secrets.token_bytes(32)
    MasterKey.create(tmp_path / "master.key")
    master = MasterKey.load(tmp_path / "master.key")
    canaries = {
        "private key": private_key,
        "master key": bytes.fromhex((tmp_path / "master.key").read_text().split()[-1]),
    }
    written = io.StringIO()
    configure_logging(Settings(log_format=log_format, log_level="debug"), written)
    log = structlog.get_logger("cambist.process")
    try:
        fails_with_secrets_at_hand(private_key, master)
    except ChainError as exc:
        group = BaseExceptionGroup("parts", [exc])
        for reason in reasons(group):
            log.critical("part failed", error=type(reason).__name__, exc_info=reason)
        log.debug("state", key=private_key, seed=private_key.hex(), master=master)
    text = written.getvalue()
    assert "fails_with_secrets_at_hand" in text
    assert "not usable" in text
    assert shown_in(text, canaries) == []


def test_F84_a_command_that_crashes_shows_no_local_variables() -> None:
    assert app.pretty_exceptions_enable is False


def objects_of(start: object) -> Iterator[object]:
    """Our own objects that can be reached from one."""
    seen: set[int] = set()
    waiting = [start]
    while waiting and len(seen) < MOST_OBJECTS:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        elif type(one).__module__.startswith(OURS):
            yield one
            names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
            waiting += getattr(one, "__dict__", {}).values()


@pytest.mark.chain
async def test_F84_no_object_of_a_running_service_shows_a_secret(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    endpoint = secrets.token_bytes(16)
    address = f"{fresh_ethereum.rpc_url}/?key={endpoint.hex()}"
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS, endpoints={"ethereum": address}) as stack:
        private_key: bytes = stack.signing_key._key.secret
        canaries = {
            "private key": private_key,
            "endpoint": endpoint,
            "master key": bytes.fromhex((tmp_path / "secret" / "master.key").read_text().split()[-1]),
            **{f"secret of {name}": key.secret for name, key in stack.keys.items()},
        }
        show: tuple[Callable[[object], str], ...] = (repr, str)
        found = [
            (type(one).__qualname__, name)
            for one in objects_of(stack.services)
            for form in show
            for name in shown_in(form(one), canaries)
        ]
        kinds = {type(one).__name__ for one in objects_of(stack.services)}
    # The walk comes to where the secrets are.
    assert {"UnlockedKey", "MasterKey", "SecretUrl", "Keyring", "Settings", "HttpTransport", "TxEngine"} <= kinds
    assert found == []
