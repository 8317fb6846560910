"""What the TERA family computes, where parity alone would not show it."""

from __future__ import annotations

import math

import pytest
import torch

from tests.upstream import make
from upstream.errors import UpstreamError
from upstream.tera import Piece, Tera, TeraConfig, sinusoids, split


def test_every_norm_has_the_published_epsilon() -> None:
    model = make.tera(pre_layer_norm=True)
    norms = [part for part in [*model.modules(), *make.head(model).modules()] if isinstance(part, torch.nn.LayerNorm)]
    assert len(norms) == 1 + 2 * 3 + 4 + 1 and {norm.eps for norm in norms} == {1e-12}


def test_fresh_weights_follow_the_published_initialisation() -> None:
    encoder = Tera(TeraConfig.of_size("mini")).encoder
    for name, parameter in encoder.named_parameters():
        if "norm" in name:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all()
        elif name.endswith("bias"):
            assert not parameter.any()
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_positions_are_exact_far_from_the_start() -> None:
    table = sinusoids(24_000, 768)
    for frame, feature in [(23_999, 0), (23_999, 1), (12_345, 400), (1, 767)]:
        angle = frame / 10_000 ** (2 * (feature // 2) / 768)
        exact = math.sin(angle) if feature % 2 == 0 else math.cos(angle)
        assert float(table[frame, feature]) == pytest.approx(exact, abs=1e-7)


def test_positions_grow_with_the_input() -> None:
    model = make.tera(sequence_length=0)
    frames = len(model.encoder.positions) + 10
    features, lengths = torch.randn(1, frames, 80), torch.tensor([frames])
    with torch.no_grad():
        assert model.encoder(features, lengths)[0].shape == (1, frames, 64)
    assert "positions" not in model.encoder.state_dict()


def test_pieces_are_the_fewest_nearly_equal_ones() -> None:
    assert split([2001, 300], 1500) == [Piece(0, 0, 1001), Piece(0, 1001, 1000), Piece(1, 0, 300)]
    assert [piece.frames for piece in split([3201], 1500)] == [1067] * 3
    assert split([2001, 300], 1500, span=2001)[2:] == [Piece(1, 0, 300)]
    assert split([4000], 0) == [Piece(0, 0, 4000)]


@torch.no_grad()
def test_long_and_short_utterances_in_one_batch_are_encoded_as_alone() -> None:
    model = make.tera(sequence_length=120)
    wavs, lengths = make.waveforms(61_000, 16_000, 25_000)
    together = model(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone = model(wavs[row : row + 1, :samples], lengths[row : row + 1])
        frames = int(alone.lengths[0])
        assert make.relative_error(together.hidden_states[:, row, :frames], alone.hidden_states[:, 0]) < 2e-6


@torch.no_grad()
def test_reference_padding_differs_as_the_published_code_does() -> None:
    alone, reference = make.tera(), make.tera()
    reference.front_end.padding = reference.padding = "reference"  # type: ignore[assignment]
    wavs, lengths = make.waveforms(47_237, 16_000)
    one, other = alone(wavs, lengths).hidden_states, reference(wavs, lengths).hidden_states
    assert make.relative_error(one[:, 0], other[:, 0]) < 2e-6
    assert make.relative_error(one[:, 1, :95], other[:, 1, :95]) > 1e-4


@torch.no_grad()
def test_shortest_utterance_has_finite_states_beside_a_long_one() -> None:
    for padding, least in (("alone", 201), ("reference", 240)):
        model = Tera(make.config(), padding).eval()  # type: ignore[arg-type]
        assert model.minimum_samples == least
        assert model(*make.waveforms(160_000, least)).hidden_states.isfinite().all()


@torch.no_grad()
def test_level_of_the_recording_does_not_matter() -> None:
    model = make.tera()
    wavs, lengths = make.waveforms(16_000)
    quiet = model(wavs * 0.01, lengths).hidden_states
    assert make.relative_error(quiet, model(wavs, lengths).hidden_states) < 1e-4


def test_dropout_acts_in_training_only() -> None:
    model = make.tera()
    wavs, lengths = make.waveforms(16_000)
    with torch.no_grad():
        assert torch.equal(model(wavs, lengths).hidden_states, model(wavs, lengths).hidden_states)
        model.train()
        assert not torch.equal(model(wavs, lengths).hidden_states, model(wavs, lengths).hidden_states)


def test_features_stay_float32_under_mixed_precision() -> None:
    model = make.tera()
    wavs, lengths = make.waveforms(16_000)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, _ = model.front_end(wavs, lengths)
        states = model(wavs, lengths).hidden_states
    assert features.dtype == torch.float32 and torch.equal(features, model.front_end(wavs, lengths)[0])
    assert states.isfinite().all()


def test_unknown_size_is_refused() -> None:
    with pytest.raises(UpstreamError, match="unknown size 'huge'; known: base, large, slim, mini"):
        TeraConfig.of_size("huge")


def test_head_predicts_the_target_features() -> None:
    model = make.tera(audio=make.AUDIO | {"target": make.FEATURE | {"feat_type": "linear"}})
    assert make.head(model)(torch.randn(2, 5, 64)).shape == (2, 5, 201)
