"""State dictionaries of torchaudio's wav2vec 2.0, HuBERT and WavLM, both ways.

Such a file holds tensors alone. The architecture follows from their shapes where a published one has them; our own files have it
beside them, in `STEM.json`. A bundle knows its own. Source: torchaudio models/wav2vec2/model.py and pipelines/_wav2vec2.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from upstream.errors import UpstreamError
from upstream.formats.base import WEIR, Checkpoint, configured, normalization, respelled, weights, without
from upstream.formats.names import from_native, to_native
from upstream.native import HEAD, some
from upstream.wav2vec2_config import Wav2Vec2Config

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}  # of the published models, by their dim
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
NORMS = {"group_norm": "group", "layer_norm": "layer"}
BUNDLE = {  # torchaudio's argument: own field
    "extractor_conv_bias": "conv_bias",
    "encoder_embed_dim": "dim",
    "encoder_projection_dropout": "input_dropout",
    "encoder_num_layers": "layers",
    "encoder_num_heads": "heads",
    "encoder_attention_dropout": "attention_dropout",
    "encoder_ff_interm_features": "ffn_dim",
    "encoder_ff_interm_dropout": "activation_dropout",
    "encoder_dropout": "dropout",
    "encoder_layer_norm_first": "pre_norm",
}
SHAPES = "shapes_sha256"  # beside `weir` in the JSON
_LAYER = re.compile(r"encoder\.transformer\.layers\.(\d+)\.")
_IGNORED = re.compile(r"(mask_generator|logit_generator)\.")
_TABLE = "encoder.transformer.layers.0.attention.rel_attn_embed.weight"
_PREFIX = "wav2vec2."  # of the class for HuBERT's pre-training


def recognized(content: Any) -> bool:
    """Whether this is such a state dictionary."""
    return isinstance(content, Mapping) and any(
        str(name).removeprefix(_PREFIX).startswith("encoder.feature_projection.projection.") for name in content
    )


def read(state: Mapping[str, Any], path: Path) -> Checkpoint:
    """The checkpoint in a file; what its shapes do not say is taken from the published models.

    Raises:
        UpstreamError: no published model has these shapes, or the weights do not fit.
    """
    where = str(path)
    tensors = _tensors(state, where)
    beside = path.with_suffix(".json")
    block, note = _beside(beside, tensors)
    config = configured(block if block is not None else _inferred(tensors, where), None, where)
    source = beside.name if block is not None else "torchaudio file, configuration inferred from its shapes"
    return Checkpoint(config, to_native(tensors, config, "torchaudio", where), (normalization(config, source), *note))


def from_bundle(params: Mapping[str, Any], state: Mapping[str, Any], normalize: bool, where: str) -> Checkpoint:
    """The checkpoint of a bundle of torchaudio's.

    Args:
        params: the arguments of `wav2vec2_model` or `wavlm_model`.
        state: the model's state dictionary.
        normalize: whether the bundle normalises waveforms.
        where: begins messages.

    Raises:
        UpstreamError: the weights do not fit.
    """
    values: dict[str, Any] = {own: params[name] for name, own in BUNDLE.items()}
    values |= {"conv_layers": params["extractor_conv_layer_config"], "conv_norm": NORMS[params["extractor_mode"]], "normalize": normalize}
    values["positional_convolution"] = {"kernel": params["encoder_pos_conv_kernel"], "groups": params["encoder_pos_conv_groups"]}
    if "encoder_num_buckets" in params:
        values |= {"family": "wavlm", "positions": "gated", "padding_rule": "lengths"}
        values |= {"buckets": params["encoder_num_buckets"], "max_distance": params["encoder_max_distance"]}
    config = configured(values, None, where)
    native = to_native(_tensors(state, where), config, "torchaudio", where)
    return Checkpoint(config, native, (normalization(config, "torchaudio's bundle"),))


def _tensors(state: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    named = {str(name).removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    return without(weights(named, where), _IGNORED, where)


def _beside(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The architecture that we wrote beside a file; None where the JSON there is another's, or of other shapes, which is said."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, ()
    block = content.get(WEIR) if isinstance(content, dict) else None
    if not isinstance(block, dict):
        return None, ()
    if content.get(SHAPES) != shapes_digest(tensors):
        return None, (f"{path.name} is not used: it was written for weights of other names and shapes",)
    return block, ()


def shapes_digest(tensors: Mapping[str, Tensor]) -> str:
    """What tells one file's JSON from another's: a hash of the names and shapes of its weights."""
    shapes = sorted((name, list(tensor.shape)) for name, tensor in tensors.items())
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()


def _inferred(tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """The architecture from shapes; strides, heads, groups and the place of the norms as in the published models."""
    try:
        dim = len(tensors["encoder.feature_projection.projection.weight"])
        convolutions = [tensors[f"feature_extractor.conv_layers.{index}.conv.weight"].shape for index in range(len(KERNELS))]
        channels, kernels = zip(*((shape[0], shape[2]) for shape in convolutions), strict=True)
        kernel = tensors["encoder.transformer.pos_conv_embed.conv.weight_v"].shape
        ffn_dim = len(tensors["encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"])
    except (KeyError, IndexError) as error:
        raise UpstreamError(f"{where}: looks like torchaudio's, but {error} is missing; it holds no complete encoder") from None
    constant = tensors.get("encoder.transformer.layers.0.attention.gru_rel_pos_const")
    heads = constant.shape[1] if constant is not None else HEADS.get(dim)
    if heads is None or kernels != KERNELS:
        said = f"dim {dim}, convolutions of {', '.join(map(str, kernels))}"
        raise UpstreamError(f"{where}: no published model has {said}, and a torchaudio file does not say the rest; load another format")
    layered = "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
    values: dict[str, Any] = {
        "conv_layers": list(zip(channels, KERNELS, STRIDES, strict=True)),
        "conv_norm": "layer" if layered else "group",
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in tensors,
        "dim": dim,
        "heads": heads,
        "ffn_dim": ffn_dim,
        "pre_norm": layered,
        "normalize": layered,
        "layers": 1 + max(int(found[1]) for name in tensors if (found := _LAYER.match(name))),
        "positional_convolution": {"kernel": kernel[2], "groups": dim // kernel[1]},
    }
    if _TABLE in tensors:
        values |= {"family": "wavlm", "positions": "gated", "buckets": len(tensors[_TABLE]), "padding_rule": "lengths"}
    return values


def state_of(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], bytes, tuple[str, ...]]:
    """The state dictionary, the content of the JSON file beside it, and sentences on what is lost.

    Raises:
        UpstreamError: torchaudio has no such model.
    """
    config = checkpoint.config
    _refuse(config)
    state, left = from_native(checkpoint.tensors, config, "torchaudio")
    block = json.dumps({WEIR: config.model_dump(mode="json"), SHAPES: shapes_digest(state)}, indent=2) + "\n"
    lost = {name.removeprefix(HEAD) for name in left}
    return (
        respelled(state, parametrized=True),
        block.encode(),
        (f"lost, as torchaudio has no place for them: {some(lost)}",) if lost else (),
    )


def _refuse(config: Wav2Vec2Config) -> None:
    shape = config.positional_convolution
    plain = shape is not None and shape.norm == "weight" and config.block == "transformer"
    if not (plain and config.feature_norm and config.projection and config.activation == "gelu"):
        raise UpstreamError(f"torchaudio: has no such {config.family} model; only wav2vec 2.0, HuBERT and WavLM are written")
