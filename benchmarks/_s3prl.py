"""s3prl's own encoder, featurizer and heads, put together as its experts do and stepped as its runner does: live.

What its runner does beside is left out, which favours it: its data loader, SpecAugment (needs pandas) and the decoding of every
training batch. The losses are Weir's functions; its own give the same numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

STRIDE = 320  # samples a frame

Loss = Callable[[Any, Any], Tensor]
"""From the head's output and labels to a scalar."""


class Head(nn.Module):
    """A projection of every frame and one of s3prl's models; where `pools`, its output is (B, C), else logits and lengths."""

    def __init__(self, dim: int, projection: int, model: nn.Module, pools: bool) -> None:
        super().__init__()
        self.projector, self.model, self.pools = nn.Linear(dim, projection), model, pools

    def forward(self, features: Sequence[Tensor]) -> Any:
        """The output for utterances of (F, D) features."""
        lengths = torch.tensor([len(feature) for feature in features])
        logits, lengths = self.model(self.projector(nn.utils.rnn.pad_sequence(list(features), batch_first=True)), lengths)
        return logits if self.pools else (logits, lengths)

    def take(self, weights: Mapping[str, Tensor]) -> Head:
        """Take over the weights of one of Weir's heads. Returns itself."""
        self.load_state_dict(renamed(weights, "model.post_net.linear" if self.pools else "model.linear"))
        return self


def require(parser: argparse.ArgumentParser) -> None:
    """End with a message where s3prl is not installed."""
    if importlib.util.find_spec("s3prl") is None:
        parser.error("there is nothing to compare with: s3prl is not installed (pip install -e '.[peers]')")


def pooled_head(dim: int, projection: int, classes: int) -> Head:
    """KS, SID, IC and ER: mean over frames and a linear layer."""
    from s3prl.downstream.model import UtteranceLevel

    return Head(dim, projection, UtteranceLevel(projection, classes, pooling="MeanPooling"), pools=True)


def linear_head(dim: int, projection: int, classes: int) -> Head:
    """PR: a linear layer on every frame."""
    from s3prl.downstream.model import FrameLevel

    return Head(dim, projection, FrameLevel(projection, classes), pools=False)


def recurrent_head(dim: int, projection: int, classes: int, hidden: int, layers: int, dropout: float) -> Head:
    """ASR: bidirectional LSTM layers on packed sequences."""
    from s3prl.downstream.asr.model import RNNs

    each = {"dim": hidden, "dropout": dropout, "layer_norm": False, "proj": False, "sample_rate": 1}
    options = {name: [value] * layers for name, value in each.items()}
    model = RNNs(projection, classes, STRIDE, module="LSTM", bidirection=True, sample_style="concat", total_rate=-1, **options)
    return Head(dim, projection, model, pools=False)


def renamed(weights: Mapping[str, Tensor], output: str) -> dict[str, Tensor]:
    """The weights of one of Weir's heads under the names of s3prl's; `output` is that of its last layer."""
    found = {}
    for name, tensor in weights.items():
        name = re.sub(r"^projection\.", "projector.", name)
        name = re.sub(r"^output\.", f"{output}.", name)
        name = re.sub(r"^layers\.(\d+)\.forwards\.(.+)", r"model.rnns.\1.layer.\2", name)
        found[re.sub(r"^layers\.(\d+)\.backwards\.(.+)", r"model.rnns.\1.layer.\2_reverse", name)] = tensor
    return found


def expert(checkpoint: Path) -> nn.Module:
    """The frozen encoder."""
    from s3prl.upstream.hubert.expert import UpstreamExpert

    return UpstreamExpert(str(checkpoint)).eval()


class Live:
    """A head that trains on an encoder run in every step: Adam, the gradient clipped to 1.

    Args:
        lower: the encoder under bfloat16 autocast.
        alone: each utterance encoded by itself, and not in a padded batch as the runner does: no time is lost on padding.
    """

    def __init__(self, encoder: nn.Module, head: Head, loss: Loss, rate: float, *, lower: bool = False, alone: bool = False) -> None:
        from s3prl.upstream.interfaces import Featurizer

        with contextlib.redirect_stderr(io.StringIO()):  # it says what it found
            self.featurizer = Featurizer(encoder, upstream_device="cpu")
        self.encoder, self.head, self.loss, self.lower, self.alone = encoder, head, loss, lower, alone
        self.parameters = [*self.featurizer.parameters(), *head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate)

    def features(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """Features (F, D) of each waveform (T,)."""
        groups = [[wav] for wav in wavs] if self.alone else [list(wavs)]
        found: list[Tensor] = []
        for group in groups:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.lower):
                made = self.encoder(group)
            found += [feature.float() for feature in self.featurizer(group, made)]
        return found

    def step(self, wavs: Sequence[Tensor], labels: Any) -> float:
        """One update. Returns the loss before it."""
        self.head.train()
        loss = self.loss(self.head(self.features(wavs)), labels)
        loss.backward()
        value = loss.item()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    @torch.no_grad()
    def evaluate(self, wavs: Sequence[Tensor], labels: Any) -> float:
        """The loss without dropout."""
        self.head.eval()
        return float(self.loss(self.head(self.features(wavs)), labels))
