"""Demo corpora: miniature editions of real data sets in their own layouts, spoken by eSpeak NG voices."""

from __future__ import annotations

import importlib
from pathlib import Path


def make(edition: str) -> Path:
    """The folder that holds a miniature edition, made in the cache the first time (under a minute).

    Args:
        edition: name of a module of `corpus.demo.editions`, such as "librispeech"; it defines `make(cache) -> folder`.
    Raises:
        DataError: when eSpeak NG is not installed.
    """
    from corpus.cache import cache_dir

    return importlib.import_module(f"corpus.demo.editions.{edition}").make(cache_dir())
