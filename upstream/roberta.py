"""RoBERTa over vq-wav2vec codes: every frame's pair of codes is a token, an utterance is one sentence.

The states have two frames more than there are codes: `<s>` first, `</s>` last, as s3prl exposes them.
Source: vq-wav2vec (Baevski et al., 2020, arXiv 1910.05453), section 3.4; fairseq models/roberta; s3prl upstream/roberta/expert.py.
Shape letters: B batch, T samples, F frames, N tokens, G groups, D features, L hidden states.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import Padding, Representation
from upstream.errors import UpstreamError
from upstream.formats.roberta import read
from upstream.layers.convolutions import frames_of
from upstream.layers.initial import draw_normal
from upstream.layers.lengths import valid_frames
from upstream.layers.transformer import Transformer
from upstream.native_upstream import NativeUpstream
from upstream.roberta_config import END, PADDING, START, RobertaConfig, spread_dictionary, token_table
from upstream.settings import parse
from upstream.vq_wav2vec import build_quantizer, quantize
from upstream.wav2vec import Extractor
from upstream.wav2vec_config import QuantizerConfig, Wav2VecConfig


class Tokenizer(nn.Module):
    """Waveforms to the codes of a vq-wav2vec. No gradient passes a choice of codes: the weights are constants, not parameters.

    Args:
        config: the vq-wav2vec.
        alone: keep padding out of its norms.
    """

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__()
        self.config, self.alone = config, alone
        self.extractor = Extractor(config, alone)
        self.quantizer = build_quantizer(config, alone)
        for part in list(self.modules()):
            for name, parameter in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, parameter.detach())

    @torch.no_grad()
    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, F, G) of waveforms (B, T) with `lengths` (B,) valid samples, and how many of each row count (B,)."""
        frames = frames_of(lengths.to(torch.int64), self.config.conv_layers)
        codes = quantize(self.extractor, self.quantizer, wavs, lengths, frames)[1].codes
        if not self.alone:  # s3prl crops the padded batch's codes by the samples, so up to three from the padding count
            frames = (lengths.double() / self.config.stride).round().long().clamp(max=codes.shape[1])
        return codes, frames


class RobertaEncoder(nn.Module):
    """Tokens to hidden states, with the tokenizer.

    Args:
        config: the architecture.
        alone: every utterance as if by itself; otherwise padding acts as it does in the published code.
    """

    table: Tensor

    def __init__(self, config: RobertaConfig, alone: bool = True) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.tokenizer, alone)
        self.register_buffer("table", token_table(config), persistent=False)
        self.tokens = nn.Embedding(config.words, config.dim, padding_idx=PADDING)
        self.positions = nn.Embedding(PADDING + 1 + config.max_positions, config.dim)  # the first rows stand for no position
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.transformer_options())
        for part in (self.tokens, self.positions, self.transformer):
            draw_normal(part)

    def tokenize(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N) of waveforms (B, T) with `lengths` (B,) valid samples, padded, and their number (B,)."""
        codes, counts = self.tokenizer(wavs, lengths)
        counts = counts.to(codes.device)
        index = torch.zeros_like(codes[:, :, 0])
        for group in codes.unbind(dim=2):
            index = index * self.config.quantizer.codes + group
        tokens = nn.functional.pad(self.table[index], (1, 1), value=PADDING)
        tokens[:, 0] = START
        tokens.scatter_(1, counts[:, None] + 1, END)
        return tokens.masked_fill(~valid_frames(counts + 2, tokens.shape[1]), PADDING), counts + 2

    def forward(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """States (L, B, N, D) of tokens (B, N) of which `counts` (B,) are valid, zero past those; long rows are cut."""
        limit = self.config.max_positions
        pieces = []
        for start in range(0, tokens.shape[1], limit):
            piece = tokens[:, start : start + limit]
            sizes = (counts - start).clamp(min=0, max=piece.shape[1])
            rows = sizes.nonzero()[:, 0]
            states = self.encode(piece[rows], sizes[rows])
            pieces.append(states.new_zeros(len(states), *piece.shape, states.shape[-1]).index_copy(1, rows, states))
        valid = valid_frames(counts, tokens.shape[1])
        return torch.cat(pieces, dim=2).masked_fill(~valid[:, :, None], 0.0)

    def encode(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """States (L, B, N, D) of tokens (B, N) that begin at the first position; those of padding are not meaningful."""
        positions = self.positions.weight[PADDING + 1 :][: tokens.shape[1]]
        x = self.dropout(self.norm(self.tokens(tokens) + positions))
        return torch.stack(self.transformer(x, counts))


class VqWav2VecRoberta(NativeUpstream):
    """RoBERTa over the codes of a vq-wav2vec.

    Args:
        config: the architecture.
        padding: `alone`, every utterance as if by itself; `reference`, as s3prl treats a padded batch.
    """

    name = "vq_wav2vec_roberta"
    family = "vq_wav2vec_roberta"
    code_version = 2  # since 1, codes do not change with precision
    config: RobertaConfig
    encoder: RobertaEncoder

    def __init__(self, config: RobertaConfig, padding: Padding = "alone") -> None:
        super().__init__()
        self.config, self.padding = config, padding
        self.encoder = RobertaEncoder(self.config, padding == "alone")
        self.stride = self.config.tokenizer.stride
        self.dim = self.config.dim
        self.num_states = self.config.layers + 1
        self.minimum_samples = self.config.tokenizer.minimum_samples

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> VqWav2VecRoberta:
        """Load a native folder, or a file of fairseq or s3prl with its vq-wav2vec, see formats/roberta.py."""
        if path is None:
            raise UpstreamError(f"{cls.name}: needs a checkpoint (-k): a file, a folder or OWNER/NAME on the hub")
        config, tensors, notes = read(path)
        model = cls(config, padding)
        model.load_encoder(tensors, str(path))
        model.notes = notes
        return model

    @classmethod
    def from_config(cls, config: Mapping[str, Any], padding: Padding = "alone") -> VqWav2VecRoberta:
        """An encoder with random weights; `words` may stand for a dictionary of so many pairs."""
        values = dict(config)
        if "words" in values:
            quantizer = parse(QuantizerConfig, values["tokenizer"]["quantizer"], f"{cls.name}: tokenizer.quantizer")
            values["dictionary"] = spread_dictionary(values.pop("words"), quantizer)
        return cls(parse(RobertaConfig, values, f"{cls.name}: config"), padding)

    def configuration(self) -> dict[str, Any]:
        """The architecture with its dictionary, without what only pre-training reads."""
        return self.config.model_dump(mode="json", exclude={"pretraining": True, "tokenizer": {"pretraining"}})

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        self.check_lengths(lengths)
        tokens, counts = self.encoder.tokenize(wavs, lengths)
        return Representation(self.encoder(tokens, counts), counts)
