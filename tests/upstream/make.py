"""Small encoders, waveforms and published-format files for the tests of this room."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import upstream
from upstream.base import Padding, Upstream
from upstream.tera import SpecHead, Tera, TeraConfig
from upstream.wav2vec2 import Wav2Vec2

FEATURE = {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True}
AUDIO = {"target_level": -25, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "n_mels": 80, "n_mfcc": 13, "input": FEATURE, "target": FEATURE}
KALDI = {
    "kaldi": {"feat_type": "fbank", "fbank": {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True}},
    "delta": {"order": 2, "win_length": 5},
    "cmvn": {"use_cmvn": True},
}


def published_config(audio: dict[str, Any] | None = None, sequence_length: int = 1500, **transformer: Any) -> dict[str, Any]:
    """A model configuration as s3prl's YAML files have it, of a small encoder."""
    block = {
        "input_dim": -1,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "hidden_act": "gelu",
        "intermediate_size": 160,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": "1.0e-12",
        "share_layer": False,
        "pre_layer_norm": False,
    }
    task = {"sequence_length": sequence_length, "position_encoding_size": 64, "mask_proportion": 0.15}
    return copy.deepcopy({"transformer": block | transformer, "task": task, "audio": audio or AUDIO})


def config(**options: Any) -> TeraConfig:
    """The same as a `TeraConfig`."""
    return TeraConfig.read(published_config(**options), "test")


def perturbed(module: nn.Module, seed: int = 0) -> nn.Module:
    """Add noise to every parameter: fresh norms and zero biases would hide swapped or lost ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def tera(**options: Any) -> Tera:
    """A small encoder with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perturbed(Tera(config(**options)))
    assert isinstance(model, Tera)
    return model


def head(model: Tera) -> SpecHead:
    """A reconstruction head with random weights."""
    made = perturbed(SpecHead(model.config), seed=1)
    assert isinstance(made, SpecHead)
    return made


def waveforms(*samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise with a moving spectrum, padded with garbage: wavs (B, T) and lengths (B,)."""
    generator = torch.Generator().manual_seed(seed)
    wavs = torch.randn(len(samples), max(samples), generator=generator)
    wavs = wavs * (1 + torch.sin(torch.arange(max(samples)) / 900)) * 0.1
    wavs[:, 1:] += 0.6 * wavs[:, :-1].clone()
    return wavs, torch.tensor(samples)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def s3prl_file(path: Path, published: dict[str, Any], seed: int = 0) -> Any:
    """Write a checkpoint from s3prl's own model with random weights; returns its state dictionary."""
    from s3prl.upstream.baseline.extracter import get_extracter
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    audio = copy.deepcopy(published["audio"])
    width = get_extracter(audio)[1] if "kaldi" in audio else 80 * (audio["input"]["delta"] + 1)
    model = perturbed(TransformerModel(TransformerConfig(published["transformer"]), input_dim=width), seed)
    content = {"Transformer": model.state_dict(), "Upstream_Config": copy.deepcopy(published), "Config": {}, "Step": 1}
    torch.save(content, path)
    return model.state_dict()


SMALL_WAV2VEC: dict[str, Any] = {
    "conv_layers": [[32, 10, 5], [32, 8, 4], [32, 4, 2], [32, 4, 2], [32, 4, 2], [32, 1, 1]],
    "kernels": [2, 3, 4],
}
SMALL_ROBERTA: dict[str, Any] = {
    "tokenizer": SMALL_WAV2VEC | {"quantizer": {"kind": "kmeans", "codes": 16, "shared": True}},
    "words": 150,
    "max_positions": 120,
    "dim": 24,
    "layers": 3,
    "heads": 4,
    "ffn_dim": 48,
}


def random_weights(name: str, **config: Any) -> Upstream:
    """A registered encoder of this configuration with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perturbed(upstream.registry.load(name).from_config(config))
    assert isinstance(model, Upstream)
    return model


CONV_LAYERS = [[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2]


def wav2vec2(name: str, padding: Padding = "alone", **changes: Any) -> Wav2Vec2:
    """A small encoder of the wav2vec 2.0 family, of the architecture that a card names, with random weights."""
    config = dict(upstream.card(name).config)
    small = {"conv_layers": CONV_LAYERS, "dim": 32, "layers": 3, "heads": 4, "ffn_dim": 64}
    if (shape := config.get("positional_convolution", {})) is not None:
        small["positional_convolution"] = {**shape, "kernel": min(16, shape.get("kernel", 16)), "groups": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perturbed(Wav2Vec2.from_config(config | small | changes, padding))
    assert isinstance(model, Wav2Vec2)
    return model


def hugging_face() -> Upstream:
    """A small wav2vec 2.0 of Transformers, read from its folder."""
    import transformers

    from upstream.adapters.huggingface import HuggingFace

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": [16] * 7}
    config = transformers.Wav2Vec2Config(**sizes, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        perturbed(transformers.Wav2Vec2Model(config)).save_pretrained(folder)
        return HuggingFace.from_checkpoint(Path(folder))


# Encoders whose own defaults are too large or too plain for the contract tests; any other is built as its class builds itself.
SPECIAL: dict[str, Callable[[], Upstream]] = {
    "hf": hugging_face,
    "tera": tera,
    "mockingjay": lambda: tera(audio=AUDIO | {"target": FEATURE | {"feat_type": "linear"}}, sequence_length=60),
    "audio_albert": lambda: tera(share_layer=True, audio=KALDI),
    "wav2vec": lambda: random_weights("wav2vec", **SMALL_WAV2VEC),
    "vq_wav2vec": lambda: random_weights("vq_wav2vec", **SMALL_WAV2VEC, quantizer={"kind": "gumbel", "codes": 16, "depth": 2}),
    "vq_wav2vec_roberta": lambda: random_weights("vq_wav2vec_roberta", **SMALL_ROBERTA),
}


def build(name: str) -> Upstream:
    """An instance of a registered encoder with random weights, the same in every call."""
    if name in SPECIAL:
        return SPECIAL[name]()
    if upstream.card(name).encoder == "upstream.wav2vec2:Wav2Vec2":
        return wav2vec2(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perturbed(upstream.registry.load(name)())
    assert isinstance(model, Upstream)
    return model
