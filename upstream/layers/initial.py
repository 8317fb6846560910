"""How networks begin."""

from __future__ import annotations

from torch import nn


def draw_normal(module: nn.Module, deviation: float = 0.02) -> None:
    """Draw the weights of all linear maps and tables from N(0, deviation) and clear the biases, as BERT and its relatives begin."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
