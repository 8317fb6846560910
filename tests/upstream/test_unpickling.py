"""Hostile pickles run nothing, and are told by the name of what they wanted."""

from __future__ import annotations

import argparse
import collections
import functools
import importlib
import operator
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import upstream
from tests.upstream import make
from upstream.checkpoint import Stub, read_checkpoint
from upstream.errors import UpstreamError


class Call:
    """Pickles as a call of any function, or of what another call gives."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = function, arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts

    def __call__(self) -> None:
        """Pickles hold only calls of what can be called."""


def save(content: Any, path: Path, form: str) -> None:
    """Write a file as PyTorch does, or a plain pickle."""
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")


HOSTILE: dict[str, Callable[[str], Call]] = {  # by the name that is refused: given a shell command that leaves a mark
    "posix.system": lambda mark: Call(os.system, mark),
    "builtins.exec": lambda mark: Call(exec, f"import os; os.system({mark!r})"),
    "builtins.eval": lambda mark: Call(eval, f"__import__('os').system({mark!r})"),
    "subprocess.call": lambda mark: Call(subprocess.call, mark.split()),
    "subprocess.Popen": lambda mark: Call(subprocess.Popen, mark.split()),
    "os.popen": lambda mark: Call(argparse.Namespace, Call(collections.OrderedDict, Call(os.popen, mark))),  # nested
    "os.execvp": lambda mark: Call(argparse.Namespace, state={"x": Call(os.execvp, "touch", mark.split())}),  # in a state
    "builtins.getattr": lambda mark: Call(Call(getattr, Call(__import__, "os"), "system"), mark),
    "operator.attrgetter": lambda mark: Call(Call(operator.attrgetter, "system"), mark),
    "functools.partial": lambda mark: Call(Call(functools.partial, os.system, mark)),
    "functools.reduce": lambda mark: Call(functools.reduce, os.system, [mark]),
    "importlib.import_module": lambda mark: Call(importlib.import_module, "os"),
    "collections.namedtuple": lambda mark: Call(collections.namedtuple, "Name", ["field"]),
    "torch.storage._load_from_bytes": lambda mark: Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, mark))),
    "torch.hub.load": lambda mark: Call(torch.hub.load, "owner/name", "model"),
    "torch.serialization.load": lambda mark: Call(torch.load, "file"),
    "torch.utils.cpp_extension.load_inline": lambda mark: Call(_load_inline(), "name", mark),
    "numpy.load": lambda mark: Call(np.load, "file"),
}


def _load_inline() -> Any:
    from torch.utils.cpp_extension import load_inline

    return load_inline


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("named", HOSTILE)
def test_hostile_file_is_refused_and_runs_nothing(named: str, form: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.ckpt", tmp_path / "marker"
    save({"Transformer": {}, "Args": HOSTILE[named](f"touch {marker}")}, path, form)
    with pytest.raises(UpstreamError, match=rf"hostile\.ckpt: refused: it names '{re.escape(named)}'.*Nothing was run"):
        upstream.load("tera", path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle_of_any_protocol_runs_nothing(protocol: int, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {marker}"), protocol=protocol))
    with pytest.raises(UpstreamError, match=r"hostile\.pt: refused: it names 'posix\.system'"):
        read_checkpoint(path)
    assert not marker.exists()


def stack_global(module: str, name: str) -> bytes:
    """A pickle of protocol 4 whose name may have dots."""
    parts = b"".join(pickle.SHORT_BINUNICODE + bytes([len(part)]) + part.encode() for part in (module, name))
    return pickle.PROTO + b"\x04" + parts + pickle.STACK_GLOBAL + pickle.STOP


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "path.join.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "serialization.os.system"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("pathlib", "PosixPath.unlink"),
    ],
)
def test_dotted_names_lead_nowhere(module: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "dotted.pt"
    path.write_bytes(stack_global(module, name))
    with pytest.raises(UpstreamError, match=rf"dotted\.pt: refused: it names '{re.escape(f'{module}.{name}')}'"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict", "argparse\nNamespace", "torch\nfloat32"])
def test_what_may_be_named_cannot_be_changed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "changed.pt"
    state = pickle.dumps({"__defaults__": ()}, protocol=2)[2:-1]
    for form in (state, b"N" + state + b"\x86"):  # attributes, and slots
        path.write_bytes(b"\x80\x02c" + name.encode() + b"\n" + form + b"b.")
        with pytest.raises(UpstreamError, match=r"changed\.pt: is not a readable checkpoint"):
            read_checkpoint(path)
    torch.save({"weights": torch.ones(2), "args": argparse.Namespace(x=1)}, path)
    content = read_checkpoint(path)
    assert torch.equal(content["weights"], torch.ones(2)) and content["args"].attributes == {"x": 1}


def test_functions_of_other_packages_are_not_called(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    torch.save({"called": Call(argparse.ArgumentParser, "name"), "twice": Call(Call(make.tera), 1)}, path)
    content = read_checkpoint(path)
    assert isinstance(content["called"], Stub) and content["called"].arguments == ("name",)
    assert content["twice"].path == "tests.upstream.make.tera()" and content["twice"].arguments == (1,)


@pytest.mark.parametrize("operation", [b"r" + (60_000_000).to_bytes(4, "little"), b"p60000000\n"])
def test_few_bytes_take_no_room_for_many_objects(operation: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x02N" + operation + b".")
    tracemalloc.start()
    with pytest.raises(UpstreamError, match=r"x\.pt: is not a readable checkpoint \(it numbers an object 60,000,000 in \d+ bytes\)"):
        read_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_nothing_is_imported_because_a_file_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_module_that_acts.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x02ca_module_that_acts\nThing\n)\x81.")
    with pytest.raises(UpstreamError, match="PyTorch did not write"):
        read_checkpoint(path)
    assert "a_module_that_acts" not in sys.modules and not (tmp_path / "marker").exists()
    assert importlib.util.find_spec("a_module_that_acts")  # it could have been


def test_tensor_beyond_its_storage_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    torch.save({"weights": torch.arange(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x4d\xe8\x03\x85", b"\x4d\xe9\x03\x85", 1))  # the tensor's size, not that of its storage
    with pytest.raises(UpstreamError, match=r"large\.pt: is not a readable checkpoint \(.*out of bounds"):
        read_checkpoint(path)
