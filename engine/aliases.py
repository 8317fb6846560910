"""s3prl's names of tasks and paths of configurations, mapped by `configs/aliases.yaml`; what is used is printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import configs
from engine import yaml12
from engine.errors import ConfigError


def apply(args: argparse.Namespace) -> None:
    """Replace old names in what was typed by ours. Raises ConfigError where an old name needs `-c` to say which task it is."""
    found = table()
    task = found["tasks"].get(args.downstream)
    if isinstance(task, dict):
        task = _by_configuration(args, task)
    if task is not None:
        print(f"-d {args.downstream} is {task} here", file=sys.stderr)
        args.downstream = task
    owner = None if not args.config or Path(args.config).exists() else _owner(args.config, found["configurations"])
    if owner is not None:
        if owner != args.downstream:
            raise ConfigError(f"-c {args.config} is the recipe of {owner}, and -d names {args.downstream}: give one of them")
        print(f"-c {args.config} is the recipe of {args.downstream} here (preset {args.preset or 'by the data'})", file=sys.stderr)
        args.config = None


def table() -> dict[str, Any]:
    """The content of `configs/aliases.yaml`."""
    return yaml12.read(Path(configs.__path__[0]) / "aliases.yaml")


def _by_configuration(args: argparse.Namespace, tasks: dict[str, str]) -> str:
    name = PurePosixPath(args.config or "").name
    if name not in tasks:
        choices = " or ".join(f"-d {task} (-d {args.downstream} -c downstream/{args.downstream}/{file})" for file, task in tasks.items())
        raise ConfigError(f"-d {args.downstream} means several tasks: give {choices}")
    return tasks[name]


def _owner(path: str, known: dict[str, str]) -> str | None:
    """The task of a configuration whose path ends as one of s3prl's."""
    parts = PurePosixPath(path).parts
    return next((task for old, task in known.items() if parts[-len(PurePosixPath(old).parts) :] == PurePosixPath(old).parts), None)
