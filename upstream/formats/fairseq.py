"""Files of fairseq, s3prl, WavLM and DistilHuBERT, read; see containers.py for what most have in common.

A file fine-tuned with CTC has its weights behind `w2v_encoder.`, the encoder's configuration in `w2v_args`. HuBERT's converted by
s3prl has `dictionaries_symbols` besides. DistilHuBERT's holds `Distiller` (weights) and `Config` (`distiller` in it).
Sources: fairseq checkpoint_utils.py and models/wav2vec/wav2vec2_asr.py; s3prl upstream/{wav2vec2,hubert,wavlm,distiller}.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from upstream.checkpoint import plain
from upstream.errors import UpstreamError
from upstream.formats.base import (
    DICTIONARIES,
    FINE_TUNING,
    TARGETS,
    WEIR,
    Checkpoint,
    added,
    configured,
    json_values,
    normalization,
    typed,
    weights,
    without_rotary_buffers,
)
from upstream.formats.containers import mapping, opened
from upstream.formats.fairseq_config import decode
from upstream.formats.names import to_native
from upstream.wav2vec2_config import Wav2Vec2Config

logger = logging.getLogger(__name__)

FINE_TUNED = "w2v_encoder."
FINE_TUNED_ENCODER = "w2v_encoder.w2v_model."
FAMILIES = {"wav2vec2": "wav2vec2", "hubert": "hubert", "data2vec_audio": "data2vec", "tera": "tera2"}
TERA2_OUTPUTS = 78  # two frames of 39 MFCCs
# What fine-tuning sets anew instead of taking it from pre-training.
FINE_TUNING_SETS = ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "feature_grad_mult")
TEACHER = "_ema"
TASK_KEYS = {
    *("data", "labels", "label_dir", "label_rate", "normalize", "sample_rate", "enable_padding", "max_sample_size", "min_sample_size"),
    *("max_keep_size", "random_crop", "pad_audio", "single_target", "fine_tuning"),
}
# Of the flat `args` of before 2021, which hold everything that could be said on the command line.
MODEL_KEYS = re.compile(
    r"(encoder_(layers|embed_dim|ffn_embed_dim|attention_heads|layerdrop)|extractor_mode|activation_fn|(layer|pos_enc|attn)_type"
    r"|((attention|activation)_)?dropout|dropout_(input|features)|final_(dim|dropout)|layer_norm_first|conv_(feature_layers|bias)"
    r"|conv_pos(_groups|_batch_norm)?|pos_conv_depth|logit_temp|quantize\w*|same_quantizer|target_glu|feature_grad_mult|latent_\w+"
    r"|(no_)?mask_\w+|require_same_masks|num_negatives|negatives_\w+|\w+_negatives|untie_final_proj|skip_(no)?masked?|label_rate"
    r"|layerdrop|apply_mask|freeze_finetune_updates|w2v_args)"
)


@dataclass
class Parts:
    """What a file holds, whatever its keys are.

    Attributes:
        model, task: the two configurations.
        state: the weights.
        where: begins messages.
        family: where the kind of file says it.
        extra: what goes to `pretraining` besides.
    """

    model: Mapping[str, Any]
    task: Mapping[str, Any]
    state: Mapping[Any, Any]
    where: str
    family: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def recognized(content: Any) -> bool:
    """Whether this is what one of these files holds."""
    if not isinstance(content, Mapping):
        return False
    keys = content.keys()
    return {"model_weight", "model_cfg"} <= keys or {"Distiller", "Config"} <= keys or ("model" in keys and bool({"cfg", "args"} & keys))


def read(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """The checkpoint that a file holds.

    Raises:
        UpstreamError: the configuration or the weights are not of this family, or do not fit each other.
    """
    parts = _parts(content, str(path))
    block = added(content.get(WEIR), parts.where)
    tensors = weights(_renamed(parts.state, parts.where), parts.where)
    config = configured(_values(parts, tensors), block.get("config"), parts.where)
    native = to_native(without_rotary_buffers(tensors, parts.where), config, "fairseq", parts.where)
    native |= weights(added(block.get("tensors"), parts.where), parts.where)
    return Checkpoint(config, native, (normalization(config, "the file's configuration"),))


def architecture(content: Mapping[str, Any], where: str) -> Wav2Vec2Config:
    """What the original readers of such a file make of its configuration."""
    parts = _parts(content, where)
    return configured(_values(parts, parts.state), None, where)


def _values(parts: Parts, tensors: Mapping[Any, Any]) -> dict[str, Any]:
    with typed(parts.where):
        values = decode(parts.model, parts.task, _family(parts, tensors), parts.where)
    return values | {"pretraining": values["pretraining"] | json_values(parts.extra)}


def _parts(content: Mapping[str, Any], where: str) -> Parts:
    if "Distiller" in content:
        model = mapping(mapping(content["Config"], f"{where}: Config").get("distiller"), f"{where}: Config.distiller")
        if "extractor_conv_feature_layers" in model:
            model["conv_feature_layers"] = model.pop("extractor_conv_feature_layers")
        model.setdefault("activation_dropout", 0.1)
        if not isinstance(content["Distiller"], Mapping):
            raise UpstreamError(f"{where}: Distiller: is no mapping; the checkpoint is incomplete")
        return Parts(model, {}, content["Distiller"], where, "distilhubert")
    found = opened(content, where)
    model, task = _split(found.model) if found.flat else (found.model, found.task)
    if "model_weight" in content:
        extra = {DICTIONARIES: plain(content[DICTIONARIES])} if _known(content.get(DICTIONARIES)) else {}
        return Parts(model, task, found.weights, where, extra=extra)
    parts = Parts(model, task, found.weights, where, extra=_dictionaries(content))
    if any(str(name).startswith(FINE_TUNED) for name in parts.state):
        return _fine_tuned(parts)
    parts.family = "wavlm" if any(str(name).endswith("self_attn.grep_a") for name in parts.state) else None
    return parts


def _split(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A flat configuration as that of the model and that of the task."""
    model = {key: value for key, value in arguments.items() if MODEL_KEYS.fullmatch(str(key))}
    if "arch" in arguments:
        model["_name"] = arguments["arch"]
    return model, {key: value for key, value in arguments.items() if key in TASK_KEYS}


def _fine_tuned(parts: Parts) -> Parts:
    """The encoder in a fine-tuned file, its CTC projection among the heads."""
    nested = parts.model.get("w2v_args")
    if not isinstance(nested, Mapping):
        raise UpstreamError(f"{parts.where}: is fine-tuned, and lacks 'w2v_args', the encoder's configuration; convert it with fairseq")
    model, task = _split(nested)
    if isinstance(nested.get("model"), Mapping):
        model, task = dict(nested["model"]), mapping({} if nested.get("task") is None else nested["task"], f"{parts.where}: w2v_args.task")
    model |= {key: parts.model[key] for key in FINE_TUNING_SETS if key in parts.model}
    if "normalize" not in task:
        task["normalize"] = parts.task.get("normalize", False)
    state = {str(name).removeprefix(FINE_TUNED_ENCODER).removeprefix(FINE_TUNED): tensor for name, tensor in parts.state.items()}
    outer = {"model": {key: value for key, value in parts.model.items() if key not in ("w2v_args", "w2v_path")}, "task": dict(parts.task)}
    return Parts(model, task, state, parts.where, extra={**parts.extra, FINE_TUNING: json_values(outer)})


def _dictionaries(content: Mapping[str, Any]) -> dict[str, Any]:
    """The symbols of HuBERT's classes and of a CTC head, where the file has them."""
    task = plain(content.get("task_state"))
    if not isinstance(task, Mapping):
        return {}
    found: dict[str, Any] = {}
    if isinstance(task.get("dictionaries"), list):
        symbols = [_symbols(dictionary) for dictionary in task["dictionaries"]]
        found |= {DICTIONARIES: symbols} if _known(symbols) else {}
    target = _symbols(task.get("target_dictionary"))
    return found | ({TARGETS: target} if target else {})


def _symbols(dictionary: Any) -> Any:
    return dictionary.get("symbols") if isinstance(dictionary, Mapping) else dictionary


def _known(symbols: Any) -> bool:
    """Whether these are lists of symbols: a model made for fine-tuning has None in their place."""
    return isinstance(symbols, (list, tuple)) and bool(symbols) and all(isinstance(plain(entry), list) for entry in symbols)


def _family(parts: Parts, tensors: Mapping[Any, Tensor]) -> str:
    """By the model's name, else by what only one family has."""
    if parts.family:
        return parts.family
    if parts.model.get("layer_type") == "conformer":
        return "wav2vec2_conformer"
    name = str(parts.model.get("_name") or "")
    if name not in FAMILIES:
        name = "hubert" if "label_embs_concat" in tensors or "untie_final_proj" in parts.model else "wav2vec2"
        name = "data2vec_audio" if "average_top_k_layers" in parts.model else name
    if name == "hubert" and "final_proj.weight" in tensors:
        classes = tensors.get("label_embs_concat")
        if classes is not None and len(tensors["final_proj.weight"]) == TERA2_OUTPUTS != classes.shape[1]:
            return "tera2"
    return FAMILIES[name]


def _renamed(state: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    """HuBERT's first files call the table of classes `label_embs`; data2vec's hold its teacher, which is left behind."""
    if TEACHER in state:
        logger.info("%s: not read: '%s', the teacher of pre-training", where, TEACHER)
    names = {"label_embs": "label_embs_concat"}
    return {names.get(name, name): tensor for name, tensor in state.items() if name != TEACHER}
