"""What every entry point does with errors: one message for the user's mistakes, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from engine.memory import keep_large_blocks


def guarded(command: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    """Run a command. Returns its exit status; 2 for the user's mistakes, 130 where the user interrupts."""
    keep_large_blocks()
    try:
        return command(argv)
    except KeyboardInterrupt:
        print("interrupted; what is saved stays: the same command goes on, training with -a", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output is gone
        return 1
    except ValueError as error:
        from engine.errors import USER_ERRORS  # not before: -h does without

        if not isinstance(error, USER_ERRORS):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
