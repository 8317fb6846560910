"""The packed forward: equal to the plain one, and blind to what is packed beside an utterance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import upstream
from tests.upstream import make
from upstream.base import Precision
from upstream.errors import UpstreamError
from upstream.fast.frozen import FrozenForward, packs
from upstream.wav2vec2 import Wav2Vec2

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec", "tera2", "distilhubert")
LARGE: dict[str, Any] = {"conv_norm": "layer", "conv_bias": True, "pre_norm": True, "normalize": True}  # as the large published models
BATCH_NORM: dict[str, Any] = {"positional_convolution": {"kernel": 15, "groups": 4, "norm": "batch"}, "activation": "relu"}
MODELS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in FAMILIES] + [("wavlm", LARGE), ("hubert", LARGE), ("hubert", BATCH_NORM)]
SAMPLES = (33_333, 400, 16_000, 47_237, 720, 1_040)  # one frame, two, three, and up to more than a chunk of the front end


@pytest.fixture(params=MODELS, ids=lambda model: model[0] + ("-" + "-".join(model[1]) if model[1] else ""))
def model(request: pytest.FixtureRequest) -> Wav2Vec2:
    """A small encoder."""
    name, changes = request.param
    return make.wav2vec2(name, **changes)


def fast(model: Wav2Vec2, precision: Precision = "fp32") -> FrozenForward:
    """Its packed forward."""
    made = model.frozen(precision)
    assert isinstance(made, FrozenForward)
    return made


def utterances(*samples: int) -> list[Tensor]:
    """Waveforms (T,)."""
    wavs, lengths = make.waveforms(*samples)
    return [wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)]


@torch.no_grad()
def test_every_state_is_that_of_the_plain_forward(model: Wav2Vec2) -> None:
    wavs, lengths = make.waveforms(*SAMPLES)
    plain, made = model(wavs, lengths), fast(model)(wavs, lengths)
    assert torch.equal(made.lengths, plain.lengths)
    assert made.lengths.dtype == plain.lengths.dtype
    for ours, expected in zip(made.hidden_states, plain.hidden_states, strict=True):
        assert make.relative_error(ours, expected) < 2e-6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_utterances_packed_together_are_bit_equal_to_each_alone(model: Wav2Vec2, precision: Precision) -> None:
    made, wavs = fast(model, precision), utterances(*SAMPLES)
    states, frames = made.packed(wavs)
    assert states.shape == (model.num_states, sum(frames), model.dim)
    for wav, own in zip(wavs, states.split(frames, dim=1), strict=True):
        assert torch.equal(made.packed([wav])[0], own)


def test_bfloat16_states_are_close_and_the_error_is_told(model: Wav2Vec2) -> None:
    made = fast(model, "bf16")
    wav = utterances(16_000)[0]
    assert made.packed([wav])[0].dtype == torch.bfloat16
    assert 1e-4 < made.error(wav) < 2e-2
    assert fast(model).error(wav) < 2e-6


@pytest.mark.parametrize("changes", [{}, LARGE], ids=["group", "layer"])
def test_padding_and_a_neighbour_that_is_not_a_number_change_nothing(changes: dict[str, Any]) -> None:
    made = fast(make.wav2vec2("wavlm", **changes))
    wavs, lengths = make.waveforms(16_000, 8_000)
    clean = made(wavs, lengths).hidden_states
    wavs[1, 8_000:] = float("nan")
    assert torch.equal(made(wavs, lengths).hidden_states, clean)
    wavs[0, 5_000] = float("nan")
    assert torch.equal(made(wavs, lengths).hidden_states[:, 1], clean[:, 1])


def test_autocast_does_not_lower_the_precision() -> None:
    made, wavs = fast(make.wav2vec2("hubert")), utterances(8_000)
    expected = made.packed(wavs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.packed(wavs)[0], expected)
        assert made.error(wavs[0]) < 2e-6


def test_a_head_learns_from_the_states() -> None:
    states, _ = fast(make.wav2vec2("hubert")).packed(utterances(8_000))
    weights = torch.ones(len(states), 1, 1, requires_grad=True)
    (weights * states).sum().backward()
    assert weights.grad is not None and weights.grad.any()


def test_long_lists_are_cut_into_packs_and_long_utterances_stay_whole() -> None:
    assert list(packs([3, 3, 3, 20, 1, 1], limit=7)) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(packs([20], limit=7)) == [(0, 1)]


def test_where_packs_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, wavs = fast(make.wav2vec2("wavlm")), utterances(*SAMPLES)
    expected = made.packed(wavs)[0]
    monkeypatch.setattr("upstream.fast.frozen.PACK", {"cpu": 60})
    assert torch.equal(made.packed(wavs)[0], expected)


def test_too_short_an_utterance_is_refused() -> None:
    with pytest.raises(UpstreamError, match="has 399 samples; it needs at least 400"):
        fast(make.wav2vec2("hubert")).packed(utterances(16_000, 399))


def test_there_is_no_packed_forward_of_conformers_of_padded_reference_batches_and_of_other_encoders() -> None:
    assert make.wav2vec2("wav2vec2_conformer").frozen() is None
    assert make.wav2vec2("hubert", padding="reference").frozen() is None
    assert upstream.build("fbank").frozen() is None
