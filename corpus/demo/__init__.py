"""Demo corpora: miniature editions of real data sets in their own layouts, spoken by eSpeak NG voices."""

from __future__ import annotations

from pathlib import Path


def librispeech() -> Path:
    """The folder that holds miniature `LibriSpeech/` and its lexicon, made in the cache the first time (under a minute).

    Raises: DataError: when eSpeak NG is not installed.
    """
    from corpus.cache import cache_dir
    from corpus.demo.editions.librispeech import make

    return make(cache_dir())


def pretraining() -> Path:
    """The folder that holds `LibriSpeech/train-clean-360/`: hours of training voices alone, made in the cache the first time.

    Raises: DataError: when eSpeak NG is not installed.
    """
    from corpus.cache import cache_dir
    from corpus.demo.editions.pretraining import make

    return make(cache_dir())
