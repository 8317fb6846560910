"""Reading checkpoint files of others without running anything in them.

A PyTorch file is a pickle, and a pickle may name any function to call. Here only tensors and plain values come to life: every
other class named in a file becomes an inert stub that keeps what it was given, and a file that names functions of the system
is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from upstream.errors import UpstreamError
from upstream.native import read_tensors

# Modules that no checkpoint has an honest reason to name.
REFUSED_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "commands", "shutil", "socket", "importlib", "runpy", "pty", "ctypes", "code", "codeop"),
    *("builtins", "__builtin__", "pickle", "_pickle", "marshal", "operator", "webbrowser", "pip", "ensurepip", "pdb", "timeit"),
}
HARMLESS_BUILTINS = {"object", "slice", "range", "frozenset", "dict", "list", "tuple", "int", "float", "str", "bool", "bytes"}
MOST_STUBS = 256  # different unknown classes in one file
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")
_BLOCKED = re.compile(r"unsupported GLOBAL (\S+) whose module")


class Stub:
    """Stands for an object of a class that is not loaded: it keeps the arguments and the state, and does nothing."""

    path = ""
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]

    def __new__(cls, *arguments: Any) -> Stub:  # noqa: PYI034 - Self needs Python 3.11
        """Make an empty stub, whatever the arguments are; a pickle may skip `__init__`."""
        stub = super().__new__(cls)
        stub.arguments, stub.attributes = arguments, {}
        return stub

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, Mapping) else {"state": state}

    def __repr__(self) -> str:
        return f"<{self.path}: not loaded>"


def read_checkpoint(path: Path) -> Any:
    """Read a safetensors or PyTorch file on the CPU; objects of unknown classes come back as `Stub`.

    Raises:
        UpstreamError: the file is missing, empty, truncated, no checkpoint at all, or names a function of the system.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as error:
        raise UpstreamError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise UpstreamError(f"{path}: is empty; download or copy it again")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    return _read_torch(path)


def _read_torch(path: Path) -> Any:
    """Read with torch's restricted unpickler, giving it one more stub each time it meets an unknown class."""
    stubs: dict[str, type[Stub]] = {}
    while True:
        try:
            allowed: list[Any] = [(kind, name) for name, kind in stubs.items()]
            with warnings.catch_warnings(), torch.serialization.safe_globals([*allowed, (_dictionary, "collections.defaultdict")]):
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            name = _unknown_global(path, str(error))
        except Exception as error:  # noqa: BLE001 - garbage can make the parser fail in any way
            raise _unreadable(path, error) from None
        if name in stubs or len(stubs) >= MOST_STUBS:
            raise UpstreamError(f"{path}: '{name}' cannot be left out of this file; save its tensors alone and load that file")
        stubs[name] = type(name.rpartition(".")[2], (Stub,), {"path": name})


def _unknown_global(path: Path, message: str) -> str:
    """The full name that the unpickler stopped at, if a stub may stand for it."""
    blocked, unknown = _BLOCKED.search(message), _UNKNOWN.search(message)
    if blocked is None and unknown is None:
        raise _unreadable(path, _reason(message))
    name = (blocked or unknown).group(1)  # type: ignore[union-attr]
    module, _, leaf = name.rpartition(".")
    module = module or "builtins"  # torch leaves this prefix out
    harmless = module == "builtins" and leaf in HARMLESS_BUILTINS
    if blocked or (module.partition(".")[0] in REFUSED_MODULES and not harmless):
        raise UpstreamError(f"{path}: refused: it names '{module}.{leaf}', which no checkpoint needs. Nothing was run; do not trust it")
    return f"{module}.{leaf}"


def _dictionary(*_: Any) -> dict[Any, Any]:
    """What stands for a `defaultdict`: torch fills only plain dictionaries."""
    return {}


def _reason(message: str) -> str:
    """The line of torch's long message that says what was wrong."""
    lines = [line for line in message.splitlines() if line.strip() and not line.startswith("Check the documentation")]
    return lines[-1] if lines else "not a pickle"


def _unreadable(path: Path, error: Exception | str) -> UpstreamError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UpstreamError(f"{path}: is not a readable checkpoint ({reason}); it may be truncated or no checkpoint: copy it again")


def plain(value: Any) -> Any:
    """Replace stubs by dictionaries of their attributes, inside dictionaries and lists too (an `argparse.Namespace`, say)."""
    if isinstance(value, Stub):
        return {key: plain(item) for key, item in value.attributes.items()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
