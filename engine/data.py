"""Which data a run reads: the folder that the user names, or a built-in demo corpus."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from corpus import demo as demo_corpora
from corpus.errors import DataError
from engine.errors import ConfigError

log = logging.getLogger("weir")


def is_demo(data: Path | None, demo: bool | None) -> bool:
    """Whether these flags (and WEIR_DATA) mean the built-in corpora. Raises ConfigError where they contradict, DataError for a missing folder."""
    if demo and data is not None:
        raise ConfigError(f"--data {data} and --demo: give one of them")
    folder = data or (Path(os.environ["WEIR_DATA"]) if os.environ.get("WEIR_DATA") and not demo else None)
    if folder is not None and not folder.is_dir():
        raise DataError(f"no data folder {folder}; --data (or WEIR_DATA) names the folder that holds data sets such as LibriSpeech/")
    return folder is None


def data_folder(data: Path | None, demo: bool | None, edition: str) -> tuple[Path, bool]:
    """The folder that holds the data sets, and whether it is a demo corpus, which is made first where needed."""
    if not is_demo(data, demo):
        return (data or Path(os.environ["WEIR_DATA"])).resolve(), False
    if not demo:
        log.info("no data given: the built-in demo corpus is used (--data DIR or WEIR_DATA for real data)")
    return getattr(demo_corpora, edition)(), True
