"""Checkpoints of wav2vec and vq-wav2vec: native folders, and files of fairseq and s3prl, both ways.

fairseq's file holds `model` (weights) with `args` (2019) or `cfg`; s3prl's converted one holds `model_weight`, `model_cfg` and
`task_cfg`; the names of the weights are the same. What only pre-training uses (the prediction head) keeps its published name
behind `head.`. Source: fairseq models/wav2vec/wav2vec.py; s3prl upstream/wav2vec/convert.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from upstream import native
from upstream.checkpoint import read_checkpoint
from upstream.conv_layers import format_conv_layers, parse_conv_layers
from upstream.errors import UpstreamError
from upstream.formats.containers import opened, save, weight_names
from upstream.formats.content import Content, Kind, write_native, writer
from upstream.native import ENCODER, HEAD, WEIGHTS_FILE, some
from upstream.settings import parse
from upstream.wav2vec_config import Wav2VecConfig

FAMILIES = ("wav2vec", "vq_wav2vec")
HEAD_PARTS = ("wav2vec_predictions.", "project_features.")
TASK = {"_name": "audio_pretraining", "sample_rate": 16_000, "normalize": False}

NEEDED = ("conv_feature_layers", "conv_aggregator_layers", "log_compression", "skip_connections_agg")
DEFAULTS: dict[str, Any] = {  # keys that files may lack: the same in fairseq's oldest and newest code
    "activation": "relu",
    "aggregator": "cnn",
    "skip_connections_feat": False,
    "non_affine_group_norm": False,
    "no_conv_bias": False,
    "agg_zero_pad": False,
    "residual_scale": 0.5,
    "dropout": 0.0,
    "dropout_features": 0.0,
    "vq_type": "none",
    "vq_vars": 320,
    "vq_groups": 2,
    "vq_dim": 0,
    "vq_depth": 1,
    "combine_groups": False,
}
OBJECTIVE = (  # keys of pre-training alone, carried along
    *("prediction_steps", "sample_distance", "num_negatives", "cross_sample_negatives", "balanced_classes", "infonce"),
    *("project_features", "offset", "dropout_agg", "vq_temp", "vq_gamma"),
)


def recognized(content: Any) -> bool:
    """Whether this is what such a file holds."""
    return any(name.startswith("feature_aggregator.") for name in weight_names(content))


def read(path: Path) -> tuple[Wav2VecConfig, dict[str, Tensor]]:
    """Read a native folder, or a file of fairseq or s3prl.

    Returns: the configuration, and the tensors under native names, those of the head included.

    Raises:
        UpstreamError: not such a checkpoint; an architecture that no published model has; weights missing or unexpected.
    """
    if path.is_dir() or path.name == WEIGHTS_FILE:
        values, tensors = native.read_native(path if path.is_dir() else path.parent, FAMILIES)
        del values["family"]
        return parse(Wav2VecConfig, values, str(path)), tensors
    content = read_checkpoint(path)
    model, task, weights = parts(content, path)
    if task.get("normalize"):
        raise UpstreamError(f"{path}: task.normalize is true, but no wav2vec normalises its input; the file fits no published model")
    config = read_config(model, str(path))
    return config, from_published(weights, config, str(path))


def write_fairseq(path: Path, config: Wav2VecConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a file that fairseq reads as its own; in place whole or not at all.

    Args:
        path: where.
        config: the architecture.
        tensors: under native names, with the prediction head.

    Raises:
        UpstreamError: there is no prediction head, without which neither fairseq nor s3prl loads a model.
    """
    cfg = {"_name": None, "model": {"_name": "wav2vec", **published_config(config)}, "task": TASK}
    save(path, {"args": None, "cfg": cfg, "model": to_published(config, tensors, str(path))})


def write_s3prl(path: Path, config: Wav2VecConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a file that s3prl reads as its own; see `write_fairseq`."""
    save(path, {"task_cfg": TASK, "model_cfg": published_config(config), "model_weight": to_published(config, tensors, str(path))})


def parts(content: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """The model's and the task's configuration as plain values, and the weights, of a file of fairseq or s3prl.

    Raises:
        UpstreamError: it is neither.
    """
    found = opened(content, str(path))
    if odd := [name for name, tensor in found.weights.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]:
        raise UpstreamError(f"{path}: '{odd[0]}' among the weights is not a tensor; save the weights again without it")
    return found.model, found.task, dict(found.weights)


def read_config(published: Mapping[str, Any], where: str) -> Wav2VecConfig:
    """The architecture that a published configuration describes.

    Raises:
        UpstreamError: keys are missing, or it is an architecture that no published model has.
    """
    if missing := {key for key in NEEDED if published.get(key) is None}:
        raise UpstreamError(f"{where}: the configuration lacks {some(missing)}; it is not that of a wav2vec")
    values = DEFAULTS | {key: value for key, value in published.items() if value is not None}
    layers = parse_conv_layers(str(values["conv_feature_layers"]))
    aggregator = parse_conv_layers(str(values["conv_aggregator_layers"]))
    dim = layers[-1][0]
    _refuse(values["aggregator"] != "cnn", "aggregator", values, where)
    _refuse(values["skip_connections_feat"], "skip_connections_feat", values, where)
    _refuse(any((channels, stride) != (dim, 1) for channels, _, stride in aggregator), "conv_aggregator_layers", values, where)
    _refuse(values["vq_dim"] not in (0, dim), "vq_dim", values, where)
    own = {
        "conv_layers": layers,
        "kernels": [kernel for _, kernel, _ in aggregator],
        "activation": values["activation"],
        "log_compression": values["log_compression"],
        "affine": not values["non_affine_group_norm"],
        "aggregator_bias": not values["no_conv_bias"],
        "aggregator_padding": "zeros" if values["agg_zero_pad"] else "replicate",
        "skip_connections": values["skip_connections_agg"],
        "residual_scale": values["residual_scale"],
        "dropout": values["dropout"],
        "feature_dropout": values["dropout_features"],
        "quantizer": None if values["vq_type"] == "none" else _read_quantizer(values),
        "pretraining": {key: published[key] for key in OBJECTIVE if key in published},
    }
    return parse(Wav2VecConfig, own, where)


def _read_quantizer(values: Mapping[str, Any]) -> dict[str, Any]:
    names = {"kind": "vq_type", "codes": "vq_vars", "groups": "vq_groups", "depth": "vq_depth", "shared": "combine_groups"}
    return {own: values[published] for own, published in names.items()}


def _refuse(wrong: bool, key: str, values: Mapping[str, Any], where: str) -> None:
    if wrong:
        raise UpstreamError(f"{where}: {key} = {values[key]!r} is an architecture that no published wav2vec has, and is not built here")


def published_config(config: Wav2VecConfig) -> dict[str, Any]:
    """An architecture, and what was carried along with it, under fairseq's names."""
    quantizer = config.quantizer
    return {
        "infonce": False,  # s3prl has no default for it
        **config.pretraining,
        "conv_feature_layers": format_conv_layers(config.conv_layers),
        "conv_aggregator_layers": format_conv_layers(tuple((config.dim, kernel, 1) for kernel in config.kernels)),
        "aggregator": "cnn",
        "activation": config.activation,
        "log_compression": config.log_compression,
        "skip_connections_feat": False,
        "skip_connections_agg": config.skip_connections,
        "residual_scale": config.residual_scale,
        "non_affine_group_norm": not config.affine,
        "no_conv_bias": not config.aggregator_bias,
        "agg_zero_pad": config.aggregator_padding == "zeros",
        "dropout": config.dropout,
        "dropout_features": config.feature_dropout,
        "vq_type": quantizer.kind if quantizer else "none",
        "vq_vars": quantizer.codes if quantizer else DEFAULTS["vq_vars"],
        "vq_groups": quantizer.groups if quantizer else DEFAULTS["vq_groups"],
        "vq_depth": quantizer.depth if quantizer else DEFAULTS["vq_depth"],
        "vq_dim": DEFAULTS["vq_dim"],
        "combine_groups": bool(quantizer and quantizer.shared),
    }


def from_published(weights: Mapping[str, Tensor], config: Wav2VecConfig, where: str) -> dict[str, Tensor]:
    """Published weights under native names.

    Raises:
        UpstreamError: weights are missing, or are not part of the configured model.
    """
    names = dict(_names(config))
    heads = {name for name in weights if name.startswith(HEAD_PARTS)}
    check_names(set(weights) - heads, set(names.values()), where)
    tensors = {ENCODER + own: weights[published] for own, published in names.items()}
    # Cloned: projecting with the aggregator itself stores its weights twice, and safetensors takes no shared memory.
    return tensors | {HEAD + name: weights[name].clone() for name in sorted(heads)}


def to_published(config: Wav2VecConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Native tensors under published names; see `write_fairseq`."""
    heads = {name.removeprefix(HEAD): tensor for name, tensor in tensors.items() if name.startswith(HEAD)}
    if not heads:
        raise UpstreamError(f"{where}: cannot be written: these weights have no prediction head, which fairseq and s3prl need to load them")
    weights = {published: tensors[ENCODER + own] for own, published in _names(config)} | heads
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def check_names(found: set[str], expected: set[str], where: str) -> None:
    """Refuse a file whose weights are not exactly those expected, naming them."""
    if missing := expected - found:
        raise UpstreamError(f"{where}: weights are missing: {some(missing)}")
    if unexpected := found - expected:
        raise UpstreamError(f"{where}: weights are not part of the configured model: {some(unexpected)}")


def _names(config: Wav2VecConfig) -> Iterator[tuple[str, str]]:
    """Each own name with the published one."""
    norm = ("weight", "bias") if config.affine else ()
    for index in range(len(config.conv_layers)):
        theirs = f"feature_extractor.conv_layers.{index}"
        yield f"extractor.layers.{index}.conv.weight", f"{theirs}.0.weight"
        yield from ((f"extractor.layers.{index}.norm.{leaf}", f"{theirs}.2.{leaf}") for leaf in norm)
    for index in range(len(config.kernels)):
        theirs = f"feature_aggregator.conv_layers.{index}"
        yield f"aggregator.layers.{index}.conv.weight", f"{theirs}.1.weight"
        if config.aggregator_bias:
            yield f"aggregator.layers.{index}.conv.bias", f"{theirs}.1.bias"
        yield from ((f"aggregator.layers.{index}.norm.{leaf}", f"{theirs}.3.{leaf}") for leaf in norm)
    for own, theirs in _quantizer_names(config):
        yield f"quantizer.{own}", f"vector_quantizer.{theirs}"


def _quantizer_names(config: Wav2VecConfig) -> Iterator[tuple[str, str]]:
    if config.quantizer is None:
        return
    if config.quantizer.kind == "kmeans":
        yield "codebook", "embedding"
        yield "projection.weight", "projection.0.weight"
        yield from ((f"norm.{leaf}", f"projection.1.{leaf}") for leaf in ("weight", "bias"))
        return
    yield "codebook", "vars"
    last = config.quantizer.depth - 1
    for index in range(last + 1):
        theirs = f"weight_proj.{index}.0" if index < last else f"weight_proj.{index}" if last else "weight_proj"
        yield from ((f"projection.{index}.{leaf}", f"{theirs}.{leaf}") for leaf in ("weight", "bias"))


def _opened(path: Path) -> Content:
    config, tensors = read(path)
    return Content(config.family, len(config.kernels), config.dim, tensors, config)


KIND = Kind(FAMILIES, recognized, _opened, {"native": write_native, "fairseq": writer(write_fairseq), "s3prl": writer(write_s3prl)})
