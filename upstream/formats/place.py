"""Putting a folder in place whole or not at all."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, OPTIONAL, WEIGHTS_FILE
from upstream.native import some

WRITTEN = {CONFIG_FILE, WEIGHTS_FILE, *OPTIONAL}  # what our writers put into a folder


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside `folder`, flush it to the disk, then rename it into place; one that is there goes when that is done.

    What a killed process of this machine left beside `folder` is cleared away first.

    Raises:
        UpstreamError: what is there is no checkpoint folder of ours.
    """
    _clear_leftovers(folder)
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (_beside(folder, os.getpid(), word) for word in ("tmp", "old"))
    try:
        new.mkdir()
        fill(new)
        for path in (*new.iterdir(), new):
            _flush(path)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        _flush(folder.parent)
    except BaseException:
        if old.exists() and not folder.exists():
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


def _beside(folder: Path, process: int | str, word: str) -> Path:
    """Where a process of this machine keeps the new content (`tmp`) or the one before (`old`)."""
    return folder.with_name(f".{folder.name}.{platform.node()}.{process}.{word}")


def _clear_leftovers(folder: Path) -> None:
    """Remove what processes that no longer run have left; a folder that was only moved aside comes back."""
    pattern = re.compile(re.escape(_beside(folder, "#", "").name).replace(re.escape("#"), r"(\d+)") + "(tmp|old)")
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        found = pattern.fullmatch(path.name)
        if found is None or _runs(int(found[1])):
            continue
        if found[2] == "old" and not folder.exists():
            path.rename(folder)
        else:
            shutil.rmtree(path)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _flush(path: Path) -> None:
    """Bring a file's content, or a folder's list of files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
