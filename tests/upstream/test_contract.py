"""What every registered encoder promises."""

from __future__ import annotations

import pytest
import torch

import upstream
from tests.upstream import make
from upstream.errors import UpstreamError

NAMES = [name for name in upstream.families() if upstream.card(name).members is None]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """One registered name."""
    return str(request.param)


@torch.no_grad()
def test_batch_neighbours_change_nothing(name: str) -> None:
    model = make.build(name)
    wavs, lengths = make.waveforms(33_333, 16_000, 47_237, 24_001, model.minimum_samples)
    together = model(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone = model(wavs[row : row + 1, :samples], lengths[row : row + 1])
        frames = int(alone.lengths[0])
        assert int(together.lengths[row]) == frames
        for state, expected in zip(together.hidden_states, alone.hidden_states, strict=True):
            assert make.relative_error(state[row, :frames], expected[0]) < 2e-6


@torch.no_grad()
def test_declared_constants_are_true(name: str) -> None:
    model = make.build(name)
    wavs, lengths = make.waveforms(16_000, 8_000)
    made = model(wavs, lengths)
    assert made.hidden_states.shape == (model.num_states, 2, int(made.lengths.max()), model.dim)
    assert abs(int(made.lengths[0]) - 16_000 / model.stride) <= 3
    assert made.lengths.dtype == torch.int64


@torch.no_grad()
def test_padded_frames_are_zero_whatever_the_padding_holds(name: str) -> None:
    model = make.build(name)
    wavs, lengths = make.waveforms(16_000, 8_000)
    clean = model(wavs, lengths)
    wavs[1, 8_000:] = float("nan")
    dirty = model(wavs, lengths)
    assert torch.equal(clean.hidden_states, dirty.hidden_states)
    assert not clean.hidden_states[:, 1, int(clean.lengths[1]) :].any()


@torch.no_grad()
def test_bad_samples_stay_in_their_utterance(name: str) -> None:
    model = make.build(name)
    wavs, lengths = make.waveforms(16_000, 16_000)
    clean = model(wavs, lengths).hidden_states[:, 1]
    wavs[0, 5_000] = float("nan")
    assert torch.equal(model(wavs, lengths).hidden_states[:, 1], clean)


@torch.no_grad()
def test_silence_gives_finite_states_that_do_not_depend_on_the_batch(name: str) -> None:
    model = make.build(name)
    wavs, lengths = make.waveforms(16_000, 12_000)
    wavs[1] = 0
    together = model(wavs, lengths)
    alone = model(wavs[1:, :12_000], lengths[1:])
    assert together.hidden_states.isfinite().all()
    frames = int(alone.lengths[0])
    assert torch.allclose(together.hidden_states[:, 1, :frames], alone.hidden_states[:, 0], atol=1e-5)


def test_too_short_an_utterance_is_refused_with_the_least_number(name: str) -> None:
    model = make.build(name)
    least = model.minimum_samples
    with pytest.raises(UpstreamError, match=f"has {least - 1} samples; it needs at least {least}"):
        model(*make.waveforms(16_000, least - 1))
    assert model(*make.waveforms(least)).hidden_states.isfinite().all()


def test_card_says_whether_a_checkpoint_is_taken(name: str) -> None:
    assert upstream.card(name).takes_checkpoint == make.build(name).takes_checkpoint
    assert upstream.describe(name)


def test_fingerprint_follows_weights_and_padding(name: str) -> None:
    model = make.build(name)
    print_ = upstream.fingerprint(model)
    assert print_ == upstream.fingerprint(make.build(name))
    with torch.no_grad():
        for parameter in list(model.parameters())[:1]:
            parameter.view(-1)[0] += 1e-3
            assert upstream.fingerprint(model) != print_
    other = make.build(name)
    other.padding = "reference"
    assert upstream.fingerprint(other) != print_


def test_gradients_reach_every_weight(name: str) -> None:
    model = make.build(name)
    if not list(model.parameters()):
        return
    model(*make.waveforms(16_000, 20_000)).hidden_states.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
