"""Checkpoints of the RoBERTa over vq-wav2vec codes: native folders, and files of fairseq and s3prl, both ways.

fairseq's file holds `model` and `args`, with `dict.txt` beside it; s3prl's holds `model_weight`, `model_cfg`, `task_cfg` and
`text_dictionary`. Neither holds the vq-wav2vec whose codes it reads: that is `vq-wav2vec_kmeans.pt` beside the file, or else the
published one. A native folder has both in it; of the vq-wav2vec what only its own states or pre-training need is behind
`head.tokenizer.`. Source: fairseq models/roberta/model.py; s3prl upstream/roberta/{convert,hubconf}.py.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream import cards, native
from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.formats import wav2vec
from upstream.formats.containers import save, weight_names
from upstream.formats.content import Content, Kind, write_native, writer
from upstream.formats.wav2vec import check_names, parts
from upstream.locate import published_checkpoint
from upstream.native import ENCODER, HEAD, WEIGHTS_FILE, replace_file
from upstream.roberta_config import RobertaConfig
from upstream.settings import parse
from upstream.wav2vec_config import Wav2VecConfig

FAMILY = "vq_wav2vec_roberta"
TOKENIZER = "vq_wav2vec_kmeans"
TOKENIZER_FILE = "vq-wav2vec_kmeans.pt"
DICTIONARY_FILE = "dict.txt"
TASK = {"_name": "masked_lm", "data": "", "seed": 1, "sample_break_mode": "eos"}  # s3prl has no default for two of them
USED = ("encoder.extractor.", "encoder.quantizer.")  # what codes need of a vq-wav2vec

SENTENCE = "encoder.sentence_encoder."
EMBEDDING, TIED = f"{SENTENCE}embed_tokens.weight", "encoder.lm_head.weight"
HEAD_PARTS = ("encoder.lm_head.", f"{SENTENCE}version", "classification_heads.")
QKV = [f"self_attn.{part}_proj" for part in "qkv"]
LAYER = {  # own name, published names that are joined in it
    "attention.qkv": QKV,
    "attention.output": ["self_attn.out_proj"],
    "attention_norm": ["self_attn_layer_norm"],
    "feed_forward.inner": ["fc1"],
    "feed_forward.output": ["fc2"],
    "feed_forward_norm": ["final_layer_norm"],
}
SIZES = {  # own name, published name and default
    "layers": ("encoder_layers", 12),
    "dim": ("encoder_embed_dim", 768),
    "ffn_dim": ("encoder_ffn_embed_dim", 3072),
    "heads": ("encoder_attention_heads", 12),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "activation": ("activation_fn", "gelu"),
}
FIXED = {  # switches with which the encoder would be another one
    "encoder_normalize_before": False,
    "encoder_learned_pos": True,
    "layernorm_embedding": True,
    "no_scale_embedding": True,
    "no_token_positional_embeddings": False,
    "encoder_layers_to_keep": None,
    "quant_noise_pq": 0,
}
CARRIED = ("arch", "untie_weights_roberta", "pooler_activation_fn", "pooler_dropout", "encoder_layerdrop", "mask_prob")

Read = tuple[RobertaConfig, dict[str, Tensor], tuple[str, ...]]


def recognized(content: Any) -> bool:
    """Whether this is what a file of fairseq or s3prl holds."""
    return any(name.startswith(SENTENCE) for name in weight_names(content))


def read(path: Path) -> Read:
    """Read a native folder, or a file of fairseq or s3prl with the vq-wav2vec that belongs to it.

    Returns: the configuration, the tensors under native names, those of heads included, and what the user should know.

    Raises:
        UpstreamError: not such a checkpoint; an architecture that no published model has; weights missing or unexpected.
    """
    if path.is_dir() or path.name == WEIGHTS_FILE:
        folder = path if path.is_dir() else path.parent
        values, tensors = native.read_native(folder, [FAMILY])
        del values["family"]
        return parse(RobertaConfig, values, str(path)), tensors, ()
    content = read_checkpoint(path)
    model, _, weights = parts(content, path)
    dictionary = content.get("text_dictionary")
    source, note = find_tokenizer(path)
    tokenizer, codes = wav2vec.read(source)
    config = read_config(model, dictionary if isinstance(dictionary, str) else _read_text(path), tokenizer, str(path))
    return config, from_published(weights, config, str(path)) | _packed(codes), (note,)


def find_tokenizer(path: Path) -> tuple[Path, str]:
    """The vq-wav2vec of a RoBERTa's file: the one beside it, else the published one; and a sentence that says which."""
    beside = path.with_name(TOKENIZER_FILE)
    if beside.is_file():
        return beside, f"codes come from {TOKENIZER_FILE} beside the checkpoint"
    published = cards.cards()[TOKENIZER].published
    assert published is not None
    return published_checkpoint(
        TOKENIZER, published
    ), f"codes come from the published {TOKENIZER}: no {TOKENIZER_FILE} is beside the checkpoint"


def write_fairseq(path: Path, config: RobertaConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a file that fairseq reads as its own, its `dict.txt` and its vq-wav2vec beside it; each whole or not at all.

    Args:
        path: where.
        config: the architecture.
        tensors: under native names, with all heads.

    Raises:
        UpstreamError: there are no heads, without which fairseq and s3prl load nothing; or another file is in the way.
    """
    weights = to_published(config, tensors, str(path))
    dictionary = path.with_name(DICTIONARY_FILE)
    if dictionary.is_file() and _read_text(path) != config.dictionary:
        raise UpstreamError(f"{dictionary}: is in the way, and is another model's; write into a folder of its own")
    _write_tokenizer(path, config, tensors, wav2vec.write_fairseq)
    replace_file(dictionary, config.dictionary.encode())
    save(path, {"args": Namespace(**published_config(config), task="masked_lm"), "model": weights})


def write_s3prl(path: Path, config: RobertaConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a file that s3prl reads as its own, its vq-wav2vec beside it; see `write_fairseq`."""
    weights = to_published(config, tensors, str(path))
    _write_tokenizer(path, config, tensors, wav2vec.write_s3prl)
    model = Namespace(**published_config(config))  # s3prl takes nothing else
    save(path, {"task_cfg": TASK, "model_cfg": model, "model_weight": weights, "text_dictionary": config.dictionary})


def read_config(published: Mapping[str, Any], dictionary: str, tokenizer: Wav2VecConfig, where: str) -> RobertaConfig:
    """The architecture that a published configuration describes.

    Raises:
        UpstreamError: it is one that no published model has, or its dictionary is none.
    """
    for key, expected in FIXED.items():
        if published.get(key, expected) not in (expected, None):
            raise UpstreamError(f"{where}: {key} = {published[key]!r} is not how vq-wav2vec's RoBERTa is built, and is not built here")
    positions = published.get("max_positions") or published.get("tokens_per_sample") or 512
    own = {name: published.get(key, default) for name, (key, default) in SIZES.items()}
    carried = {key: published[key] for key in CARRIED if key in published}
    values = {**own, "max_positions": positions, "dictionary": dictionary, "pretraining": carried}
    return parse(RobertaConfig, {**values, "tokenizer": tokenizer.model_dump(mode="json")}, where)


def published_config(config: RobertaConfig) -> dict[str, Any]:
    """An architecture, and what was carried along with it, under fairseq's names."""
    sizes = {key: getattr(config, name) for name, (key, _) in SIZES.items()}
    return {**FIXED, **config.pretraining, **sizes, "max_positions": config.max_positions}


def from_published(weights: Mapping[str, Tensor], config: RobertaConfig, where: str) -> dict[str, Tensor]:
    """Published weights under native names; the output map of the head is left out where it is the embedding.

    Raises:
        UpstreamError: weights are missing, or are not part of the configured model.
    """
    weights = _renewed(weights)
    heads = {name: tensor for name, tensor in weights.items() if name.startswith(HEAD_PARTS)}
    names = dict(_names(config))
    check_names(set(weights) - set(heads), {part for published in names.values() for part in published}, where)
    if TIED in heads and torch.equal(heads[TIED], weights[EMBEDDING]):
        del heads[TIED]
    tensors = {ENCODER + own: torch.cat([weights[part] for part in published]) for own, published in names.items()}
    return tensors | {HEAD + name: tensor for name, tensor in heads.items()}


def to_published(config: RobertaConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Native tensors under published names; see `write_fairseq`."""
    prefixes = tuple(HEAD + part for part in HEAD_PARTS)
    heads = {name.removeprefix(HEAD): tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    if not heads:
        raise UpstreamError(f"{where}: cannot be written: these weights have no head, which fairseq and s3prl need to load them")
    weights: dict[str, Tensor] = {}
    for own, published in _names(config):
        weights |= zip(published, tensors[ENCODER + own].chunk(len(published)), strict=True)
    heads.setdefault(TIED, weights[EMBEDDING])
    return {name: tensor.detach().cpu().clone() for name, tensor in (weights | heads).items()}


def _names(config: RobertaConfig) -> Iterator[tuple[str, list[str]]]:
    """Each own name with the published name, or the three that are joined in it."""
    yield "tokens.weight", [EMBEDDING]
    yield "positions.weight", [f"{SENTENCE}embed_positions.weight"]
    for leaf in ("weight", "bias"):
        yield f"norm.{leaf}", [f"{SENTENCE}layernorm_embedding.{leaf}"]
        for index in range(config.layers):
            for own, published in LAYER.items():
                yield f"transformer.layers.{index}.{own}.{leaf}", [f"{SENTENCE}layers.{index}.{part}.{leaf}" for part in published]


def _renewed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names that fairseq of 2019 used, as those of today; it stored query, key and value joined."""
    renewed: dict[str, Tensor] = {}
    for old, tensor in weights.items():
        name = "encoder." + old.removeprefix("decoder.") if old.startswith("decoder.") else old
        name = name.replace(".emb_layer_norm.", ".layernorm_embedding.")
        stem, joined, leaf = name.partition("self_attn.in_proj_")
        if joined:
            renewed |= zip((f"{stem}{part}.{leaf}" for part in QKV), tensor.chunk(3), strict=True)
        else:
            renewed[name] = tensor
    return renewed


def _packed(tokenizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A vq-wav2vec's tensors as part of this one."""
    inside, beside = f"{ENCODER}tokenizer.", f"{HEAD}tokenizer."
    return {inside + name.removeprefix(ENCODER) if name.startswith(USED) else beside + name: item for name, item in tokenizer.items()}


def _unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vq-wav2vec's tensors among those of this one."""
    inside, beside = f"{ENCODER}tokenizer.", f"{HEAD}tokenizer."
    used = {ENCODER + name.removeprefix(inside): tensor for name, tensor in tensors.items() if name.startswith(inside)}
    return used | {name.removeprefix(beside): tensor for name, tensor in tensors.items() if name.startswith(beside)}


def _write_tokenizer(path: Path, config: RobertaConfig, tensors: Mapping[str, Tensor], write: Any) -> None:
    """Put the vq-wav2vec beside a RoBERTa's file; an equal one that is there stays."""
    beside, own = path.with_name(TOKENIZER_FILE), _unpacked(tensors)
    if not beside.is_file():
        write(beside, config.tokenizer, own)
        return
    _, found = wav2vec.read(beside)
    if found.keys() != own.keys() or not all(torch.equal(found[name], own[name]) for name in own):
        raise UpstreamError(f"{beside}: is in the way, and is not this model's vq-wav2vec; write into a folder of its own")


def _read_text(path: Path) -> str:
    """The dictionary beside fairseq's file."""
    source = path.with_name(DICTIONARY_FILE)
    try:
        return source.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UpstreamError(f"{source}: {reason}; a RoBERTa of fairseq needs its dictionary beside {path.name}") from None


def _opened(path: Path) -> Content:
    config, tensors, notes = read(path)
    return Content(FAMILY, config.layers, config.dim, tensors, config, notes)


KIND = Kind((FAMILY,), recognized, _opened, {"native": write_native, "fairseq": writer(write_fairseq), "s3prl": writer(write_s3prl)})
