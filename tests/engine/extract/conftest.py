"""Shared by the tests of `-m extract`: speech, and the command on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.engine.make import Outcome

Weir = Callable[..., Outcome]


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven files of 0.3 to 0.6 s in two folders."""
    folder, draws = tmp_path_factory.mktemp("audio") / "speech", np.random.default_rng(0)
    for index in range(7):
        path = folder / ("one" if index % 2 else "two") / f"{index}.{'flac' if index == 3 else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * draws.standard_normal(4800 + 800 * index), 16_000)
    return folder


@pytest.fixture
def extract(weir: Weir, encoder: Path, speech: Path) -> Callable[..., Outcome]:
    """`extract("--layers", "0")`: the small TERA on the speech into `features/`, one or two utterances a shard."""

    def command(*words: object, upstream: tuple[object, ...] = ("-u", "tera", "-k", encoder), audio: object = speech) -> Outcome:
        shard = () if "--shard-size" in words else ("--shard-size", "30K")
        where = () if {"-n", "-p"} & set(words) else ("-p", "features")
        return weir("-m", "extract", *upstream, "-t", audio, *where, "--device", "cpu", *shard, *words)

    return command
