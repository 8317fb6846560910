"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus.errors import DataError

TEMPORARY = ".weir-writing-"
"""How the name of an unfinished file begins; no glob for finished ones (`*.ckpt`) matches it."""

NEARLY_FULL = 1 << 20
"""Free bytes below which a failed write is put down to the full disk: some writers hide the system's own error."""


def write_atomically(path: Path | str, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old content or the new, never a part.

    Missing parent folders are made.

    Args:
        path: the file to create or replace.
        content: bytes, text (UTF-8), or a function that writes the file whose path it is given. That path lies in the same
            folder and ends like `path`, so that writers which look at the suffix work.
    Raises:
        DataError: the file cannot be written (no space, no permission, no folder), naming path, cause and remedy.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{path.name}")
    with _explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, content)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path | str) -> None:
    """Delete what killed writers left in a folder; call it only where no other process is writing."""
    for leftover in Path(folder).glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def make_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder that appears whole or not at all, unless it is there already.

    It is filled under another name and renamed. A process that comes meanwhile waits for the one at work; what killed ones left
    behind is removed.

    Args:
        folder: what to make; missing parents are made too.
        fill: fills the folder whose path it is given, which does not exist yet or is empty.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return
        for leftover in folder.parent.glob(f".{folder.name}.making-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        making = folder.with_name(f".{folder.name}.making-{uuid.uuid4().hex[:12]}")
        try:
            making.mkdir()
            fill(making)
            _rename_folder(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _rename_folder(making: Path, folder: Path) -> None:
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another machine on the same disk was first
            raise
    _sync(folder.parent)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of this file; the system gives it back when its process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(temporary: Path, content: bytes | str | Callable[[Path], object]) -> None:
    if callable(content):
        content(temporary)
        _sync(temporary)
        return
    with open(temporary, "xb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into a DataError that says what to do."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if _disk_is_full(error, path.parent):
            raise DataError(f"no space left to write {path}: free some, or choose a folder on another disk") from error
        if isinstance(error, OSError):
            raise DataError(f"cannot write {path}: {error.strerror or error}; choose a folder that can be written") from error
        raise


def _disk_is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if "no space left" in str(error).lower():
        return True
    return folder.is_dir() and shutil.disk_usage(folder).free < NEARLY_FULL
