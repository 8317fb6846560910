#!/usr/bin/env python3
"""Show, compare and hand in what runs gave: `python leaderboard.py result/downstream`; see -h."""

from __future__ import annotations

import sys

from engine.cli import guarded


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 done, 2 the user's mistake or a broken result, 1 ours."""
    return guarded(_main, argv)


def _main(argv: list[str] | None) -> int:
    from report import command

    answer = command.run(command.parser().parse_args(argv))
    print(answer.text, end="")
    for remark in answer.remarks:
        print(remark, file=sys.stderr)
    return answer.status


if __name__ == "__main__":
    sys.exit(main())
