"""Choices that a measurement makes once a machine, and that are kept: the ways to choose from differ in the last bits of what they
give, so several processes, several runs and a run that goes on must choose alike.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from upstream.cache import cache_dir

WORDS = {"yes\n": True, "no\n": False}


def once(question: str, measure: Callable[[], bool]) -> bool:
    """The answer that was measured on this kind of CPU with this PyTorch; where there is none, `measure` gives it, to one process at
    a time. A cache that cannot be written leaves every process its own answer.
    """
    facts = "\n".join([question, _cpu(), torch.backends.cpu.get_cpu_capability(), torch.__version__])
    path = cache_dir() / "choices" / f"{hashlib.sha256(facts.encode()).hexdigest()[:20]}.txt"
    if (kept := _kept(path)) is not None:
        return kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if (kept := _kept(path)) is None:
                kept = measure()
                file.truncate(0)
                file.write(f"{'yes' if kept else 'no'}\n{facts}\n")
            return kept
    except OSError:
        return measure()


def _kept(path: Path) -> bool | None:
    """The answer in a file; None where there is none, or it was cut short."""
    try:
        with open(path, encoding="utf-8") as file:
            return WORDS.get(file.readline())
    except OSError:
        return None


def _cpu() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
