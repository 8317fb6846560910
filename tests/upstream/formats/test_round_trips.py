"""A checkpoint goes to another format and comes back as it was, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.upstream.formats import published
from tests.upstream.formats.published import CONFIGS
from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.formats.wav2vec2 import WRITERS, read

REFUSED = [("fairseq", "distilhubert"), *(("torchaudio", name) for name in CONFIGS if name.startswith(("conformer", "data2vec", "distil")))]
REFUSED += [("torchaudio", "wav2vec2 without projection")]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_back_what_it_was_given(form: str, name: str, tmp_path: Path) -> None:
    if (form, name) in REFUSED:
        pytest.skip("the format has no such model")
    ours = published.native(name, heads=form != "torchaudio")
    WRITERS[form](ours, tmp_path / "out.pt")
    published.assert_equal(read(tmp_path / "out.pt", "test"), ours)


@pytest.mark.parametrize("name", ["hubert base", "conformer rotary", "fine-tuned"])
def test_one_format_after_another_loses_nothing(name: str, tmp_path: Path) -> None:
    ours = checkpoint = published.native(name)
    for form in ("fairseq", "hf", "s3prl", "native", "s3prl", "hf", "fairseq"):
        WRITERS[form](checkpoint, tmp_path / form)
        checkpoint = read(tmp_path / form, "test")
    published.assert_equal(checkpoint, ours)


@pytest.mark.parametrize("name", ["hubert base", "wav2vec2 without projection", "conformer rotary"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_was(dtype: torch.dtype, name: str, tmp_path: Path) -> None:
    ours = published.native(name)
    ours = checkpoint = replace(
        ours, tensors={key: item.to(dtype) if item.is_floating_point() else item for key, item in ours.tensors.items()}
    )
    for form in ("s3prl", "fairseq", "native", "hf", "s3prl"):
        WRITERS[form](checkpoint, tmp_path / form)
        checkpoint = read(tmp_path / form, "test")
        assert {item.dtype for item in stored(tmp_path / form) if item.is_floating_point()} == {dtype}
    published.assert_equal(checkpoint, ours)
    assert {parameter.dtype for parameter in published.loaded(checkpoint).parameters()} == {torch.float32}


def stored(path: Path) -> list[torch.Tensor]:
    """All tensors of a file or folder."""
    content = read_checkpoint(path / "model.safetensors" if path.is_dir() else path)
    return list(content.get("model_weight", content.get("model", content)).values())


@pytest.mark.parametrize(("form", "name"), REFUSED)
def test_model_that_a_format_does_not_have_is_refused(form: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=f"{form}: has no"):
        WRITERS[form](published.native(name), tmp_path / "out.pt")
    assert not list(tmp_path.iterdir())


def test_heads_that_torchaudio_cannot_hold_are_named(tmp_path: Path) -> None:
    notes = WRITERS["torchaudio"](published.native("hubert base"), tmp_path / "out.pt")
    assert notes == (
        "lost, as torchaudio has no place for them: 'final_proj.bias', 'final_proj.weight', 'label_embeddings', 'mask_embedding'",
    )
