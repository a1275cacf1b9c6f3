"""Ctrl-C and SIGTERM end a command in order, also one that was started in the background.

A shell without job control (a script, most CI runners) starts `command &` with SIGINT ignored, Python then leaves it
ignored, and so do all children: an interrupt meant for the command would do nothing.
"""

import signal


def end_on_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt in the main thread from now on, whatever was inherited."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
