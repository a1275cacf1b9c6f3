"""The control socket: a real one, between a server task and the synchronous client in a thread."""

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from service.control.client import ask
from service.control.paths import MAX_PATH_BYTES, UnsafeSocketDirectory, prepare_directory, socket_path
from service.control.protocol import MAX_LINE_BYTES, ActFailed, ControlUnavailable
from service.control.server import AnotherServer, Operator, control_server


async def echo(act: str, params: Mapping[str, Any], operator: Operator) -> Mapping[str, Any]:
    if act == "refuse":
        raise ActFailed("refused_here", "no", hint="ask again")
    return {"act": act, "params": dict(params), "uid": operator.uid}


@pytest.fixture
def place() -> Iterator[Path]:
    """Not below pytest's own directory: the kernel takes no path of more than some hundred bytes for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "control.sock"


async def test_an_act_and_its_parameters_arrive_with_the_user_who_asked(place: Path) -> None:
    async with control_server(place, echo):
        answer = await asyncio.to_thread(ask, place, "key.list", {"label": "bot"})
    assert answer == {"act": "key.list", "params": {"label": "bot"}, "uid": os.geteuid()}


async def test_a_refusal_comes_out_with_its_code_and_hint(place: Path) -> None:
    async with control_server(place, echo):
        with pytest.raises(ActFailed) as failure:
            await asyncio.to_thread(ask, place, "refuse", {})
    assert (failure.value.code, failure.value.message, failure.value.hint) == ("refused_here", "no", "ask again")


async def test_only_the_owner_can_open_the_socket_file(place: Path) -> None:
    async with control_server(place, echo) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path == place


async def test_the_socket_file_is_gone_when_the_server_has_ended(place: Path) -> None:
    async with control_server(place, echo) as path:
        pass
    assert not path.exists()
    with pytest.raises(ControlUnavailable):
        await asyncio.to_thread(ask, place, "status", {})


async def test_a_socket_file_left_by_a_killed_server_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(place))
    async with control_server(place, echo):
        assert (await asyncio.to_thread(ask, place, "status", {}))["act"] == "status"


async def test_a_second_server_on_the_same_socket_is_refused(place: Path) -> None:
    async with control_server(place, echo):
        with pytest.raises(AnotherServer):
            async with control_server(place, echo):
                pass
        assert (await asyncio.to_thread(ask, place, "status", {}))["act"] == "status"


async def test_a_directory_that_others_can_enter_is_refused(place: Path) -> None:
    place.parent.chmod(0o755)
    with pytest.raises(UnsafeSocketDirectory):
        prepare_directory(place)


async def test_a_line_over_the_limit_is_refused_and_the_server_lives_on(place: Path) -> None:
    async with control_server(place, echo):
        with pytest.raises(ActFailed) as failure:
            await asyncio.to_thread(ask, place, "status", {"padding": "x" * (MAX_LINE_BYTES + 1)})
        assert failure.value.code in ("bad_request", "outcome_unknown")
        assert (await asyncio.to_thread(ask, place, "status", {}))["act"] == "status"


async def test_what_is_not_a_request_is_refused(place: Path) -> None:
    async with control_server(place, echo) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\n\n")
        line = await reader.readline()
        writer.close()
    assert b'"bad_request"' in line


def test_a_path_too_long_for_the_kernel_gets_a_short_one_that_both_sides_compute() -> None:
    long = Path("/srv") / ("deep" * 40) / "control.sock"
    short = socket_path(long)
    assert len(os.fsencode(short)) <= MAX_PATH_BYTES
    assert short == socket_path(long)
    assert short != socket_path(long.with_name("other.sock"))


async def test_a_path_too_long_for_the_kernel_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = tmp_path / ("x" * 120) / "control.sock"
    async with control_server(long, echo) as path:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (await asyncio.to_thread(ask, long, "status", {}))["act"] == "status"
