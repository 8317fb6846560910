"""A checkpoint goes to another format and comes back as it was, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstream.formats import published
from tests.upstream.formats.published import CONFIGS
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
