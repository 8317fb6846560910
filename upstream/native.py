"""Weir's own checkpoint format: a folder with `config.json` and `model.safetensors`.

`config.json` holds the family's configuration, `family` (which encoder it is) and, where it was trained, free `notes`.
Tensors may be stored in half precision, and keep their type until they are copied into a model. Writing puts each file in place
whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, WEIGHTS_FILE

ENCODER = "encoder."  # prefixes of tensor names: the encoder, and the head that it was pre-trained with
HEAD = "head."


def is_native(folder: Path) -> bool:
    """Whether `folder` holds both files of the native format."""
    return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()


def write_native(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint folder, weights first, so that a folder with both files is complete.

    Args:
        folder: created when missing; other files in it stay.
        config: plain values, `family` among them.
        tensors: weights by name.
        dtype: floating tensors are stored in this type; None keeps each its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _storable(tensor, dtype) for name, tensor in tensors.items()}
    replace_file(folder / WEIGHTS_FILE, save(stored, metadata={"format": "pt"}))
    replace_file(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())


def _storable(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.contiguous()


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to the disk, then rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a checkpoint folder.

    Raises:
        UpstreamError: the file is missing or is not a JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UpstreamError(f"{path}: {reason}; a checkpoint folder has {CONFIG_FILE} and {WEIGHTS_FILE}") from None
    except ValueError as error:
        raise UpstreamError(f"{path}: is not JSON ({error}); write the checkpoint again") from None
    if not isinstance(config, dict):
        raise UpstreamError(f"{path}: holds {type(config).__name__}, not a JSON object; write the checkpoint again")
    return config


def read_native(folder: Path, families: Iterable[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint folder of one of these families.

    Returns: the configuration with `family` and without `notes`, and the tensors as they are stored, those of a head included.

    Raises:
        UpstreamError: no such folder, or another family's.
    """
    config = read_config(folder)
    family, known = config.get("family"), list(families)
    if family not in known:
        if not family:
            raise UpstreamError(f"{folder / CONFIG_FILE}: names no family, so the folder is not in Weir's own format")
        raise UpstreamError(f"{folder}: holds a {family} encoder{f', not {known[0]}' if len(known) == 1 else ''}; use -u {family}")
    config.pop("notes", None)
    return config, read_tensors(folder / WEIGHTS_FILE)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; tensors keep their types.

    Raises:
        UpstreamError: the file is missing, truncated or not safetensors.
    """
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise UpstreamError(f"{path}: is not a readable safetensors file ({error}); it may be truncated: copy it again") from None


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy `tensors` of any type into `module`; every name and shape must fit.

    Raises:
        UpstreamError: names that are missing, unexpected or of another shape, each listed.
    """
    own = module.state_dict()
    problems = [f"missing {some(own.keys() - tensors.keys())}"] if own.keys() - tensors.keys() else []
    if tensors.keys() - own.keys():
        problems.append(f"unexpected {some(tensors.keys() - own.keys())}")
    problems += [
        f"'{name}' is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
    if problems:
        raise UpstreamError(f"{where}: the weights do not fit the configuration: {'; '.join(problems)}")
    module.load_state_dict(dict(tensors))


def some(names: set[str], limit: int = 6) -> str:
    """The first names, quoted, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in sorted(names)[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
