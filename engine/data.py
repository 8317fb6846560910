"""Which data a run reads: the folder that the user names, or a built-in demo corpus."""

from __future__ import annotations

import os
from pathlib import Path

from corpus.demo import make
from corpus.errors import DataError
from engine.errors import ConfigError


def named_folder(data: Path | None, demo: bool | None) -> Path | None:
    """The data folder that the flags or WEIR_DATA name; None means the built-in corpora.

    Raises:
        ConfigError: the flags contradict each other.
        DataError: there is no such folder.
    """
    if demo and data is not None:
        raise ConfigError(f"--data {data} and --demo: give one of them")
    if demo:
        return None
    folder = data or (Path(os.environ["WEIR_DATA"]) if os.environ.get("WEIR_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise DataError(f"no data folder {folder}; --data (or WEIR_DATA) names the folder that holds data sets such as LibriSpeech/")
    return folder.resolve() if folder else None


def demo_folder(edition: str) -> Path:
    """The folder of a built-in corpus, which is made the first time."""
    return make(edition)
