#!/usr/bin/env python3
"""Train, evaluate and use downstream heads: `python run_downstream.py -m train -u tera -d asr`; see -h."""

from __future__ import annotations

import sys

from engine.cli import guarded


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 done, 2 the user's mistake, 1 ours."""
    return guarded(_main, argv)


def _main(argv: list[str] | None) -> int:
    from engine.parser import downstream_parser

    args = downstream_parser().parse_args(argv)

    import downstream
    from engine import commands

    return commands.run(args, downstream.registry)


if __name__ == "__main__":
    sys.exit(main())
