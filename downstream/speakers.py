"""What the two tasks on VoxCeleb1 share: its reader, training speakers as classes, crops."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pydantic import Field

from downstream.kinds import class_index
from engine.task import Classes, CorpusBlock, HeadTask

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

    from corpus.voxceleb import VoxCeleb1


class SpeakerCorpus(CorpusBlock):
    """VoxCeleb1.

    Attributes:
        crop_seconds: longer training utterances are cropped to a part of this length, drawn anew each time.
    """

    crop_seconds: float = Field(8.0, gt=0)


class SpeakerTask(HeadTask):
    """A task whose head tells the training speakers apart."""

    demo_corpus = "voxceleb"
    corpus: SpeakerCorpus

    @functools.cached_property
    def voxceleb(self) -> VoxCeleb1:
        from corpus import voxceleb
        from corpus.locate import locate

        return voxceleb.VoxCeleb1(locate(voxceleb.SOURCE, self.corpus.folder))

    @property
    def speakers(self) -> list[str]:
        """The training speakers, sorted; empty while they are not known yet."""
        return self.setting.classes.get("speaker", [])

    def find_classes(self, cuts: CutSet) -> Classes:
        return {"speaker": sorted({self.reference(cut) for cut in cuts})}

    def crop_seconds(self, cut: Cut) -> float | None:
        return self.corpus.crop_seconds if cut.duration > self.corpus.crop_seconds else None

    def reference(self, cut: Cut) -> str:
        return str(cut.supervisions[0].speaker)

    def label(self, cut: Cut) -> int:
        return class_index(self.speakers, self.reference(cut), "speaker", cut)
