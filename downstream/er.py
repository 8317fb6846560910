"""Emotion recognition (ER): neutral, happy, angry or sad on IEMOCAP, five-fold cross-validation over its sessions; accuracy.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), paralinguistics; s3prl downstream/emotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from corpus.batching import Batching
from corpus.errors import DataError
from downstream.kinds import ClassificationTask
from engine.task import FRAME_ROUNDING, Card, Classes, CorpusBlock, Quirk

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

SHARED_DEV_SPEAKERS = Quirk(
    "shared_dev_speakers",
    superb="dev is a random part (valid_ratio) of the utterances of the four training sessions, always the same",
    corrected="dev is the session after the test session, the first after the last; the other three train",
)


class ERCorpus(CorpusBlock):
    """IEMOCAP.

    Attributes:
        test_fold: "fold2" tests on session 2.
        valid_ratio: part of the other sessions' utterances that is dev.
    """

    test_fold: Literal["fold1", "fold2", "fold3", "fold4", "fold5"] = "fold1"
    valid_ratio: float = Field(0.2, gt=0, lt=1)
    batching: Batching = Batching(method="random", batch_size=4)


class ER(ClassificationTask):
    """Four emotions on IEMOCAP, one session left out."""

    name = "er"
    splits = ("train", "dev", "test")
    demo_corpus = "iemocap"
    variants = ("fold1", "fold2", "fold3", "fold4", "fold5")
    variant_key = "test_fold"
    quirks = (FRAME_ROUNDING, SHARED_DEV_SPEAKERS)
    Corpus = ERCorpus
    corpus: ERCorpus
    kind = "emotion"
    card = Card(
        title="Emotion recognition",
        data="IEMOCAP (https://sail.usc.edu/iemocap): neu, hap (with exc), ang, sad; 5,531 utterances",
        splits={
            "train": "80 % of the four other sessions: of 4,446 (fold1), 4,508, 4,380, 4,500, 4,290 utterances",
            "dev": "the other 20 %",
            "test": "the fold's session: 1,085 (fold1), 1,023, 1,151, 1,031, 1,241",
        },
        head="linear projection to 256, mean over frames, linear to 4; cross-entropy",
        selection="highest accuracy on dev; the benchmark's number is the mean over the folds (-v all)",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=(
            "superb: dev is drawn with torch's seed 0 from s3prl's list of the training utterances, where IEMOCAP's folder holds that list "
            "(meta_data/Session1/train_meta_data.json, … of s3prl's downstream/emotion): then train and dev are the published ones.",
            "Without the list, whose dialogs lie in the order of a disk, they go by name: dev is as large and drawn likewise, but another.",
        ),
    )

    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Own data needs the column `emotion`."""
        from lhotse import CutSet

        from corpus import iemocap, manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("emotion",))
        root = iemocap.find(self.corpus.folder)
        left_out = int(self.corpus.test_fold.removeprefix("fold"))
        if split == "test":
            return iemocap.read(root, [left_out])
        if self.keeps(SHARED_DEV_SPEAKERS):
            train, dev = _random_split(list(iemocap.read_without(root, left_out)), self.corpus.valid_ratio)
            return CutSet.from_cuts(train if split == "train" else dev)
        held_out = left_out % len(iemocap.SESSIONS) + 1
        others = [session for session in iemocap.SESSIONS if session not in (left_out, held_out)]
        return iemocap.read(root, others if split == "train" else [held_out])

    def find_classes(self, cuts: CutSet) -> Classes:
        """The emotions that the training data holds: IEMOCAP's in the benchmark's order, others after them by name."""
        from corpus.iemocap import EMOTIONS

        found = {self.reference(cut) for cut in cuts}
        return {"emotion": [name for name in EMOTIONS if name in found] + sorted(found.difference(EMOTIONS))}

    @property
    def class_names(self) -> Sequence[str]:
        return self.setting.classes["emotion"]

    def reference(self, cut: Cut) -> str:
        return str(cut.supervisions[0].custom["emotion"])


def _random_split(cuts: Sequence[Cut], valid_ratio: float) -> tuple[list[Cut], list[Cut]]:
    """(train, dev) as `torch.utils.data.random_split` draws them right after `torch.manual_seed(0)`."""
    import torch

    training = int((1 - valid_ratio) * len(cuts))
    if not 0 < training < len(cuts):
        raise DataError(f"corpus.valid_ratio {valid_ratio} of {len(cuts)} utterances of IEMOCAP leaves nothing for train or for dev")
    order = torch.randperm(len(cuts), generator=torch.Generator().manual_seed(0)).tolist()
    return [cuts[index] for index in order[:training]], [cuts[index] for index in order[training:]]


TASK = ER
