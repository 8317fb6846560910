"""Checkpoints: tensors and plain values only, written whole or not at all, under s3prl's names and keys.

Keys: Downstream, Featurizer, Upstream (with -f), Optimizer, Scheduler, Step, Epoch, Args, Config, and Run: what resuming
needs beside them (place in the data, best value so far, loss since the last logged line, seconds spent).
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from corpus.files import write_atomically
from engine.errors import CheckpointError

BROKEN = (RuntimeError, EOFError, BadZipFile, OSError, LookupError, TypeError, ValueError, AttributeError)
"""What reading a file that is no checkpoint may raise, by what it is instead."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: temporary file, fsync, rename."""
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours to the CPU, executing nothing. Raises CheckpointError naming the file and the remedy."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # said of files that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message advises to execute what is in the file
        reason = "it holds something else than tensors and plain values, or is cut short"
        raise CheckpointError(f"{path} is no usable checkpoint: {reason}; give a states-*.ckpt or *-best.ckpt that a run wrote") from None
    except BROKEN as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise CheckpointError(f"{path} is no usable checkpoint ({reason}); give a states-*.ckpt or *-best.ckpt that a run wrote") from None
    missing = [key for key in ("Step", "Args", "Config") if not isinstance(state, dict) or key not in state]
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of a run: it lacks {', '.join(missing)}")
    return state
