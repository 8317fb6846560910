"""The readers on recordings of people, laid out as miniature LibriSpeech by a tool beside the repository."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from corpus import librispeech
from corpus.batch import load_batch
from corpus.batching import Batching, evaluation_batches, training_batches
from corpus.fingerprint import fingerprint
from corpus.locate import lexicons, locate
from corpus.units import CharacterUnits, PhoneUnits


@pytest.fixture(scope="module")
def data(request, tmp_path_factory):
    tool = request.config.rootpath.parent / "shared" / "tools" / "make_real_mini.py"
    if not tool.exists():
        pytest.skip("no recordings of people beside the repository (../shared/tools/make_real_mini.py)")
    out = tmp_path_factory.mktemp("human")
    done = subprocess.run([sys.executable, tool, "--out", out, "--train", "80"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the recordings could not be laid out: {done.stderr.strip()}")
    return out


def test_human_speech_is_read_batched_and_encoded(data):
    cuts = librispeech.read(locate(librispeech.SOURCE, data), "train-clean-100")
    assert len(cuts) == 80 and len({cut.supervisions[0].speaker for cut in cuts}) == 4
    batches = list(training_batches(cuts, Batching(batch_size=8, max_seconds=40.0), seed=0, epoch=0))
    assert sorted(cut.id for batch in batches for cut in batch) == [cut.id for cut in cuts]
    characters, phones = CharacterUnits(), PhoneUnits(lexicons(data))
    phones.check(cut.supervisions[0].text for cut in cuts)
    for batch in evaluation_batches(cuts, 60.0, 16):
        loaded = load_batch(batch, label=lambda cut: characters.encode(cut.supervisions[0].text))
        assert loaded.lengths.tolist() == [cut.num_samples for cut in batch]
        assert float(loaded.wavs.abs().max()) <= 1.0 and all(np.abs(row.numpy()).max() > 0.01 for row in loaded.wavs)
        assert [characters.decode(label) for label in loaded.labels] == [cut.supervisions[0].text for cut in batch]
    assert fingerprint(cuts) == fingerprint(reversed(list(cuts)))
