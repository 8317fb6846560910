"""The probe: pooling before mixing gives what mixing before pooling gives."""

from __future__ import annotations

import pytest
import torch

from downstream.heads import MeanPoolingClassifier
from engine.probe import Probe
from upstream.base import Representation
from upstream.featurizer import Featurizer


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("normalize", [False, True])
def test_heads_that_pool_see_the_mean_of_the_mixed_frames(layer: int | None, normalize: bool) -> None:
    torch.manual_seed(0)
    states, lengths, samples = torch.randn(3, 4, 20, 8), torch.tensor([20, 13, 1, 7]), torch.tensor([3200, 1960, 160, 1300])
    featurizer, head = Featurizer(3, 8, layer, normalize), MeanPoolingClassifier(8, 5, projection=6)
    if layer is None:
        featurizer.weights.data.normal_()
    for row, length in enumerate(lengths.tolist()):
        states[:, row, length:] = 0
    probe = Probe(featurizer, head, stride=160)
    assert probe.pools is not normalize
    found = probe(states, lengths, samples)
    found.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in probe.parameters()]
    probe.zero_grad()
    probe.pools = False
    expected = probe(states, lengths, samples)
    expected.square().sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for parameter, gradient in zip(probe.parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5)


def test_pooling_keeps_full_precision_under_autocast() -> None:
    states, lengths = torch.randn(2, 3, 50, 8), torch.tensor([50, 20, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Representation(states, lengths).mean(lengths)
    assert found.hidden_states.dtype == torch.float32 and found.lengths.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.hidden_states[:, 1, 0], states[:, 1, :20].mean(1))
