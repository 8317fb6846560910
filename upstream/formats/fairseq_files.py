"""Files of fairseq, s3prl, WavLM and DistilHuBERT, written; see fairseq.py for what is in them.

fairseq's readers take what heads there are; s3prl's take exactly those that its models have, and refuse a file that lacks one.
A tensor or field that the original readers have no use for stands under the key `weir`, which they read past.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from upstream.errors import UpstreamError
from upstream.formats.base import DICTIONARIES, FINE_TUNING, TASK, WEIR, Checkpoint, lost, rotary_rates, stored_convolution
from upstream.formats.fairseq import FINE_TUNED, FINE_TUNED_ENCODER, TEACHER, architecture
from upstream.formats.fairseq_config import encode
from upstream.formats.names import NORM, from_native
from upstream.native import HEAD, some
from upstream.wav2vec2_config import Wav2Vec2Config

Content = dict[str, Any]
Tensors = dict[str, Tensor]

# The heads that s3prl's strict readers want, by the beginnings of their native names behind `head.`.
S3PRL_HEADS = {
    "wav2vec2": ("mask_embedding", "project_q.", "final_proj."),
    "wav2vec2_conformer": ("mask_embedding", "project_q.", "final_proj.", "positional_convolution."),
    "hubert": ("mask_embedding", "final_proj."),
    "tera2": ("mask_embedding", "final_proj."),
    "data2vec": ("mask_embedding",),
    "wavlm": ("mask_embedding",),
    "distilhubert": ("output_layer.",),
}


def fairseq_content(checkpoint: Checkpoint) -> tuple[Content, tuple[str, ...]]:
    """What fairseq's file holds, and sentences on what it does not; a model with a CTC head as fairseq's fine-tuning writes it.

    Raises:
        UpstreamError: fairseq has no such model.
    """
    config = checkpoint.config
    if config.family == "distilhubert":
        raise UpstreamError("fairseq: has no DistilHuBERT; write s3prl's format")
    if config.family == "wavlm":
        return s3prl_content(checkpoint)
    state, left = _published(checkpoint.tensors, config)
    model, task = _configurations(checkpoint)
    cfg: Content = {"_name": None, "model": model, "task": task}
    if f"{HEAD}ctc.weight" in checkpoint.tensors:
        state = {(FINE_TUNED if name.startswith("proj.") else FINE_TUNED_ENCODER) + name: tensor for name, tensor in state.items()}
        cfg = _fine_tuned(config, cfg)
    return _completed({"args": None, "cfg": cfg, "model": state}, checkpoint, left, "fairseq"), ()


def s3prl_content(checkpoint: Checkpoint) -> tuple[Content, tuple[str, ...]]:
    """What s3prl's converted file holds, and sentences on what it does not; WavLM and DistilHuBERT as s3prl reads those.

    Raises:
        UpstreamError: s3prl has no such model.
    """
    config = checkpoint.config
    shape = config.positional_convolution
    if shape is not None and shape.norm == "batch":
        raise UpstreamError("s3prl: has no batch norm in its positional convolution; write fairseq's format")
    model, task = _configurations(checkpoint)
    symbols = config.pretraining.get(DICTIONARIES)
    wanted = S3PRL_HEADS[config.family] if model.get("out_layer_type", "expand-last") == "expand-last" else ()
    wanted += ("quantizer.",) if model.get("quantize_targets") else ()
    wanted += ("target_glu.",) if model.get("target_glu") else ()
    wanted += ("label_embeddings",) if symbols else ()
    prefixes = tuple(HEAD + start for start in wanted)
    kept = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(HEAD) or name.startswith(prefixes)}
    state, left = _published(kept, config)
    left |= {name: tensor for name, tensor in checkpoint.tensors.items() if name not in kept}
    content = _container(config, model, task, state)
    if config.family in ("hubert", "tera2"):
        content[DICTIONARIES] = symbols or [None]  # None: a model made without classes
    missing = {start.rstrip(".") for start in wanted if not any(name.startswith(HEAD + start) for name in kept)}
    notes = f"s3prl will refuse the file: it wants heads of pre-training that this checkpoint lacks: {some(missing)}"
    return _completed(content, checkpoint, left, "s3prl"), (notes,) if missing else ()


def _published(tensors: Mapping[str, Tensor], config: Wav2Vec2Config) -> tuple[Tensors, Tensors]:
    """Tensors under fairseq's names, with the buffers that it stores, and those that it has no name for."""
    state, left = from_native(tensors, config, "fairseq")
    for index in range(config.layers if config.positions == "rotary" else 0):
        state[f"encoder.layers.{index}.self_attn.rotary_emb.inv_freq"] = rotary_rates(config.dim // config.heads, tensors[NORM].dtype)
    return state, left


def _configurations(checkpoint: Checkpoint) -> tuple[Content, Content]:
    """fairseq's two, with the sizes of the heads where the configuration does not say them."""
    config, tensors = checkpoint.config, checkpoint.tensors
    model, task = encode(config)
    if config.family.startswith("wav2vec2"):
        model.setdefault("quantize_targets", f"{HEAD}quantizer.vars" in tensors)
    if unused := stored_convolution(tensors):
        model |= {"conv_pos": unused[0], "conv_pos_groups": unused[1]}
    projection = tensors.get(f"{HEAD}project_q.weight", tensors.get(f"{HEAD}final_proj.weight"))
    classes = tensors.get(f"{HEAD}label_embeddings")
    if classes is not None:
        model.setdefault("final_dim", classes.shape[1])
    elif projection is not None and config.family not in ("data2vec", "distilhubert"):
        model.setdefault("final_dim", len(projection))
    return model, task


def _fine_tuned(config: Wav2Vec2Config, encoder: Content) -> Content:
    """The configuration of a fine-tuned file around that of its encoder."""
    outer = config.pretraining.get(FINE_TUNING, {})
    name = "hubert_ctc" if config.family in ("hubert", "tera2") else "wav2vec_ctc"
    normalize = {"normalize": config.normalize}
    model = {"_name": name, **outer.get("model", {}), "w2v_args": encoder, **normalize}
    return {"_name": None, "model": model, TASK: {"_name": "audio_finetuning", **outer.get(TASK, {}), **normalize}}


def _container(config: Wav2Vec2Config, model: Content, task: Content, state: Tensors) -> Content:
    if config.family == "wavlm":
        return {"cfg": model | {"normalize": config.normalize}, "model": state}
    if config.family == "distilhubert":
        model["extractor_conv_feature_layers"] = model.pop("conv_feature_layers")
        return {"Config": {"distiller": model}, "Distiller": state}
    # s3prl's reader of data2vec begins by deleting the teacher
    teacher: Content = {TEACHER: {}} if config.family == "data2vec" else {}
    return {"task_cfg": task, "model_cfg": model, "model_weight": {**state, **teacher}}


def _completed(content: Content, checkpoint: Checkpoint, left: Tensors, what: str) -> Content:
    """The content with what its readers would lose."""
    fields = lost(checkpoint.config, architecture(content, what), what)
    return content | ({WEIR: {"config": fields, "tensors": left}} if fields or left else {})
