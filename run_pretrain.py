#!/usr/bin/env python3
"""Pre-train an upstream: `python run_pretrain.py -u tera -n NAME`; see -h."""

from __future__ import annotations

import sys

from engine.cli import guarded


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 done, 2 the user's mistake, 1 ours."""
    return guarded(_main, argv)


def _main(argv: list[str] | None) -> int:
    from engine.parser import pretrain_parser

    args = pretrain_parser().parse_args(argv)

    import pretrain
    from engine.errors import ConfigError

    if args.list:
        print("\n".join(pretrain.registry.names()))
        return 0
    if not args.upstream:
        raise ConfigError("-u says what to pre-train; see --list")
    objective = pretrain.registry.resolve(args.upstream)
    if args.config:
        from engine import yaml12

        yaml12.read(args.config)  # what is wrong with the file itself is said before the objective brings PyTorch

    from engine.pretraining import pretrain as run

    return run(pretrain.registry.load(objective), args)


if __name__ == "__main__":
    sys.exit(main())
