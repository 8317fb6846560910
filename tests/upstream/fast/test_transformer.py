"""The packed stack of layers is that of every family: also with one layer's weights at every depth, as TERA's ALBERT has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.upstream import make
from upstream.fast import transformer
from upstream.fast.transformer import PackedTransformer
from upstream.layers.options import TransformerOptions
from upstream.layers.transformer import Transformer

LENGTHS = [30, 1, 47]
STACKS: list[dict[str, Any]] = [{}, {"shared": True}, {"pre_norm": True, "activation": "swish"}, {"positions": "gated"}]


def stack(changes: dict[str, Any]) -> Transformer:
    """A small stack with random weights."""
    made = make.perturbed(Transformer(TransformerOptions(dim=32, layers=3, heads=4, ffn_dim=64, norm_eps=1e-12, **changes)))
    assert isinstance(made, Transformer)
    return made


@torch.no_grad()
@pytest.mark.parametrize("changes", STACKS, ids=str)
def test_states_are_those_of_each_utterance_alone(changes: dict[str, Any]) -> None:
    plain = stack(changes)
    states = torch.randn(4, sum(LENGTHS), 32, generator=torch.Generator().manual_seed(0))
    PackedTransformer(plain, torch.float32)(states, LENGTHS)
    for own in states.split(LENGTHS, dim=1):
        expected = plain(own[:1], torch.tensor([own.shape[1]]))
        for state, right in zip(own, expected, strict=True):
            assert make.relative_error(state, right[0]) < 2e-6


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"positions": "gated"}], ids=str)
def test_long_utterances_take_the_fused_attention_in_bfloat16_too(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PackedTransformer(stack(changes), torch.bfloat16)
    states = torch.randn(4, sum(LENGTHS), 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    fused = states.clone()
    packed(states, LENGTHS)
    monkeypatch.setattr(transformer, "LONGEST_PRODUCT", 0)
    packed(fused, LENGTHS)
    assert 0 < make.relative_error(fused.float(), states.float()) < 3e-2


@torch.no_grad()
def test_queries_of_a_long_utterance_attend_in_blocks_and_far_keys_have_one_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = stack({"positions": "gated", "max_distance": 40, "buckets": 16})
    states = torch.randn(4, 150, 32, generator=torch.Generator().manual_seed(0))
    expected = plain(states[:1].clone(), torch.tensor([150]))
    monkeypatch.setattr(transformer, "MASK", 1000)
    PackedTransformer(plain, torch.float32)(states, [150])
    for state, right in zip(states, expected, strict=True):
        assert make.relative_error(state, right[0]) < 2e-6
