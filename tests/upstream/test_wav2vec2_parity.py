"""The wav2vec 2.0 family against transformers, s3prl's vendored models and torchaudio, with random weights: every hidden state.

`alone`: each utterance of a padded batch equals the peer's output for it by itself. `reference`: the batch equals the peer's own
padded batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.upstream import make
from upstream.base import Padding
from upstream.formats.names import Naming, to_native
from upstream.wav2vec2 import Wav2Vec2
from upstream.wav2vec2_config import Wav2Vec2Config

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 1e-5
SAMPLES = (8_000, 6_321, 3_000)
CONV = ((16, 10, 5), *((16, 3, 2),) * 4, *((16, 2, 2),) * 2)
POSITIONAL = {"kernel": 16, "groups": 4}
TINY: dict[str, Any] = {"conv_layers": CONV, "dim": 32, "layers": 3, "heads": 4, "ffn_dim": 64, "positional_convolution": POSITIONAL}
LAYER_NORM = {"conv_norm": "layer", "pre_norm": True}
STACK = {"kernel": 5, "groups": 4, "depth": 3, "norm": "layer"}
CONFORMER = TINY | LAYER_NORM | {
    "family": "wav2vec2_conformer", "conv_bias": True, "positional_convolution": None, "block": "conformer", "activation": "swish",
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "wav2vec2 base": TINY,
    "wav2vec2 large": TINY | LAYER_NORM | {"conv_bias": True},
    "hubert base": TINY | {"family": "hubert"},
    "hubert large": TINY | LAYER_NORM | {"family": "hubert"},
    "hubert batch norm": TINY | {"family": "hubert", "positional_convolution": POSITIONAL | {"norm": "batch"}},
    "wavlm base": TINY | {"family": "wavlm", "positions": "gated"},
    "wavlm large": TINY | LAYER_NORM | {"family": "wavlm", "positions": "gated"},
    "data2vec": TINY | {"family": "data2vec", "conv_norm": "layer", "positional_convolution": STACK},
    "conformer relative": CONFORMER | {"positions": "relative"},
    "conformer rotary": CONFORMER | {"positions": "rotary"},
}


def config_of(name: str, **changes: Any) -> Wav2Vec2Config:
    """A small architecture without dropout."""
    quiet = dict.fromkeys(("dropout", "attention_dropout", "input_dropout"), 0.0)
    return Wav2Vec2Config(**CONFIGS[name] | quiet | changes)


def with_weights_of(theirs: nn.Module, config: Wav2Vec2Config, naming: Naming, padding: Padding = "alone") -> Wav2Vec2:
    """Our model with a peer's weights."""
    spellings = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, tensor in theirs.state_dict().items():
        for old, new in spellings.items():
            name = name.replace(old, new)
        if not name.endswith(("rotary_emb.inv_freq", "embed_positions.inv_freq")):
            state[name] = tensor
    model = Wav2Vec2(config, padding).eval()
    model.load_encoder(to_native(state, config, naming, "test"), "test")
    return model


def assert_valid_frames_agree(ours: Wav2Vec2, theirs: list[Tensor], wavs: Tensor, lengths: Tensor, tolerance: float = TOLERANCE) -> None:
    """Every valid frame of every state."""
    with torch.no_grad():
        made = ours(wavs, lengths)
    assert len(theirs) == ours.num_states == len(made.hidden_states)
    for own, other in zip(made.hidden_states, theirs, strict=True):
        for row, frames in enumerate(made.lengths.tolist()):
            assert frames and make.relative_error(own[row, :frames], other[row, :frames]) < tolerance


def assert_alone_equals(model: Wav2Vec2, peer: Callable[[Tensor], list[Tensor]]) -> None:
    """A padded batch, and each utterance alone, against the peer's output for each utterance."""
    wavs, lengths = make.waveforms(*SAMPLES)
    with torch.no_grad():
        together = model(wavs, lengths)
        for row, samples in enumerate(SAMPLES):
            alone = wavs[row : row + 1, :samples]
            states = peer(alone)
            assert_valid_frames_agree(model, states, alone, torch.tensor([samples]))
            for own, other in zip(together.hidden_states, states, strict=True):
                assert make.relative_error(own[row : row + 1, : other.shape[1]], other) < TOLERANCE


# transformers


def transformers_model(config: Wav2Vec2Config) -> nn.Module:
    """Hugging Face's model of a configuration, with random weights."""
    import transformers

    shape = config.positional_convolution
    options: dict[str, Any] = {
        "hidden_size": config.dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.ffn_dim,
        "conv_dim": [channels for channels, _, _ in config.conv_layers],
        "conv_kernel": [kernel for _, kernel, _ in config.conv_layers],
        "conv_stride": [stride for _, _, stride in config.conv_layers],
        "conv_bias": config.conv_bias,
        "feat_extract_norm": config.conv_norm,
        "do_stable_layer_norm": config.pre_norm,
        "num_conv_pos_embeddings": shape.kernel if shape else 16,
        "num_conv_pos_embedding_groups": shape.groups if shape else 4,
        **dict.fromkeys(("hidden_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop", "activation_dropout"), 0.0),
    }
    kind = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec": "Data2VecAudio"}.get(
        config.family, "Wav2Vec2Conformer"
    )
    if config.family == "hubert":
        options["conv_pos_batch_norm"] = shape is not None and shape.norm == "batch"
    if config.family == "data2vec":
        assert shape is not None
        options |= {"num_conv_pos_embeddings": shape.depth, "conv_pos_kernel_size": shape.kernel}
    if config.block == "conformer":
        options |= {
            "position_embeddings_type": config.positions,
            "hidden_act": "swish",
            "conv_depthwise_kernel_size": config.depthwise_kernel,
        }
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    return randomized(make.perturbed(model))


def randomized(model: nn.Module) -> nn.Module:
    """Give running statistics of batch norms values of their own."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model


def transformers_states(model: nn.Module, wavs: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """All hidden states (B, F, D), the last one after the final norm."""
    with torch.no_grad():
        made = model(wavs, attention_mask=mask, output_hidden_states=True)
    return [*made.hidden_states[:-1], made.last_hidden_state]


@pytest.mark.parametrize("name", CONFIGS)
def test_alone_equals_transformers(name: str) -> None:
    torch.manual_seed(0)
    config = config_of(name)
    theirs = transformers_model(config)
    model = with_weights_of(theirs, config, "huggingface")
    assert_alone_equals(model, lambda wavs: transformers_states(theirs, wavs))


@pytest.mark.parametrize("name", CONFIGS)
def test_reference_equals_the_padded_batch_of_transformers(name: str) -> None:
    torch.manual_seed(0)
    config = config_of(name)
    theirs = transformers_model(config)
    model = with_weights_of(theirs, config, "huggingface", "reference")
    wavs, lengths = make.waveforms(*SAMPLES)
    mask = (torch.arange(wavs.shape[1]) < lengths[:, None]).long()
    states = transformers_states(theirs, wavs * mask, mask)
    assert_valid_frames_agree(model, states, wavs, lengths)


# s3prl's vendored models


def s3prl_model(config: Wav2Vec2Config) -> nn.Module:
    """The model that s3prl carries of a family, with random weights."""
    shape = config.positional_convolution
    options: dict[str, Any] = {
        "extractor_mode": "layer_norm" if config.conv_norm == "layer" else "default",
        "encoder_layers": config.layers,
        "encoder_embed_dim": config.dim,
        "encoder_ffn_embed_dim": config.ffn_dim,
        "encoder_attention_heads": config.heads,
        "layer_norm_first": config.pre_norm,
        "conv_feature_layers": str(list(config.conv_layers)),
        "conv_bias": config.conv_bias,
        "conv_pos": shape.kernel if shape else 16,
        "conv_pos_groups": shape.groups if shape else 4,
        **dict.fromkeys(
            ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "dropout_input", "dropout_features"), 0.0
        ),
    }
    if config.block == "conformer":
        kind = {"relative": "rel_pos", "rotary": "rope"}[config.positions]
        options |= {
            "layer_type": "conformer",
            "attn_type": "espnet",
            "pos_enc_type": kind,
            "depthwise_conv_kernel_size": 31,
            "activation_fn": "swish",
        }
    if config.family.startswith("wav2vec2"):
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config as Theirs
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Model

        model = Wav2Vec2Model(Theirs(**options, quantize_targets=True, final_dim=16))
    elif config.family == "hubert":
        from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

        batch_norm = {"conv_pos_batch_norm": True} if shape and shape.norm == "batch" else {}
        model = HubertModel(HubertConfig(label_rate=50, **options, **batch_norm, final_dim=16), HubertPretrainingConfig(), [list("abcd")])
    elif config.family == "wavlm":
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        model = WavLM(
            WavLMConfig({**options, "relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 320, "max_distance": 800})
        )
    else:
        from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel

        assert shape is not None
        stacked = {"pos_conv_depth": shape.depth, "conv_pos": shape.kernel * shape.depth}
        model = Data2VecAudioModel(Data2VecAudioConfig(**options | stacked, average_top_k_layers=2))
    return randomized(make.perturbed(model))


def s3prl_states(model: nn.Module, wavs: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """The input of every layer and the encoder's output (B, F, D), as s3prl's experts hook them."""
    states: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0].transpose(0, 1))) for layer in model.encoder.layers]
    with torch.no_grad():
        if hasattr(model, "extract_features") and type(model).__name__ in ("HubertModel", "WavLM"):
            last = model.extract_features(wavs, padding_mask=mask, mask=False)[0]
        else:
            last = model.extract_features(wavs, mask, mask=False)["x"]
    for hook in hooks:
        hook.remove()
    return [*(state[:, : last.shape[1]] for state in states), last]


S3PRL = [name for name in CONFIGS if name != "hubert batch norm"]


@pytest.mark.parametrize("name", S3PRL)
def test_alone_equals_s3prl(name: str) -> None:
    torch.manual_seed(0)
    config = config_of(name)
    theirs = s3prl_model(config)
    model = with_weights_of(theirs, config, "fairseq")
    assert_alone_equals(model, lambda wavs: s3prl_states(theirs, wavs))


@pytest.mark.parametrize("name", S3PRL)
def test_reference_equals_the_padded_batch_of_s3prl(name: str) -> None:
    torch.manual_seed(0)
    config = config_of(name, padding_rule="chunks" if CONFIGS[name].get("family") in ("hubert", "wavlm") else "lengths")
    theirs = s3prl_model(config)
    model = with_weights_of(theirs, config, "fairseq", "reference")
    wavs, lengths = make.waveforms(*SAMPLES)
    mask = torch.arange(wavs.shape[1]) >= lengths[:, None]
    assert_valid_frames_agree(model, s3prl_states(theirs, wavs.masked_fill(mask, 0.0), mask), wavs, lengths)


# torchaudio


def torchaudio_model(config: Wav2Vec2Config) -> nn.Module:
    """torchaudio's model of a configuration, with random weights."""
    import torchaudio

    shape = config.positional_convolution
    assert shape is not None
    options: dict[str, Any] = {
        "extractor_mode": "layer_norm" if config.conv_norm == "layer" else "group_norm",
        "extractor_conv_layer_config": list(config.conv_layers),
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": shape.kernel,
        "encoder_pos_conv_groups": shape.groups,
        "encoder_num_layers": config.layers,
        "encoder_num_heads": config.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": config.ffn_dim,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": config.pre_norm,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    if config.family == "wavlm":
        model = torchaudio.models.wavlm_model(**options, encoder_num_buckets=320, encoder_max_distance=800)
    else:
        model = torchaudio.models.wav2vec2_model(**options)
    return make.perturbed(model)


@pytest.mark.parametrize("name", ["wav2vec2 base", "wav2vec2 large", "hubert base", "hubert large", "wavlm base", "wavlm large"])
def test_layer_outputs_equal_torchaudio(name: str) -> None:
    """torchaudio gives the layers' outputs alone, the last one before the final norm, so the encoder's output is asked for too."""
    torch.manual_seed(0)
    config = config_of(name)
    theirs = torchaudio_model(config)
    model = with_weights_of(theirs, config, "torchaudio")
    for samples in SAMPLES:
        wavs, lengths = make.waveforms(samples)
        with torch.no_grad():
            ours = model(wavs, lengths).hidden_states
            layers, _ = theirs.extract_features(wavs)
            output, _ = theirs(wavs)
        for own, other in zip(ours[1:-1], layers[:-1], strict=True):
            assert make.relative_error(own, other) < TOLERANCE
        assert make.relative_error(ours[-1], output) < TOLERANCE
