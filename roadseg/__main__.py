"""The program ``roadseg``, and ``python -m roadseg``: the command line, whose imports Ctrl-C ends at once."""

import gc
import os
import signal
from types import FrameType
from typing import NoReturn

_GARBAGE_AFTER = 50_000
"""New objects until Python looks for garbage among them; by default 700, which is all the while it imports."""


def main() -> None:
    """Run the command line; until a command handles Ctrl-C itself, nothing has been begun."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, stop_at_once)
    gc.set_threshold(_GARBAGE_AFTER)
    from roadseg.cli import main as command_line

    command_line()


def stop_at_once(_: int, __: FrameType | None) -> NoReturn:
    """End the process with a sentence instead of a traceback."""
    os.write(2, b"\nroadseg: interrupted; nothing was begun\n")
    os._exit(130)


if __name__ == "__main__":
    main()
