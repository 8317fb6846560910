"""Choices by measurement: made once, and alike for everybody."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from upstream.fast.choice import once


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("answer", [True, False])
def test_question_is_measured_once_and_others_apart(answer: bool) -> None:
    assert once("a", lambda: answer) is answer
    assert once("a", lambda: pytest.fail("measured again")) is answer
    assert once("b", lambda: not answer) is not answer


@pytest.mark.parametrize("content", ["", "ye", "perhaps\n"])
def test_answer_that_was_cut_short_is_measured_again(cache: Path, content: str) -> None:
    once("a", lambda: True)
    (path,) = (cache / "choices").iterdir()
    path.write_text(content)
    assert once("a", lambda: False) is False
    assert once("a", lambda: True) is False


def test_those_who_ask_at_once_get_one_answer() -> None:
    answers, asked = [], []

    def measure() -> bool:
        asked.append(True)
        time.sleep(0.05)
        return len(asked) == 1

    threads = [threading.Thread(target=lambda: answers.append(once("a", measure))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4 and len(asked) == 1


def test_cache_that_cannot_be_written_leaves_each_process_its_answer(cache: Path) -> None:
    cache.write_text("no folder")
    assert once("a", lambda: True) is True and once("a", lambda: False) is False
