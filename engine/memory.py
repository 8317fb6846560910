"""Keeps large blocks of memory in the process instead of giving them back to the system after every operation.

glibc returns each freed activation and faults its pages in again for the next one, which costs a sixth of an encoder's time on
a CPU and more of a training step's. What a reading thread has filled in an arena of its own would be returned too: there is one for all.
"""

from __future__ import annotations

import contextlib

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
LARGEST = 2**31 - 1


def keep_large_blocks() -> None:
    """Set it for this process; nothing happens with another C library than glibc."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # no such library, or no such function in it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_ARENA_MAX, 1)
