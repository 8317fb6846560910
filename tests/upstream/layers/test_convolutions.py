"""Convolutions, norms that do not see padding, and how networks begin."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.upstream import make
from upstream.layers.convolutions import Convolution, UtteranceNorm, receptive_field, stride_of
from upstream.layers.initial import draw_normal
from upstream.layers.lengths import own_lengths

PUBLISHED = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)


def test_the_published_front_end_makes_a_frame_every_320_samples() -> None:
    assert (stride_of(PUBLISHED), receptive_field(PUBLISHED)) == (320, 400)
    assert stride_of(()) == 1


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_rows_norm_is_that_of_its_own_frames(groups: int) -> None:
    norm = make.perturbed(UtteranceNorm(groups, 6))
    x = torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(0))
    x[1, :, 25:] = float("nan")
    made = norm(x, [40, 25])
    assert torch.equal(made[:1], norm(x[:1]))
    assert torch.allclose(made[1:, :, :25], norm(x[1:, :, :25]))
    assert not made[1, :, 25:].any()


@pytest.mark.parametrize("norm", [None, nn.LayerNorm(4), UtteranceNorm(4, 4)])
def test_norm_and_activation_follow_the_convolution(norm: nn.LayerNorm | UtteranceNorm | None) -> None:
    layer = Convolution(3, (4, 5, 2), True, norm, torch.relu)
    x = torch.randn(2, 3, 31, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.conv1d(x, layer.conv.weight, layer.conv.bias, stride=2)
    if isinstance(norm, nn.LayerNorm):
        expected = (expected - expected.mean(1, keepdim=True)) / (expected.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    elif norm is not None:
        expected = (expected - expected.mean(2, keepdim=True)) / (expected.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(layer(x), expected.relu(), atol=1e-6)


def test_own_lengths_are_needed_where_something_is_padded_that_shall_not_count() -> None:
    lengths = torch.tensor([9, 7])
    assert own_lengths(lengths, 9, alone=True) == [9, 7]
    assert own_lengths(lengths, 9, alone=False) is None
    assert own_lengths(lengths[:1], 9, alone=True) is None


def test_networks_begin_with_normal_weights_and_no_bias() -> None:
    made = nn.ModuleList([nn.Linear(200, 300), nn.Embedding(300, 200), nn.LayerNorm(8)])
    draw_normal(made, 0.05)
    assert float(made[0].weight.detach().std()) == pytest.approx(0.05, rel=0.02)
    assert float(made[1].weight.detach().std()) == pytest.approx(0.05, rel=0.02)
    assert not made[0].bias.any() and bool((made[2].weight == 1).all())
