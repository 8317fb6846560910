"""An experiment's folder: what it is called, what it holds, and when it may be written."""

from __future__ import annotations

import logging
import re
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from corpus.files import remove_unfinished
from engine.errors import CheckpointError, ConfigError

STATES = re.compile(r"^states-(\d+)\.ckpt$")
WRITTEN = (
    "config.yaml", "log.txt", "metrics.jsonl", "results.json", "predictions/*.jsonl", "events.out.tfevents.*",
    "states-*.ckpt", "*-best.ckpt", "config.json", "model.safetensors", "sweep.json", "layers.json", "*.png",
)  # fmt: skip
"""What runs leave in their folder; `--overwrite` removes these files and no others."""


def states(folder: Path) -> list[Path]:
    """`states-STEP.ckpt` in a folder, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("states-*.ckpt") if (match := STATES.match(path.name))]
    return [path for _, path in sorted(found)]


def prune(folder: Path, keep: int, step: int) -> None:
    """Remove all but the newest `keep` states up to `step`, which is safely written; later ones are of a course that was left."""
    found = states(folder)
    current = found.index(folder / f"states-{step}.ckpt")
    for path in (*found[: max(0, current + 1 - keep)], *found[current + 1 :]):
        path.unlink(missing_ok=True)


def newest(folder: Path) -> Path | None:
    """The newest `states-STEP.ckpt`, None where there is none."""
    found = states(folder)
    return found[-1] if found else None


def holds_run(folder: Path) -> bool:
    """Whether a run has written here."""
    return any((folder / name).exists() for name in ("config.yaml", "metrics.jsonl", "results.json")) or newest(folder) is not None


def best(folder: Path) -> Path:
    """The best checkpoint of an experiment. Raises CheckpointError where there is none, or more than one."""
    found = sorted(path for path in folder.glob("*best*.ckpt") if not path.name.startswith("."))  # hidden: a killed writer's
    if not found:
        raise CheckpointError(
            f"{folder} holds no best checkpoint: no head has been trained there; run -m train first, or name a checkpoint with -e"
        )
    if len(found) > 1:
        raise CheckpointError(f"{folder} holds {', '.join(path.name for path in found)}; name one of them with -e")
    return found[0]


def has_best(folder: Path) -> bool:
    """Whether a best checkpoint was saved here."""
    return any(not path.name.startswith(".") for path in folder.glob("*best*.ckpt"))


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint that `-e` means to evaluate or to use: a file itself; of a folder the best one."""
    if not path.exists():
        raise CheckpointError(f"no checkpoint or experiment {path}")
    return best(path) if path.is_dir() else path


def newest_or_named(path: Path) -> Path:
    """The checkpoint that `-e` means to go on training from: a file itself; of a folder the newest states."""
    if not path.is_dir():
        return resolve_checkpoint(path)
    found = newest(path)
    if found is None:
        raise CheckpointError(f"{path} holds no states-*.ckpt to go on from; run -m train first, or name a checkpoint with -e")
    return found


def claim(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run, unless it is to be continued or replaced, and what is no folder."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: -p names the folder of an experiment")
    if holds_run(folder) and not (resume or overwrite):
        raise ConfigError(f"{folder} holds a run: give -a to go on with it, --overwrite to replace it, or -n for another name")


def prepare(folder: Path, overwrite: bool, resume: bool) -> None:
    """Make the folder, without a run's files where one is replaced; half-written files of a killed process go."""
    if overwrite:
        for path in [path for pattern in WRITTEN for path in folder.glob(pattern)]:
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    if not resume:
        for leftover in folder.glob("events.out.tfevents.*"):
            leftover.unlink()


ROOMS = ("weir", "corpus", "upstream", "downstream", "pretrain")
"""Whose lines a run shows and keeps."""

_early = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
"""What is said before the folder exists."""


class _ProgressHandler(logging.StreamHandler):
    """Lines on stderr that do not break a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def start_logging(main: bool) -> None:
    """Weir's own lines go to stderr, those of the main process alone."""
    for room in ROOMS:
        logger = logging.getLogger(room)
        logger.handlers[:] = [_ProgressHandler(), _early] if main else [logging.NullHandler()]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def log_to(folder: Path) -> None:
    """And to `log.txt` in the folder, with the time; what was said before comes first."""
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    _early.setTarget(handler)
    _early.flush()
    for room in ROOMS:
        logger = logging.getLogger(room)
        logger.handlers[:] = [old for old in logger.handlers if old is not _early] + [handler]
