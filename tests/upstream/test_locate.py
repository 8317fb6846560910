"""What `-k` may say, and what happens without it."""

from __future__ import annotations

from pathlib import Path

import pytest

import upstream
from tests.upstream import make
from upstream import locate
from upstream.errors import UpstreamError


def test_shipped_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "SHIPPED", tmp_path)
    assert upstream.shipped_for("tera") is None
    model = make.tera()
    model.save_native(tmp_path / "tera-mini")
    assert upstream.shipped_for("tera_960hr") == "tera-mini"
    assert upstream.fingerprint(upstream.load("tera", "tera-mini")) == upstream.fingerprint(model)
    with pytest.raises(UpstreamError, match="unknown checkpoint 'tera-mimi': did you mean 'tera-mini'"):
        upstream.load("tera", "tera-mimi")


def test_folder_with_one_checkpoint_is_that_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "log.txt").touch()
    with pytest.raises(UpstreamError, match="no checkpoint"):
        upstream.find_checkpoint(tmp_path)
    one = tmp_path / "states-1.ckpt"
    one.touch()
    assert upstream.find_checkpoint(tmp_path) == one
    (tmp_path / "states-2.ckpt").touch()
    with pytest.raises(UpstreamError, match=r"2 checkpoints \(states-1.ckpt, states-2.ckpt\)"):
        upstream.find_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"]
)
def test_folder_with_a_configuration_and_weights_is_that_folder(weights: str, tmp_path: Path) -> None:
    for name in ("config.json", weights, "states-1.ckpt", "states-2.ckpt"):
        (tmp_path / name).touch()
    assert upstream.find_checkpoint(tmp_path) == tmp_path


def test_folder_with_a_configuration_and_one_other_checkpoint_is_that_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "hubert.pt").touch()
    assert upstream.find_checkpoint(tmp_path) == tmp_path / "hubert.pt"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("o/name", ("o/name", None, "main")),
        ("o/name@v1.0", ("o/name", None, "v1.0")),
        ("o/name/a/b.pt", ("o/name", "a/b.pt", "main")),
        ("o/name@refs/pr/3/a/b.pt", ("o/name", "a/b.pt", "refs/pr/3")),
        ("o/name@0123abc/b.pt", ("o/name", "b.pt", "0123abc")),
        ("https://huggingface.co/o/name", ("o/name", None, "main")),
        ("https://huggingface.co/o/name/tree/v1/", ("o/name", None, "v1")),
        ("https://huggingface.co/o/name/resolve/v1/a/b.pt?download=true", ("o/name", "a/b.pt", "v1")),
        ("https://huggingface.co/o/name/blob/main/b.pt", ("o/name", "b.pt", "main")),
    ],
)
def test_names_and_addresses_on_the_hub(text: str, asked: tuple[str, str | None, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "fetch_file", lambda repo, file, revision, **_: (repo, file, revision))
    monkeypatch.setattr(locate, "fetch_encoder", lambda repo, revision, **_: (repo, None, revision))
    assert upstream.find_checkpoint(text) == asked


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ("./none.ckpt", "there is no such file or folder"),
        ("/none/at/all", "there is no such file or folder"),
        ("states.ckpt", "there is no such file or folder"),
        ("word", "unknown checkpoint 'word'"),
        ("https://example.org/x.ckpt", "download the file and give its path"),
        ("https://huggingface.co/o/name/discussions/1", "download the file and give its path"),
    ],
)
def test_places_that_do_not_exist_are_errors(checkpoint: str, words: str) -> None:
    with pytest.raises(UpstreamError, match=words):
        upstream.load("tera", checkpoint)


def test_checkpoint_for_an_encoder_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="upstream 'fbank' takes no checkpoint, but was given '/x/y.ckpt'"):
        upstream.load("fbank", "/x/y.ckpt")


def test_local_alias_needs_a_checkpoint() -> None:
    with pytest.raises(UpstreamError, match="upstream 'tera_local' needs a checkpoint: give it with -k, or use 'tera'"):
        upstream.load("tera_local")


def test_unknown_padding_is_an_error() -> None:
    with pytest.raises(UpstreamError, match="padding 'zeros' is not known; known: alone, reference"):
        upstream.load("fbank", padding="zeros")  # type: ignore[arg-type]
