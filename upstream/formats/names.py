"""The one map of tensor names of the wav2vec 2.0 family: Weir's own, fairseq's (and s3prl's), Hugging Face's and torchaudio's.

One entry a tensor of the encoder, and one a tensor that pre-training or fine-tuning adds. Where several published tensors are
one here (query, key and value), they are joined along the first dimension.
Sources: the state dictionaries of fairseq models/{wav2vec,hubert}, transformers models/{wav2vec2,hubert,wavlm,data2vec} and
torchaudio models/wav2vec2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from upstream.errors import UpstreamError
from upstream.native import ENCODER, HEAD, some
from upstream.wav2vec2_config import Wav2Vec2Config

Naming = Literal["fairseq", "huggingface", "torchaudio"]


@dataclass(frozen=True)
class Entry:
    """One tensor's names; an empty tuple where a format has no such tensor.

    Attributes:
        native: Weir's own, with its prefix.
        optional: a file may lack it.
    """

    native: str
    fairseq: tuple[str, ...]
    huggingface: tuple[str, ...]
    torchaudio: tuple[str, ...] = ()
    optional: bool = False


LEAVES = ("weight", "bias")
NORM = f"{ENCODER}norm.weight"  # every encoder has it
QKV = ("q_proj", "k_proj", "v_proj")

# Own name: fairseq's and Hugging Face's below a layer. torchaudio has Hugging Face's, below another prefix.
LAYER = {
    "attention.output": ("self_attn.out_proj", "attention.out_proj"),
    "attention_norm": ("self_attn_layer_norm", "layer_norm"),
    "feed_forward.inner": ("fc1", "feed_forward.intermediate_dense"),
    "feed_forward.output": ("fc2", "feed_forward.output_dense"),
    "feed_forward_norm": ("final_layer_norm", "final_layer_norm"),
}
CONFORMER_LAYER = {
    **{f"feed_forward_{k}.norm": (f"ffn{k}.layer_norm", f"ffn{k}_layer_norm") for k in (1, 2)},
    **{f"feed_forward_{k}.inner": (f"ffn{k}.w_1", f"ffn{k}.intermediate_dense") for k in (1, 2)},
    **{f"feed_forward_{k}.output": (f"ffn{k}.w_2", f"ffn{k}.output_dense") for k in (1, 2)},
    "attention_norm": ("self_attn_layer_norm",) * 2,
    "attention.query": ("self_attn.linear_q",) * 2,
    "attention.key": ("self_attn.linear_k",) * 2,
    "attention.value": ("self_attn.linear_v",) * 2,
    "attention.output": ("self_attn.linear_out",) * 2,
    "convolution.norm": ("conv_module.layer_norm",) * 2,
    "convolution.batch_norm": ("conv_module.batch_norm",) * 2,
    "norm": ("final_layer_norm",) * 2,
}
CONFORMER_WEIGHTS = {  # without a bias
    "convolution.expand": "conv_module.pointwise_conv1",
    "convolution.depthwise": "conv_module.depthwise_conv",
    "convolution.output": "conv_module.pointwise_conv2",
}
CONFORMER_DISTANCES = {
    "attention.position.weight": "self_attn.linear_pos.weight",
    "attention.content_bias": "self_attn.pos_bias_u",
    "attention.position_bias": "self_attn.pos_bias_v",
}
BATCH_NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

# What pre-training and fine-tuning add: own name, fairseq's, Hugging Face's, torchaudio's; no encoder needs them.
HEADS = [
    ("mask_embedding", "mask_emb", "masked_spec_embed", None),
    ("quantizer.vars", "quantizer.vars", "quantizer.codevectors", None),
    *((f"quantizer.weight_proj.{leaf}", f"quantizer.weight_proj.{leaf}", f"quantizer.weight_proj.{leaf}", None) for leaf in LEAVES),
    *((f"project_q.{leaf}", f"project_q.{leaf}", f"project_q.{leaf}", None) for leaf in LEAVES),
    ("label_embeddings", "label_embs_concat", None, None),
    *((f"ctc.{leaf}", f"proj.{leaf}", f"lm_head.{leaf}", f"aux.{leaf}") for leaf in LEAVES),
    *((f"target_glu.0.{leaf}", f"target_glu.0.{leaf}", None, None) for leaf in LEAVES),
    *((f"output_layer.{part}.{leaf}", f"output_layer.{part}.{leaf}", None, None) for part in ("0", "2") for leaf in LEAVES),
]


def entries(config: Wav2Vec2Config) -> Iterator[Entry]:
    """Every tensor of the encoder, then those of the heads, which are optional."""
    yield from _front(config)
    yield from _positional(config)
    for leaf in LEAVES:
        yield _entry(f"norm.{leaf}", f"encoder.layer_norm.{leaf}", f"encoder.layer_norm.{leaf}", f"encoder.transformer.layer_norm.{leaf}")
    for index in range(config.layers):
        yield from _conformer_layer(config, index) if config.block == "conformer" else _layer(config, index)
    yield from _gates(config)
    yield from _heads(config)


def _entry(native: str, fairseq: str, huggingface: str, torchaudio: str | None = None) -> Entry:
    return Entry(ENCODER + native, (fairseq,), (huggingface,), (torchaudio,) if torchaudio else ())


def _front(config: Wav2Vec2Config) -> Iterator[Entry]:
    """Convolutions, feature norm and projection."""
    for index in range(len(config.conv_layers)):
        own, theirs = f"convolutions.layers.{index}", f"feature_extractor.conv_layers.{index}"
        for leaf in LEAVES if config.conv_bias else ("weight",):
            yield _entry(f"{own}.conv.{leaf}", f"{theirs}.0.{leaf}", f"{theirs}.conv.{leaf}", f"{theirs}.conv.{leaf}")
        if config.conv_norm == "layer" or index == 0:
            inner = "2.1" if config.conv_norm == "layer" else "2"  # fairseq's layer norm stands between two transpositions
            for leaf in LEAVES:
                yield _entry(f"{own}.norm.{leaf}", f"{theirs}.{inner}.{leaf}", f"{theirs}.layer_norm.{leaf}", f"{theirs}.layer_norm.{leaf}")
    parts = [("feature_norm", "layer_norm", "layer_norm")] if config.feature_norm else []
    parts += [("projection", "post_extract_proj", "projection")] if config.projection else []
    for own, fairseq, hf in parts:
        for leaf in LEAVES:
            place = f"feature_projection.{hf}.{leaf}"
            yield _entry(f"{own}.{leaf}", f"{fairseq}.{leaf}", place, f"encoder.{place}")


def _positional(config: Wav2Vec2Config) -> Iterator[Entry]:
    shape = config.positional_convolution
    if shape is None:
        return
    own, fairseq, hf = "positional_convolution.layers", "encoder.pos_conv", "encoder.pos_conv_embed"
    if shape.norm == "layer":
        for index in range(shape.depth):
            for leaf in LEAVES:
                yield _entry(f"{own}.{index}.{leaf}", f"{fairseq}.{index}.0.{leaf}", f"{hf}.layers.{index}.conv.{leaf}")
    elif shape.norm == "batch":
        for leaf in (*LEAVES, *BATCH_NORM_BUFFERS):
            yield _entry(f"positional_convolution.batch_norm.{leaf}", f"{fairseq}.0.{leaf}", f"{hf}.batch_norm.{leaf}")
        for leaf in LEAVES:
            yield _entry(f"{own}.0.{leaf}", f"{fairseq}.1.{leaf}", f"{hf}.conv.{leaf}")
    else:
        for leaf in ("weight_g", "weight_v", "bias"):
            torchaudio = f"encoder.transformer.pos_conv_embed.conv.{leaf}"
            yield _entry(f"{own}.0.{leaf}", f"{fairseq}.0.{leaf}", f"{hf}.conv.{leaf}", torchaudio)


def _layer(config: Wav2Vec2Config, index: int) -> Iterator[Entry]:
    own, theirs = f"transformer.layers.{index}", f"encoder.layers.{index}"
    audio = f"encoder.transformer.layers.{index}"
    wavlm = config.positions == "gated"
    for leaf in LEAVES:
        joined = (f"{audio}.attention.attention.in_proj_{leaf}",)
        yield Entry(
            f"{ENCODER}{own}.attention.qkv.{leaf}",
            tuple(f"{theirs}.self_attn.{part}.{leaf}" for part in QKV),
            tuple(f"{theirs}.attention.{part}.{leaf}" for part in QKV),
            joined if wavlm else tuple(f"{audio}.attention.{part}.{leaf}" for part in QKV),
        )
        for name, (fairseq, hf) in LAYER.items():
            inner = hf.replace("attention.", "attention.attention.") if wavlm else hf
            yield _entry(f"{own}.{name}.{leaf}", f"{theirs}.{fairseq}.{leaf}", f"{theirs}.{hf}.{leaf}", f"{audio}.{inner}.{leaf}")


def _gates(config: Wav2Vec2Config) -> Iterator[Entry]:
    """WavLM's position bias, stored with its first layer, and each layer's gate."""
    if config.positions != "gated":
        return
    first, audio = "encoder.layers.0", "encoder.transformer.layers"
    table = "attention.rel_attn_embed.weight"
    yield _entry(
        "transformer.positions.table.weight",
        f"{first}.self_attn.relative_attention_bias.weight",
        f"{first}.{table}",
        f"{audio}.0.{table}",
    )
    for index in range(config.layers):
        own, theirs = f"transformer.layers.{index}.attention.gate", f"encoder.layers.{index}"
        for leaf in LEAVES:
            place = f"attention.gru_rel_pos_linear.{leaf}"
            yield _entry(f"{own}.linear.{leaf}", f"{theirs}.self_attn.grep_linear.{leaf}", f"{theirs}.{place}", f"{audio}.{index}.{place}")
        place = "attention.gru_rel_pos_const"
        yield _entry(f"{own}.scale", f"{theirs}.self_attn.grep_a", f"{theirs}.{place}", f"{audio}.{index}.{place}")


def _conformer_layer(config: Wav2Vec2Config, index: int) -> Iterator[Entry]:
    own, theirs = f"transformer.layers.{index}", f"encoder.layers.{index}"
    for name, (fairseq, hf) in CONFORMER_LAYER.items():
        for leaf in (*LEAVES, *BATCH_NORM_BUFFERS) if name.endswith("batch_norm") else LEAVES:
            yield _entry(f"{own}.{name}.{leaf}", f"{theirs}.{fairseq}.{leaf}", f"{theirs}.{hf}.{leaf}")
    for name, place in CONFORMER_WEIGHTS.items():
        yield _entry(f"{own}.{name}.weight", f"{theirs}.{place}.weight", f"{theirs}.{place}.weight")
    for name, place in CONFORMER_DISTANCES.items() if config.positions == "relative" else ():
        yield _entry(f"{own}.{name}", f"{theirs}.{place}", f"{theirs}.{place}")


def _heads(config: Wav2Vec2Config) -> Iterator[Entry]:
    for native, *published in HEADS:
        fairseq, hf, audio = ((name,) if name else () for name in published)
        yield Entry(f"{HEAD}{native}", fairseq, hf, audio, optional=True)
    for leaf in LEAVES:
        hf = (f"project_hid.{leaf}",) if config.family.startswith("wav2vec2") else ()
        yield Entry(f"{HEAD}final_proj.{leaf}", (f"final_proj.{leaf}",), hf, optional=True)
        yield Entry(f"{HEAD}final_proj.0.{leaf}", (f"final_proj.0.{leaf}",), (), optional=True)  # data2vec's released files
    if config.block == "conformer":  # stored by both, used by neither
        for leaf in ("weight_g", "weight_v", "bias"):
            places = (f"encoder.pos_conv.0.{leaf}",), (f"encoder.pos_conv_embed.conv.{leaf}",)
            yield Entry(f"{HEAD}positional_convolution.{leaf}", *places, optional=True)


def to_native(tensors: Mapping[str, Tensor], config: Wav2Vec2Config, naming: Naming, where: str) -> dict[str, Tensor]:
    """Published tensors under Weir's names.

    Args:
        tensors: names without a model's prefix, the weight norm's two tensors as `weight_g` and `weight_v`.
        config: the architecture that they belong to.
        naming: whose names they have.
        where: begins error messages.

    Raises:
        UpstreamError: tensors are missing, or some belong to no known part.
    """
    left, found, missing = dict(tensors), {}, set()
    for entry in entries(config):
        names: tuple[str, ...] = getattr(entry, naming)
        if all(name in left for name in names) and names:
            parts = [left.pop(name) for name in names]
            found[entry.native] = parts[0] if len(parts) == 1 else torch.cat(parts)
        elif names and not entry.optional:
            missing |= {name for name in names if name not in left}
    problems = [f"{what} {some(names)}" for what, names in (("missing", missing), ("unknown", set(left))) if names]
    if problems:
        raise UpstreamError(f"{where}: the weights do not fit the configuration: {'; '.join(problems)}")
    return found


def from_native(tensors: Mapping[str, Tensor], config: Wav2Vec2Config, naming: Naming) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors under published names, and those that the format has no name for under their own."""
    left, named = dict(tensors), dict[str, Tensor]()
    for entry in entries(config):
        names: tuple[str, ...] = getattr(entry, naming)
        if entry.native in left and names:
            tensor = left.pop(entry.native)
            parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
            named |= {name: part.clone() for name, part in zip(names, parts, strict=True)}
    return named, left
