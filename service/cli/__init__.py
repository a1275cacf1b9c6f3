"""The command `cambist`: the owner's acts on this host, and trading through the HTTP API like anyone."""

import sys

from service.cli.failures import CommandFailed
from service.cli.output import print_failure


def main() -> int:
    """Run the command in `sys.argv`; the answer is the exit status (see `service.cli.failures`)."""
    from service.cli.commands import app  # so that `--help` of a broken installation still says what is missing

    try:
        app()
    except CommandFailed as failure:
        print_failure(failure, as_json="--json" in sys.argv[1:])
        return int(failure.status)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return 0
