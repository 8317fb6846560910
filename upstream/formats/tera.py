"""TERA, Mockingjay and Audio ALBERT checkpoints: native folders, and files of s3prl, both ways.

s3prl's file is a dictionary: `Transformer` and `SpecHead` (weights), `Upstream_Config` (older files: `Config`) with the blocks
`transformer`, `task` and `audio`. Source: s3prl upstream/mockingjay/builder.py and pretrain/mockingjay/pretrain_expert.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream import native
from upstream.checkpoint import plain, read_checkpoint
from upstream.errors import UpstreamError
from upstream.features.kaldi import KaldiConfig
from upstream.features.logmel import LogMelConfig
from upstream.folder import CONFIG_FILE, WEIGHTS_FILE
from upstream.formats.containers import save
from upstream.formats.content import Content, Kind, Notes, write_native
from upstream.native import ENCODER, HEAD, some
from upstream.settings import Settings
from upstream.tera_config import TeraConfig, TransformerConfig

logger = logging.getLogger(__name__)

FAMILY = "tera"

# Keys that files may lack: they came later, and their defaults are what was done before.
LATER_KEYS = {"input_dim", "share_layer", "pre_layer_norm"}

LAYER = {  # published name, own name
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward.inner",
    "output.dense": "feed_forward.output",
    "output.LayerNorm": "feed_forward_norm",
}
ALIASES = {"attention.LayerNorm": "attention.output.LayerNorm", "LayerNorm": "output.LayerNorm"}  # pre-LN stores these twice
QKV = [f"attention.self.{part}" for part in ("query", "key", "value")]
INPUT = {"input_representations.spec_transform": "input_projection", "input_representations.LayerNorm": "input_norm"}
HEAD_NAMES = {"dense": "dense", "LayerNorm": "norm", "output": "output"}


def recognized(content: Any) -> bool:
    """Whether this is what a published file holds."""
    return isinstance(content, Mapping) and "Transformer" in content


def read_native(folder: Path) -> tuple[TeraConfig, dict[str, Tensor]]:
    """The configuration and the tensors, head included, of a native checkpoint folder of this family."""
    values, tensors = native.read_native(folder, [FAMILY])
    del values["family"]
    return TeraConfig.read(values, str(folder / CONFIG_FILE)), tensors


def read_s3prl(path: Path) -> tuple[TeraConfig, dict[str, Tensor]]:
    """Read a published file.

    Returns: the configuration, and the tensors under native names, those of the head included.

    Raises:
        UpstreamError: not such a file; weights missing, unexpected or unequal where they should be equal; stacked frames.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("Transformer"), Mapping):
        raise UpstreamError(f"{path}: is not a TERA checkpoint: it has no 'Transformer' weights")
    config = _read_config(content, path)
    weights = _renamed(content["Transformer"], path)
    _refuse_stacked_frames(weights, config, path)
    tensors = {ENCODER + name: tensor for name, tensor in from_published(weights, config, str(path)).items()}
    for name, tensor in _renamed(content.get("SpecHead") or {}, path).items():
        part, _, kind = name.rpartition(".")
        tensors[f"{HEAD}{HEAD_NAMES.get(part, part)}.{kind}"] = tensor
    return config, tensors


def write_s3prl(
    path: Path,
    config: TeraConfig,
    encoder_state: Mapping[str, Tensor],
    head_state: Mapping[str, Tensor] | None = None,
    step: int = 0,
) -> None:
    """Write a file that s3prl reads as its own; in place whole or not at all.

    Args:
        path: where.
        config: the encoder's configuration.
        encoder_state: the state dictionary of a `TeraEncoder`.
        head_state: that of its reconstruction head, for s3prl to go on with pre-training.
        step: how many updates the weights have had.
    """
    content: dict[str, Any] = {"Transformer": to_published(config, encoder_state), "Upstream_Config": _published_config(config)}
    content |= {"Config": {}, "Step": step}
    if head_state is not None:
        content["SpecHead"] = {
            f"{published}.{kind}": head_state[f"{name}.{kind}"].detach().cpu()
            for published, name in HEAD_NAMES.items()
            for kind in ("weight", "bias")
        }
    save(path, content)


def from_published(weights: Mapping[str, Tensor], config: TeraConfig, where: str) -> dict[str, Tensor]:
    """Encoder weights under own names, query, key and value joined, one copy of a shared layer."""
    weights = dict(weights)
    _drop_copies(weights, config, where)
    pairs = dict(_names(config))
    expected = {part for published in pairs.values() for part in published}
    if missing := expected - weights.keys():
        raise UpstreamError(f"{where}: weights are missing: {some(missing)}")
    if unexpected := weights.keys() - expected:
        raise UpstreamError(f"{where}: weights are not part of the configured encoder: {some(unexpected)}")
    return {own: _joined([weights[part] for part in published], published, where) for own, published in pairs.items()}


def _joined(parts: list[Tensor], names: list[str], where: str) -> Tensor:
    if len({part.shape for part in parts}) > 1:
        raise UpstreamError(f"{where}: {', '.join(names)} should have one shape, not {[tuple(part.shape) for part in parts]}")
    return torch.cat(parts)


def to_published(config: TeraConfig, encoder_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoder weights under s3prl's names, with the copies that it stores."""
    weights: dict[str, Tensor] = {}
    for name, published in _names(config):
        parts = encoder_state[name].detach().cpu().chunk(len(published))
        weights |= {part: tensor.clone() for part, tensor in zip(published, parts, strict=True)}
    for copy, original in _copies(config):
        weights[copy] = weights[original].clone()
    return weights


def _names(config: TeraConfig) -> Iterator[tuple[str, list[str]]]:
    """Each own name with the published name, or the three that are joined in it."""
    layers = 1 if config.transformer.share_layer else config.transformer.num_hidden_layers
    for kind in ("weight", "bias"):
        for published, own in INPUT.items():
            yield f"{own}.{kind}", [f"{published}.{kind}"]
        for index in range(layers):
            yield f"transformer.layers.{index}.attention.qkv.{kind}", [f"encoder.layer.{index}.{part}.{kind}" for part in QKV]
            for published, own in LAYER.items():
                yield f"transformer.layers.{index}.{own}.{kind}", [f"encoder.layer.{index}.{published}.{kind}"]
        for index in range(config.transformer.num_hidden_layers + 1 if config.transformer.pre_layer_norm else 0):
            yield f"state_norms.{index}.{kind}", [f"encoder.LayerNorm.{index}.{kind}"]


def _copies(config: TeraConfig) -> Iterator[tuple[str, str]]:
    """Published names that repeat another one's tensor: (copy, original)."""
    block = config.transformer
    for kind in ("weight", "bias"):
        for index in range(1 if block.share_layer else 0, block.num_hidden_layers if block.share_layer else 0):
            for part in [*QKV, *LAYER]:
                yield f"encoder.layer.{index}.{part}.{kind}", f"encoder.layer.0.{part}.{kind}"
        for index in range(block.num_hidden_layers if block.pre_layer_norm else 0):
            for copy, original in ALIASES.items():
                yield f"encoder.layer.{index}.{copy}.{kind}", f"encoder.layer.{index}.{original}.{kind}"


def _drop_copies(weights: dict[str, Tensor], config: TeraConfig, where: str) -> None:
    """Remove repeated tensors after checking that they do repeat."""
    for copy, original in reversed(list(_copies(config))):
        if copy in weights and original in weights and not torch.equal(weights[copy], weights[original]):
            raise UpstreamError(f"{where}: '{copy}' should equal '{original}' and does not; the file fits no published configuration")
    for copy, _ in _copies(config):
        weights.pop(copy, None)


def _renamed(weights: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Very old files call a norm's weight `gamma` and its bias `beta`."""
    if odd := [name for name, tensor in weights.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]:
        raise UpstreamError(f"{path}: '{odd[0]}' among the weights is not a tensor; the file is no TERA checkpoint")
    swap = {"gamma": "weight", "beta": "bias"}
    split = {name: name.rpartition(".") for name in weights}
    return {f"{stem}{dot}{swap.get(leaf, leaf)}": weights[name] for name, (stem, dot, leaf) in split.items()}


def _read_config(content: Mapping[str, Any], path: Path) -> TeraConfig:
    """The three blocks, from `Config` of older files or from `Upstream_Config`."""
    found = {key: plain(content.get(key)) for key in ("Config", "Upstream_Config")}
    source = next((key for key, blocks in found.items() if isinstance(blocks, Mapping) and "transformer" in blocks), None)
    if source is None:
        raise UpstreamError(f"{path}: neither 'Config' nor 'Upstream_Config' has a 'transformer' block; the encoder's shape is unknown")
    where, blocks = f"{path}: {source}", found[source]
    if not all(isinstance(blocks[key], Mapping) for key in ("transformer", "task", "audio") if blocks.get(key)):
        raise UpstreamError(f"{where}: 'transformer', 'task' and 'audio' must be mappings")
    if not blocks.get("audio"):
        raise UpstreamError(f"{where}: has no 'audio' block: trained on features from files, it cannot encode waveforms")
    transformer = dict(blocks["transformer"])
    if transformer.pop("downsample_rate", 1) != 1:
        raise _stacked(path, "transformer.downsample_rate is not 1")
    if missing := set(TransformerConfig.model_fields) - LATER_KEYS - transformer.keys():
        raise UpstreamError(f"{where}: the 'transformer' block lacks {some(missing)}")
    kind = KaldiConfig if "kaldi" in blocks["audio"] else LogMelConfig
    values = {
        "transformer": _known(transformer, TransformerConfig, f"{where}: transformer"),
        "task": blocks.get("task") or {},
        "audio": _known(blocks["audio"], kind, f"{where}: audio"),
    }
    return TeraConfig.read(values, where)


def _known(block: Mapping[str, Any], model: type[Settings], where: str) -> dict[str, Any]:
    """Drop, with a warning, the keys that the original reads past too."""
    for key in sorted(block.keys() - set(model.model_fields)):
        logger.warning("%s: '%s' has no effect", where, key)
    return {key: value for key, value in block.items() if key in model.model_fields}


def _published_config(config: TeraConfig) -> dict[str, Any]:
    """The blocks as s3prl writes them: no empty target, and no level as the word None."""
    blocks = config.model_dump(mode="json")
    audio = blocks["audio"]
    if audio.get("target", ...) is None:
        del audio["target"]
    if audio.get("target_level", ...) is None:
        audio["target_level"] = "None"
    return blocks


def _refuse_stacked_frames(weights: Mapping[str, Tensor], config: TeraConfig, path: Path) -> None:
    projection = weights.get("input_representations.spec_transform.weight")
    width = config.audio.input_dim
    if projection is not None and projection.dim() == 2 and projection.shape[1] != width and projection.shape[1] % width == 0:
        raise _stacked(path, f"its input is {projection.shape[1]} wide, {projection.shape[1] // width} × the {width} features")


def _stacked(path: Path, sign: str) -> UpstreamError:
    return UpstreamError(f"{path}: stacks consecutive frames (the first Mockingjay code; {sign}); today's s3prl cannot read it either")


def _opened(path: Path) -> Content:
    folder = path.parent if path.name == WEIGHTS_FILE else path
    config, tensors = read_native(folder) if (folder / CONFIG_FILE).is_file() else read_s3prl(path)
    return Content(FAMILY, config.transformer.num_hidden_layers, config.transformer.hidden_size, tensors, config)


def _write_s3prl(content: Content, path: Path) -> Notes:
    encoder, head = (
        {name.removeprefix(prefix): tensor for name, tensor in content.tensors.items() if name.startswith(prefix)}
        for prefix in (ENCODER, HEAD)
    )
    write_s3prl(path, content.source, encoder, head or None)
    return ()


KIND = Kind((FAMILY,), recognized, _opened, {"native": write_native, "s3prl": _write_s3prl})
