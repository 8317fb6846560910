"""Where this package keeps what it measured: inside the cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder: `WEIR_CACHE` where it is set, else `~/.cache/weir`. It is not created here."""
    chosen = os.environ.get("WEIR_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "weir"
