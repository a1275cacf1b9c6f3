"""A person's way from registering to a key in use, on the command line, against the real app."""

import asyncio
import base64
import json
import re
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import segno
import structlog
from sqlalchemy import Connection
from typer.testing import CliRunner

from service.accounts import people, totp, users, wallets
from service.cli.commands import app
from service.cli.failures import CommandFailed
from service.cli.people import qr_code
from service.cli.profile import load_profile
from service.cli.session_file import private_url
from tests.service.api import CLIENT, Api, api
from tests.service.books_seed import address_of

PASSWORD = "correct horse battery staple"
Run = Callable[..., Any]


class Bridge(httpx.BaseTransport):
    """The app behind a synchronous client in another thread."""

    def __init__(self, service: Api, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self.loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.service.app, client=CLIENT)
            async with httpx.AsyncClient(transport=transport) as client:
                headers = dict(request.headers)
                return await client.request(request.method, request.url, content=content, headers=headers)

        answer = asyncio.run_coroutine_threadsafe(send(), self.loop).result(timeout=150)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    (tmp_path / "service").mkdir()
    async with api(tmp_path / "service", registration="open", session_hours=72, session_idle_minutes=60 * 72) as found:
        yield found


@pytest.fixture
def run(service: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; its JSON. Secrets are in files; no terminal is there."""
    real = httpx.Client
    monkeypatch.setenv("CAMBIST_SESSION", str(tmp_path / "home" / "session.toml"))
    monkeypatch.setenv("CAMBIST_URL", "http://127.0.0.1")
    # "In 90 days" is by the client's clock, which here is the service's.
    clock = SimpleNamespace(time_ns=lambda: service.clock.now_ms() * 1_000_000)
    monkeypatch.setattr("service.cli.my_keys.time", clock)

    async def invoke(*words: str, as_json: bool = True) -> Any:
        bridge = Bridge(service, asyncio.get_running_loop())
        monkeypatch.setattr("service.cli.api.httpx.Client", lambda **given: real(transport=bridge, **given))
        arguments = [*words, "--json"] if as_json else list(words)
        with structlog.testing.capture_logs():
            # The service's log would stand between the command's lines.
            done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout) if as_json else done.output

    return invoke


def private(path: Path, text: str) -> str:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


async def refused(run: Run, *words: str) -> str:
    with pytest.raises(CommandFailed) as failure:
        await run(*words)
    return failure.value.code


async def signed_in(run: Run, tmp_path: Path) -> Sequence[str]:
    """Bob, registered and signed in; the options that give his password."""
    given = ["--password-file", private(tmp_path / "password", PASSWORD)]
    await run("register", "bob", *given)
    await run("sign-in", "bob", *given)
    return given


async def enrolled(service: Api, run: Run, tmp_path: Path) -> Callable[[], list[str]]:
    """Bob with a wallet, and an authenticator past its hold; the options that give its next code."""
    given = await signed_in(run, tmp_path)
    begun = await run("totp", "enrol", *given)
    seed = base64.b32decode(begun["secret"])

    def code() -> list[str]:
        service.clock.advance_ms(totp.STEP_S * 1_000)
        text = totp.code_at(seed, totp.step_at(service.clock.now_ms()))
        return ["--code-file", private(tmp_path / "code", text + "\n")]

    done = await run("totp", "confirm", *code(), "--codes-file", str(tmp_path / "codes"))
    assert done["recovery_codes"] is None
    assert len((tmp_path / "codes").read_text().split()) == 10
    service.clock.advance_ms(users.HOLD_MS)
    await give_wallet(service)
    return code


async def give_wallet(service: Api) -> None:
    """Bob's account gets one, as the operator makes it."""

    def write(c: Connection) -> None:
        account = people.account_by_name(c, "bob")
        assert account is not None
        wallets.insert_wallet(
            c,
            account_id=account.id,
            address=address_of(50),
            label="bobs",
            signer="keystore",
            master=service.services.master,
            now_ms=service.clock.now_ms(),
        )

    await service.services.db.run(write)


async def test_from_registering_to_a_key_in_use_and_out_again(service: Api, run: Run, tmp_path: Path) -> None:
    code = await enrolled(service, run, tmp_path)
    profile = tmp_path / "bot.toml"
    made = await run("my-key", "create", "bot", "--permission", "read", "--key-profile", str(profile))
    assert made["key"]["state"] == "waiting"
    assert made["secret"] is None
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    assert load_profile(profile).key == made["key"]["key"]
    activated = await run("my-key", "activate", "bot", *code())
    assert activated["state"] == "active"
    assert [key["label"] for key in (await run("my-key", "list"))["keys"]] == ["bot"]
    assert (await run("my-key", "show", "bot"))["key"] == made["key"]["key"]
    narrowed = await run("my-key", "change", "bot", "--ip", "203.0.113.7", "--expires", "90d")
    assert narrowed["ip_allowlist"] == ["203.0.113.7/32"]
    assert await refused(run, "my-key", "change", "bot", "--ip", "anywhere") == "totp_required"
    wider = ["--ip", "anywhere", "--permission", "read", "--permission", "trade"]
    limits = ["--daily-usd", "none", "--daily-gas", "ethereum=0.1", "--daily-orders", "7"]
    widened = await run("my-key", "change", "bot", *wider, *limits, *code())
    assert (widened["limits"]["daily_usd"], widened["limits"]["daily_orders"]) == (None, 7)
    assert widened["limits"]["daily_gas"] == {"ethereum": "0.1"}
    rotated = await run("my-key", "rotate", "bot", "--overlap", "2h", "--secret-file", str(tmp_path / "secret"))
    assert rotated["key"]["rotates"] == made["key"]["key"]
    assert len((tmp_path / "secret").read_text().strip()) == 64
    assert (await run("my-key", "revoke", "bot"))["key"]["state"] == "revoked"
    assert await run("sign-out") == {"ended": True}
    assert await refused(run, "whoami") == "not_signed_in"


async def test_the_session_is_in_a_private_file_and_its_token_on_no_screen(run: Run, tmp_path: Path) -> None:
    given = await signed_in(run, tmp_path)
    path = tmp_path / "home" / "session.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = await run("sign-in", "bob", *given, as_json=False)
    assert "signed in as" in shown
    assert "cs_" not in shown
    assert "cs_" in path.read_text()
    assert [one["agent"] for one in (await run("sessions", "list"))["sessions"]] == ["cambist", "cambist"]
    assert len((await run("sessions", "end", "--others"))["sessions"]) == 1
    path.chmod(0o644)
    assert await refused(run, "whoami") == "file_open_to_others"


async def test_a_file_that_exists_stops_a_command_before_its_secret_would_be_lost(
    service: Api, run: Run, tmp_path: Path
) -> None:
    await signed_in(run, tmp_path)
    await give_wallet(service)
    taken = private(tmp_path / "taken", "mine")
    assert await refused(run, "my-key", "create", "bot", "--permission", "read", "--secret-file", taken) == (
        "file_not_made"
    )
    assert (await run("my-key", "list"))["keys"] == []


async def test_an_authenticator_is_shown_as_a_qr_code_and_for_typing(run: Run, tmp_path: Path) -> None:
    given = await signed_in(run, tmp_path)
    shown = await run("totp", "enrol", *given, as_json=False)
    assert "or type" in shown
    assert "\u2580" in shown


def test_the_drawn_qr_code_has_every_module_of_the_code_dark_on_light() -> None:
    text = "otpauth://totp/Cambist:ada?secret=JBSWY3DPEHPK3PXP"
    dark = {"16": 1, "231": 0}
    drawn: list[list[int]] = []
    for line in qr_code(text).splitlines():
        pairs = re.findall(r"38;5;([0-9]+);48;5;([0-9]+)m\u2580", line)
        drawn += [[dark[top] for top, _ in pairs], [dark[bottom] for _, bottom in pairs]]
    wanted = [list(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=4)]
    assert drawn[: len(wanted)] == wanted
    assert not any(any(row) for row in drawn[len(wanted) :])


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("https://cambist.example", True),
        ("http://cambist.example", False),
        ("http://10.0.0.7", False),
        ("ftp://127.0.0.1", False),
    ],
)
def test_a_password_goes_to_this_machine_or_over_tls_only(url: str, passes: bool) -> None:
    if passes:
        assert private_url(url) == url
        return
    with pytest.raises(CommandFailed):
        private_url(url)
