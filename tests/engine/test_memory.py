"""Large blocks stay in the process."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from engine.memory import keep_large_blocks

ROOT = Path(__file__).resolve().parent.parent.parent
RESIDENT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "keep":
    from engine.memory import keep_large_blocks
    keep_large_blocks()
torch.ones(64, 2**20).sum()
print([int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")][0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_blocks_stay_in_the_process() -> None:
    words = [sys.executable, "-c", RESIDENT, str(ROOT)]
    kept, given_back = (int(subprocess.run([*words, how], capture_output=True, text=True).stdout) for how in ("keep", "plain"))
    assert kept - given_back > 200_000  # of 256 MiB, in KiB


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_large_blocks()
