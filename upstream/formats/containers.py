"""The dictionaries that fairseq and s3prl save, whatever encoder is in them, and writing such a file.

| file | weights | configuration |
|---|---|---|
| fairseq | `model` | `cfg` (`model` and `task` in it), or the `args` of before 2021 |
| s3prl, converted from fairseq | `model_weight` | `model_cfg`, `task_cfg` |
| WavLM | `model` | `cfg`, flat |

Sources: fairseq checkpoint_utils.py; s3prl upstream/{wav2vec,wav2vec2,hubert,wavlm}/convert.py and expert.py.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from upstream.checkpoint import plain
from upstream.errors import UpstreamError
from upstream.native import replace_file


@dataclass(frozen=True)
class Container:
    """What a file holds, whatever its keys are.

    Attributes:
        model, task: the two configurations, plain.
        weights: the state dictionary as the file has it.
        flat: the two are one, with everything that could be said on the command line (`args`).
    """

    model: dict[Any, Any]
    task: dict[Any, Any]
    weights: Mapping[Any, Any]
    flat: bool = False


def opened(content: Any, where: str) -> Container:
    """The parts of a file; `where` begins messages.

    Raises:
        UpstreamError: it is no such file, or a part of it is no mapping.
    """
    content = content if isinstance(content, Mapping) else {}
    weights = content.get("model_weight", content.get("model"))
    if not isinstance(weights, Mapping):
        raise UpstreamError(f"{where}: is no checkpoint of fairseq ('model' with 'cfg' or 'args') or s3prl ('model_weight', 'model_cfg')")
    if "model_weight" in content:
        return Container(mapping(content.get("model_cfg"), f"{where}: model_cfg"), _task(content.get("task_cfg"), where), weights)
    cfg = plain(content.get("cfg"))
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        return Container(dict(cfg["model"]), _task(cfg.get("task"), f"{where}: cfg.task"), weights)
    if isinstance(cfg, dict) and "conv_feature_layers" in cfg:
        normalize = cfg.pop("normalize", False)
        return Container(cfg, {"normalize": normalize}, weights)
    arguments = mapping(content.get("args"), f"{where}: neither 'cfg' with 'model' in it, nor 'args'")
    return Container(arguments, arguments, weights, flat=True)


def weight_names(content: Any) -> list[str]:
    """The names of the weights in such a file; none where it is another."""
    weights = content.get("model_weight", content.get("model")) if isinstance(content, Mapping) else None
    return [str(name) for name in weights] if isinstance(weights, Mapping) else []


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """A mapping of a file, its configuration objects made plain.

    Raises:
        UpstreamError: it is none.
    """
    found = plain(value)
    if not isinstance(found, dict):
        raise UpstreamError(f"{where}: is missing or no mapping; the checkpoint is incomplete")
    return dict(found)


def _task(value: Any, where: str) -> dict[Any, Any]:
    """The task's configuration, which some files lack."""
    return {} if value is None else mapping(value, where)


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a PyTorch file; in place whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    replace_file(path, buffer.getvalue())
