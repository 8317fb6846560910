"""CTC, shared by every task that writes symbols: the loss as SUPERB takes it, and greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BLANK = 0

CTCOutput = tuple[Tensor, Tensor]
"""Logits (B, F, C) and valid frames (B,)."""


def ctc_loss(output: CTCOutput, targets: Sequence[Sequence[int]]) -> Tensor:
    """Mean over utterances of the CTC loss by target length; an utterance that cannot be aligned counts as zero."""
    logits, lengths = output
    device = logits.device
    flat = torch.tensor([symbol for target in targets for symbol in target], device=device)
    sizes = torch.tensor([len(target) for target in targets], device=device)
    log_probs = F.log_softmax(logits.float(), -1).transpose(0, 1)
    return F.ctc_loss(log_probs, flat, lengths.to(device), sizes, blank=BLANK, zero_infinity=True)


def greedy(output: CTCOutput) -> list[list[int]]:
    """The best symbol of every valid frame, repeats collapsed, blanks removed."""
    logits, lengths = output
    decoded = []
    for row, length in zip(logits.argmax(-1), lengths.tolist(), strict=True):
        symbols = torch.unique_consecutive(row[:length]).tolist()
        decoded.append([symbol for symbol in symbols if symbol != BLANK])
    return decoded
