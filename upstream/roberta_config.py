"""Configuration of the RoBERTa over vq-wav2vec codes, and its dictionary.

The dictionary is fairseq's: four special tokens, then the pairs of codes `i-j` in the order of a text file, then `<mask>`.
Source: fairseq data/dictionary.py, tasks/masked_lm.py.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from upstream.layers.options import TransformerOptions
from upstream.settings import Settings
from upstream.wav2vec_config import QuantizerConfig, Wav2VecConfig

START, PADDING, END, UNKNOWN = range(4)  # fairseq's <s>, <pad>, </s>, <unk>
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"


class RobertaConfig(Settings):
    """A transformer over tokens, and the vq-wav2vec whose codes they are.

    Attributes:
        tokenizer: the vq-wav2vec.
        dictionary: the lines `i-j COUNT` of fairseq's `dict.txt`.
        max_positions: tokens that are encoded at once; longer utterances are cut.
        pretraining: what else the published configuration says, under fairseq's names; decides no hidden state.
    """

    tokenizer: Wav2VecConfig
    dictionary: str
    dim: int = Field(default=768, gt=0)
    layers: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    ffn_dim: int = Field(default=3072, gt=0)
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    activation_dropout: float = Field(default=0.0, ge=0, lt=1)
    max_positions: int = Field(default=512, gt=0)
    pretraining: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> RobertaConfig:
        if self.dim % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {self.dim} features")
        if self.tokenizer.quantizer is None:
            raise ValueError("the tokenizer has no quantizer: it is a wav2vec, not a vq-wav2vec")
        read_dictionary(self.dictionary)
        return self

    @property
    def quantizer(self) -> QuantizerConfig:
        """That of the tokenizer."""
        assert self.tokenizer.quantizer is not None
        return self.tokenizer.quantizer

    @property
    def words(self) -> int:
        """Rows of the embedding: all tokens, `<mask>` too."""
        return len(read_dictionary(self.dictionary))

    def transformer_options(self) -> TransformerOptions:
        """The stack of layers."""
        return TransformerOptions(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            ffn_dim=self.ffn_dim,
            activation=self.activation,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
        )


def read_dictionary(text: str) -> dict[str, int]:
    """Tokens by word, from fairseq's lines `WORD COUNT`.

    Raises:
        ValueError: a line is something else, or a word stands there twice.
    """
    tokens = {word: token for token, word in enumerate(SPECIAL)}
    for number, line in enumerate(text.splitlines(), start=1):
        word, space, count = line.rstrip().rpartition(" ")
        if not (space and count.isdigit()):
            raise ValueError(f"line {number} of the dictionary is {line[:40]!r}, not a word and its count")
        if word in tokens:
            raise ValueError(f"line {number} of the dictionary repeats '{word}'")
        tokens[word] = len(tokens)
    tokens.setdefault(MASK, len(tokens))
    return tokens


def token_table(config: RobertaConfig) -> Tensor:
    """The token of each combination of codes, (V ** G,) int64; the first group's code counts most. Absent ones are unknown."""
    codes, groups = config.quantizer.codes, config.quantizer.groups
    table = torch.full((codes,) * groups, UNKNOWN)
    for word, token in read_dictionary(config.dictionary).items():
        parts = word.split("-")
        if len(parts) == groups and all(part.isdigit() and int(part) < codes for part in parts):
            table[tuple(int(part) for part in parts)] = token
    return table.flatten()


def spread_dictionary(words: int, quantizer: QuantizerConfig) -> str:
    """A dictionary of so many combinations of codes, evenly spread over all, for models with random weights."""
    total = quantizer.codes**quantizer.groups
    lines = []
    for index in range(0, total, max(total // words, 1))[:words]:
        codes = [index // quantizer.codes**power % quantizer.codes for power in reversed(range(quantizer.groups))]
        lines.append("-".join(map(str, codes)) + " 1\n")
    return "".join(lines)
