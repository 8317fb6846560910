"""The two interfaces that the engine drives: `Task` (a head on a representation) and `Objective` (pre-training).

Tasks and objectives import this file and nothing else of the engine. It stays free of torch and Lhotse at run time, so that
`--list` and `--describe` answer at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from corpus.batching import Batching

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn


Protocol = Literal["superb", "corrected"]


class TaskError(ValueError):
    """An unknown task, or one that cannot be used as asked."""


class Block(BaseModel):
    """A block of the configuration: unknown keys are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and field.annotation in (int, float):
            raise ValueError("a number is needed")
        return value


class CorpusBlock(Block):
    """Where the data is; tasks add their splits and options.

    Attributes:
        root: folder that holds data sets under their own names, or one data set.
        demo: True where `root` is a built-in demo corpus.
        manifests: own data without code: a TSV, CSV or JSONL file (`corpus.manifest`) for each split named.
        batching: how utterances are put into training batches.
    """

    root: Path | None = None
    demo: bool = False
    manifests: dict[str, Path] = {}
    batching: Batching = Batching(batch_size=32)

    @property
    def folder(self) -> Path:
        """`root`. Raises TaskError where there is none."""
        if self.root is None:
            raise TaskError(f"no data folder (--data DIR), and manifests for {', '.join(self.manifests) or 'no split'} alone")
        return self.root


@dataclass(frozen=True)
class Metric:
    """A number that a task reports. `unit` is "%" for rates, "" for fractions."""

    name: str
    unit: str = "%"
    higher_is_better: bool = False
    formula: str = ""


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % bootstrap interval, in the metric's unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """One utterance's outcome; text as one string, classes by name. `reference` is None at inference."""

    utt_id: str
    prediction: str
    reference: str | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What `--describe` prints of a task or an objective."""

    title: str
    data: str
    splits: dict[str, str]
    head: str
    selection: str
    source: str
    notes: tuple[str, ...] = ()


class Task(ABC):
    """One downstream task, as its paper defines it: data, labels, head, loss, metric.

    A task writes no files, prints nothing and never touches the optimizer; the engine does.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    metrics: ClassVar[tuple[Metric, ...]]
    """The first one is the main metric: it selects the best checkpoint."""
    splits: ClassVar[tuple[str, ...]]
    train_split: ClassVar[str]
    dev_split: ClassVar[str] = "dev"
    test_split: ClassVar[str] = "test"
    best_checkpoint: ClassVar[str] = "dev-best.ckpt"
    demo_corpus: ClassVar[str]
    """Name of the demo edition in `corpus.demo`."""
    recipes: ClassVar[Path | None] = None
    """Folder that holds `superb/NAME.yaml` and `mini/NAME.yaml`; None for those that ship with Weir."""
    Corpus: ClassVar[type[CorpusBlock]] = CorpusBlock
    Head: ClassVar[type[Block]] = Block

    def __init__(self, corpus: CorpusBlock, head: Block, protocol: Protocol = "superb") -> None:
        self.corpus, self.head, self.protocol = corpus, head, protocol

    @abstractmethod
    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Raises DataError where its data is missing."""

    @abstractmethod
    def label(self, cut: Cut) -> Any:
        """What `loss` needs of one utterance."""

    @abstractmethod
    def build_head(self, dim: int, stride: int) -> nn.Module:
        """A module `(features (B, F, D), lengths (B,)) -> output` for features of `dim`, `stride` samples apart."""

    @abstractmethod
    def loss(self, output: Any, labels: Sequence[Any]) -> Tensor:
        """The scalar training loss of a batch, averaged over its utterances."""

    @abstractmethod
    def predict(self, output: Any, utt_ids: Sequence[str]) -> list[Prediction]:
        """One prediction an utterance, in order."""

    @abstractmethod
    def reference(self, cut: Cut) -> str:
        """What a prediction is compared with."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Every metric, computed from saved predictions alone."""


class Objective(ABC):
    """One pre-training objective: an upstream, what it is asked to predict, and how wrong it is."""

    name: ClassVar[str]
    card: ClassVar[Card]
    demo_corpus: ClassVar[str]
    Corpus: ClassVar[type[CorpusBlock]] = CorpusBlock
    Model: ClassVar[type[Block]] = Block

    def __init__(self, corpus: CorpusBlock, model: Block) -> None:
        self.corpus, self.model = corpus, model

    @abstractmethod
    def cuts(self) -> CutSet:
        """The unlabelled utterances."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The upstream with what only pre-training needs: `(wavs (B, T), lengths (B,)) -> (scalar loss, measures to log)`."""

    @abstractmethod
    def save(self, module: nn.Module, folder: Path, notes: dict[str, Any]) -> None:
        """Write the upstream inside a module that `build` made, in native format; `notes` say how it was trained."""
