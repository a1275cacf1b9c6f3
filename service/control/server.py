"""The control socket of a running server.

Guarantees: the socket is 0600 from the moment it exists; a peer of another user (root excepted) is refused where
the kernel names the peer (Linux), and cannot open the socket elsewhere; one line in, one line out, with a size
limit and a time limit; an act that fails answers with its code and never ends the server by itself.
Does not guarantee order between acts of two clients: each is one unit of work of its own.
"""

import asyncio
import contextlib
import os
import pwd
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.control.paths import prepare_directory, socket_path
from service.control.protocol import MAX_LINE_BYTES, ActFailed, decode_request, encode_failure, encode_result

READ_TIMEOUT_S: Final = 10.0
MAX_CLIENTS: Final = 8
_UCRED: Final = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The user of this host who does an act, as the audit names them."""

    uid: int
    name: str


Perform = Callable[[str, Mapping[str, Any], Operator], Awaitable[Mapping[str, Any]]]
"""(act, params, operator) -> result. Raises ActFailed."""


class AnotherServer(Exception):
    """A living server listens on the socket already."""


def this_operator() -> Operator:
    """The user who runs this very process."""
    return operator_of(os.geteuid())


def operator_of(uid: int) -> Operator:
    """Operator by user id; a uid without a name is named by its number."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Operator(uid=uid, name=name)


@contextlib.asynccontextmanager
async def control_server(preferred: Path, perform: Perform) -> AsyncIterator[Path]:
    """Listen until the block ends; the socket file is removed at the end.

    Raises:
        AnotherServer: someone answers on the socket.
        UnsafeSocketDirectory: its directory is open to others.
    """
    path = socket_path(preferred)
    prepare_directory(path)
    _remove_stale(path)
    gate = asyncio.Semaphore(MAX_CLIENTS)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with gate:
            await _converse(reader, writer, perform=perform)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    server = await asyncio.start_unix_server(handle, sock=listener, limit=MAX_LINE_BYTES)
    try:
        yield path
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, perform: Perform) -> None:
    try:
        try:
            operator = _peer(writer)
            async with asyncio.timeout(READ_TIMEOUT_S):
                line = await reader.readline()
            act, params = decode_request(line)
            answer = encode_result(await perform(act, params, operator))
        except ActFailed as failure:
            answer = encode_failure(failure)
        except (TimeoutError, ValueError):
            # ValueError is StreamReader's for a line over the limit.
            answer = encode_failure(ActFailed("bad_request", "the request line is too long or came too slowly"))
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    finally:
        writer.close()


def _peer(writer: asyncio.StreamWriter) -> Operator:
    """Who is on the other end, by the kernel's word.

    Raises:
        ActFailed: another user than the one who runs the server, and not root.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        # Elsewhere the mode of the socket and of its directory is what keeps others out.
        return this_operator()
    connection: socket.socket = writer.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(raw)
    if uid not in (os.geteuid(), 0):
        raise ActFailed("not_the_operator", "only the user who runs the service may ask it for this")
    return operator_of(uid)


def _remove_stale(path: Path) -> None:
    """A socket file that nobody answers on is left from a killed server."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except FileNotFoundError:
                return
    raise AnotherServer(f"{path} is in use; is another cambist server running on this data directory?")
