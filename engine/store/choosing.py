"""Whether representations are stored: by what is asked for, by room, and by measured speed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpus.files import TEMPORARY
from engine.config import Store
from engine.errors import ConfigError
from engine.store import layout
from engine.store.layout import size_words

SMALL = 64 << 20
"""Bytes of frames below which they are stored without measuring: whatever is found, it is a matter of seconds."""

PROBE_BYTES = 16 << 20


@dataclass(frozen=True)
class Demand:
    """What would be stored, and how often it would be read.

    Attributes:
        bytes: about, all of it.
        written: of these, on disk already, by a run that was cut short.
        seconds: of audio.
        uses: how often each utterance is needed; a share counts.
    """

    bytes: int
    written: int
    seconds: float
    uses: float


def room(config: Store, demand: Demand) -> tuple[bool, str]:
    """Whether there is room within the limit and half of the free disk, and the sizes in words.

    Raises:
        ConfigError: `--store frames` or `--store pooled` insists on what does not fit.
    """
    free = shutil.disk_usage(_existing(layout.root())).free + demand.written
    allowed = min(config.limit_bytes(), free // 2)
    size = size_words(demand.bytes)
    if demand.bytes <= allowed:
        return True, size
    limits = f"{size} do not fit in {size_words(allowed)} (--store-limit {config.limit}, half of {size_words(free)} free)"
    if config.mode in ("frames", "pooled"):
        raise ConfigError(f"--store {config.mode}: {limits}; raise --store-limit, set WEIR_CACHE to another disk, or give --store off")
    return False, limits


def pays(demand: Demand, forward: Callable[[], float]) -> tuple[bool, str]:
    """Whether frames are read faster, over all uses, than they are computed anew, and why.

    Args:
        forward: measures how many seconds of audio are read and encoded a second.
    """
    if demand.bytes <= SMALL:
        return True, "too little to measure"
    if demand.uses <= 1:
        return False, "needed once"
    speed = forward()
    disk = read_speed(layout.root())
    live = demand.uses * demand.seconds / speed
    stored = demand.seconds / speed + (demand.uses * demand.bytes / disk if disk else float("inf"))
    reading = demand.seconds * disk / demand.bytes
    figures = f"encoding runs at {speed:,.0f} x real time, reading at {reading:,.0f} x; {demand.uses:.3g} passes"
    return stored < live, f"{figures} take {_time(stored)} stored, {_time(live)} live"


@cache
def read_speed(folder: Path) -> float:
    """Bytes a second that the disk of a folder gives, past the page cache where the system allows it; 0 where it cannot be written."""
    path = _existing(folder) / f"{TEMPORARY}speed-{os.getpid()}"
    try:
        with open(path, "wb+", buffering=0) as file:
            file.write(os.urandom(PROBE_BYTES))
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            began = time.perf_counter()
            count = len(file.read())
            return count / max(time.perf_counter() - began, 1e-9)
    except OSError:
        return 0.0
    finally:
        path.unlink(missing_ok=True)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
