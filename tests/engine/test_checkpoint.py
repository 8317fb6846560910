"""Checkpoints: plain content, written whole, and nothing executed by whatever is given in their place."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import checkpoint
from engine.errors import CheckpointError
from tests.engine import make
from tests.engine.make import Outcome


class Hostile:
    """Unpickling it runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "states-1.ckpt"
    state = {"Step": 1, "Args": {"downstream": "asr"}, "Config": {"a": [1, 2.5, None, "x"]}, "Downstream": {"weight": torch.arange(600.0)}}
    checkpoint.save(path, state)
    return path


def test_checkpoint_of_a_run_loads_with_torchs_own_weights_only(trained: make.Trained) -> None:
    for path in sorted(trained.folder.glob("*.ckpt")):
        state = torch.load(path, weights_only=True)
        assert {"Downstream", "Featurizer", "Optimizer", "Step", "Epoch", "Args", "Config", "Run", "Fingerprints"} <= state.keys()
        assert "Upstream" not in state  # it was frozen
    assert set(state["Featurizer"]) == {"weights"}


def test_what_was_saved_is_read_back(saved: Path) -> None:
    state = checkpoint.load(saved)
    assert state["Config"] == {"a": [1, 2.5, None, "x"]}
    assert torch.equal(state["Downstream"]["weight"], torch.arange(600.0))


@pytest.mark.parametrize("flag", ["-e", "-i", "-k"])
@pytest.mark.parametrize("archive", [True, False])
def test_hostile_pickle_executes_nothing_and_is_one_error(
    tmp_path: Path, weir: Any, data: Path, encoder: Path, flag: str, archive: bool
) -> None:
    path, mark = tmp_path / "hostile.ckpt", tmp_path / "executed"
    content = {"Step": 1, "Args": {}, "Config": {}, "Transformer": Hostile(mark), "Downstream": Hostile(mark)}
    if archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    train = make.train_words(tmp_path / "run", data, path if flag == "-k" else encoder)
    words: list[object] = {"-e": ["-m", "evaluate", "-e", path], "-i": [*train, "-i", path], "-k": train}[flag]
    outcome: Outcome = weir(*words)
    assert not mark.exists()
    assert outcome.status == 2
    assert "hostile.ckpt" in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


def test_truncated_checkpoint_is_refused_wherever_it_ends(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in sorted({0, 1, 2, 3, 4, 100, *np.linspace(0, len(whole) - 1, 40).astype(int).tolist()}):
        saved.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"states-1\.ckpt"):
            checkpoint.load(saved)


def test_damaged_checkpoint_never_shows_another_error(saved: Path) -> None:
    """Single bytes changed in the directory and in the pickle: read, or refused by name."""
    whole, draws = saved.read_bytes(), np.random.default_rng(0)
    for place in draws.integers(0, len(whole), 150).tolist():
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ int(draws.integers(1, 256))]) + whole[place + 1 :])
        try:
            checkpoint.load(saved)
        except CheckpointError as error:
            assert "states-1.ckpt" in str(error)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"Step": 3}, [1, 2], torch.zeros(3), {"Step": 1, "Args": {}}])
def test_foreign_content_is_refused_naming_what_it_lacks(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"foreign\.pt is not a checkpoint of a run: it lacks .*Config"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"\x80\x04\x95nothing", b"this is no checkpoint", b"PK\x03\x04", b"\x00" * 64])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.ckpt is no usable checkpoint"):
        checkpoint.load(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match=f"no checkpoint {path}"):
            checkpoint.load(path)


@pytest.mark.parametrize(
    "arguments", [{}, {"downstream": "asr"}, {"upstream": "tera", "data": None, "demo": True, "seed": 1, "precision": "fp32"}]
)
def test_checkpoint_of_something_else_than_a_head_is_one_error(tmp_path: Path, weir: Any, arguments: dict[str, Any]) -> None:
    """The last one is what `run_pretrain.py` writes."""
    path = tmp_path / "run" / "states-1.ckpt"
    checkpoint.save(path, {"Step": 1, "Args": arguments, "Config": {"task": "tera"}, "Transformer": {}, "Run": {}})
    for given in (path, path.parent):
        outcome: Outcome = weir("-m", "evaluate", "-e", given)
        assert outcome.status == 2 and "Traceback" not in outcome.err and str(path.parent) in outcome.err
