"""Foreign files are read without running anything in them."""

from __future__ import annotations

import argparse
import builtins
import collections
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import upstream
from upstream.checkpoint import Stub, plain, read_checkpoint
from upstream.errors import UpstreamError


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "posix.system"), (builtins.exec, "builtins.exec"), (builtins.eval, "builtins.eval"), (subprocess.call, "commands.call")],
)
def test_hostile_file_is_refused_and_runs_nothing(function: Any, named: str, zipped: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    command = f"open({str(marker)!r}, 'w')" if function in (exec, eval) else f"touch {marker}"
    arguments = (["touch", str(marker)],) if function is subprocess.call else (command,)
    path = tmp_path / "hostile.ckpt"
    torch.save({"Transformer": {}, "Args": Call(function, *arguments)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UpstreamError, match=f"hostile.ckpt: refused: it names '{named}'"):
        upstream.load("tera", path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle_runs_nothing(protocol: int, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {marker}"), protocol=protocol))
    with pytest.raises(UpstreamError, match=r"hostile\.pt"):
        read_checkpoint(path)
    assert not marker.exists()


def test_harmless_function_does_not_run_either(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    torch.save({"made": Call(argparse.Namespace), "called": Call(argparse.ArgumentParser, "name")}, path)
    content = read_checkpoint(path)
    assert isinstance(content["called"], Stub) and content["called"].arguments == ("name",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_unknown_classes_become_stubs_with_their_attributes(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    arguments = argparse.Namespace(lr=0.5, nested=argparse.Namespace(name="x"))
    torch.save({"args": arguments, "weights": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    trusted = set(torch.serialization.get_safe_globals())
    content = read_checkpoint(path)
    assert plain(content["args"]) == {"lr": 0.5, "nested": {"name": "x"}}
    assert content["args"].path == "argparse.Namespace" and "not loaded" in repr(content["args"])
    assert torch.equal(content["weights"], torch.ones(2))
    assert set(torch.serialization.get_safe_globals()) == trusted


def test_default_dictionaries_are_read(tmp_path: Path) -> None:
    torch.save({"counts": collections.defaultdict(int, a=1)}, tmp_path / "run.pt")
    assert read_checkpoint(tmp_path / "run.pt")["counts"] == {"a": 1}


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"these are words, not weights\n" * 40, "not a readable"),
        (b"<html>404</html>", "not a readable"),
        (b"\x80", "not a readable"),
    ],
    ids=["empty", "text", "html", "byte"],
)
def test_files_that_are_no_checkpoint_are_named(content: bytes, words: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UpstreamError, match=words) as caught:
        read_checkpoint(tmp_path / name)
    assert name in str(caught.value) and "again" in str(caught.value)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.02])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_truncated_file_is_named(kept: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "cut.ckpt"
    torch.save({"Transformer": {"weight": torch.ones(100, 100)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UpstreamError, match=r"cut\.ckpt: is not a readable checkpoint .*again"):
        read_checkpoint(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=r"none\.ckpt: cannot be read \(No such file"):
        read_checkpoint(tmp_path / "none.ckpt")
