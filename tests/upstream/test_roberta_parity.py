"""The RoBERTa over vq-wav2vec codes against s3prl's expert and transformers' model, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.upstream import make, roberta_files
from upstream.base import Padding
from upstream.roberta import VqWav2VecRoberta

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 2e-6


@torch.no_grad()
def assert_parity(path: Path, padding: Padding, *samples: int, reference: Path | None = None) -> None:
    """Every state of every token agrees with s3prl's."""
    wavs, lengths = make.waveforms(*samples)
    rows = [wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)]
    theirs = roberta_files.expert(reference or path)(rows)["hidden_states"]
    model = VqWav2VecRoberta.from_checkpoint(path, padding).eval()
    ours = model(wavs, lengths)
    assert len(ours.hidden_states) == len(theirs) == model.num_states
    assert ours.hidden_states.shape[2] == theirs[0].shape[1]
    for own, other in zip(ours.hidden_states, theirs, strict=True):
        for row, tokens in enumerate(ours.lengths.tolist()):
            assert make.relative_error(own[row, :tokens], other[row, :tokens]) < TOLERANCE


@pytest.mark.parametrize("changes", [{}, {"activation_fn": "relu"}, {"untie_weights_roberta": True}], ids=["gelu", "relu", "untied"])
def test_an_utterance_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    path, _ = roberta_files.s3prl_files(tmp_path, **changes)
    assert_parity(path, "alone", 16_000)
    assert_parity(path, "reference", 16_000)


def test_reference_padding_repeats_the_published_batch(tmp_path: Path) -> None:
    path, _ = roberta_files.s3prl_files(tmp_path)
    assert_parity(path, "reference", 18_237, 16_000, 9_999)


def test_long_utterances_are_cut_at_the_last_position(tmp_path: Path) -> None:
    path, _ = roberta_files.s3prl_files(tmp_path)
    assert_parity(path, "alone", 50_000)
    assert_parity(path, "reference", 50_000, 9_999)  # the later pieces hold nothing of the short utterance


def test_a_written_file_loads_in_s3prl(tmp_path: Path) -> None:
    from upstream.formats.roberta import read, write_s3prl

    path, _ = roberta_files.s3prl_files(tmp_path)
    config, tensors, _ = read(path)
    (tmp_path / "out").mkdir()
    write_s3prl(tmp_path / "out" / "roberta.pt", config, tensors)
    assert_parity(path, "alone", 16_000, reference=tmp_path / "out" / "roberta.pt")


@torch.no_grad()
def test_the_transformer_is_that_of_transformers() -> None:
    import transformers

    options: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    model = make.build("vq_wav2vec_roberta")
    assert isinstance(model, VqWav2VecRoberta)
    words = model.config.words
    published = transformers.RobertaConfig(
        **options, vocab_size=words, max_position_embeddings=122, type_vocab_size=1, layer_norm_eps=1e-5, attn_implementation="eager"
    )
    theirs = transformers.RobertaModel(published, add_pooling_layer=False).eval()
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    own = model.encoder.state_dict()
    for leaf in ("weight", "bias"):
        state[f"embeddings.LayerNorm.{leaf}"] = own[f"norm.{leaf}"]
        for layer in range(3):
            ours, other = f"transformer.layers.{layer}", f"encoder.layer.{layer}"
            for part, tensor in zip(("query", "key", "value"), own[f"{ours}.attention.qkv.{leaf}"].chunk(3), strict=True):
                state[f"{other}.attention.self.{part}.{leaf}"] = tensor
            state[f"{other}.attention.output.dense.{leaf}"] = own[f"{ours}.attention.output.{leaf}"]
            state[f"{other}.attention.output.LayerNorm.{leaf}"] = own[f"{ours}.attention_norm.{leaf}"]
            state[f"{other}.intermediate.dense.{leaf}"] = own[f"{ours}.feed_forward.inner.{leaf}"]
            state[f"{other}.output.dense.{leaf}"] = own[f"{ours}.feed_forward.output.{leaf}"]
            state[f"{other}.output.LayerNorm.{leaf}"] = own[f"{ours}.feed_forward_norm.{leaf}"]
    state["embeddings.word_embeddings.weight"] = own["tokens.weight"]
    state["embeddings.position_embeddings.weight"] = own["positions.weight"]
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(1, 24)
    theirs.load_state_dict(state)
    tokens, counts = torch.randint(4, words, (2, 60), generator=torch.Generator().manual_seed(0)), torch.tensor([60, 40])
    tokens[1, 40:] = 1
    expected = theirs(tokens, attention_mask=(tokens != 1).long(), output_hidden_states=True).hidden_states
    states = model.encoder(tokens, counts)
    assert len(states) == len(expected)
    for state_, other_ in zip(states, expected, strict=True):
        for row, count in enumerate(counts.tolist()):
            assert make.relative_error(state_[row, :count], other_[row, :count]) < TOLERANCE
