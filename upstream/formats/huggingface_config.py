"""Hugging Face's `config.json` and `preprocessor_config.json` of the wav2vec 2.0 family, both ways.

Source: transformers models/{wav2vec2,wav2vec2_conformer,hubert,wavlm,data2vec}/configuration_*.py and
models/wav2vec2/feature_extraction_wav2vec2.py. What decides no hidden state goes to `pretraining`, under fairseq's name where it
has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upstream.errors import UpstreamError
from upstream.folder import Preprocessor
from upstream.formats.base import HUGGING_FACE, WEIR, json_values
from upstream.wav2vec2_config import Wav2Vec2Config

NORMALIZE_EPS = 1e-7  # of Wav2Vec2FeatureExtractor
MODEL_TYPES = {  # ours: theirs
    "wav2vec2": "wav2vec2",
    "wav2vec2_conformer": "wav2vec2-conformer",
    "hubert": "hubert",
    "tera2": "hubert",
    "distilhubert": "hubert",
    "wavlm": "wavlm",
    "data2vec": "data2vec-audio",
}
CLASSES = {
    "wav2vec2": "Wav2Vec2",
    "wav2vec2-conformer": "Wav2Vec2Conformer",
    "hubert": "Hubert",
    "wavlm": "WavLM",
    "data2vec-audio": "Data2VecAudio",
}
# Their word: own field, and the default of their classes.
FIELDS: dict[str, tuple[str, Any]] = {
    "hidden_size": ("dim", 768),
    "num_hidden_layers": ("layers", 12),
    "num_attention_heads": ("heads", 12),
    "intermediate_size": ("ffn_dim", 3072),
    "hidden_act": ("activation", "gelu"),
    "conv_bias": ("conv_bias", False),
    "hidden_dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.1),
    "feat_proj_dropout": ("input_dropout", 0.0),
}
CONVOLUTIONS = {"conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
REQUIRED = {
    "layer_norm_eps": 1e-5,
    "feat_extract_activation": "gelu",
    "rotary_embedding_base": 10_000,
    "add_adapter": False,
    "adapter_attn_dim": None,
}
POSITIONS = {"relative": "relative", "rotary": "rotary"}
# Their word for what fairseq calls otherwise; read by pre-training and fine-tuning alone.
PRETRAINING = {
    "mask_time_prob": "mask_prob",
    "mask_time_length": "mask_length",
    "mask_feature_prob": "mask_channel_prob",
    "mask_feature_length": "mask_channel_length",
    "layerdrop": "encoder_layerdrop",
    "feat_quantizer_dropout": "dropout_features",
    "final_dropout": "final_dropout",
    "num_codevectors_per_group": "latent_vars",
    "num_codevector_groups": "latent_groups",
    "codevector_dim": "latent_dim",
    "proj_codevector_dim": "final_dim",
    "num_negatives": "num_negatives",
    "contrastive_logits_temperature": "logit_temp",
}
CONFORMER_PRETRAINING = {"num_conv_pos_embeddings": "conv_pos", "num_conv_pos_embedding_groups": "conv_pos_groups"}  # stored, not used
TRANSIENT = {
    "architectures",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "model_type",
    "_name_or_path",
    "num_feat_extract_layers",
    WEIR,
}


def decode(published: Mapping[str, Any], preprocessor: Preprocessor, where: str) -> dict[str, Any]:
    """The values of a `Wav2Vec2Config`.

    Args:
        published: `config.json`.
        preprocessor: how the input is prepared.
        where: begins messages.

    Raises:
        UpstreamError: another kind of model, or an architecture that is not supported.
    """
    kind = published.get("model_type")
    families = {theirs: ours for ours, theirs in reversed(MODEL_TYPES.items())}
    if kind not in families:
        raise UpstreamError(f"{where}: model_type is {kind!r}, not one of {', '.join(CLASSES)}; try -u hf")
    left = {key: value for key, value in published.items() if key not in TRANSIENT}
    for key, value in REQUIRED.items():
        if left.pop(key, value) != value:
            raise UpstreamError(f"{where}: {key} must be {value!r}: no other is supported; try -u hf")
    values = {own: left.pop(key, default) for key, (own, default) in FIELDS.items()}
    values["activation"] = "swish" if values["activation"] == "silu" else values["activation"]
    layers = [left.pop(key, default) for key, default in CONVOLUTIONS.items()]
    values |= {"family": families[kind], "conv_layers": list(zip(*layers, strict=False)), "padding_rule": "lengths"}
    values["conv_norm"] = "layer" if kind == "data2vec-audio" else left.pop("feat_extract_norm", "group")
    if kind == "hubert" and not left.pop("feat_proj_layer_norm", True):
        values |= {"family": "distilhubert", "feature_norm": False}
    values |= _block(str(kind), left, where)
    if preprocessor.normalizes:
        values |= {"normalize": True, "normalize_eps": NORMALIZE_EPS}
    pretraining = {ours: left.pop(theirs) for theirs, ours in _pretraining_words(values).items() if theirs in left}
    values["pretraining"] = json_values({**pretraining, **({HUGGING_FACE: json_values(left)} if left else {})})
    return values


def _block(kind: str, left: dict[str, Any], where: str) -> dict[str, Any]:
    """The kind of layers and their positions; takes what it reads out of `left`."""
    if kind == "wav2vec2-conformer":
        positions = left.pop("position_embeddings_type", "relative")
        if positions not in POSITIONS:
            raise UpstreamError(f"{where}: position_embeddings_type {positions!r} is not supported, only {' and '.join(POSITIONS)}")
        kernel = left.pop("conv_depthwise_kernel_size", 31)
        return {"block": "conformer", "positions": positions, "pre_norm": True, "positional_convolution": None, "depthwise_kernel": kernel}
    groups = left.pop("num_conv_pos_embedding_groups", 16)
    count = left.pop("num_conv_pos_embeddings", 5 if kind == "data2vec-audio" else 128)
    if kind == "data2vec-audio":
        kernel = left.pop("conv_pos_kernel_size", 19)
        return {"positional_convolution": {"kernel": kernel, "groups": groups, "depth": count, "norm": "layer"}}
    batch = left.pop("conv_pos_batch_norm", False) if kind == "hubert" else False
    values: dict[str, Any] = {"positional_convolution": {"kernel": count, "groups": groups, "norm": "batch" if batch else "weight"}}
    if kind == "wavlm":
        values |= {"positions": "gated", "buckets": left.pop("num_buckets", 320), "max_distance": left.pop("max_bucket_distance", 800)}
    return values | {"pre_norm": left.pop("do_stable_layer_norm", False)}


def _pretraining_words(values: Mapping[str, Any]) -> dict[str, str]:
    return PRETRAINING | CONFORMER_PRETRAINING if values.get("block") == "conformer" else PRETRAINING


def encode(config: Wav2Vec2Config) -> dict[str, Any]:
    """`config.json`, every value that decides a state written out."""
    kind = MODEL_TYPES[config.family]
    values = {key: getattr(config, own) for key, (own, _) in FIELDS.items()}
    values |= {key: [layer[place] for layer in config.conv_layers] for place, key in enumerate(CONVOLUTIONS)}
    values |= {"model_type": kind, "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5}
    if kind != "data2vec-audio":
        values["feat_extract_norm"] = config.conv_norm
    if kind == "hubert":
        values["feat_proj_layer_norm"] = config.feature_norm
    shape = config.positional_convolution
    if config.block == "conformer":
        values |= {"position_embeddings_type": config.positions, "conv_depthwise_kernel_size": config.depthwise_kernel}
    elif kind != "data2vec-audio":
        values["do_stable_layer_norm"] = config.pre_norm
    if shape is not None:
        values["num_conv_pos_embedding_groups"] = shape.groups
        if kind == "data2vec-audio":
            values |= {"num_conv_pos_embeddings": shape.depth, "conv_pos_kernel_size": shape.kernel}
        else:
            values |= {"num_conv_pos_embeddings": shape.kernel}
        values |= {"conv_pos_batch_norm": shape.norm == "batch"} if kind == "hubert" else {}
    if config.positions == "gated":
        values |= {"num_buckets": config.buckets, "max_bucket_distance": config.max_distance}
    words = _pretraining_words({"block": config.block})
    known = {theirs: config.pretraining[ours] for theirs, ours in words.items() if ours in config.pretraining}
    return {**config.pretraining.get(HUGGING_FACE, {}), **known, **values}


def preprocessor(config: Wav2Vec2Config) -> dict[str, Any]:
    """`preprocessor_config.json`; models with a group norm are published without attention masks."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": config.normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": config.conv_norm == "layer",
        "sampling_rate": 16_000,
    }
