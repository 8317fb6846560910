"""The cache folder of `upstream` is that of `corpus`, which it may not import."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus import cache as of_corpus
from upstream.cache import cache_dir


@pytest.mark.parametrize("chosen", [None, "~/elsewhere"])
def test_both_rooms_keep_what_they_find_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str | None) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WEIR_CACHE", raising=False)
    if chosen:
        monkeypatch.setenv("WEIR_CACHE", chosen)
    assert cache_dir() == of_corpus.cache_dir()
