"""Speaker identification (SID): who of the training speakers says an utterance of VoxCeleb1, accuracy.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), speaker tasks; s3prl downstream/voxceleb1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.batching import Batching
from downstream.kinds import ClassificationTask
from downstream.speakers import SpeakerCorpus, SpeakerTask
from engine.task import Card

if TYPE_CHECKING:
    from lhotse import CutSet


class SIDCorpus(SpeakerCorpus):
    """VoxCeleb1.

    Attributes:
        split_list: the identification split where it is not `iden_split.txt` or `veri_test_class.txt`; relative paths start at
            the folder `VoxCeleb1`.
    """

    split_list: Path | None = None
    batching: Batching = Batching(method="random", batch_size=8)


class SID(SpeakerTask, ClassificationTask):
    """Classification among the training speakers of VoxCeleb1."""

    name = "sid"
    splits = ("train", "dev", "test")
    kind = "speaker"
    Corpus = SIDCorpus
    corpus: SIDCorpus
    card = Card(
        title="Speaker identification",
        data="VoxCeleb1 (https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html), its identification split, 1,251 speakers",
        splits={"train": "138,361 utterances (parts of 8 s at most)", "dev": "6,904", "test": "8,251"},
        head="linear to 256 a frame, mean over frames, linear to the speakers; cross-entropy",
        selection="highest accuracy on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
    )

    def cuts(self, split: str) -> CutSet:
        from corpus import manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("speaker",))
        return self.voxceleb.identification(split, self.corpus.split_list)

    @property
    def class_names(self) -> Sequence[str]:
        return self.speakers


TASK = SID
