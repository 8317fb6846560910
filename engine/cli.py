"""What every entry point does with errors: one message for the user's mistakes, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from engine.errors import USER_ERRORS


def guarded(command: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    """Run a command. Returns its exit status; 2 for the user's mistakes, 130 where the user interrupts."""
    try:
        return command(argv)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with -a goes on from the last saved step", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
