"""HuBERT Base of Weir, transformers, torchaudio and s3prl with the same weights, each as its own users call it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import upstream
from upstream.base import Precision
from upstream.formats.wav2vec2 import WRITERS, Checkpoint
from upstream.native import ENCODER, HEAD
from upstream.wav2vec2 import Wav2Vec2

Wavs = Sequence[Tensor]
HEADS = {"mask_embedding": (768,), "final_proj.weight": (256, 768), "final_proj.bias": (256,)}  # s3prl refuses a file without them


@dataclass(frozen=True)
class Encoder:
    """A forward to be timed.

    Attributes:
        name: whose it is.
        forward: from waveforms (T,) to what it returns.
        states: from that and the frames of each utterance to each utterance's states (L, F, D).
        autocast: whether bf16 is CPU autocast, and not its own.
    """

    name: str
    forward: Callable[[Wavs], Any]
    states: Callable[[Any, Sequence[int]], list[Tensor]]
    autocast: bool = True


def packed(model: Wav2Vec2, precision: Precision) -> Encoder:
    """Weir's packed forward."""
    frozen = model.frozen(precision)
    assert frozen is not None
    return Encoder("weir", frozen.packed, lambda made, frames: list(made[0].split(frames, dim=1)), autocast=False)


def plain(model: Wav2Vec2) -> Encoder:
    """Weir's plain forward."""
    return Encoder("weir, plain", lambda wavs: model(*padded(wavs)).hidden_states, valid)


def padded(wavs: Wavs) -> tuple[Tensor, Tensor]:
    """A batch (B, T) and its lengths (B,)."""
    return torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True), torch.tensor([len(wav) for wav in wavs])


def valid(states: Sequence[Tensor], frames: Sequence[int]) -> list[Tensor]:
    """Each utterance's states (L, F, D) out of L padded ones (B, F, D)."""
    return [torch.stack([state[row, :count] for state in states]).float() for row, count in enumerate(frames)]


def random_model(layers: int = 12) -> Wav2Vec2:
    """HuBERT Base with random weights, always the same ones, and so many layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Wav2Vec2.from_config({**upstream.card("hubert").config, "layers": layers}).eval()


def published(model: Wav2Vec2) -> Checkpoint:
    """The model as its authors would publish it."""
    tensors = {ENCODER + name: tensor for name, tensor in model.encoder.state_dict().items()}
    for name, shape in HEADS.items():
        tensors[HEAD + name] = torch.zeros(shape)
    return Checkpoint(model.config, tensors, ())


def peers(model: Wav2Vec2, folder: Path) -> Iterator[Encoder | str]:
    """What is installed, with the model's weights written to `folder`; a sentence for what is not."""
    checkpoint = published(model)
    for package, form, target, make in (
        ("transformers", "hf", folder / "hf", transformers_hubert),
        ("torchaudio", "torchaudio", folder / "torchaudio.pt", torchaudio_hubert),
        ("s3prl", "s3prl", folder / "s3prl.pt", s3prl_hubert),
    ):
        if importlib.util.find_spec(package) is None:
            yield f"{package} is not installed and left out"
            continue
        WRITERS[form](checkpoint, target)
        yield from make(target)


def transformers_hubert(folder: Path) -> Iterator[Encoder]:
    """HubertModel, with both kinds of attention."""
    from transformers import HubertModel

    for attention in ("sdpa", "eager"):
        model = HubertModel.from_pretrained(folder, attn_implementation=attention).eval()

        def forward(wavs: Wavs, model: Any = model) -> Sequence[Tensor]:
            batch, lengths = padded(wavs)
            mask = None
            if (lengths < batch.shape[1]).any():
                mask = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
            return model(batch, attention_mask=mask, output_hidden_states=True).hidden_states

        yield Encoder(f"transformers, {attention}", forward, valid)


def torchaudio_hubert(path: Path) -> Iterator[Encoder]:
    """hubert_base; gives the layers' outputs without the first state."""
    from torchaudio.models import hubert_base

    model = hubert_base().eval()
    model.load_state_dict(torch.load(path, weights_only=True))

    def forward(wavs: Wavs) -> Sequence[Tensor]:
        batch, lengths = padded(wavs)
        return model.extract_features(batch, None if (lengths == batch.shape[1]).all() else lengths)[0]

    yield Encoder("torchaudio", forward, valid)


def s3prl_hubert(path: Path) -> Iterator[Encoder]:
    """The expert of s3prl's own HuBERT, as its runner calls it."""
    from s3prl.upstream.hubert.expert import UpstreamExpert

    model = UpstreamExpert(str(path)).eval()
    yield Encoder("s3prl", lambda wavs: model(list(wavs))["hidden_states"], valid)
