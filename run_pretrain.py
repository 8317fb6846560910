#!/usr/bin/env python3
"""Pre-train an upstream: `python run_pretrain.py -u tera -n NAME`; see -h."""

from __future__ import annotations

import sys

from engine.cli import guarded


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 done, 2 the user's mistake, 1 ours."""
    return guarded(_main, argv)


def _main(argv: list[str] | None) -> int:
    import pretrain
    from engine import pretraining
    from engine.errors import ConfigError

    args = pretraining.build_parser().parse_args(argv)
    if args.list:
        print("\n".join(pretrain.registry.names()))
        return 0
    if not args.upstream:
        raise ConfigError("-u says what to pre-train; see --list")
    return pretraining.pretrain(pretrain.registry.load(args.upstream), args)


if __name__ == "__main__":
    sys.exit(main())
