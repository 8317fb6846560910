"""Configurations of fairseq models of the wav2vec 2.0 family, both ways; s3prl, WavLM and DistilHuBERT use the same words.

Sources: fairseq models/{wav2vec/wav2vec2,hubert/hubert,wavlm}.py, tasks/audio_pretraining.py; microsoft/unilm wavlm/WavLM.py;
s3prl upstream/distiller/model.py. What decides no hidden state goes to `pretraining` under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream.conv_layers import ConvLayer, format_conv_layers, parse_conv_layers
from upstream.errors import UpstreamError
from upstream.formats.base import RESERVED, TASK, chunk_rule, json_values
from upstream.wav2vec2_config import Wav2Vec2Config

CONVOLUTIONS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
# fairseq's word: own field, and fairseq's default.
FIELDS: dict[str, tuple[str, Any]] = {
    "encoder_layers": ("layers", 12),
    "encoder_embed_dim": ("dim", 768),
    "encoder_ffn_embed_dim": ("ffn_dim", 3072),
    "encoder_attention_heads": ("heads", 12),
    "layer_norm_first": ("pre_norm", False),
    "conv_bias": ("conv_bias", False),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "dropout_input": ("input_dropout", 0.0),
    "feature_grad_mult": ("feature_grad_mult", 1.0),
}
# Read besides; None, as for the fields, means fairseq's default.
FURTHER = {"extractor_mode", "conv_feature_layers", "layer_type", "activation_fn", "conv_pos", "conv_pos_groups", "pos_conv_depth"}
MODEL_NAMES = {
    "wav2vec2": "wav2vec2",
    "wav2vec2_conformer": "wav2vec2",
    "hubert": "hubert",
    "data2vec": "data2vec_audio",
    "tera2": "tera",
}
TASK_NAMES = {"hubert": "hubert_pretraining", "tera2": "tera_pretraining"}
EXTRACTORS = {"default": "group", "layer_norm": "layer"}
POSITIONS = {"rel_pos": "relative", "rope": "rotary"}
# Settings that would change the states: the only value that is read.
REFUSED = {"quantize_input": False, "crop_seq_to_multiple": 1, "attention_type": "original", "sample_rate": 16_000}
LABEL_RATE = 50.0  # a second, what HuBERT's published second iteration has; its code needs some number


def decode(model: Mapping[str, Any], task: Mapping[str, Any], family: str, where: str) -> dict[str, Any]:
    """The values of a `Wav2Vec2Config`.

    Args:
        model: fairseq's model configuration; keys that it lacks have fairseq's defaults.
        task: that of the task, for `normalize`.
        family: ours.
        where: begins messages.

    Raises:
        UpstreamError: an architecture that is not supported.
    """
    known = {*FIELDS, *FURTHER}
    left = {
        key: value for key, value in model.items() if key not in ("_name", "arch", "normalize") and not (value is None and key in known)
    }
    tasks = {key: value for key, value in task.items() if key not in ("_name", "normalize", "sample_rate")}
    for key, value in REFUSED.items():
        if left.pop(key, task.get(key, value)) != value:
            raise UpstreamError(f"{where}: {key} must be {value!r}: no other is supported")
    values = {own: left.pop(key, default) for key, (own, default) in FIELDS.items()}
    values["feature_grad_mult"] = max(0.0, values["feature_grad_mult"])
    mode = left.pop("extractor_mode", "default")
    if mode not in EXTRACTORS:
        raise UpstreamError(f"{where}: extractor_mode {mode!r} is not known; known: {', '.join(EXTRACTORS)}")
    layers = _convolutions(str(left.pop("conv_feature_layers", CONVOLUTIONS)), where)
    values |= {"family": family, "conv_layers": layers, "conv_norm": EXTRACTORS[mode], "feature_norm": family != "distilhubert"}
    values["projection"] = family == "data2vec" or layers[-1][0] != values["dim"]
    values |= _block(left, where)
    normalize = task.get("normalize", model.get("normalize"))
    values["normalize"] = False if normalize is None else normalize
    values["padding_rule"] = chunk_rule(family)
    values["pretraining"] = json_values({**left, **({TASK: json_values(tasks)} if tasks else {})})
    return values


def _convolutions(text: str, where: str) -> tuple[ConvLayer, ...]:
    try:
        return parse_conv_layers(text)
    except UpstreamError as error:
        raise UpstreamError(f"{where}: {error}") from None


def _block(left: dict[str, Any], where: str) -> dict[str, Any]:
    """The kind of layers and their positions; takes what it reads out of `left`."""
    kind = left.pop("layer_type", "transformer")
    if kind == "conformer":
        depthwise, encoding = left.pop("depthwise_conv_kernel_size", 31), left.pop("pos_enc_type", "abs")
        if encoding not in POSITIONS or left.pop("attn_type", "") != "espnet":
            words = "pos_enc_type rel_pos or rope with attn_type espnet"
            raise UpstreamError(f"{where}: a conformer with pos_enc_type {encoding!r} is not supported, only {words}")
        positions = {"positions": POSITIONS[encoding], "positional_convolution": None}
        return {"block": "conformer", "activation": "swish", "depthwise_kernel": depthwise} | positions
    if kind != "transformer":
        raise UpstreamError(f"{where}: layer_type {kind!r} is not supported (adapters are not read), only transformer and conformer")
    values = {"activation": left.pop("activation_fn", "gelu"), "positional_convolution": _positional(left)}
    if left.pop("relative_position_embedding", False):
        if not left.pop("gru_rel_pos", False):
            raise UpstreamError(f"{where}: a relative position bias without gru_rel_pos is not supported")
        values |= {"positions": "gated", "buckets": left.pop("num_buckets", 320), "max_distance": left.pop("max_distance", 1280)}
    return values


def _positional(left: dict[str, Any]) -> dict[str, Any]:
    kernel, groups, depth = left.pop("conv_pos", 128), left.pop("conv_pos_groups", 16), left.pop("pos_conv_depth", 1)
    if depth > 1:
        return {"kernel": max(3, kernel // depth), "groups": groups, "depth": depth, "norm": "layer"}
    return {"kernel": kernel, "groups": groups, "norm": "batch" if left.pop("conv_pos_batch_norm", False) else "weight"}


def encode(config: Wav2Vec2Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """fairseq's configurations of the model and of its task, every value that decides a state written out."""
    known = {key: value for key, value in config.pretraining.items() if key not in RESERVED}
    model = known | {key: getattr(config, own) for key, (own, _) in FIELDS.items()}
    model["extractor_mode"] = next(mode for mode, norm in EXTRACTORS.items() if norm == config.conv_norm)
    model["conv_feature_layers"] = format_conv_layers(config.conv_layers)
    if config.block == "conformer":
        encoding = next(key for key, positions in POSITIONS.items() if positions == config.positions)
        model |= {"attn_type": "espnet", "pos_enc_type": encoding}
        model["depthwise_conv_kernel_size"] = config.depthwise_kernel
    else:
        model["activation_fn"] = config.activation
    if config.positional_convolution is not None:
        shape = config.positional_convolution
        model |= {"conv_pos": shape.kernel * shape.depth, "conv_pos_groups": shape.groups}
        model |= {"pos_conv_depth": shape.depth} if shape.depth > 1 else {}
        model |= {"conv_pos_batch_norm": True} if shape.norm == "batch" else {}
    if config.positions == "gated":
        model |= {"relative_position_embedding": True, "gru_rel_pos": True}
        model |= {"num_buckets": config.buckets, "max_distance": config.max_distance}
    if config.family in MODEL_NAMES:
        model |= {"_name": MODEL_NAMES[config.family], "layer_type": config.block}
    if config.family in ("hubert", "tera2"):
        model.setdefault("label_rate", LABEL_RATE)
    name = TASK_NAMES.get(config.family, "audio_pretraining")
    task = {**config.pretraining.get(TASK, {}), "_name": name, "sample_rate": 16_000, "normalize": config.normalize}
    return model, task
