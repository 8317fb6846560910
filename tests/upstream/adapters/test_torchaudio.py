"""Bundles of torchaudio, with random weights in place of the published ones."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from torchaudio.pipelines import Wav2Vec2Bundle

import upstream
from tests.upstream import make
from upstream.adapters import torchaudio_catalogue
from upstream.adapters.torchaudio import bundles
from upstream.errors import UpstreamError

SMALL: dict[str, Any] = {
    "extractor_conv_layer_config": [tuple(layer) for layer in make.CONV_LAYERS],
    "encoder_embed_dim": 32,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_ff_interm_features": 64,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
}


@pytest.fixture(params=["HUBERT_BASE", "WAV2VEC2_ASR_LARGE_LV60K_960H", "WAVLM_BASE_PLUS"])
def bundle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wav2Vec2Bundle:
    """A bundle with the published options and a small shape."""
    found = bundles()[request.param]
    monkeypatch.setitem(found.__dict__, "_params", found._params | SMALL)
    monkeypatch.setitem(found.__dict__, "__name__", request.param)
    return found  # type: ignore[no-any-return]


def weights(bundle: Wav2Vec2Bundle, path: Path) -> torch.nn.Module:
    """torchaudio's own model with random weights, saved as its published files are."""
    build = torchaudio.models.wavlm_model if bundle._model_type == "WavLM" else torchaudio.models.wav2vec2_model
    model = make.perturbed(build(**bundle._params))
    torch.save(model.state_dict(), path)
    return model


@torch.no_grad()
def test_bundle_gives_the_layers_of_torchaudio(bundle: Wav2Vec2Bundle, tmp_path: Path) -> None:
    theirs = weights(bundle, tmp_path / "weights.pth")
    ours = upstream.load(f"torchaudio:{bundle.__dict__['__name__']}", tmp_path / "weights.pth")
    wavs, lengths = make.waveforms(9_000)
    inputs = torch.nn.functional.layer_norm(wavs, wavs.shape) if bundle._normalize_waveform else wavs
    states = ours(wavs, lengths).hidden_states
    assert make.relative_error(states[1], theirs.extract_features(inputs)[0][0]) < 1e-5
    assert ours.notes == (f"input normalisation: {'on, eps 1e-05' if bundle._normalize_waveform else 'off'} (torchaudio's bundle)",)
    assert len(states) == ours.num_states == 3


def test_weights_are_taken_from_pytorchs_hub_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = bundles()["HUBERT_BASE"]
    monkeypatch.setitem(found.__dict__, "_params", found._params | SMALL)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    weights(found, tmp_path / "checkpoints" / found._path)
    assert upstream.load("torchaudio:HUBERT_BASE").dim == 32


def test_failed_download_names_the_address_and_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(UpstreamError, match=r"hubert_fairseq_base_ls960.pth: could not be fetched \(no route\); give a file .* -k PATH"):
        upstream.load("torchaudio:HUBERT_BASE")


def test_bundles_are_known_without_importing_torchaudio() -> None:
    assert sorted(torchaudio_catalogue.bundles()) == sorted(bundles())


def test_unknown_bundle_is_answered_with_the_nearest() -> None:
    with pytest.raises(UpstreamError, match="unknown bundle of torchaudio 'HUBERT_BAS': did you mean 'HUBERT_BASE'"):
        upstream.load("torchaudio:HUBERT_BAS")
