"""State dictionaries of torchaudio are read, with what their shapes say, and its own models take what is written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio.models as models

from tests.upstream import make
from tests.upstream.formats import published
from upstream.errors import UpstreamError
from upstream.formats import torchaudio as torchaudio_format
from upstream.formats import wav2vec2
from upstream.formats.torchaudio import from_bundle
from upstream.formats.wav2vec2 import WRITERS, read

pytestmark = pytest.mark.filterwarnings("ignore")
PARAMS: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": published.CONV,
    "extractor_conv_bias": False,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 64,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}
LAYER_NORM = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
BUNDLES = {
    "wav2vec2 base": {"aux_num_out": 29},
    "wav2vec2 large": LAYER_NORM | {"extractor_conv_bias": True},
    "hubert large": LAYER_NORM | {"extractor_conv_bias": True},
    "wavlm": LAYER_NORM | {"encoder_num_buckets": 320, "encoder_max_distance": 700},
}


def bundle(name: str, **options: Any) -> tuple[dict[str, Any], Any]:
    """A bundle's arguments, and a model with random weights of them."""
    params = PARAMS | BUNDLES[name] | options
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = models.wavlm_model if "encoder_num_buckets" in params else models.wav2vec2_model
        return params, make.perturbed(made(**params))


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_gives_the_states_of_its_model(name: str) -> None:
    params, theirs = bundle(name)
    ours = from_bundle(params, theirs.state_dict(), False, "test")
    assert ours.notes == ("input normalisation: off (torchaudio's bundle)",)
    assert ("head.ctc.weight" in ours.tensors) == (params["aux_num_out"] is not None)
    wavs, lengths = make.waveforms(6_321)
    with torch.no_grad():
        states = published.loaded(ours)(wavs, lengths).hidden_states
        expected = theirs.extract_features(wavs)[0]
    for own, other in zip(states[1:-1], expected[:-1], strict=True):
        assert make.relative_error(own, other) < 1e-5


@pytest.mark.parametrize("name", BUNDLES)
def test_model_of_torchaudio_takes_what_is_written(name: str, tmp_path: Path) -> None:
    ours = published.native(name, heads=False)
    assert WRITERS["torchaudio"](ours, tmp_path / "out.pt") == ()
    bundle(name, aux_num_out=None)[1].load_state_dict(torch.load(tmp_path / "out.pt"), strict=True)


@pytest.mark.parametrize("large", [False, True])
def test_architecture_follows_from_the_shapes_of_a_published_model(large: bool, tmp_path: Path) -> None:
    options = {"encoder_embed_dim": 768, "encoder_num_heads": 12, "encoder_num_layers": 1, "encoder_pos_conv_groups": 16}
    _, theirs = bundle("wav2vec2 large" if large else "wav2vec2 base", **options)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    config = (ours := read(tmp_path / "model.pth", "test")).config
    assert (config.dim, config.heads, config.layers, config.ffn_dim) == (768, 12, 1, 64)
    assert (config.pre_norm, config.conv_bias, config.normalize) == (large, large, large)
    assert config.positional_convolution is not None
    assert (config.positional_convolution.kernel, config.positional_convolution.groups) == (16, 16)
    said = "on, eps 1e-05" if large else "off"
    assert ours.notes == (f"input normalisation: {said} (torchaudio file, configuration inferred from its shapes)",)
    assert published.loaded(ours)


def test_wavlm_says_its_heads_and_buckets(tmp_path: Path) -> None:
    params, theirs = bundle("wavlm")
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    config = read(tmp_path / "model.pth", "test").config
    assert (config.family, config.heads, config.buckets) == ("wavlm", 4, params["encoder_num_buckets"])


def test_model_for_pretraining_is_read_without_its_heads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, theirs = bundle("wavlm")
    state = {f"wav2vec2.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save(state | {"mask_generator.mask_embedding": torch.ones(32)}, tmp_path / "model.pth")
    with caplog.at_level(logging.WARNING):
        ours = read(tmp_path / "model.pth", "test")
    assert not any(name.startswith("head.") for name in ours.tensors)
    assert "not read, as no hidden state needs it: 'mask_generator.mask_embedding'" in caplog.text


def test_shapes_of_no_published_model_are_refused(tmp_path: Path) -> None:
    torch.save(bundle("wav2vec2 base")[1].state_dict(), tmp_path / "model.pth")
    with pytest.raises(UpstreamError, match=r"model\.pth: no published model has dim 32, .*does not say the rest"):
        read(tmp_path / "model.pth", "test")


def test_incomplete_state_is_refused(tmp_path: Path) -> None:
    state = bundle("wav2vec2 base")[1].state_dict()
    del state["feature_extractor.conv_layers.3.conv.weight"]
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(UpstreamError, match="'feature_extractor.conv_layers.3.conv.weight' is missing"):
        read(tmp_path / "model.pth", "test")


def test_json_of_another_program_beside_a_file_is_not_read(tmp_path: Path) -> None:
    torch.save(bundle("wavlm")[1].state_dict(), tmp_path / "model.pth")
    (tmp_path / "model.json").write_text(json.dumps({"dim": 5}))
    assert read(tmp_path / "model.pth", "test").config.dim == 32


def test_write_that_stops_between_the_two_files_leaves_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = published.native("wav2vec2 base", heads=False), published.native("hubert large", heads=False)
    WRITERS["torchaudio"](other, tmp_path / "out.pt")

    def fails(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(wav2vec2, "replace_file", fails)  # of the JSON
    with pytest.raises(OSError, match="No space"):
        WRITERS["torchaudio"](ours, tmp_path / "out.pt")
    monkeypatch.setattr(torchaudio_format, "HEADS", {32: 4})  # as if this size were published
    again = read(tmp_path / "out.pt", "test")
    published.assert_same_tensors(again.tensors, ours.tensors)
    assert again.notes[1:] == ("out.json is not used: it was written for weights of other names and shapes",)


def test_json_stays_when_its_weights_are_trained_on_and_saved_again(tmp_path: Path) -> None:
    ours = published.native("hubert large", heads=False)
    WRITERS["torchaudio"](ours, tmp_path / "out.pt")
    torch.save({name: tensor + 1 for name, tensor in torch.load(tmp_path / "out.pt").items()}, tmp_path / "out.pt")
    assert read(tmp_path / "out.pt", "test").config == ours.config
