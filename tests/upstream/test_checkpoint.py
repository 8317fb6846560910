"""Foreign files: formats, what comes out of them, and files that are none."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import sys
import tarfile
import types
import typing
import zipfile
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch

from upstream.checkpoint import Stub, plain, read_checkpoint
from upstream.errors import UpstreamError

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a class of a package that is not there when the file is read: `foreign("package.module", kind)` gives it its place."""
    made: list[str] = []

    def place(module: str, kind: type) -> Any:
        kind.__module__, kind.__qualname__ = module, kind.__name__
        parts = module.split(".")
        for name in (".".join(parts[: end + 1]) for end in range(len(parts))):
            if name not in made:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
                made.append(name)
        setattr(sys.modules[module], kind.__name__, kind)
        return kind

    def save(content: Any, path: Path, zipped: bool = True) -> Any:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for name in made:
            monkeypatch.delitem(sys.modules, name)
        read = read_checkpoint(path)
        assert not [name for name in made if name in sys.modules]
        return read

    place.save = save  # type: ignore[attr-defined]
    yield place


class Plain:
    """An object with any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@FORMS
def test_unknown_classes_become_stubs_with_their_attributes(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    arguments = argparse.Namespace(lr=0.5, nested=argparse.Namespace(name="x"))
    torch.save({"args": arguments, "weights": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    content = read_checkpoint(path)
    assert plain(content["args"]) == {"lr": 0.5, "nested": {"name": "x"}}
    assert content["args"].path == "argparse.Namespace" and "not loaded" in repr(content["args"])
    assert torch.equal(content["weights"], torch.ones(2))


@FORMS
def test_tensors_of_all_kinds_are_read_as_they_were_saved(zipped: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0)
    tensors = {str(dtype): torch.ones(3, dtype=dtype) for dtype in (torch.half, torch.bfloat16, torch.bool, torch.int64, torch.uint16)}
    tensors |= {"view": base[5:11].view(2, 3).t(), "again": base, "none": torch.empty(0, 4), "number": torch.tensor(2.5)}
    tensors |= {"complex": torch.ones(2, dtype=torch.complex64), "parameter": torch.nn.Parameter(torch.ones(2))}
    torch.save(tensors, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / "x.pt")
    for name, tensor in tensors.items():
        assert type(read[name]) is torch.Tensor and read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor) and read[name].stride() == tensor.stride()
    assert read["view"].untyped_storage().data_ptr() == read["again"].untyped_storage().data_ptr()
    read["again"] += 1  # may be changed, and the file is not
    assert torch.equal(read_checkpoint(tmp_path / "x.pt")["again"], base)


@FORMS
def test_fairseq_file_is_read_without_its_packages(zipped: bool, tmp_path: Path, foreign: Any) -> None:
    classes = {"omegaconf.dictconfig": "DictConfig", "omegaconf.listconfig": "ListConfig", "omegaconf.nodes": "AnyNode"}
    classes |= {"omegaconf.base": "Metadata", "fairseq.data.dictionary": "Dictionary", "fairseq.meters": "AverageMeter"}
    made = [foreign(module, type(name, (Plain,), {})) for module, name in classes.items()]
    container, items, node, metadata, dictionary, meter = made
    meters = foreign("fairseq.logging.meters", type("MetersDict", (dict,), {}))
    choice = foreign("fairseq.dataclass", enum.Enum("Choice", {"c10d": "pytorch_ddp"}))
    about = metadata(ref_type=typing.Any, object_type=dict, optional=typing.Optional[typing.Dict[str, int]])  # noqa: UP006, UP045
    model = container(_metadata=about, _content={"layers": node(_val=12, _metadata=about), "name": node(_val="${task.name}")})
    model._content["layers"]._parent = model
    listed = items(_metadata=about, _content=[node(_val=choice.c10d), node(_val=None)])
    config = container(_metadata=about, _content={"model": model, "lr": listed, "gone": container(_content=None)})
    content = {
        "cfg": config,
        "args": argparse.Namespace(backend=choice.c10d, path=PosixPath("/data/x"), scale=np.float64(0.5), steps=np.int32(7)),
        "task_state": {"dictionaries": [dictionary(symbols=["<s>", "a"], count=[1, 1], indices={"<s>": 0, "a": 1}, bos_word="<s>")]},
        "extra_state": {"meters": collections.OrderedDict(loss=meter(sum=1.5, count=3)), "all": meters(train=meter(count=1))},
        "by": {choice.c10d: 1},
        "model": {"weight": torch.ones(2, 2)},
    }
    read = foreign.save(content, tmp_path / "fairseq.pt", zipped)
    assert plain(read["cfg"]) == {"model": {"layers": 12, "name": "${task.name}"}, "lr": ["pytorch_ddp", None], "gone": None}
    assert plain(read["args"]) == {"backend": "pytorch_ddp", "path": "/data/x", "scale": 0.5, "steps": 7}
    assert plain(read["task_state"]) == {"dictionaries": [{"symbols": ["<s>", "a"]}]}
    assert plain(read["extra_state"]) == {"meters": {"loss": {"sum": 1.5, "count": 3}}, "all": {"train": {"count": 1}}}
    assert plain(read["by"]) == {"pytorch_ddp": 1}
    assert torch.equal(read["model"]["weight"], torch.ones(2, 2))


def test_configuration_of_omegaconf_itself_is_read(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    values = {
        "model": {"layers": 12, "rate": 0.5, "args": {"x": [1, [2]]}},
        "task": {"data": "${model.layers}", "missing": "???", "no": None},
    }
    torch.save({"cfg": omegaconf.OmegaConf.create(values)}, tmp_path / "x.pt")
    assert plain(read_checkpoint(tmp_path / "x.pt")["cfg"]) == values


def test_plain_values_of_the_standard_library_are_read(tmp_path: Path) -> None:
    day = datetime.datetime(2020, 1, 2, 3, 4)
    values = {"counter": collections.Counter("aab"), "queue": collections.deque([1, 2], 5), "set": {1}, "frozen": frozenset({2})}
    values |= {
        "day": day,
        "date": day.date(),
        "time": datetime.timedelta(minutes=1),
        "bytes": b"\xff",
        "none": b"",
        "array": bytearray(b"x"),
    }
    values |= {"type": int, "dtype": np.dtype("float32"), "torch": torch.float16, "size": torch.Size([2]), "device": torch.device("cuda:1")}
    torch.save(values, tmp_path / "x.pt")
    expected = {"counter": {"a": 2, "b": 1}, "queue": [1, 2], "set": [1], "frozen": [2], "day": "2020-01-02T03:04:00", "date": "2020-01-02"}
    expected |= {"time": 60.0, "bytes": b"\xff", "none": b"", "array": b"x", "type": "builtins.int", "dtype": "f4"}
    assert plain(read_checkpoint(tmp_path / "x.pt")) == expected | {"torch": "torch.float16", "size": [2], "device": "cuda:1"}


def test_names_and_texts_of_python_2_are_read(tmp_path: Path) -> None:
    torch.save({"x": 0}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "x.pt").read_bytes()
    old = b"}U\x01xccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR}U\x01lc__builtin__\nset\n]K\x01a\x85Rsbs"
    (tmp_path / "x.pt").write_bytes(content.replace(b"}q\x00X\x01\x00\x00\x00xq\x01K\x00s", old))
    assert plain(read_checkpoint(tmp_path / "x.pt")) == {"x": {"l": [1]}}


def test_plain_takes_what_contains_itself_and_what_is_deep(tmp_path: Path) -> None:
    loop, deep = argparse.Namespace(x=1), []
    loop.itself = loop
    torch.save(loop, tmp_path / "x.pt")
    assert plain(read_checkpoint(tmp_path / "x.pt")) == {"x": 1, "itself": None}
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UpstreamError, match="nested too deeply"):
        plain(deep)


@pytest.mark.parametrize("kind", ["lists", "keys", "texts"])
def test_what_grows_when_it_is_written_out_is_refused(kind: str, tmp_path: Path) -> None:
    bomb: Any = ["0"]
    for _ in range(100):
        bomb = [bomb, bomb]  # 2¹⁰⁰ texts
    text = "a" * 1_000_000
    bombs = {"lists": bomb, "keys": {Keyed(bomb): 1}, "texts": [text] * 1_000}
    torch.save({"cfg": {"x": bombs[kind]}}, tmp_path / "x.pt")
    content = read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(UpstreamError, match="has more than 1,000,000 values"):
        plain(content["cfg"])


class Keyed(Plain):
    """An object of a class that is not loaded, which may be a key."""

    def __init__(self, content: Any) -> None:
        super().__init__(_content=content)


def test_values_in_several_places_are_kept_in_each(tmp_path: Path) -> None:
    layers = [(512, 3, 2)]
    torch.save({"a": layers, "b": [layers, layers], (1, 2): 3}, tmp_path / "x.pt")
    assert plain(read_checkpoint(tmp_path / "x.pt")) == {"a": [[512, 3, 2]], "b": [[[512, 3, 2]]] * 2, "[1, 2]": 3}


@FORMS
def test_sparse_tensor_is_a_stub_and_no_danger(zipped: bool, tmp_path: Path) -> None:
    content = {"sparse": torch.eye(3).to_sparse(), "dense": torch.ones(2)}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / "x.pt")
    assert isinstance(read["sparse"], Stub) and torch.equal(read["dense"], torch.ones(2))


def test_stub_keeps_what_it_is_given() -> None:
    stub = Stub(1, key=2)
    stub.append(3)
    stub.extend([4, 5])
    stub["six"] = 7
    stub.__setstate__((None, {"slot": 8}))
    assert (stub.arguments, stub.elements, stub.entries) == ((1,), [3, 4, 5], {"six": 7})
    assert stub.attributes == {"key": 2, "slot": 8} and {stub: 1}[stub] == 1


def test_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", "a")
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("a.txt", "a")
    with tarfile.open(tmp_path / "old.pt", "w") as tar:
        tar.add(tmp_path / "archive.pt", "storages")
    for name, words in (
        ("script.pt", "TorchScript program"),
        ("archive.pt", "without data.pkl"),
        ("old.pt", "tar archive, as PyTorch wrote"),
    ):
        with pytest.raises(UpstreamError, match=rf"{name}: .*{words}"):
            read_checkpoint(tmp_path / name)


def test_default_dictionaries_are_read(tmp_path: Path) -> None:
    torch.save({"counts": collections.defaultdict(int, a=1)}, tmp_path / "run.pt")
    assert read_checkpoint(tmp_path / "run.pt")["counts"] == {"a": 1}


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"these are words, not weights\n" * 40, "not a readable"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\x80", "not a readable"),
    ],
    ids=["empty", "text", "html", "pointer", "byte"],
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
