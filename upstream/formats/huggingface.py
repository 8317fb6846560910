"""Folders of Hugging Face's transformers of the wav2vec 2.0 family, both ways.

`config.json`, the weights (`model.safetensors` or `pytorch_model.bin`, in parts with an index too), `preprocessor_config.json` for
the input's normalisation, and for CTC models `vocab.json`. Heads that transformers has no place for are kept beside the weights
in `weir-heads.safetensors`, fields of ours in `config.json` under `weir`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from upstream.checkpoint import read_weights
from upstream.folder import CONFIG_FILE, HEADS_FILE, PREPROCESSOR_FILE, WEIGHTS_FILE, Preprocessor, read_preprocessor
from upstream.formats.base import (
    TARGETS,
    WEIR,
    Checkpoint,
    added,
    configured,
    lost,
    normalization,
    respelled,
    rotary_rates,
    stored_convolution,
    typed,
    weights,
    without,
    without_rotary_buffers,
)
from upstream.formats.huggingface_config import CLASSES, MODEL_TYPES, NORMALIZE_EPS, decode, encode, preprocessor
from upstream.formats.names import NORM, from_native, to_native
from upstream.formats.vocabulary import read_vocabulary, vocabulary_files
from upstream.native import HEAD, read_config, read_tensors

IGNORED = re.compile(r"(classifier|projector|tdnn|objective|layer_weights)\b")
PROJECTION = ("feature_projection.projection.weight", "feature_projection.projection.bias")
CONV_BIAS = re.compile(r"feature_extractor\.conv_layers\.\d+\.conv\.bias")
CONTRASTIVE = {f"{HEAD}{name}" for name in ("quantizer.vars", "quantizer.weight_proj.weight", "project_q.weight", "final_proj.weight")}
SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MASK = f"{HEAD}mask_embedding"


def recognized(folder: Path) -> bool:
    """Whether this is such a folder, of whatever kind of model."""
    return (folder / CONFIG_FILE).is_file() and "model_type" in read_config(folder)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        UpstreamError: another kind of model, or weights that do not fit it.
    """
    published, where = read_config(folder), str(folder / CONFIG_FILE)
    block = added(published.get(WEIR), where)
    options = read_preprocessor(folder)
    with typed(where):
        values = decode(published, options, where)
    tensors = _tensors(folder, str(published["model_type"]))
    if values["family"] == "hubert" and "conv_bias" not in block:
        tensors, values["conv_bias"] = _without_zero_biases(tensors, values["conv_bias"])
    if (symbols := read_vocabulary(folder)) and len(symbols) == len(tensors.get("lm_head.weight", ())):
        values["pretraining"][TARGETS] = symbols
    config = configured(values, block, where)
    if not config.projection:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in PROJECTION}  # an identity, see `files`
    native = to_native(without_rotary_buffers(tensors, str(folder)), config, "huggingface", str(folder))
    if (folder / HEADS_FILE).is_file():
        native |= read_tensors(folder / HEADS_FILE)
    return Checkpoint(config, native, (normalization(config, options.source),))


def _tensors(folder: Path, kind: str) -> dict[str, Tensor]:
    """All tensors of the folder, without the prefix of the base model and without what no model here has."""
    prefix = kind.replace("-", "_") + "."
    named = {name.removeprefix(prefix): tensor for name, tensor in read_weights(folder).items()}
    return without(weights(named, str(folder)), IGNORED, str(folder))


def _without_zero_biases(tensors: dict[str, Tensor], conv_bias: bool) -> tuple[dict[str, Tensor], bool]:
    """HuBERT's published models have no biases in their convolutions; some folders hold zeros in their place."""
    biases = [name for name in tensors if CONV_BIAS.fullmatch(name)]
    if not conv_bias or any(tensors[name].any() for name in biases):
        return tensors, conv_bias
    return {name: tensor for name, tensor in tensors.items() if name not in biases}, False


def files(checkpoint: Checkpoint) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a folder by name, and sentences on what transformers does otherwise.

    Raises:
        UpstreamError: transformers has no such model.
    """
    config, kind = checkpoint.config, MODEL_TYPES[checkpoint.config.family]
    task = _task(checkpoint)
    published = (
        (SPECIAL_IDS if task == "ForCTC" else {})
        | encode(config)
        | {"architectures": [CLASSES[kind] + task]}
        | _head_values(checkpoint, task)
    )
    options = preprocessor(config)
    kept = {name: tensor for name, tensor in checkpoint.tensors.items() if _has_place(name, task, published)}
    state, left = from_native(kept, config, "huggingface")
    left |= {name: tensor for name, tensor in checkpoint.tensors.items() if name not in kept}
    dtype = checkpoint.tensors[NORM].dtype
    if not config.projection:  # every one has a projection: the identity changes nothing
        state |= dict(zip(PROJECTION, (torch.eye(config.dim, dtype=dtype), torch.zeros(config.dim, dtype=dtype)), strict=True))
    if config.positions == "rotary":
        state["encoder.embed_positions.inv_freq"] = rotary_rates(config.dim // config.heads, dtype)
    reread = configured(decode(published, Preprocessor(PREPROCESSOR_FILE, options), "Hugging Face"), None, "Hugging Face")
    fields = lost(config, reread, f"Hugging Face's {kind}", kept=("projection",))
    fields |= {"conv_bias": True} if kind == "hubert" and config.conv_bias else {}  # even where all are zero
    written = {CONFIG_FILE: _dumped(published | ({WEIR: fields} if fields else {})), PREPROCESSOR_FILE: _dumped(options)}
    written[WEIGHTS_FILE] = save(_prefixed(state, kind, task), metadata={"format": "pt"})
    if left:
        written[HEADS_FILE] = save({name: tensor.contiguous() for name, tensor in left.items()})
    if task == "ForCTC":
        written |= vocabulary_files(config.pretraining.get(TARGETS), published["vocab_size"], published["pad_token_id"])
    return written, _notes(checkpoint, state, task)


def _task(checkpoint: Checkpoint) -> str:
    """The ending of the class that holds the most of the heads."""
    if f"{HEAD}ctc.weight" in checkpoint.tensors:
        return "ForCTC"
    contrastive = checkpoint.config.family.startswith("wav2vec2") and checkpoint.tensors.keys() >= CONTRASTIVE
    return "ForPreTraining" if contrastive else "Model"


def _head_values(checkpoint: Checkpoint, task: str) -> dict[str, Any]:
    """What `config.json` must say for transformers to build the heads in the sizes that they have."""
    tensors, values = checkpoint.tensors, dict[str, Any]()
    if MASK not in tensors:
        values |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}  # otherwise it would make a random one
    if unused := stored_convolution(tensors):
        values |= {"num_conv_pos_embeddings": unused[0], "num_conv_pos_embedding_groups": unused[1]}
    if task == "ForCTC":
        values |= {"vocab_size": len(tensors[f"{HEAD}ctc.weight"])}
    if task == "ForPreTraining":
        groups = checkpoint.config.pretraining.get("latent_groups", 2)
        outputs, width = tensors[f"{HEAD}project_q.weight"].shape
        values |= {"num_codevector_groups": groups, "num_codevectors_per_group": tensors[f"{HEAD}quantizer.vars"].shape[1] // groups}
        values |= {"codevector_dim": width, "proj_codevector_dim": outputs}
    return values


def _has_place(name: str, task: str, published: Mapping[str, Any]) -> bool:
    """Whether a tensor belongs to the class that the folder is written for."""
    if not name.startswith(HEAD) or name.startswith(f"{HEAD}positional_convolution."):
        return True
    if name == MASK:
        return bool(published.get("mask_time_prob", 0.05) or published.get("mask_feature_prob", 0.0))
    if name.startswith(f"{HEAD}ctc."):
        return task == "ForCTC"
    return task == "ForPreTraining"


def _prefixed(state: Mapping[str, Tensor], kind: str, task: str) -> dict[str, Tensor]:
    """Names as the class has them: the base model's behind its prefix where there is a head."""
    prefix = "" if task == "Model" else kind.replace("-", "_") + "."
    heads = ("lm_head.", "quantizer.", "project_q.", "project_hid.")
    named = {name if name.startswith(heads) else prefix + name: tensor for name, tensor in state.items()}
    return {name: tensor.contiguous() for name, tensor in respelled(named, parametrized=True).items()}


def _notes(checkpoint: Checkpoint, state: Mapping[str, Tensor], task: str) -> tuple[str, ...]:
    config, notes = checkpoint.config, list[str]()
    if config.normalize and config.normalize_eps != NORMALIZE_EPS:
        notes.append(f"transformers normalises the input with eps {NORMALIZE_EPS:g}, not {config.normalize_eps:g}: quiet recordings differ")
    if config.block == "conformer" and "encoder.pos_conv_embed.conv.bias" not in state:
        notes.append("transformers will report encoder.pos_conv_embed as missing; no state of a Conformer needs it")
    if task == "ForCTC" and TARGETS not in config.pretraining:
        notes.append("no vocab.json: the checkpoint does not say what its CTC outputs stand for; give --dictionary dict.ltr.txt")
    return tuple(notes)


def _dumped(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
