"""Small RoBERTa checkpoints over vq-wav2vec codes, made from s3prl's own models with random weights."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.upstream import make, wav2vec_files
from upstream.roberta_config import spread_dictionary
from upstream.wav2vec_config import QuantizerConfig

DICTIONARY = spread_dictionary(150, QuantizerConfig(kind="kmeans", codes=16)) + "madeupword0000 0\n"
ARGUMENTS: dict[str, Any] = {
    "arch": "roberta_base",
    "encoder_layers": 3,
    "encoder_embed_dim": 24,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "dropout": 0.1,
    "max_positions": 120,
}


def reference_model(tmp_path: Path, **changes: Any) -> Any:
    """s3prl's model with random weights."""
    from s3prl.upstream.roberta.dictionary import Dictionary
    from s3prl.upstream.roberta.roberta_model import RobertaEncoder, RobertaModel

    text = tmp_path / "words.txt"
    text.write_text(DICTIONARY)
    dictionary = Dictionary.load(str(text))
    dictionary.add_symbol("<mask>")
    arguments = Namespace(**ARGUMENTS | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make.perturbed(RobertaModel(arguments, RobertaEncoder(arguments, dictionary)))


def s3prl_files(folder: Path, **changes: Any) -> tuple[Path, dict[str, Tensor]]:
    """Write a converted RoBERTa and its vq-wav2vec; returns the path of the first and its weights."""
    weights: dict[str, Tensor] = reference_model(folder, **changes).state_dict()
    wav2vec_files.s3prl_file(folder / "vq-wav2vec_kmeans.pt", **wav2vec_files.KMEANS)
    path = folder / "roberta.pt"
    task = {"_name": "masked_lm", "data": "", "seed": 1}
    model = Namespace(**ARGUMENTS | changes)
    torch.save({"task_cfg": task, "model_cfg": model, "model_weight": weights, "text_dictionary": DICTIONARY}, path)
    return path, weights


def expert(path: Path) -> Any:
    """s3prl's expert on such a pair of files."""
    from s3prl.upstream.roberta.expert import UpstreamExpert
    from s3prl.upstream.roberta.hubconf import _vq_wav2vec_codeids_wrapper

    front_end = _vq_wav2vec_codeids_wrapper(wav2vec_files.expert(path.with_name("vq-wav2vec_kmeans.pt")))
    return UpstreamExpert(str(path), front_end).eval()
