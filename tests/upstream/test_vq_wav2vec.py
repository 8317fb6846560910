"""vq-wav2vec: its codes, its checkpoints, and gradients through the choice of a code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import upstream
from tests.upstream import make, wav2vec_files
from upstream.errors import UpstreamError
from upstream.formats.wav2vec import read, write_fairseq, write_s3prl
from upstream.vq_wav2vec import VqWav2Vec

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["gumbel", "kmeans"])
def model(request: pytest.FixtureRequest) -> VqWav2Vec:
    """A small encoder of either kind, whose k-means entries lie among the features."""
    config = make.SMALL_WAV2VEC | {"activation": "gelu", "quantizer": {"kind": request.param, "codes": 16, "shared": True}}
    made = make.random_weights("vq_wav2vec", **config)
    assert isinstance(made, VqWav2Vec)
    torch.nn.init.normal_(made.encoder.quantizer.codebook, generator=torch.Generator().manual_seed(1))
    return made


def test_ten_thousand_samples_have_sixty_frames_of_two_codes(model: VqWav2Vec) -> None:
    codes, frames = model.codes(*make.waveforms(10_000))
    assert codes.shape == (1, 60, 2)
    assert codes.dtype == torch.int64
    assert frames.tolist() == [60]
    assert 0 <= int(codes.min()) and int(codes.max()) < 16


def test_codes_do_not_depend_on_padding(model: VqWav2Vec) -> None:
    wavs, lengths = make.waveforms(16_000, 9_000, 465)
    wavs[1, 9_000:] = float("nan")
    together, frames = model.codes(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone, _ = model.codes(wavs[row : row + 1, :samples], lengths[row : row + 1])
        assert torch.equal(together[row, : int(frames[row])], alone[0])
        assert not together[row, int(frames[row]) :].any()


def test_codes_of_too_short_an_utterance_are_refused(model: VqWav2Vec) -> None:
    with pytest.raises(UpstreamError, match="has 464 samples; it needs at least 465"):
        model.codes(*make.waveforms(464))


@torch.no_grad()
def test_codes_are_the_same_under_half_precision(model: VqWav2Vec) -> None:
    wavs, lengths = make.waveforms(40_000, 24_000)
    codes, frames = model.codes(wavs, lengths)
    z, vectors = model.encoder.extract(wavs, lengths, frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.codes(wavs, lengths)[0], codes)
        half, chosen = model.encoder.extract(wavs, lengths, frames)
        states = model(wavs, lengths).hidden_states
    assert torch.equal(half, z) and torch.equal(chosen, vectors)
    assert make.relative_error(states, model(wavs, lengths).hidden_states) < 0.05


def test_vectors_are_entries_and_gradients_leave_them_as_they_are(model: VqWav2Vec) -> None:
    wavs, lengths = make.waveforms(8_000)
    with torch.no_grad():
        plain = model(wavs, lengths).hidden_states
    states = model(wavs, lengths).hidden_states
    assert torch.allclose(states, plain, atol=1e-6)
    states.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("changes", [wav2vec_files.GUMBEL, wav2vec_files.KMEANS], ids=["gumbel", "kmeans"])
def test_files_go_to_native_and_back_bit_equal(changes: dict[str, Any], tmp_path: Path) -> None:
    weights = wav2vec_files.fairseq_file(tmp_path / "fairseq.pt", **changes)
    _, tensors = read(tmp_path / "fairseq.pt")
    head = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    VqWav2Vec.from_checkpoint(tmp_path / "fairseq.pt").save_native(tmp_path / "native", head)
    write_s3prl(tmp_path / "s3prl.pt", *read(tmp_path / "native"))
    write_fairseq(tmp_path / "again.pt", *read(tmp_path / "s3prl.pt"))
    for name, key in (("s3prl.pt", "model_weight"), ("again.pt", "model")):
        found = torch.load(tmp_path / name, weights_only=True)[key]
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[tensor], weights[tensor]) for tensor in weights)


def test_both_kinds_are_names_and_share_a_family(tmp_path: Path) -> None:
    assert upstream.models("vq_wav2vec") == ["vq_wav2vec_kmeans"]
    assert upstream.resolve("vq_wav2vec_gumbel") == "vq_wav2vec"
    wav2vec_files.s3prl_file(tmp_path / "kmeans.pt", **wav2vec_files.KMEANS)
    assert upstream.load("vq_wav2vec_kmeans", tmp_path / "kmeans.pt").name == "vq_wav2vec_kmeans"


def test_a_configuration_without_a_quantizer_is_refused() -> None:
    with pytest.raises(UpstreamError, match="is that of a wav2vec encoder, not vq_wav2vec"):
        VqWav2Vec.from_config(make.SMALL_WAV2VEC)
    with pytest.raises(UpstreamError, match="3 groups do not divide 32 features"):
        VqWav2Vec.from_config(make.SMALL_WAV2VEC | {"quantizer": {"kind": "kmeans", "groups": 3}})
