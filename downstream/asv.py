"""Automatic speaker verification (ASV): does one speaker say both utterances of a trial? VoxCeleb1, x-vectors, equal error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), speaker tasks; s3prl downstream/sv_voxceleb1.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from corpus.batching import Batching
from corpus.errors import DataError
from downstream.speakers import SpeakerCorpus, SpeakerTask
from engine.task import FRAME_ROUNDING, Block, Card, Metric, Outcomes, Prediction, Quirk, Score, Setting

if TYPE_CHECKING:
    import numpy as np
    from lhotse import CutSet
    from torch import Tensor, nn

    from corpus.voxceleb import Trial
    from downstream.xvector import Speaker

logger = logging.getLogger(__name__)

POOLING_LENGTH = Quirk(
    "pooling_length",
    superb="while training, a padded utterance is pooled over one frame of padding too",
    corrected="an utterance is pooled over its own frames",
)
DEV_SPEAKERS_TRAIN = Quirk(
    "dev_speakers_train",
    superb="the speakers of the development trials are training speakers too, as is every file of dev/wav",
    corrected="the speakers of the development trials are left out of training",
)
CHOSEN_ON_TEST = Quirk(
    "chosen_on_test",
    superb="the result is that of the saved checkpoint with the lowest error rate on the test trials",
    corrected="the checkpoint is chosen on the development trials",
)

DEV_SHARE, LEAST_DEV_SPEAKERS = 0.05, 2
"""Speakers of the development trials: a share of all training speakers, and how many at least."""

LEAST_SPEAKERS = 8
"""With fewer training speakers there are no development trials."""

_SPEAKERS = re.compile(r"(id\d+)-.*_(id\d+)-")
"""In a trial's id."""


class ASVCorpus(SpeakerCorpus):
    """VoxCeleb1.

    Attributes:
        trials: the list of test trials where it is not `voxceleb1_test_v2.txt`, `veri_test2.txt` or `veri_test.txt`; relative
            paths start at the folder `VoxCeleb1`.
        dev_trials: development trials, at most.
        longer_than_seconds: what a training utterance must be; others are left out.
    """

    trials: Path | None = None
    dev_trials: int = Field(20_000, ge=2)
    longer_than_seconds: float = Field(2.0, ge=0)
    batching: Batching = Batching(method="random", batch_size=10)

    @model_validator(mode="after")
    def _no_manifests(self) -> ASVCorpus:
        if self.manifests:
            raise ValueError("asv needs trials: lay own data out as VoxCeleb1/wav/idNNNNN/VIDEO/NNNNN.wav, without manifests")
        return self


class ASVHead(Block):
    """See `downstream.xvector`: the sizes of `XVector`, scale and margin of `am_softmax`."""

    projection: int = Field(512, gt=0)
    channels: list[int] = [512, 512, 512, 512, 1500]
    contexts: list[int] = [5, 3, 3, 1, 1]
    dilations: list[int] = [1, 2, 3, 1, 1]
    embedding: int = Field(512, gt=0)
    scale: float = Field(30.0, gt=0)
    margin: float = Field(0.4, ge=0)

    @model_validator(mode="after")
    def _layers(self) -> ASVHead:
        sizes = (self.channels, self.contexts, self.dilations)
        if not self.channels or len({len(size) for size in sizes}) > 1 or min(map(min, sizes)) < 1:
            raise ValueError("channels, contexts and dilations need one positive number each for every time-delay layer")
        return self


class ASV(SpeakerTask):
    """Trials of VoxCeleb1, scored by the cosine of x-vectors."""

    name = "asv"
    unscored = ("train",)
    splits = ("train", "dev", "test")
    chosen_on_test = True
    quirks = (FRAME_ROUNDING, POOLING_LENGTH, DEV_SPEAKERS_TRAIN, CHOSEN_ON_TEST)
    Corpus, Head = ASVCorpus, ASVHead
    corpus: ASVCorpus
    head: ASVHead
    metrics = (
        Metric("eer", formula="where misses and false alarms are equal on the ROC curve of the cosines"),
        Metric("mindcf", unit="", formula="least of 0.01 × misses + 0.99 × false alarms over all thresholds, divided by 0.01"),
    )
    card = Card(
        title="Automatic speaker verification",
        data="VoxCeleb1 (https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html)",
        splits={
            "train": "1,211 speakers: every file of dev/wav longer than 2 s (parts of 8 s at most)",
            "dev": "up to 20,000 trials among 5 % of the training speakers, two at least; none below eight",
            "test": "37,720 trials of 40 other speakers (voxceleb1_test_v2.txt, else veri_test2.txt, else veri_test.txt)",
        },
        head="x-vector: linear to 512, time-delay layers 4 × 512 and 1500, mean and deviation, 2 × linear to 512; AM-softmax (30, 0.4)",
        selection="lowest EER on test over saved checkpoints (s3prl: every second one); beside it lowest EER on dev (test-dev-selected)",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        departures=("silence is not cut out of recordings, nor the level lowered by 3 dB (sox's silence and gain)",),
        notes=(
            "Intervals resample speakers; a trial of two speakers counts once for each pair of their draws.",
            "-m inference names the nearest training speaker.",
        ),
    )

    def __init__(self, corpus: ASVCorpus, head: ASVHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.chosen_on_test = self.keeps(CHOSEN_ON_TEST)

    def cuts(self, split: str) -> CutSet:
        if split == "test":
            self._count_shared(self.speakers)
            return self.voxceleb.utterances(_sides(self._test_trials))
        if split == "dev":
            heard = _sides(self._dev_trials)
            return self._training.filter(lambda cut: cut.id in heard).to_eager()
        left_out = [] if self.keeps(DEV_SPEAKERS_TRAIN) else self._dev_speakers
        cuts = self._training.filter(lambda cut: self.reference(cut) not in left_out).to_eager()
        self._count_shared(self.find_classes(cuts)["speaker"])
        return cuts

    def unavailable(self, split: str) -> str | None:
        if split != "dev" or self._dev_trials:
            return None
        speakers = len(self.find_classes(self._training)["speaker"])
        return f"{speakers} training speakers give no development trials ({LEAST_SPEAKERS} are needed, with two utterances or more)"

    @functools.cached_property
    def _training(self) -> CutSet:
        """Every utterance that may train."""
        cuts, least = self.voxceleb.training(self.corpus.trials), self.corpus.longer_than_seconds
        long = cuts.filter(lambda cut: cut.duration > least).to_eager()
        if not len(long):
            raise DataError(f"{self.voxceleb.root}: none of {len(cuts)} training utterances is longer than {least} s")
        if len(long) < len(cuts):
            logger.info("%d of %d utterances are left out of training: not longer than %s s", len(cuts) - len(long), len(cuts), least)
        return long

    @functools.cached_property
    def _dev_speakers(self) -> list[str]:
        """A choice among the training speakers that depends on their names alone."""
        speakers = self.find_classes(self._training)["speaker"]
        if len(speakers) < LEAST_SPEAKERS:
            return []
        count = max(LEAST_DEV_SPEAKERS, round(DEV_SHARE * len(speakers)))
        return sorted(speakers, key=lambda speaker: hashlib.sha256(f"asv dev {speaker}".encode()).digest())[:count]

    @functools.cached_property
    def _dev_trials(self) -> list[Trial]:
        from corpus.voxceleb import drawn_trials

        utt_ids = [cut.id for cut in self._training if self.reference(cut) in self._dev_speakers]
        return drawn_trials(utt_ids, self.corpus.dev_trials, "asv dev")

    @functools.cached_property
    def _test_trials(self) -> list[Trial]:
        return self.voxceleb.trials(self.corpus.trials)

    def _count_shared(self, training: Collection[str]) -> None:
        """Say how many speakers stand on both sides."""
        tested = self.voxceleb.trial_speakers(self.corpus.trials)
        if shared := tested.intersection(training):
            logger.warning("%d of %d speakers of the test trials are training speakers too; they stay", len(shared), len(tested))

    def is_labelled(self, split: str) -> bool:
        return split == "train"

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.xvector import XVector

        sizes = self.head.model_dump(exclude={"scale", "margin"})
        return XVector(dim, len(self.speakers), **sizes, one_frame_too_many=self.keeps(POOLING_LENGTH))

    def loss(self, output: Speaker, labels: Sequence[int]) -> Tensor:
        import torch

        from downstream.xvector import am_softmax

        speakers = torch.tensor(labels, device=output.cosines.device)
        return am_softmax(output.cosines, speakers, scale=self.head.scale, margin=self.head.margin)

    def predict(self, output: Speaker, utt_ids: Sequence[str]) -> list[np.ndarray]:
        """Embeddings of unit length, (E,) float32 each."""
        import torch.nn.functional as F

        return list(F.normalize(output.embedding.float(), dim=1).cpu().numpy())

    def infer(self, output: Speaker, utt_ids: Sequence[str]) -> list[Prediction]:
        """The nearest training speaker: a single utterance is no trial."""
        cosines, places = output.cosines.float().max(dim=1)
        rows = zip(utt_ids, places.tolist(), cosines.tolist(), strict=True)
        return [Prediction(utt_id, self.speakers[place], scores={"cosine": cosine}) for utt_id, place, cosine in rows]

    def collect(self, outcomes: Outcomes, dev: Callable[[], Outcomes]) -> list[Prediction]:
        """One prediction a trial, decided at the threshold where the split has as many misses as false alarms."""
        import numpy as np

        from downstream.verification import equal_error

        trials = self._dev_trials if outcomes.split == "dev" else self._test_trials
        cosines = np.array([float(outcomes.found[trial.first] @ outcomes.found[trial.second]) for trial in trials])
        _, threshold = equal_error(cosines, np.array([trial.same for trial in trials]))
        seen: Counter[str] = Counter()
        rows = []
        for trial, cosine in zip(trials, cosines.tolist(), strict=True):
            name = f"{trial.first}_{trial.second}"
            seen[name] += 1
            again = f"#{seen[name]}" if seen[name] > 1 else ""
            rows.append(Prediction(name + again, _word(cosine >= threshold), _word(trial.same), {"cosine": cosine}))
        return rows

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        import numpy as np

        from downstream.verification import Trials, eer, mindcf

        cosines = np.array([row.scores["cosine"] for row in predictions])
        same = np.array([row.reference == "same" for row in predictions])
        trials = Trials(cosines, same, [_speakers(row.utt_id) for row in predictions])
        return {"eer": eer(trials), "mindcf": mindcf(trials)}


def _sides(trials: Sequence[Trial]) -> set[str]:
    """The utterances of trials."""
    return {utt_id for trial in trials for utt_id in (trial.first, trial.second)}


def _word(same: bool) -> str:
    return "same" if same else "different"


def _speakers(name: str) -> tuple[str, str]:
    """Who says the two utterances of a trial, by its id."""
    found = _SPEAKERS.match(name)
    if found is None:
        raise DataError(f"{name} is no trial: expected SPEAKER-VIDEO-UTTERANCE_SPEAKER-VIDEO-UTTERANCE")
    return found[1], found[2]


TASK = ASV
