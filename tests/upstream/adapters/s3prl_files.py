"""Checkpoints in the formats of s3prl's families, from its own model classes with random weights, small where the format allows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.upstream import make

AUDIO = {"feat_type": "fbank", "feat_dim": 40, "frame_length": 25, "frame_shift": 10, "decode_wav": False, "cmvn": True}
CPC = {"hiddenEncoder": 32, "hiddenGar": 32, "arMode": "LSTM", "nLevelsGRU": 2, "samplingType": "sequential"}
WAV2VEC = {
    "infonce": True,
    "conv_feature_layers": "[(32, 10, 5), (32, 8, 4), (32, 4, 2), (32, 4, 2), (32, 4, 2)] + [(32, 1, 1)] * 2",
    "conv_aggregator_layers": "[(32, 2, 1), (32, 3, 1), (32, 4, 1)]",
    "activation": "relu",
    "vq_type": "none",
    "log_compression": True,
    "skip_connections_agg": True,
    "residual_scale": 0.5,
}
DISTILLER = {
    "extractor_conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "final_dim": 48,
    "n_tasks": 2,
    "pred_layer_id": [1, 2],
    "task_emb_type": "expand-last",
}


def write_apc(path: Path, **paras: Any) -> None:
    """APC, or VQ-APC with `vq`: `config` and `model`."""
    from s3prl.upstream.apc.apc import APC

    paras = {"hidden_size": 48, "num_layers": 3, "dropout": 0.1, "residual": True} | paras
    _save_apc(path, APC(AUDIO["feat_dim"], **paras), paras)


def write_npc(path: Path) -> None:
    """NPC: the same file with another model."""
    from s3prl.upstream.npc.npc import NPC

    paras = {"hidden_size": 48, "n_blocks": 3, "dropout": 0.1, "residual": True, "kernel_size": 15, "mask_size": 5}
    _save_apc(path, NPC(AUDIO["feat_dim"], **paras), paras)


def _save_apc(path: Path, model: nn.Module, paras: dict[str, Any]) -> None:
    config = {"data": {"audio": AUDIO}, "model": {"paras": paras}}
    torch.save(copy.deepcopy({"config": config, "model": make.perturbed(model).state_dict()}), path)


def write_cpc(path: Path, **changed: Any) -> None:
    """CPC: `config`, a dictionary, and `weights`."""
    import argparse

    from s3prl.upstream.cpc.cpc_default_config import get_default_cpc_config
    from s3prl.upstream.cpc.feature_loader import getAR, getEncoder
    from s3prl.upstream.cpc.model import CPCModel

    config = vars(get_default_cpc_config()) | CPC | changed
    arguments = argparse.Namespace(**config)
    model = make.perturbed(CPCModel(getEncoder(arguments), getAR(arguments)))
    torch.save({"config": config, "weights": model.state_dict()}, path)


def write_decoar2(path: Path) -> None:
    """DeCoAR 2.0: `model` alone. Its size is fixed in s3prl's code, 90 million weights; half precision halves the file."""
    from s3prl.upstream.decoar2.decoar2 import Decoar2

    torch.save({"model": make.perturbed(Decoar2()).half().state_dict()}, path)


def write_wav2vec(path: Path, **changed: Any) -> None:
    """Wav2vec as s3prl converts it from fairseq: two configurations and the weights."""
    from s3prl.upstream.wav2vec.wav2vec_model import Wav2VecConfig, Wav2VecModel

    config = WAV2VEC | changed
    model = make.perturbed(Wav2VecModel(Wav2VecConfig(**config)))
    torch.save({"task_cfg": {"normalize": False}, "model_cfg": config, "model_weight": model.state_dict()}, path)


def write_distiller(path: Path) -> None:
    """DistilHuBERT: `Config` and `Distiller`."""
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    model = make.perturbed(DistillerModel(DistillerConfig(DISTILLER)))
    torch.save({"Config": {"distiller": DISTILLER}, "Distiller": model.state_dict()}, path)


def write_stft(path: Path) -> None:
    """The configuration of log_stft, a YAML file."""
    values = "n_fft: 512, hop_length: 160, win_length: 400, window: hann, center: true, log: true"
    path.write_text(f"spectrogram: {{{values}}}\n")


# Members of `-u s3prl:…` and what writes a checkpoint for each.
WRITERS: dict[str, Callable[[Path], Any]] = {
    "apc": write_apc,
    "vq_apc": lambda path: write_apc(path, vq={"codebook_size": [16], "code_dim": [48], "gumbel_temperature": 1.0}),
    "npc_local": write_npc,
    "cpc_local": write_cpc,
    "decoar2": write_decoar2,
    "wav2vec_custom": write_wav2vec,
    "distiller": write_distiller,
    "mockingjay": lambda path: make.s3prl_file(path, make.published_config()),
    "stft_mag": write_stft,
}


def write(member: str, folder: Path) -> Path:
    """A checkpoint of a member in `folder`, with the same random weights in every call."""
    path = folder / f"{member}{'.yaml' if member == 'stft_mag' else '.ckpt'}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WRITERS[member](path)
    return path
