"""The sum of the hidden states, and the benchmark's frame counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from upstream.base import Representation
from upstream.errors import UpstreamError
from upstream.featurizer import Featurizer, nominal_lengths


@pytest.fixture
def states() -> Tensor:
    """Three states (L, B, F, D) of five and of three frames."""
    states = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    states[:, 1, 3:] = 0
    return states


def mixed(featurizer: Featurizer, states: Tensor) -> Tensor:
    """The features alone."""
    return featurizer(Representation(states, torch.tensor([5, 3])))[0]


def test_fresh_weights_give_the_plain_mean(states: Tensor) -> None:
    featurizer = Featurizer(3, 4)
    assert featurizer.state_dict().keys() == {"weights"} and not featurizer.weights.any()
    assert torch.allclose(mixed(featurizer, states), states.mean(0), atol=1e-6)


def test_weights_act_through_a_softmax(states: Tensor) -> None:
    featurizer = Featurizer(3, 4)
    featurizer.weights.data = torch.tensor([0.1, 0.7, 0.2]).log() + 3.0
    assert torch.allclose(mixed(featurizer, states), 0.1 * states[0] + 0.7 * states[1] + 0.2 * states[2], atol=1e-6)
    mixed(featurizer, states).sum().backward()
    assert featurizer.weights.grad is not None and featurizer.weights.grad.abs().sum() > 0


@pytest.mark.parametrize("layer", [0, 2, -1])
def test_one_state_can_be_chosen(layer: int, states: Tensor) -> None:
    featurizer = Featurizer(3, 4, layer=layer)
    assert not list(featurizer.parameters())
    assert torch.equal(mixed(featurizer, states), states[layer])


def test_states_are_normalized_before_the_sum(states: Tensor) -> None:
    features = mixed(Featurizer(3, 4, normalize=True), (states * 100 + 7) * (states != 0))
    deviation = states.var(-1, correction=0, keepdim=True).sqrt().clamp(min=1e-9)
    assert torch.allclose(features, ((states - states.mean(-1, keepdim=True)) / deviation).mean(0), atol=1e-3)


def long_states(frames: int, dtype: torch.dtype) -> Representation:
    """Four states of three utterances, the first longer than a block; pooled ones as a store gives them."""
    generator = torch.Generator().manual_seed(1)
    if frames == 1:
        return Representation(torch.randn(3, 4, 6, generator=generator).to(dtype).transpose(0, 1).unsqueeze(2), torch.ones(3).long())
    states, lengths = torch.randn(4, 3, frames, 6, generator=generator).to(dtype), torch.tensor([frames, 1, frames // 2])
    return Representation(states.masked_fill(torch.arange(frames)[:, None] >= lengths[:, None, None], 0), lengths)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("frames", [150, 1])
def test_sum_and_gradient_are_those_of_the_plain_formula_whatever_the_states_precision(
    frames: int, dtype: torch.dtype, normalize: bool
) -> None:
    representation = long_states(frames, dtype)
    featurizer = Featurizer(4, 6, normalize=normalize).double()
    featurizer.weights.data = torch.tensor([0.3, -0.2, 0.9, 0.0], dtype=torch.float64)
    toward = torch.randn(3, frames, 6, generator=torch.Generator().manual_seed(2)).double()
    found = featurizer(representation)[0]
    (found * toward).sum().backward()
    weights = featurizer.weights.detach().clone().requires_grad_()
    states = representation.hidden_states.double()
    states = torch.nn.functional.layer_norm(states, (6,)) if normalize else states
    expected = (weights.softmax(0)[:, None, None, None] * states).sum(0)
    (expected * toward).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(featurizer.weights.grad, weights.grad)


def test_states_in_half_precision_are_summed_in_float32_even_under_autocast() -> None:
    representation = long_states(150, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = Featurizer(4, 6)(representation)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, representation.hidden_states.float().mean(0))


def test_upstream_that_trains_gets_its_gradient(states: Tensor) -> None:
    states.requires_grad_()
    mixed(Featurizer(3, 4), states).sum().backward()
    assert states.grad is not None and torch.allclose(states.grad, torch.full_like(states, 1 / 3))


def test_lengths_pass_through(states: Tensor) -> None:
    lengths = torch.tensor([5, 3])
    assert Featurizer(3, 4)(Representation(states, lengths))[1] is lengths


def test_layers_and_shapes_that_do_not_exist_are_refused(states: Tensor) -> None:
    with pytest.raises(UpstreamError, match="layer 3 does not exist; the encoder has the states 0 to 2"):
        Featurizer(3, 4, layer=3)
    with pytest.raises(UpstreamError, match="built for 4 states of 4 features, given 3 of 4"):
        mixed(Featurizer(4, 4), states)


@pytest.mark.parametrize(
    ("samples", "stride", "frames", "expected"),
    [(16_000, 160, 101, 100), (16_000, 320, 49, 49), (47_237, 160, 296, 295), (240, 160, 9, 2), (400, 160, 9, 2), (80, 160, 1, 0)],
)
def test_nominal_lengths_round_half_to_even_and_never_exceed_the_frames(samples: int, stride: int, frames: int, expected: int) -> None:
    assert nominal_lengths(torch.tensor([samples]), stride, torch.tensor([frames])).tolist() == [expected]
