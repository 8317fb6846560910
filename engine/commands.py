"""What `run_downstream.py` does: finds out which command is meant, and answers at once where nothing has to be configured.

Lists, and names that do not exist, need neither the configuration models nor NumPy nor PyTorch; each import below waits until it is
known to be needed.
"""

from __future__ import annotations

import argparse

import upstream
from engine import aliases
from engine.errors import ConfigError
from upstream.registry import Registry

STORES = ("store_list", "store_prune", "store_verify", "older_than")
"""Flags of the commands on what is stored."""


def run(args: argparse.Namespace, tasks: Registry) -> int:
    """Do what the command line asks for. Returns the exit status."""
    if args.list or args.describe:
        from engine import listing

        print(listing.names(tasks) if args.list else listing.card(args.describe, tasks, args.upstream_ckpt))
        return 0
    if any(getattr(args, flag) is not None for flag in STORES):
        return _stores(args)
    if args.mode is None:
        raise ConfigError("-m is not given: train, evaluate, inference or extract (-h shows examples)")
    if args.mode != "extract":
        aliases.apply(args)
    _check_names(args, tasks)
    from engine import modes  # brings the configuration models

    return modes.run(args, tasks)


def _stores(args: argparse.Namespace) -> int:
    from engine import stores

    command = stores.asked_for(args)
    assert command is not None
    text, status = stores.run(command, args)
    print(text)
    return status


def _check_names(args: argparse.Namespace, tasks: Registry) -> None:
    """Refuse names that do not exist, and a command without those that it needs."""
    if args.upstream is not None:
        upstream.check(args.upstream, args.upstream_ckpt)
    if args.mode == "extract":
        return
    if args.downstream is not None:
        tasks.resolve(args.downstream)
    for flag, value in (("-u", args.upstream), ("-d", args.downstream)):
        if not value and not args.past_exp:
            raise ConfigError(f"{flag} is not given: -u names the upstream and -d the task (see --list), or -e a checkpoint")
