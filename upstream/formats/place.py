"""Putting a folder in place whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, OPTIONAL, WEIGHTS_FILE
from upstream.native import some

WRITTEN = {CONFIG_FILE, WEIGHTS_FILE, *OPTIONAL}  # what our writers put into a folder


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside `folder`, then rename it into place; one that is there goes when the new one is complete.

    Raises:
        UpstreamError: what is there is no checkpoint folder of ours.
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
    """Refuse to remove what is neither empty nor a checkpoint folder as it is written here.

    Raises:
        UpstreamError: it is a file, holds something else, or lacks configuration or weights.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UpstreamError(f"{folder}: is a file; this format is a folder: give another name")
    found = {path.name for path in folder.iterdir()}
    odd = {name for name in found if name not in WRITTEN or not (folder / name).is_file()}
    if odd:
        raise UpstreamError(f"{folder}: is not overwritten: it holds {some(odd)}, which is never written there; give another name")
    if found and (lacking := {CONFIG_FILE, WEIGHTS_FILE} - found):
        raise UpstreamError(f"{folder}: is not overwritten: it holds {some(found)} without {some(lacking)}; give another name")
