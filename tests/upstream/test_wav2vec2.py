"""Published configurations, frame counts, normalisation and the two kinds of padding of the wav2vec 2.0 family."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import upstream
from tests.upstream import make
from upstream.errors import UpstreamError
from upstream.layers.convolutions import frames_of, receptive_field
from upstream.wav2vec2 import Wav2Vec2, scaled_gradient
from upstream.wav2vec2_config import Wav2Vec2Config

FAMILIES = [name for name in upstream.families() if upstream.card(name).encoder == "upstream.wav2vec2:Wav2Vec2"]
MODELS = [name for name in upstream.names() if upstream.card(name).encoder == "upstream.wav2vec2:Wav2Vec2"]

# Published models without quantizer, projections and label embeddings, with the mask embedding (D,) that only pre-training reads;
# the Conformers' files also hold a positional convolution that nothing reads (computed from fairseq's own models).
UNUSED_CONVOLUTION = {768: 4_719_488, 1024: 8_389_760}
PARAMETERS = {
    "wav2vec2": 94_371_712,
    "wav2vec2_large_960": 315_428_992,
    "wav2vec2_large_ll60k": 315_438_720,
    "xlsr_53": 315_438_720,
    "xls_r_300m": 315_438_720,
    "xls_r_1b": 962_497_408,
    "xls_r_2b": 2_159_259_648,
    "wav2vec2_conformer": 618_559_104,
    "wav2vec2_conformer_rope": 593_344_128,
    "wav2vec2_conformer_base": 179_730_304,
    "hubert": 94_371_712,
    "hubert_large_ll60k": 315_435_136,
    "hubert_xlarge_ll60k": 962_493_824,
    "wavlm": 94_381_936,
    "wavlm_base": 94_381_936,
    "wavlm_large": 315_453_120,
    "data2vec": 93_164_288,
    "data2vec_large_ll60k": 313_276_416,
}
# TERA2's tables count the head (78 outputs) and 504 × 256 label embeddings that nothing reads; in millions.
TERA2_MILLIONS = {
    "tera2_small": 20.79,
    "tera2_slim": 19.95,
    "tera2": 94.56,
    "tera2_slim_30per": 5.83,
    "tera2_slim_50per": 9.86,
    "tera2_slim_70per": 14.03,
    "tera2_slim_200per": 39.91,
}


def empty(name: str) -> Wav2Vec2:
    """A published architecture without memory behind its weights."""
    with torch.device("meta"):
        return Wav2Vec2.from_config(upstream.card(name).config)


def parameters(model: Wav2Vec2) -> int:
    """Weights of the encoder and the mask embedding."""
    return sum(parameter.numel() for parameter in model.parameters()) + model.dim


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameter_counts(name: str) -> None:
    model = empty(name)
    unused = UNUSED_CONVOLUTION[model.dim] if model.config.block == "conformer" else 0
    assert parameters(model) + unused == PARAMETERS[name]


@pytest.mark.parametrize("name", TERA2_MILLIONS)
def test_tera2_parameter_counts(name: str) -> None:
    model = empty(name)
    head = 78 * model.dim + 78 + 504 * 256
    assert round((parameters(model) + head) / 1e6, 2) == pytest.approx(TERA2_MILLIONS[name], abs=0.011)


@pytest.mark.parametrize("name", MODELS)
def test_published_models_have_the_published_frames(name: str) -> None:
    model = empty(name)
    assert (model.stride, model.minimum_samples, model.num_states) == (320, 400, model.config.layers + 1)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (16_000, 49), (160_000, 499), (250_000, 781)])
def test_frame_counts(samples: int, frames: int) -> None:
    layers = Wav2Vec2Config().conv_layers
    assert frames_of(samples, layers) == frames
    assert frames_of(torch.tensor([samples]), layers).tolist() == [frames]
    assert receptive_field(layers) == 400


@torch.no_grad()
def test_frame_counts_follow_the_formula_sample_by_sample() -> None:
    model = make.wav2vec2("wav2vec2")
    for samples in range(400, 1_500, 37):
        made = model(*make.waveforms(samples))
        assert made.lengths.tolist() == [made.hidden_states.shape[2]] == [frames_of(samples, model.config.conv_layers)]


@torch.no_grad()
def test_chunks_keep_a_frame_more_than_the_formula() -> None:
    """Fairseq's HuBERT folds the samples of the padded batch into chunks: of 3000 samples in 8000, one frame more is kept."""
    model = make.wav2vec2("hubert", "reference")
    wavs, lengths = make.waveforms(8_000, 3_000)
    formula = frames_of(lengths, model.config.conv_layers)
    assert model(wavs, lengths).lengths.tolist() == [24, 10] and formula.tolist() == [24, 9]


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_reference_padding_equals_alone_where_nothing_is_padded(name: str) -> None:
    wavs, lengths = make.waveforms(9_000, 9_000)
    alone, reference = (make.wav2vec2(name, padding)(wavs, lengths) for padding in ("alone", "reference"))  # type: ignore[arg-type]
    assert torch.equal(alone.lengths, reference.lengths)
    assert make.relative_error(alone.hidden_states, reference.hidden_states) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "data2vec", "wav2vec2_conformer"])
def test_reference_padding_depends_on_the_batch(name: str) -> None:
    model = make.wav2vec2(name, "reference")
    wavs, lengths = make.waveforms(12_000, 5_000)
    alone = model(wavs[1:, :5_000], lengths[1:])
    frames = int(alone.lengths[0])
    assert make.relative_error(model(wavs, lengths).hidden_states[:, 1, :frames], alone.hidden_states[:, 0]) > 1e-3


@torch.no_grad()
def test_normalisation_makes_loudness_disappear() -> None:
    model = make.wav2vec2("wav2vec2_large_ll60k")
    wavs, lengths = make.waveforms(9_000, 5_000)
    assert make.relative_error(model(3 * wavs + 0.5, lengths).hidden_states, model(wavs, lengths).hidden_states) < 1e-2
    assert model.notes == ("input normalisation: on, eps 1e-05",)
    plain = make.wav2vec2("wav2vec2_large_ll60k", normalize=False)
    assert make.relative_error(plain(3 * wavs + 0.5, lengths).hidden_states, plain(wavs, lengths).hidden_states) > 1e-1


def test_gradient_that_reaches_the_convolutions_is_scaled() -> None:
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    y = scaled_gradient(x, 0.1)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((2,), 0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "5 heads do not divide 768 features"),
        ({"projection": False}, "the convolutions' 512 channels must be dim, which is 768"),
        ({"positional_convolution": None}, "nothing else tells them of time"),
        ({"block": "conformer"}, "conformer layers take positions relative or rotary, not 'none'"),
        ({"conv_layers": []}, "conv_layers"),
        ({"conv_layers": [[-1, 0, 0]]}, "greater than 0"),
        ({"positional_convolution": {"groups": 5}}, "positional_convolution.groups 5 do not divide 768 features"),
        ({"depthwise_kernel": 2}, "depthwise_kernel 2 is even"),
        ({"layer": 12}, "unknown key 'layer': did you mean 'layers'"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UpstreamError, match=message):
        Wav2Vec2.from_config(changes)


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_and_loaded_is_the_same_encoder(name: str, tmp_path: Path) -> None:
    model = make.wav2vec2(name)
    model.save_native(tmp_path / "saved")
    loaded = upstream.load(name, tmp_path / "saved")
    assert upstream.fingerprint(loaded) == upstream.fingerprint(model)
    assert isinstance(loaded, Wav2Vec2) and loaded.config == model.config


def test_another_familys_checkpoint_is_refused_with_its_name(tmp_path: Path) -> None:
    make.wav2vec2("hubert").save_native(tmp_path / "saved")
    with pytest.raises(UpstreamError, match="holds a hubert encoder, not wavlm; use -u hubert"):
        upstream.load("wavlm", tmp_path / "saved")


def test_other_weights_under_a_published_models_name_are_refused(tmp_path: Path) -> None:
    make.wav2vec2("hubert").save_native(tmp_path / "saved")
    with pytest.raises(UpstreamError, match="is not hubert_large_ll60k: layers 3, not 24, dim 32, not 1024, .*use -u hubert for"):
        upstream.load("hubert_large_ll60k", tmp_path / "saved")


def test_convolutions_stay_as_they_are_where_no_gradient_shall_reach_them() -> None:
    model = make.wav2vec2("hubert", feature_grad_mult=0)
    model(*make.waveforms(8_000, 6_000)).hidden_states.square().mean().backward()
    assert all(parameter.grad is None for parameter in model.encoder.convolutions.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.transformer.parameters())


def test_published_addresses_are_those_of_s3prl() -> None:
    """Where s3prl's hubconf names a file on the hub for one of our names, it is the file of our card."""
    folder = Path(importlib.util.find_spec("s3prl").origin).parent / "upstream"  # type: ignore[union-attr, arg-type]
    compared = 0
    for family in ("wav2vec2", "hubert", "wavlm", "data2vec", "distiller", "wav2vec", "vq_wav2vec", "tera", "mockingjay", "audio_albert"):
        for function in ast.parse((folder / family / "hubconf.py").read_text()).body:
            texts = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            files = [
                text.split("huggingface.co/")[1].replace("/resolve/main", "") for text in texts if text.startswith("https://huggingface")
            ]
            if not isinstance(function, ast.FunctionDef) or not files:
                continue
            name = upstream.registry.aliases().get(function.name, function.name)
            published = upstream.card(name).published if name in upstream.names() else None
            if published:
                assert f"{published['repo']}/{published['file']}" == files[-1], function.name
                compared += 1
    assert compared >= 24


def test_model_of_a_family_is_a_name_of_its_own() -> None:
    assert upstream.check("hubert_base") == "hubert" and upstream.check("xlsr_53") == "xlsr_53"
    assert upstream.card("xlsr_53").model_of == "wav2vec2" and "xlsr_53" in upstream.models("wav2vec2")
    assert "xlsr_53" not in upstream.families()
    with pytest.raises(UpstreamError, match="'tera2_local' needs a checkpoint"):
        upstream.check("tera2_local")


def test_building_draws_the_same_weights_from_the_same_seed() -> None:
    config = {**upstream.card("tera2_slim_30per").config, "conv_layers": make.CONV_LAYERS}
    torch.manual_seed(3)
    first = Wav2Vec2.from_config(config)
    torch.manual_seed(3)
    assert upstream.fingerprint(first) == upstream.fingerprint(Wav2Vec2.from_config(config))
    linear = first.encoder.transformer.layers[0].feed_forward.inner
    assert 0.018 < float(linear.weight.detach().std()) < 0.022 and not linear.bias.detach().any()
