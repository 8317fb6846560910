"""An experiment's folder: what it is called, what it holds, and when it may be written."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from corpus.files import remove_unfinished
from engine.errors import CheckpointError, ConfigError

SWEEP = "sweep.json"
"""Names the runs that a sweep's folder holds in sub-folders."""

MEMBER = re.compile(r"[A-Za-z0-9][\w.-]*")
"""What a sub-folder of a sweep may be called: `--overwrite` removes it, and nothing outside."""

STATES = re.compile(r"^states-(\d+)\.ckpt$")
WRITTEN = (
    "config.yaml", "log.txt", "metrics.jsonl", "results.json", "predictions/*.jsonl", "events.out.tfevents.*",
    "states-*.ckpt", "*-best.ckpt", "config.json", "model.safetensors", "sweep.json", "layers.json", "layers.png",
    "rates.json", "rates.png", "layer_weights.png",
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
    written = ("config.yaml", "metrics.jsonl", "results.json", SWEEP)
    return any((folder / name).exists() for name in written) or newest(folder) is not None


def is_sweep(folder: Path) -> bool:
    """Whether the folder holds several runs in one: folds, or heads of single layers."""
    return (folder / SWEEP).is_file()


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
    if is_sweep(folder) and not overwrite:
        raise ConfigError(
            f"{folder} holds several runs in one: -a beside the same -v all, --layers all, --sweep or --seeds goes on with them, "
            "--overwrite replaces them; "
            "or give -n for another name"
        )
    if holds_run(folder) and not (resume or overwrite):
        raise ConfigError(f"{folder} holds a run: give -a to go on with it, --overwrite to replace it, or -n for another name")


def claim_sweep(folder: Path, resume: bool, overwrite: bool) -> None:
    """As `claim`, for several runs in one folder."""
    if not is_sweep(folder):
        if resume and holds_run(folder):
            raise ConfigError(f"{folder} holds a single run, which a sweep cannot go on with: give --overwrite, or -n for another name")
        claim(folder, False, overwrite)
    elif not (resume or overwrite):
        raise ConfigError(f"{folder} holds a sweep: give -a to go on with it, --overwrite to replace it, or -n for another name")


def sweep_members(folder: Path) -> list[str]:
    """The sub-folders of a sweep. Raises CheckpointError where its file is broken."""
    try:
        members = json.loads((folder / SWEEP).read_text())["members"]
        if not isinstance(members, list) or not all(isinstance(name, str) for name in members):
            raise ValueError("members is no list of names")
        if odd := [name for name in members if not MEMBER.fullmatch(name)]:
            raise ValueError(f"{odd[0]!r} is no name of a sub-folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / SWEEP} is broken ({error}); move it away, or give -n for another name") from None
    return members


def prepare(folder: Path, overwrite: bool, resume: bool) -> None:
    """Make the folder, without a run's files where one is replaced; half-written files of a killed process go."""
    if overwrite:
        if is_sweep(folder):
            for name in sweep_members(folder):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
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
