"""Reading checkpoint files of others without running anything in them.

A PyTorch file is a pickle with tensors beside it, and a pickle may name any function to call: see `upstream.unpickling` for what
comes to life here. Both formats of `torch.save` are read: the zip archive of PyTorch 1.6 and later, whose tensors are mapped
from the file as they are used, and the older sequence of pickles.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import zipfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UpstreamError
from upstream.folder import WEIGHTS, shards, weights_among
from upstream.native import read_tensors
from upstream.unpickling import Maker, Refused, Stub, Unpickler

__all__ = ["Stub", "plain", "read_checkpoint", "read_weights"]

ZIP_START = b"PK\x03\x04"
TAR_SIGN = slice(257, 262), b"ustar"
OLD_FORMAT = 0x1950A86A20F9469CFC6C, 1001  # what such a file starts with: a number that tells it, and the format's version
MOST_VALUES, LONG_TEXT = 1_000_000, 64  # of a configuration; so many characters more count as one more value
OTHER_STARTS = {  # what is often found under a checkpoint's name
    b"<": "is a web page",
    b"version https://git-lfs": "is a Git LFS pointer",
}


def read_checkpoint(path: Path) -> Any:
    """Read a safetensors or PyTorch file on the CPU; objects of unknown classes come back as `Stub`, parameters as tensors.

    Tensors of a zip archive keep the file mapped: what is never used is never read.

    Raises:
        UpstreamError: the file is missing, empty, truncated, no checkpoint at all, or names a function of the system.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UpstreamError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise UpstreamError(f"{path}: is empty; download or copy it again")
    for sign, what in OTHER_STARTS.items():
        if start.lstrip().startswith(sign):
            raise UpstreamError(f"{path}: {what}, not a checkpoint; download it again")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if start[TAR_SIGN[0]] == TAR_SIGN[1]:
        raise UpstreamError(f"{path}: is a tar archive, as PyTorch wrote before 2017; load and save it with PyTorch 0.2 to 1.13 first")
    try:
        return _read_zip(path) if start.startswith(ZIP_START) else _read_old(path)
    except Refused as refused:
        raise UpstreamError(
            f"{path}: refused: it names '{refused.path}', which no checkpoint needs. Nothing was run; do not trust it"
        ) from None
    except UpstreamError:
        raise
    except Exception as error:  # noqa: BLE001 - garbage can make a parser fail in any way
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UpstreamError(
            f"{path}: is not a readable checkpoint ({reason}); it may be truncated or no checkpoint: copy it again"
        ) from None


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a Hugging Face folder as its files name them, whole or in shards; safetensors win over pickles.

    Raises:
        UpstreamError: there are none, a shard is missing, or a file holds anything but tensors by name.
    """
    found = weights_among([name for name in WEIGHTS if (folder / name).is_file()])
    if found is None:
        raise UpstreamError(f"{folder}: has no weights: none of {', '.join(WEIGHTS)}")
    tensors: dict[str, Tensor] = {}
    for name in shards(folder / found) or [found]:
        content = read_checkpoint(folder / name)
        if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
            raise UpstreamError(f"{folder / name}: holds more than tensors by name; save it again with save_pretrained")
        tensors |= content
    return tensors


def _read_zip(path: Path) -> Any:
    """An archive with `FOLDER/data.pkl` and one record a storage, all uncompressed."""
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    folder = next((name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")), None)
    if folder is None:
        raise pickle.UnpicklingError("a zip archive without data.pkl")
    if f"{folder}constants.pkl" in records:
        raise UpstreamError(f"{path}: is a TorchScript program, not a checkpoint; save the state_dict() of its module instead")
    if (order := records.get(f"{folder}byteorder")) and content[_extent(order, content)] != b"little":
        raise _big_endian(path)
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
        if key not in storages:
            extent = _extent(records[f"{folder}data/{key}"], content)
            if elements * dtype.itemsize > extent.stop - extent.start:
                raise pickle.UnpicklingError(f"storage {key} has too few bytes for {elements} × {dtype}")
            start = extent.start if elements else 0  # an empty storage may stand at the end of the file
            storages[key] = torch.frombuffer(content, dtype=dtype, count=elements or 1, offset=start)[:elements]
        return storages[key]

    return Unpickler(io.BytesIO(content[_extent(records[f"{folder}data.pkl"], content)]), storage).load()


def _extent(record: zipfile.ZipInfo, content: mmap.mmap) -> slice:
    """Where an uncompressed record's bytes are; before them is a header that ends in two fields of varying length."""
    header = content[record.header_offset : record.header_offset + 30]
    if record.compress_type != zipfile.ZIP_STORED or not header.startswith(ZIP_START):
        raise pickle.UnpicklingError(f"record {record.filename} is compressed or damaged")
    start = record.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return slice(start, start + record.file_size)


def _big_endian(path: Path) -> UpstreamError:
    return UpstreamError(f"{path}: was written on a big-endian machine; save it again on a little-endian one")


def _read_old(path: Path) -> Any:
    """Four pickles (the sign, the version, the machine, the content), the names of the storages, then their elements."""
    storages: dict[str, Tensor] = {}
    with path.open("rb") as file:
        room = os.fstat(file.fileno()).st_size

        def storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
            if key not in storages:
                if elements * dtype.itemsize > room:
                    raise pickle.UnpicklingError(f"storage {key} of {elements} × {dtype} is larger than the file")
                storages[key] = torch.empty(elements, dtype=dtype)
            return storages[key]

        for expected in OLD_FORMAT:
            if Unpickler(file, storage).load() != expected:
                raise pickle.UnpicklingError("a pickle that PyTorch did not write")
        machine = Unpickler(file, storage).load()
        if not machine.get("little_endian", True):
            raise _big_endian(path)
        content = Unpickler(file, storage).load()
        names = [str(name) for name in Unpickler(file, storage).load()]
        if missing := storages.keys() - set(names):
            raise pickle.UnpicklingError(f"storage {min(missing)} is missing")
        for name in names:
            _fill(storages[name], name, file)
    return content


def _fill(storage: Tensor, name: str, file: io.BufferedReader) -> None:
    """Read the elements of a storage, which follow their number."""
    elements = int.from_bytes(file.read(8), "little")
    if elements != len(storage):
        raise pickle.UnpicklingError(f"storage {name} has {elements} elements, not {len(storage)}")
    room = storage.view(torch.uint8).numpy().data
    if file.readinto(room) != room.nbytes:
        raise pickle.UnpicklingError(f"storage {name} is cut off")


def plain(value: Any) -> Any:
    """Plain dictionaries, lists and values instead of foreign objects, inside dictionaries and lists too.

    An `argparse.Namespace` or an OmegaConf container becomes a dictionary or list (interpolations stay text), an OmegaConf node
    or an enum member its value, a fairseq `Dictionary` {"symbols": […]}, a date ISO text, a class its full name. What contains
    itself is None there. Tensors stay.

    Raises:
        UpstreamError: nested deeper than Python can follow, or larger than `MOST_VALUES` when written out.
    """
    try:
        converter = _Converter()
        made = converter.plain(value)
        converter.check_size(made)
    except RecursionError:
        raise UpstreamError("a configuration in the checkpoint is nested too deeply; save its tensors alone and load that file") from None
    return made


class _Converter:
    """Converts once what is in several places, and counts it in each: a small file can name one list very often."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}  # by the object; keeps what it gives alive, so that no two have one id
        self._sizes: dict[int, int] = {}  # by what it gave
        self._texts: dict[int, str] = {}

    def plain(self, value: Any) -> Any:
        if isinstance(value, (date, timedelta)):
            return value.isoformat() if isinstance(value, date) else value.total_seconds()
        if isinstance(value, type) and issubclass(value, Stub):
            return value.path
        if not isinstance(value, (Stub, Mapping, list, tuple, set, frozenset)):
            return str(value) if isinstance(value, (torch.dtype, Maker)) else value
        if id(value) not in self._done:
            self._done[id(value)] = None
            self._done[id(value)] = self._object(value) if isinstance(value, Stub) else self._container(value)
        return self._done[id(value)]

    def check_size(self, made: Any) -> None:
        """Refuse what has too many values, counted in every place where they are."""
        if self._size(made) > MOST_VALUES:
            raise UpstreamError(
                f"a configuration in the checkpoint has more than {MOST_VALUES:,} values, as no model's has; "
                "save its tensors alone and load that file"
            )

    def _size(self, made: Any) -> int:
        if isinstance(made, str):
            return 1 + len(made) // LONG_TEXT
        if not isinstance(made, (dict, list)):
            return 1
        if id(made) not in self._sizes:
            items = made if isinstance(made, list) else (part for pair in made.items() for part in pair)
            self._sizes[id(made)] = 1 + sum(map(self._size, items))
        return self._sizes[id(made)]

    def _container(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return [self.plain(item) for item in value]
        return {self._key(self.plain(key)): self.plain(item) for key, item in value.items()}

    def _key(self, made: Any) -> Any:
        if not isinstance(made, (dict, list)):
            return made
        if id(made) not in self._texts:
            self.check_size(made)
            self._texts[id(made)] = str(made)
        return self._texts[id(made)]

    def _object(self, stub: Stub) -> Any:
        for name in ("_content", "_val"):  # of OmegaConf's containers and of its nodes
            if name in stub.attributes:
                return self.plain(stub.attributes[name])
        if stub.path.endswith(".Dictionary") and "symbols" in stub.attributes:
            return {"symbols": self.plain(stub.attributes["symbols"])}
        if stub.path == "numpy.dtype":
            return stub.arguments[0]
        if stub.attributes or stub.entries:
            return self._container(stub.attributes) | self._container(stub.entries)
        if stub.elements:
            return self._container(stub.elements)
        if len(stub.arguments) == 1:
            return self.plain(stub.arguments[0])
        return self._container(stub.arguments) if stub.arguments else {}
