"""Shared by the tests of `engine`, `downstream` and `pretrain`: speech of a second, a small encoder, and one trained run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import commands
from engine.cli import guarded
from engine.parser import downstream_parser
from tests.engine import make, toy


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps device and precision in a state of the whole process; every test begins without one."""
    make.forget_accelerator()
    yield
    make.forget_accelerator()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `LibriSpeech/`: 8 + 2 + 2 utterances of noise bursts, one a letter."""
    return make.speech(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TERA with random weights in native format."""
    return make.encoder(tmp_path_factory.mktemp("encoder") / "small")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path, encoder: Path) -> make.Trained:
    """A run of six updates, trained once a session; tests must not write into its folder."""
    make.forget_accelerator()
    return make.train(tmp_path_factory.mktemp("runs") / "trained", data, encoder)


@pytest.fixture
def weir(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., make.Outcome]:
    """`weir("-m", "train", …)`: the downstream command in this process, from an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> make.Outcome:
        capsys.readouterr()
        status = make.downstream(*words)
        out, err = capsys.readouterr()
        return make.Outcome(status, out, err)

    return command


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path, encoder: Path
) -> Callable[..., make.Outcome]:
    """`run("-m", "train", …)` with the toy tasks, the small encoder and the tone bursts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIR_DATA", str(data))
    tasks = toy.registry(tmp_path / "recipes")

    def command(*words: object) -> make.Outcome:
        capsys.readouterr()
        make.forget_accelerator()
        typed = [str(encoder) if word == "ENCODER" else str(word) for word in words]
        status = guarded(lambda argv: commands.run(downstream_parser().parse_args(argv), tasks), [*typed, "--device", "cpu"])
        out, err = capsys.readouterr()
        return make.Outcome(status, out, err)

    return command
