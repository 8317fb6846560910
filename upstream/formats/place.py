"""Putting a folder in place whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from upstream.errors import UpstreamError
from upstream.native import some

# What a checkpoint folder may hold for another to take its place.
REPLACEABLE = (".json", ".safetensors", ".bin", ".txt", ".md")


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside `folder`, then rename it into place; one that is there goes when the new one is complete.

    Raises:
        UpstreamError: what is there is no checkpoint folder.
    """
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{word}") for word in ("tmp", "old"))
    try:
        new.mkdir()
        fill(new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    finally:
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Refuse to remove what is not a checkpoint folder.

    Raises:
        UpstreamError: it is a file, or holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UpstreamError(f"{folder}: is a file; this format is a folder: give another name")
    odd = {path.name for path in folder.iterdir() if not (path.is_file() and path.suffix in REPLACEABLE)}
    if odd:
        raise UpstreamError(f"{folder}: is not overwritten: it holds {some(odd)}, which no checkpoint has; give another name")
