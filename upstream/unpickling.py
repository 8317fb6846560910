"""Unpickling that runs nothing: what a foreign pickle may bring to life, and inert stubs for everything else.

A pickle names classes and functions, and says how to call them. Here a name is looked up in a table of exact pairs (module,
name): tensors and plain containers, made by the functions of this file. Nothing is ever imported because a file names it. Any
other class becomes a `Stub`, and a function of Python, PyTorch or NumPy that no checkpoint needs ends the reading.
"""

from __future__ import annotations

import datetime
import pickle
import pickletools
import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

ReadStorage = Callable[[str, torch.dtype, int], Tensor]  # (key, type, elements) -> (elements,)

# Modules that no checkpoint has an honest reason to name.
REFUSED_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "socket", "importlib", "runpy", "pty", "ctypes", "code"),
    *("codeop", "pickle", "_pickle", "marshal", "webbrowser", "pip", "ensurepip", "pdb", "timeit", "multiprocessing"),
}
# Of these a file may name classes, but no functions; theirs are told apart by their lower case, as nothing is imported.
LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy"}
# Lower-case names that honest files hold, in type annotations for instance; they become stubs too.
HARMLESS = {
    *(("builtins", name) for name in "object slice range dict list tuple int float str bool bytes type property".split()),
    *(("numpy", f"{kind}{bits}") for kind in ("int", "uint", "float", "complex") for bits in (8, 16, 32, 64, 128)),
    *(("numpy", name) for name in ("dtype", "ndarray", "bool", "bool_", "str_")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *(("operator", "getitem"), ("_operator", "getitem"), ("array", "array"), ("logging", "getLogger"), ("re", "_compile")),
    ("torch.serialization", "_get_layout"),  # of sparse tensors
}

NUMBERING = {"PUT", "BINPUT", "LONG_BINPUT"}  # operations that keep an object under a number that they give


class Refused(pickle.UnpicklingError):
    """A pickle names what none needs; `path` is its full name."""

    def __init__(self, path: str) -> None:
        super().__init__(f"it names '{path}'")
        self.path = path


class Stub:
    """Stands for an object of a class that is not loaded: it keeps what the file gives it, and does nothing.

    Attributes:
        path: the full name of the class.
        arguments: what it was made or called with.
        attributes: its state; a state that is no dictionary is under "state".
        elements: what was appended to it, as to a list.
        entries: what was set in it, as in a dictionary.
    """

    path = ""
    arguments: tuple[Any, ...]
    attributes: dict[Any, Any]
    elements: list[Any]
    entries: dict[Any, Any]

    def __new__(cls, *arguments: Any, **keywords: Any) -> Stub:  # noqa: PYI034 - Self needs Python 3.11
        """Make an empty stub, whatever the arguments are; a pickle may skip `__init__`."""
        stub = super().__new__(cls)
        stub.arguments, stub.attributes, stub.elements, stub.entries = arguments, dict(keywords), [], {}
        return stub

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # a pair: what is in slots comes second
        if all(part is None or isinstance(part, dict) for part in parts):
            for part in parts:
                self.attributes.update(part or {})
        else:
            self.attributes["state"] = state

    def __call__(self, *arguments: Any) -> Stub:
        """A pickle may call what it has made; that gives another stub."""
        return stub_class(f"{self.path}()")(*arguments)

    def append(self, value: Any) -> None:
        """Keep an element."""
        self.elements.append(value)

    def extend(self, values: list[Any]) -> None:
        """Keep several elements."""
        self.elements.extend(values)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def __repr__(self) -> str:
        return f"<{self.path}: not loaded>"


def stub_class(path: str) -> type[Stub]:
    """A class that stands for the one of this full name."""
    return type(path.rpartition(".")[2], (Stub,), {"path": path})


class Maker:
    """A function that a pickle may call but, unlike a plain one, not change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets the state of a function")


class Unpickler(pickle.Unpickler):
    """Reads one pickle of a PyTorch file.

    Args:
        file: at the start of the pickle; left behind its end.
        storage: gives the elements of the storage that a tensor names.

    `load` raises `Refused` for what no checkpoint needs, and anything at all for a file that is damaged.
    """

    def __init__(self, file: BinaryIO, storage: ReadStorage) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")  # of strings written by Python 2
        self._file, self._storage = file, storage
        self._stubs: dict[str, type[Stub]] = {}

    def load(self) -> Any:
        """What the pickle holds."""
        _check_memo(self._file)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or function that the file names."""
        if (module, name) in NAME_MAPPING:  # how Python 2 called it
            module, name = NAME_MAPPING[module, name]
        module = IMPORT_MAPPING.get(module, module)
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        path = f"{module}.{name}"
        if _is_refused(module, name):
            raise Refused(path)
        if path not in self._stubs:
            self._stubs[path] = stub_class(path)
        return self._stubs[path]

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a tensor, or the object of a module that was saved with its source code."""
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, elements = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(elements, int) or elements < 0:
            raise pickle.UnpicklingError("a tensor without a storage that can be read")
        storage = self._storage(str(key), dtype, elements)
        if len(pid) > 5 and pid[5] is not None:  # a part of the storage: PyTorch before 0.4
            _, offset, elements = pid[5]
            storage = storage.narrow(0, offset, elements)
        return storage


def _check_memo(file: BinaryIO) -> None:
    """Refuse a pickle that numbers an object beyond its own length: the reader would make room for as many objects."""
    start = file.tell()
    numbers = (int(argument or 0) for opcode, argument, _ in pickletools.genops(file) if opcode.name in NUMBERING)
    highest, length = max(numbers, default=0), file.tell() - start
    file.seek(start)
    if highest > length:
        raise pickle.UnpicklingError(f"it numbers an object {highest:,} in {length:,} bytes")


def _is_refused(module: str, name: str) -> bool:
    library, leaf = module.partition(".")[0], name.rpartition(".")[2].lstrip("_")
    if (module, name) in HARMLESS or (module == "torch._utils" and name.startswith("_rebuild_") and name.isidentifier()):
        return False
    return library in REFUSED_MODULES or (library in LIBRARIES and not leaf[:1].isupper())


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A view of a storage; PyTorch refuses one that reaches beyond it."""
    return storage.as_strided(tuple(size), tuple(stride), storage.storage_offset() + offset)


def _typed_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    """The same of a storage of bytes, whose type comes after `requires_grad` and the hooks."""
    return _tensor(storage.view(rest[2]), offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> Any:
    """A parameter comes back as its tensor: nothing read here is trained as it is."""
    return tensor


def _of_type(make: Any, _: Any, arguments: tuple[Any, ...], *__: Any) -> Any:
    """A tensor of a subclass, or with attributes, comes back as its tensor."""
    if not isinstance(make, Maker):
        raise pickle.UnpicklingError("a tensor made by an unknown function")
    return make(*arguments)


def _object(kind: type[Stub], _: Any, state: Any) -> Stub:
    """How objects were made before protocol 2: class, built-in base and the value of that base."""
    if not (isinstance(kind, type) and issubclass(kind, Stub)):
        raise pickle.UnpicklingError("an object whose class is none")
    return kind() if state is None else kind(state)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 stores bytes: as text in Latin-1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


def _bytearray(data: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    return bytearray(data) if isinstance(data, bytes) else bytearray(_encoded(data, encoding))


def _scalar(kind: Stub, data: bytes | str = b"") -> Any:
    """A NumPy number as Python's; of another type, a stub."""
    code = str(kind.arguments[0]) if isinstance(kind, Stub) and kind.arguments else ""
    if not re.fullmatch(r"[biufc](1|2|4|8|16)", code):
        return stub_class("numpy.scalar")(kind, data)
    order = next(iter(kind.attributes.get("state", ())[1:2]), "<")
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return np.frombuffer(raw, np.dtype((">" if order == ">" else "<") + code), count=1)[0].item()


def _moment(packed: Any, *_: Any) -> datetime.datetime:
    """A pickle holds a date and time as ten bytes, and its time zone, which is left out."""
    return datetime.datetime(packed)  # type: ignore[call-arg]


def _posix_path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


STORAGES = {
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Float": torch.float32,
    "Double": torch.float64,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
KNOWN: dict[tuple[str, str], Any] = {  # types stand for themselves: they cannot be changed or called
    **{("torch", str(dtype).partition(".")[2]): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
    **{(module, f"{kind}Storage"): dtype for kind, dtype in STORAGES.items() for module in ("torch", "torch.cuda")},
    **{("torch.storage", name): torch.uint8 for name in ("UntypedStorage", "_UntypedStorage")},
}
MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("torch", "device"): lambda *parts: ":".join(str(part) for part in parts),
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("collections", "defaultdict"): lambda *_: {},
    ("collections", "deque"): lambda values=(), *_: list(values),
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "bytes"): lambda: b"",  # others come encoded
    ("_codecs", "encode"): _encoded,
    ("copyreg", "_reconstructor"): _object,
    ("datetime", "datetime"): _moment,
    ("datetime", "date"): datetime.date,
    ("datetime", "timedelta"): datetime.timedelta,
}
MAKERS |= {(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")}
MAKERS |= {(f"pathlib{local}", f"{pure}PosixPath"): _posix_path for local in ("", "._local") for pure in ("", "Pure")}
KNOWN |= {name: Maker(make) for name, make in MAKERS.items()}
