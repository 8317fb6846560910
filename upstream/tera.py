"""TERA, Mockingjay and Audio ALBERT: a BERT-style encoder over log-mel or Kaldi features.

Three names, one architecture: they differ in pre-training and in configuration only.
Source: TERA (Liu et al., 2021, arXiv 2007.06028); s3prl upstream/mockingjay/{model,builder,expert}.py.
Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from upstream.base import Padding, Representation
from upstream.errors import UpstreamError
from upstream.features.kaldi import KaldiConfig, KaldiFeatures
from upstream.features.logmel import LogMel
from upstream.formats.tera import read_native, read_s3prl
from upstream.layers.initial import draw_normal
from upstream.layers.lengths import valid_frames
from upstream.layers.options import ACTIVATIONS, TransformerOptions
from upstream.layers.transformer import Transformer
from upstream.native import HEAD, WEIGHTS_FILE, load_strictly
from upstream.native_upstream import NativeUpstream
from upstream.tera_config import TaskConfig, TeraConfig, TransformerConfig

__all__ = [
    "Piece",
    "SpecHead",
    "TaskConfig",
    "Tera",
    "TeraConfig",
    "TeraEncoder",
    "TransformerConfig",
    "front_end",
    "head_tensors",
    "load_head",
    "read_native",
    "sinusoids",
    "split",
]


def sinusoids(frames: int, dim: int) -> Tensor:
    """Absolute positions (F, D): sine at even, cosine at odd features. Computed in float64: float32 is off by 1e-4 at 15 s."""
    channel = torch.arange(dim)
    rates = torch.pow(10_000.0, -2 * (channel // 2).double() / dim)
    angles = torch.arange(frames).double()[:, None] * rates
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos()).float()


class TeraEncoder(nn.Module):
    """Features to hidden states: projection plus positions, layer norm, transformer."""

    positions: Tensor

    def __init__(self, config: TeraConfig, input_dim: int) -> None:
        super().__init__()
        block = config.transformer
        self.input_projection = nn.Linear(input_dim, block.hidden_size)
        self.input_norm = nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
        self.dropout = nn.Dropout(block.hidden_dropout_prob)
        self.transformer = Transformer(_options(block))
        norms = block.num_hidden_layers + 1 if block.pre_layer_norm else 0
        self.state_norms = nn.ModuleList(nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps) for _ in range(norms))
        self.register_buffer("positions", sinusoids(config.task.sequence_length or 1500, block.hidden_size), persistent=False)
        draw_normal(self, block.initializer_range)

    def forward(self, features: Tensor, lengths: Tensor) -> list[Tensor]:
        """Encode features (B, F, D) with `lengths` (B,) valid frames in one piece.

        Returns: L tensors (B, F, hidden_size), the normalised embedding first; frames past a length are not meaningful.
        """
        x = self.input_projection(features) + self._positions(features.shape[1])
        states = self.transformer(self.dropout(self.input_norm(x)), lengths)
        if self.state_norms:  # pre-LN: each emitted state has its own norm, which does not feed the next layer
            states = [norm(state) for norm, state in zip(self.state_norms, states, strict=True)]
        return states

    def _positions(self, frames: int) -> Tensor:
        if frames > len(self.positions):
            self.positions = sinusoids(2 * frames, self.positions.shape[1]).to(self.positions)
        return self.positions[:frames]


def _options(block: TransformerConfig) -> TransformerOptions:
    return TransformerOptions(
        dim=block.hidden_size,
        layers=block.num_hidden_layers,
        heads=block.num_attention_heads,
        ffn_dim=block.intermediate_size,
        activation=block.hidden_act,
        dropout=block.hidden_dropout_prob,
        attention_dropout=block.attention_probs_dropout_prob,
        norm_eps=block.layer_norm_eps,
        pre_norm=block.pre_layer_norm,
        shared=block.share_layer,
    )


class SpecHead(nn.Module):
    """The reconstruction head of pre-training: hidden state (…, hidden_size) to target features (…, D_target)."""

    def __init__(self, config: TeraConfig) -> None:
        super().__init__()
        block = config.transformer
        self.dense = nn.Linear(block.hidden_size, block.hidden_size)
        self.activation = ACTIVATIONS[block.hidden_act]
        self.norm = nn.LayerNorm(block.hidden_size, eps=block.layer_norm_eps)
        self.output = nn.Linear(block.hidden_size, front_end(config, stream="target").dim)
        draw_normal(self, block.initializer_range)

    def forward(self, states: Tensor) -> Tensor:
        """Predict the unaltered features of each frame."""
        return self.output(self.norm(self.activation(self.dense(states))))


def front_end(config: TeraConfig, padding: Padding = "alone", stream: Literal["input", "target"] = "input") -> LogMel | KaldiFeatures:
    """The acoustic front end of a configuration, for the encoder's input or for the reconstruction target."""
    if isinstance(config.audio, KaldiConfig):
        return KaldiFeatures(config.audio)
    return LogMel(config.audio, padding, stream)


@dataclass(frozen=True)
class Piece:
    """Frames `start` to `start + frames` of one utterance, encoded alone with positions from 0."""

    row: int
    start: int
    frames: int


def split(lengths: list[int], limit: int, span: int | None = None) -> list[Piece]:
    """Cut utterances longer than `limit` frames into the fewest nearly equal pieces, as the published extraction does.

    Args:
        lengths: valid frames of each utterance.
        limit: the longest piece; 0 for none.
        span: cut by this many frames (the padded batch) instead of by each utterance's own length.
    """
    pieces = []
    for row, length in enumerate(lengths):
        total = span or length
        size = math.ceil(total / math.ceil(total / limit)) if limit > 0 else total
        pieces += [Piece(row, start, min(size, length - start)) for start in range(0, length, size)]
    return pieces


class Tera(NativeUpstream):
    """An encoder of the TERA family with its front end.

    Args:
        config: the three blocks of the published configurations.
        padding: `alone`, every utterance as if by itself; `reference`, the published batch-dependent behaviour.
    """

    name = "tera"
    family = "tera"
    config: TeraConfig
    encoder: TeraEncoder

    def __init__(self, config: TeraConfig | None = None, padding: Padding = "alone") -> None:
        super().__init__()
        self.config = config or TeraConfig()
        self.padding = padding
        self.front_end = front_end(self.config, padding)
        given = self.config.transformer.input_dim
        if given not in (-1, self.front_end.dim):
            raise UpstreamError(f"tera: transformer.input_dim is {given}, but the front end gives {self.front_end.dim} features")
        self.encoder = TeraEncoder(self.config, self.front_end.dim)
        self.stride = self.config.audio.stride
        self.dim = self.config.transformer.hidden_size
        self.num_states = self.config.transformer.num_hidden_layers + 1
        self.minimum_samples = self.front_end.minimum_samples

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> Tera:
        """Load a folder in the native format, or a file in s3prl's."""
        if path is None:
            raise UpstreamError(f"{cls.name}: needs a checkpoint (-k): a file, a folder or OWNER/NAME on the hub")
        if path.is_dir() or path.name == WEIGHTS_FILE:
            return cls.from_native(path if path.is_dir() else path.parent, padding)
        config, tensors = read_s3prl(path)
        model = cls(config, padding)
        model.load_encoder(tensors, str(path))
        return model

    @classmethod
    def from_config(cls, config: Mapping[str, Any], padding: Padding = "alone") -> Tera:
        """An encoder with random weights from the three configuration blocks."""
        return cls(TeraConfig.read(config, "tera: config"), padding)

    def configuration(self) -> dict[str, Any]:
        """The three configuration blocks."""
        return self.config.model_dump(mode="json")

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        self.check_lengths(lengths)
        features, frames = self.front_end(wavs, lengths)
        return Representation(self.encode(features, frames), frames)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states (L, B, F, D) of features (B, F, D_in), zero past `lengths` (B,); long inputs are encoded in pieces."""
        limit = self.config.task.sequence_length
        if limit <= 0 or features.shape[1] <= limit:
            states = torch.stack(self.encoder(features, lengths))
            valid = valid_frames(lengths.to(features.device), features.shape[1])
            return states.masked_fill_(~valid[:, :, None], 0.0)
        span = features.shape[1] if self.padding == "reference" else None
        pieces = split(lengths.tolist(), limit, span)
        rows = [features[piece.row, piece.start : piece.start + piece.frames] for piece in pieces]
        sizes = torch.tensor([piece.frames for piece in pieces], device=features.device)
        encoded = torch.stack(self.encoder(nn.utils.rnn.pad_sequence(rows, batch_first=True), sizes))
        states = encoded.new_zeros(len(encoded), *features.shape[:2], self.dim)
        for index, piece in enumerate(pieces):
            states[:, piece.row, piece.start : piece.start + piece.frames] = encoded[:, index, : piece.frames]
        return states

    @classmethod
    def from_native(cls, folder: Path, padding: Padding = "alone") -> Tera:
        """Load a checkpoint folder written by `save_native`.

        Raises:
            UpstreamError: another family's folder, an unknown key, or weights that do not fit.
        """
        config, tensors = read_native(folder)
        model = cls(config, padding)
        model.load_encoder(tensors, str(folder / WEIGHTS_FILE))
        return model


def head_tensors(head: SpecHead) -> dict[str, Tensor]:
    """The reconstruction head's weights under the names of the native format, `head.…`."""
    return {HEAD + name: tensor for name, tensor in head.state_dict().items()}


def load_head(config: TeraConfig, tensors: Mapping[str, Tensor], where: str) -> SpecHead:
    """Build the reconstruction head from native tensors.

    Raises:
        UpstreamError: the tensors hold no head, or it does not fit.
    """
    head = SpecHead(config)
    kept = {name.removeprefix(HEAD): tensor for name, tensor in tensors.items() if name.startswith(HEAD)}
    load_strictly(head, kept, where)
    return head
