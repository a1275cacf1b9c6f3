"""How a command ends when it did not do what was asked: a code, what went wrong, what to do; never a traceback.

Exit statuses: 0 done; 1 refused or failed; 2 wrong usage; 3 a server, node or file could not be reached;
4 accepted but not finished in the time given; 5 the outcome is unknown.
"""

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a script can branch on."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNFINISHED = 4
    UNKNOWN = 5


class CommandFailed(Exception):
    """Ends the command. `code` is the stable error code where the service gave one."""

    def __init__(self, code: str, message: str, *, hint: str = "", status: ExitStatus = ExitStatus.REFUSED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status
