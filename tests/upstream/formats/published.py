"""Small checkpoints of the wav2vec 2.0 family: our own with heads, and files of the published kinds around the peers' own models."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tests.upstream.make import perturbed
from upstream.formats.base import DICTIONARIES, HUGGING_FACE, TARGETS, TASK, Checkpoint, respelled
from upstream.native import ENCODER, HEAD
from upstream.wav2vec2 import Wav2Vec2
from upstream.wav2vec2_config import Wav2Vec2Config

CONVOLUTIONS = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2"
CONV = ((16, 10, 5), *((16, 3, 2),) * 4, *((16, 2, 2),) * 2)
POSITIONAL = {"kernel": 16, "groups": 4}
TINY: dict[str, Any] = {"conv_layers": CONV, "dim": 32, "layers": 2, "heads": 4, "ffn_dim": 64, "positional_convolution": POSITIONAL}
LARGE = {"conv_norm": "layer", "pre_norm": True, "normalize": True}
CONFORMER = {"block": "conformer", "activation": "swish", "positional_convolution": None, "family": "wav2vec2_conformer"}
SYMBOLS = [["<s>", "<pad>", "</s>", "<unk>", "0", "1", "2"], ["<s>", "<pad>", "</s>", "<unk>", "0"]]
LETTERS = ["<s>", "<pad>", "</s>", "<unk>", "|", "E", "T"]

CONFIGS: dict[str, dict[str, Any]] = {
    "wav2vec2 base": {},
    "wav2vec2 large": LARGE | {"conv_bias": True, "pretraining": {"quantize_targets": True, "final_dim": 16, "mask_prob": 0.65}},
    "wav2vec2 without projection": {"projection": False, "conv_layers": (*CONV[:-1], (32, 2, 2))},
    "hubert base": {"family": "hubert", "padding_rule": "chunks", "pretraining": {DICTIONARIES: SYMBOLS, "final_dim": 16}},
    "hubert large": LARGE | {"family": "hubert", "conv_bias": True, "normalize_eps": 1e-7},
    "wavlm": LARGE | {"family": "wavlm", "positions": "gated", "max_distance": 700, "pretraining": {"mask_prob": 0.8}},
    "data2vec": {
        "family": "data2vec",
        "conv_norm": "layer",
        "normalize": True,
        "pretraining": {"average_top_k_layers": 8},
        "positional_convolution": {"kernel": 5, "groups": 4, "depth": 3, "norm": "layer"},
    },
    "tera2": {"family": "tera2", "padding_rule": "chunks", "pretraining": {DICTIONARIES: SYMBOLS, TASK: {"labels": ["km"]}}},
    "distilhubert": {"family": "distilhubert", "feature_norm": False, "pretraining": {"n_tasks": 3}},
    "conformer relative": LARGE | CONFORMER | {"positions": "relative", "pretraining": {"conv_pos": 16, "conv_pos_groups": 4}},
    "conformer rotary": LARGE | CONFORMER | {"positions": "rotary", "conv_bias": True},
    "fine-tuned": {"pretraining": {TARGETS: LETTERS, HUGGING_FACE: {"ctc_zero_infinity": True}}},
    "fine-tuned hubert": LARGE | {"family": "hubert"},
}
HEADS: dict[str, dict[str, tuple[int, ...]]] = {  # by the family of a configuration
    "wav2vec2": {
        "mask_embedding": (32,),
        "quantizer.vars": (1, 20, 8),
        "quantizer.weight_proj.weight": (20, 16),
        "project_q.bias": (16,),
        "quantizer.weight_proj.bias": (20,),
        "project_q.weight": (16, 16),
        "final_proj.weight": (16, 32),
        "final_proj.bias": (16,),
    },
    "hubert": {"mask_embedding": (32,), "label_embeddings": (12, 16), "final_proj.weight": (16, 32), "final_proj.bias": (16,)},
    "tera2": {"mask_embedding": (32,), "label_embeddings": (12, 16), "final_proj.weight": (78, 32), "final_proj.bias": (78,)},
    "wavlm": {"mask_embedding": (32,)},
    "data2vec": {"mask_embedding": (32,), "final_proj.0.weight": (32, 32), "final_proj.0.bias": (32,)},
    "distilhubert": {
        f"output_layer.{part}": shape for part, shape in (("0.weight", (96, 32)), ("0.bias", (96,)), ("2.weight", (3, 32, 8)))
    },
}
HEADS["wav2vec2_conformer"] = HEADS["wav2vec2"] | {
    "positional_convolution.weight_g": (1, 1, 16),
    "positional_convolution.weight_v": (32, 8, 16),
    "positional_convolution.bias": (32,),
}


def native(name: str, heads: bool = True) -> Checkpoint:
    """One of our own with random weights, with every head that its family may have, and a CTC head where it is fine-tuned."""
    config = Wav2Vec2Config(**TINY | CONFIGS[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perturbed(Wav2Vec2(config))
        assert isinstance(model, Wav2Vec2)
        tensors = {ENCODER + key: tensor for key, tensor in model.encoder.state_dict().items()}
        shapes = dict(HEADS[config.family]) if heads else {}
        if "quantizer.weight_proj.weight" in shapes:
            shapes["quantizer.weight_proj.weight"] = (20, config.conv_layers[-1][0])
        shapes |= {"ctc.weight": (7, 32), "ctc.bias": (7,)} if name.startswith("fine-tuned") else {}
        tensors |= {HEAD + key: torch.randn(shape) for key, shape in shapes.items()}
    return Checkpoint(config, tensors)


def loaded(checkpoint: Checkpoint) -> Wav2Vec2:
    """The encoder of a checkpoint."""
    model = Wav2Vec2(checkpoint.config).eval()
    model.load_encoder(checkpoint.tensors, "test")
    return model


def assert_equal(ours: Checkpoint, theirs: Checkpoint) -> None:
    """The same configuration, and every tensor to the last bit."""
    assert ours.config == theirs.config
    assert_same_tensors(ours.tensors, theirs.tensors)


def assert_same_tensors(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """The same names, types and bits."""
    assert ours.keys() == theirs.keys()
    unequal = [name for name in ours if ours[name].dtype != theirs[name].dtype or not torch.equal(ours[name], theirs[name])]
    assert not unequal


@dataclass
class Peer:
    """A model of s3prl's with random weights, and its configuration as fairseq would have it.

    Attributes:
        model: with all heads.
        cfg, task: plain values.
        symbols: HuBERT's.
    """

    model: nn.Module
    cfg: dict[str, Any]
    task: dict[str, Any]
    symbols: list[list[str]] | None = None


SIZES: dict[str, Any] = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "final_dim": 16,
    "conv_feature_layers": CONVOLUTIONS,
    "conv_pos": 16,
    "conv_pos_groups": 4,
}
LAYER_NORM: dict[str, Any] = {"extractor_mode": "layer_norm", "layer_norm_first": True}
ESPNET = {"layer_type": "conformer", "attn_type": "espnet", "extractor_mode": "layer_norm", "conv_bias": True, "quantize_targets": True}
PEERS: dict[str, dict[str, Any]] = {
    "wav2vec2 base": {"quantize_targets": True},
    "wav2vec2 large": LAYER_NORM | {"quantize_targets": True, "conv_bias": True},
    "wav2vec2 without projection": {"conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2), (32, 2, 2)]"},
    "conformer relative": ESPNET | {"pos_enc_type": "rel_pos", "layer_norm_first": True},
    "conformer rotary": ESPNET | {"pos_enc_type": "rope", "layer_norm_first": False},
    "hubert base": {"label_rate": 50},
    "hubert large": LAYER_NORM | {"label_rate": 50, "untie_final_proj": True},
    "wavlm base": {"relative_position_embedding": True, "gru_rel_pos": True, "max_distance": 700},
    "wavlm large": LAYER_NORM | {"relative_position_embedding": True, "gru_rel_pos": True, "normalize": True},
    "data2vec": {"extractor_mode": "layer_norm", "pos_conv_depth": 3, "conv_pos": 15},
    "distilhubert": {"n_tasks": 3, "pred_layer_id": [1, 2, 3], "final_dim": 16, "out_layer_inter_dim": 8},
}


def peer(name: str) -> Peer:
    """One of `PEERS`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _peer(name)
        perturbed(made.model)
    return made


def _peer(name: str) -> Peer:
    from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config as Config
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Model
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    options = SIZES | PEERS[name]
    task = {"_name": "audio_pretraining", "normalize": "large" in name or name == "data2vec", "sample_rate": 16_000, "data": "/corpus"}
    if name.startswith("wavlm"):
        flat = WavLMConfig(options)
        return Peer(WavLM(flat), dict(flat.__dict__), {})
    if name == "distilhubert":
        values = {key: value for key, value in options.items() if key not in ("conv_feature_layers",)}
        values["extractor_conv_feature_layers"] = CONVOLUTIONS
        return Peer(DistillerModel(DistillerConfig(values)), values, {})
    if name.startswith("hubert"):
        config = HubertConfig(**options)
        model = HubertModel(config, HubertPretrainingConfig(label_rate=50), SYMBOLS)
        return Peer(
            model, {"_name": "hubert", **dataclasses.asdict(config)}, task | {"_name": "hubert_pretraining", "label_rate": 50}, SYMBOLS
        )
    if name == "data2vec":
        data2vec = Data2VecAudioConfig(**options)
        return Peer(Data2VecAudioModel(data2vec), {"_name": "data2vec_audio", **dataclasses.asdict(data2vec)}, task)
    wav2vec2 = Config(**options)
    return Peer(Wav2Vec2Model(wav2vec2), {"_name": "wav2vec2", **dataclasses.asdict(wav2vec2)}, task)


def s3prl_file(path: Path, peer: Peer) -> Path:
    """The file that s3prl reads such a model from."""
    state: dict[str, Any] = dict(peer.model.state_dict())
    if "extractor_conv_feature_layers" in peer.cfg:
        content: dict[str, Any] = {"Distiller": state, "Config": {"distiller": peer.cfg}, "Step": 1}
    elif not peer.task:
        content = {"cfg": peer.cfg, "model": state}
    else:
        content = {"task_cfg": peer.task, "model_cfg": peer.cfg, "model_weight": state}
        content |= {"dictionaries_symbols": peer.symbols} if peer.symbols else {}
    torch.save(content, path)
    return path


class Dictionary:
    """Pickles as fairseq's."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols, self.count, self.indices = symbols, [1] * len(symbols), {symbol: index for index, symbol in enumerate(symbols)}


def save_with_dictionaries(content: dict[str, Any], path: Path) -> None:
    """`torch.save` where fairseq's class of dictionaries can be imported."""
    names = ("fairseq", "fairseq.data", "fairseq.data.dictionary")
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[-1]].Dictionary = Dictionary  # type: ignore[attr-defined]
    Dictionary.__module__ = names[-1]
    with mock.patch.dict(sys.modules, modules):
        torch.save(content, path)


def fairseq_file(path: Path, peer: Peer, old: bool = False) -> Path:
    """fairseq's own file: with `cfg`, or of before 2021 with `args`."""
    content: dict[str, Any] = {"model": dict(peer.model.state_dict()), "extra_state": {"epoch": 3}, "optimizer_history": [{}]}
    if old:
        values = {key: value for key, value in peer.cfg.items() if key != "_name"}
        content["args"] = argparse.Namespace(arch=peer.cfg["_name"], lr=[5e-4], stop_time_hours=0, **values, **_flat(peer.task, values))
    else:
        content |= {"args": None, "cfg": {"_name": None, "model": peer.cfg, "task": peer.task, "optimization": {"lr": [5e-4]}}}
    if peer.symbols:
        content["task_state"] = {"dictionaries": peer.symbols}
    torch.save(content, path)
    return path


def _flat(task: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if key != "_name" and key not in model}


def fine_tuned_file(path: Path, peer: Peer, nested: str = "cfg", symbols: list[str] | None = None) -> Path:
    """A file of CTC fine-tuning, the encoder's configuration a nested `cfg` or an old `Namespace` in it."""
    state = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in peer.model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    state |= {f"w2v_encoder.proj.{leaf}": torch.randn(shape, generator=generator) for leaf, shape in (("weight", (7, 32)), ("bias", (7,)))}
    inner: Any = {"_name": None, "model": peer.cfg, "task": peer.task}
    if nested == "args":
        values = {key: value for key, value in peer.cfg.items() if key != "_name"}
        inner = argparse.Namespace(arch=peer.cfg["_name"], **values, **_flat(peer.task, values))
    name = "hubert_ctc" if peer.symbols else "wav2vec_ctc"
    outer = {"_name": name, "w2v_path": "/away/base.pt", "w2v_args": inner, "dropout": 0.0, "layerdrop": 0.1, "mask_prob": 0.5}
    content: dict[str, Any] = {"model": state, "cfg": {"model": outer, "task": {"_name": "audio_finetuning", "labels": "ltr"}}}
    if symbols:
        content["task_state"] = {"target_dictionary": {"symbols": symbols}}
    torch.save(content, path)
    return path


def spelled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary with the weight norm's names that published files have."""
    return respelled(state, parametrized=False)


OLD_NAMES = {  # of weight norm, in folders written before PyTorch 2.1
    f"encoder.pos_conv_embed.conv.parametrizations.weight.original{index}": f"encoder.pos_conv_embed.conv.weight_{leaf}"
    for index, leaf in enumerate("gv")
}
