"""`--store-list`, `--store-prune`, `--store-verify`: what is stored in the cache, and what of it may go. Needs no PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import results
from engine.errors import CheckpointError, ConfigError
from engine.store import layout

COMMANDS = {"store_list": "--store-list", "store_prune": "--store-prune", "store_verify": "--store-verify"}
DAY = 86_400


@dataclass(frozen=True)
class Found:
    """A store on disk, finished or not.

    Attributes:
        bytes: on disk.
        used: when it was last opened or written (seconds since the epoch).
    """

    folder: Path
    about: dict[str, Any]
    complete: bool
    bytes: int
    used: float

    @property
    def key(self) -> str:
        """Enough of its name to tell it from others."""
        return self.folder.name[:12]

    @property
    def what(self) -> str:
        return self.about.get("what", "written by another version")


def asked_for(args: argparse.Namespace) -> str | None:
    """Which of these commands is meant.

    Raises:
        ConfigError: two of them, or flags beside that mean nothing to it.
    """
    given = {name for name, value in vars(args).items() if value is not None}
    chosen = sorted(given & COMMANDS.keys())
    if not chosen:
        if args.older_than is not None:
            raise ConfigError("--older-than belongs to --store-prune")
        return None
    foreign = sorted(given - {chosen[0]} - ({"older_than"} if chosen[0] == "store_prune" else set()))
    if foreign:
        raise ConfigError(f"{COMMANDS[chosen[0]]} stands alone: leave {', '.join('--' + name.replace('_', '-') for name in foreign)} out")
    if args.older_than is not None and args.older_than < 0:
        raise ConfigError(f"--older-than {args.older_than:g}: give a number of days, such as 30")
    return chosen[0]


def run(command: str, args: argparse.Namespace) -> tuple[str, int]:
    """Do it. Returns what to print, and the exit status."""
    if command == "store_list":
        return listing(), 0
    if command == "store_prune":
        return prune(args.older_than), 0
    return verify()


def find() -> list[Found]:
    """Every store, the last used first."""
    folder = layout.root()
    found = [_found(path) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda store: -store.used)


def _found(folder: Path) -> Found:
    states = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a shard that is renamed at this moment
            states[path.name] = path.stat()
    complete = layout.MANIFEST in states
    touched = [states[layout.MANIFEST]] if complete else [folder.stat(), *states.values()]
    size = sum(state.st_size for state in states.values())
    return Found(folder, layout.read_about(folder), complete, size, max(state.st_mtime for state in touched))


def listing() -> str:
    """An aligned table of all stores."""
    stores = find()
    if not stores:
        return f"nothing is stored in {layout.root()}"
    header = ["what", "reduction", "utterances", "size", "last used", "state", "key"]
    rows = [
        [store.what, store.about.get("reduction", ""), f"{store.about['utterances']:,}" if "utterances" in store.about else "",
         layout.size_words(store.bytes), _ago(store.used), _state(store), store.key]
        for store in stores
    ]  # fmt: skip
    total = f"{len(stores)} in {layout.root()}: {layout.size_words(sum(store.bytes for store in stores))}"
    return f"{results.table([header, *rows])}\n{total}"


def _state(store: Found) -> str:
    with layout.alone(store.folder) as free:
        return ("complete" if store.complete else "incomplete") if free else "in use" if store.complete else "being written"


def prune(days: float | None) -> str:
    """Remove what no run finished or, with `days`, what none has used for so long. What a run reads or writes stays."""
    if days is None:
        chosen = [store for store in find() if not store.complete]
    else:
        chosen = [store for store in find() if store.used < time.time() - days * DAY]
    lines, freed = [], 0
    for store in chosen:
        with layout.alone(store.folder) as free:
            if free:
                layout.remove(store.folder)
                freed += store.bytes
            lines.append(f"{'removed' if free else 'in use, kept:'} {store.key}  {store.what}  {layout.size_words(store.bytes)}")
    return "\n".join([*lines, f"{layout.size_words(freed)} freed" if chosen else "nothing to remove"])


def verify() -> tuple[str, int]:
    """Read every finished store, and take out what is not what was written: the next run that needs it writes it again."""
    lines, damaged = [], 0
    for store in find():
        if not store.complete:
            continue
        wrong = list(_wrong(store.folder))
        damaged += bool(wrong)
        lines.append(f"{'DAMAGED' if wrong else 'ok'}  {store.key}  {store.what}  {layout.size_words(store.bytes)}")
        lines += [f"  {line}" for line in (_taken_out(store, wrong) if wrong else [])]
    return "\n".join(lines or [f"nothing is stored in {layout.root()}"]), 2 if damaged else 0


def _wrong(folder: Path) -> Iterator[tuple[int | None, str]]:
    """The number of each damaged shard (None: the index), and what is wrong with it."""
    try:
        manifest, _, _ = layout.read_index(folder)
    except CheckpointError as error:
        yield None, str(error)
        return
    for number, shard in enumerate(manifest.shards):
        if layout.file_sha256(layout.shard_path(folder, number)) != shard.sha256:
            yield number, f"{layout.shard_path(folder, number).name} is not what was written"


def _taken_out(store: Found, wrong: list[tuple[int | None, str]]) -> Iterator[str]:
    """Remove the damaged shards, and what says that they are there."""
    with layout.alone(store.folder) as free:
        for number, reason in wrong:
            if free:
                (store.folder / layout.MANIFEST).unlink(missing_ok=True)
                if number is not None:
                    layout.part_path(store.folder, number).unlink(missing_ok=True)
            yield f"{reason}: {'it is made again when it is needed' if free else 'in use, and left as it is; verify it again later'}"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"
