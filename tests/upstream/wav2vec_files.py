"""Small wav2vec and vq-wav2vec checkpoints made from s3prl's own models, with random weights, in its format and fairseq's."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.upstream import make

EXTRACTOR = "[(32, 10, 5), (32, 8, 4)] + [(32, 4, 2)] * 3 + [(32, 1, 1)]"
AGGREGATOR = "[(32, 2, 1), (32, 3, 1), (32, 4, 1)]"
PUBLISHED: dict[str, Any] = {
    "_name": "wav2vec",
    "infonce": False,
    "prediction_steps": 4,
    "num_negatives": 2,
    "offset": "auto",
    "conv_feature_layers": EXTRACTOR,
    "conv_aggregator_layers": AGGREGATOR,
    "log_compression": True,
    "skip_connections_agg": True,
    "residual_scale": 0.5,
}
GUMBEL: dict[str, Any] = {
    "vq_type": "gumbel",
    "vq_vars": 16,
    "vq_depth": 2,
    "combine_groups": True,
    "activation": "gelu",
    "log_compression": False,
}
KMEANS: dict[str, Any] = GUMBEL | {"vq_type": "kmeans"}
VARIANTS: dict[str, dict[str, Any]] = {
    "large": {},
    "gelu without compression": {"activation": "gelu", "log_compression": False},
    "zeros on the left": {"agg_zero_pad": True},
    "no skips": {"skip_connections_agg": False},
    "no bias, no affine norms": {"no_conv_bias": True, "non_affine_group_norm": True},
    "another scale": {"residual_scale": 0.3},
    "gumbel": GUMBEL,
    "gumbel, one map, own codebooks": GUMBEL | {"vq_depth": 1, "combine_groups": False},
    "gumbel, three maps, four groups": GUMBEL | {"vq_depth": 3, "vq_groups": 4},
    "kmeans": KMEANS,
    "kmeans, own codebooks": KMEANS | {"combine_groups": False},
}


def reference_model(seed: int = 0, **changes: Any) -> Any:
    """s3prl's model with random weights; entries of a codebook lie as far apart as the features that choose them."""
    from s3prl.upstream.wav2vec.wav2vec_model import Wav2VecConfig, Wav2VecModel

    keys = {key: value for key, value in (PUBLISHED | changes).items() if key != "_name"}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make.perturbed(Wav2VecModel(Wav2VecConfig(**keys)), seed)
        if keys.get("vq_type") == "kmeans":
            torch.nn.init.normal_(model.vector_quantizer.embedding)
    return model


def s3prl_file(path: Path, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    """Write a converted file; returns its weights."""
    weights: dict[str, Tensor] = reference_model(seed, **changes).state_dict()
    task = {"_name": "audio_pretraining", "sample_rate": 16_000, "normalize": False}
    torch.save({"task_cfg": task, "model_cfg": PUBLISHED | changes, "model_weight": weights}, path)
    return weights


def fairseq_file(path: Path, **changes: Any) -> dict[str, Tensor]:
    """Write a file as fairseq's of 2019: a Namespace of all arguments beside the weights; returns those."""
    weights: dict[str, Tensor] = reference_model(**changes).state_dict()
    arguments = {"arch": "wav2vec", "data": "/somewhere", "lr": [0.005], **PUBLISHED, **changes}
    torch.save({"args": Namespace(**arguments), "model": weights, "optimizer_history": []}, path)
    return weights


def expert(path: Path) -> Any:
    """s3prl's expert on a converted file."""
    from s3prl.upstream.wav2vec.expert import UpstreamExpert

    return UpstreamExpert(str(path)).eval()


@torch.no_grad()
def reference(path: Path, wavs: Tensor, lengths: Tensor) -> dict[str, Any]:
    """What s3prl's expert gives for a padded batch: `hidden_states` (B, F, D) each, and `codeids` (B, F, G)."""
    result: dict[str, Any] = expert(path)([wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)])
    return result
