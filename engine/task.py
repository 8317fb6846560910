"""The interfaces that the engine drives: `HeadTask` (a head on a representation), `SearchTask` (a task without training) and
`Objective` (pre-training).

Tasks and objectives import this file and nothing else of the engine. It stays free of torch and Lhotse at run time, so that
`--list` and `--describe` answer at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from corpus.batching import Batching
from engine.errors import TaskError as TaskError

if TYPE_CHECKING:
    import numpy as np
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn


Protocol = Literal["superb", "corrected"]


class Block(BaseModel):
    """A block of the configuration: unknown keys are refused, values are checked.

    A block's checks are built at its first use, so that listing all tasks builds those of none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, defer_build=True)

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


class Statistic(ABC):
    """How a metric depends on the units that a bootstrap draws anew: utterances, speakers or queries."""

    @property
    @abstractmethod
    def units(self) -> int:
        """How many there are."""

    @abstractmethod
    def under(self, counts: np.ndarray) -> np.ndarray:
        """The metric (R,) in its unit, where each unit counts `counts` (R, units) times; NaN where it has no value then."""


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % bootstrap interval, in the metric's unit.

    Attributes:
        interval: gives the low and the high end; asked once, and not while training, which needs the value alone.
        statistic: what the interval is made from, for comparing two runs.
    """

    value: float
    interval: Callable[[], tuple[float, float]] = field(compare=False, repr=False)
    statistic: Statistic | None = field(default=None, compare=False, repr=False)

    @property
    def low(self) -> float:
        return self._ends[0]

    @property
    def high(self) -> float:
        return self._ends[1]

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return self.interval()


@dataclass(frozen=True)
class Prediction:
    """One utterance's outcome; text as one string, classes by name. `reference` is None at inference."""

    utt_id: str
    prediction: str
    reference: str | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What `--describe` prints of a task or an objective.

    Attributes:
        departures: what the published recipe does and Weir does not, where numbers may change; the leaderboard marks it.
    """

    title: str
    data: str
    splits: dict[str, str]
    head: str
    selection: str
    source: str
    notes: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()


Classes = dict[str, list[str]]
"""Names of classes by kind, such as {"speaker": ["id10001", …]}; a class's index is its place."""

Outcome = Any
"""What a task keeps of one utterance until the whole split is collected: a `Prediction` for most, an embedding for others."""


@dataclass(frozen=True)
class Quirk:
    """A habit of the published benchmark that changes numbers: kept by `protocol: superb`, mended by `protocol: corrected`.

    `quirks: {NAME: true|false}` in the configuration chooses for one of them, whatever the protocol.
    """

    name: str
    superb: str
    corrected: str


FRAME_ROUNDING = Quirk(
    "frame_rounding",
    superb="an utterance has round(samples / stride) frames, or as many as the upstream gives where these are fewer",
    corrected="an utterance has the frames that the upstream gives",
)

PADDED_TIME_MASKS = Quirk(
    "padded_time_masks",
    superb="SpecAugment places time masks over the padded length of a batch, so that short utterances get fewer",
    corrected="SpecAugment places time masks within each utterance",
)


@dataclass(frozen=True)
class Setting:
    """What a run gives its task beside the blocks of the configuration.

    Attributes:
        protocol, quirks: see `Quirk`.
        classes: what `HeadTask.find_classes` found in the training data; kept in every checkpoint.
        stride: samples between the upstream's frames.
    """

    protocol: Protocol = "superb"
    quirks: Mapping[str, bool] = field(default_factory=dict)
    classes: Classes = field(default_factory=dict)
    stride: int = 160


@dataclass(frozen=True)
class Outcomes:
    """Everything that a split gave: its cuts and their outcomes, both by id."""

    split: str
    cuts: Mapping[str, Cut]
    found: Mapping[str, Outcome]


class Task(ABC):
    """One downstream task, as its paper defines it.

    A task writes no files, prints nothing and never touches the optimizer; the engine does.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    metrics: tuple[Metric, ...]
    """The first one is the main metric: it selects the best checkpoint, or the best layer. A quirk may choose another one."""
    splits: ClassVar[tuple[str, ...]]
    unscored: ClassVar[tuple[str, ...]] = ()
    """Splits that cannot be evaluated, such as one without trials (ASV's train)."""
    dev_split: ClassVar[str] = "dev"
    test_split: ClassVar[str] = "test"
    demo_corpus: ClassVar[str]
    """Name of the demo edition in `corpus.demo.editions`."""
    quirks: ClassVar[tuple[Quirk, ...]] = ()
    recipes: ClassVar[Path | None] = None
    """Folder that holds `superb/NAME.yaml` and `mini/NAME.yaml`; None for those that ship with Weir."""
    Corpus: ClassVar[type[CorpusBlock]] = CorpusBlock
    Head: ClassVar[type[Block]] = Block

    def __init__(self, corpus: CorpusBlock, head: Block, setting: Setting | None = None) -> None:
        self.corpus, self.head, self.setting = corpus, head, setting or Setting()

    def keeps(self, quirk: Quirk) -> bool:
        """Whether this run keeps a habit of the published benchmark."""
        return self.setting.quirks.get(quirk.name, self.setting.protocol == "superb")

    @abstractmethod
    def cuts(self, split: str) -> CutSet:
        """The utterances of a split, each with an id of its own. Raises DataError where its data is missing."""

    def unavailable(self, split: str) -> str | None:
        """Why this data cannot give a split that the task has otherwise; None where it can. Such a split is skipped with a line."""
        return None

    @abstractmethod
    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Every metric, computed from saved predictions alone."""


class HeadTask(Task):
    """A task whose head trains: data, labels, head, loss, predictions, metric."""

    train_split: ClassVar[str] = "train"
    best_checkpoint: ClassVar[str] = "dev-best.ckpt"
    chosen_on_test: bool = False
    """True where the published number is that of the best of all saved checkpoints on the test split (ASV)."""
    variants: ClassVar[tuple[str, ...]] = ()
    """What `-v` may name, such as the folds of a cross-validation; the first one is the default."""
    variant_key: ClassVar[str] = ""
    """The key of the corpus block that holds the variant."""
    quirks: ClassVar[tuple[Quirk, ...]] = (FRAME_ROUNDING,)

    def find_classes(self, cuts: CutSet) -> Classes:
        """The classes that the training cuts hold, for tasks that learn them from the data: `self.setting.classes` ever after."""
        return {}

    def crop_seconds(self, cut: Cut) -> float | None:
        """Length of the part of a training utterance that a step sees, drawn anew each time; None for all of it."""
        return None

    def is_labelled(self, split: str) -> bool:
        """Whether `label` and `loss` make sense on a split."""
        return True

    @abstractmethod
    def label(self, cut: Cut) -> Any:
        """What `loss` needs of one utterance. Raises DataError, naming it, where that cannot be had."""

    @abstractmethod
    def build_head(self, dim: int, stride: int) -> nn.Module:
        """A module `(features (B, F, D), lengths (B,)) -> output` for features of `dim`, `stride` samples apart."""

    @abstractmethod
    def loss(self, output: Any, labels: Sequence[Any]) -> Tensor:
        """The scalar training loss of a batch, averaged over its utterances."""

    @abstractmethod
    def predict(self, output: Any, utt_ids: Sequence[str]) -> list[Outcome]:
        """One outcome an utterance, in order: a `Prediction` without its reference, or what `collect` makes predictions of."""

    def infer(self, output: Any, utt_ids: Sequence[str]) -> list[Prediction]:
        """What `-m inference` prints of each utterance; for tasks whose outcomes are no predictions."""
        return self.predict(output, utt_ids)

    def reference(self, cut: Cut) -> str:
        """What a prediction is compared with."""
        raise NotImplementedError(f"{type(self).__name__} collects its predictions in its own way")

    def collect(self, outcomes: Outcomes, dev: Callable[[], Outcomes]) -> list[Prediction]:
        """The predictions of a whole split, with references; the engine sorts them by id.

        Args:
            dev: gives the same checkpoint's outcomes of the development split, for tasks that tune on it.
        """
        return [replace(found, reference=self.reference(outcomes.cuts[utt_id])) for utt_id, found in outcomes.found.items()]


class SearchTask(Task):
    """A task without training: the hidden states of each layer are compared as they are, and the best layer is chosen on dev."""

    @abstractmethod
    def search(self, split: str, cuts: CutSet, features: Mapping[str, Tensor]) -> list[Prediction]:
        """The predictions of a split from one layer.

        Args:
            cuts: those of the split.
            features: (F, D) float32 by utterance id.
        """


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
