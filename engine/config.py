"""The configuration: YAML files and `-o` overrides read into checked models. Every problem is reported at once.

Top-level blocks: task, protocol, quirks, corpus, head, runner, optimizer, scheduler, specaug, store (downstream; tasks without
training have no optimizer, scheduler and specaug); task, corpus, model, runner, optimizer, scheduler (pre-training).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, create_model, model_validator

import configs
from engine import yaml12
from engine.errors import ConfigError
from engine.task import Block, CorpusBlock, HeadTask, Objective, Protocol, Task
from upstream.settings import explain

CONFIGS = Path(configs.__path__[0])
"""Where the shipped configurations stand, wherever the package is installed."""

ALIASES = {"downstream_expert.datarc": "corpus", "downstream_expert.modelrc": "head"}
"""s3prl's names for blocks, accepted in files and overrides."""


class Encoding(Block):
    """How a split is encoded and evaluated.

    Attributes:
        eval_batch_seconds: seconds of audio in an evaluation batch.
    """

    eval_batch_seconds: float = Field(60.0, gt=0)


class Runner(Encoding):
    """The training loop. Steps count optimizer updates.

    Attributes:
        gradient_clipping: largest total L2 norm of the gradient.
        gradient_accumulate_steps: micro-batches an update and process.
        eval_dataloaders: splits evaluated every `eval_step`; the task's development split selects the best checkpoint.
        max_keep: newest `states-STEP.ckpt` kept.
        prefetch: updates whose data is read ahead by a thread of its own.
        patience: updates in a row that may be skipped for a gradient that is not finite before the run stops.
    """

    total_steps: int = Field(gt=0)
    gradient_clipping: float = Field(1.0, gt=0)
    gradient_accumulate_steps: int = Field(1, gt=0)
    log_step: int = Field(100, gt=0)
    eval_step: int = Field(1000, gt=0)
    save_step: int = Field(1000, gt=0)
    max_keep: int = Field(2, gt=0)
    eval_dataloaders: list[str] = []
    prefetch: int = Field(4, ge=0)
    patience: int = Field(20, gt=0)


Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Block):
    """`Adam`, `AdamW` or `SGD` of torch.optim with torch's own defaults."""

    name: Literal["Adam", "AdamW", "SGD"] = "Adam"
    lr: float = Field(gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    decay_matrices_only: bool = False
    momentum: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _acting(self) -> Optimizer:
        foreign = ("betas", "eps") if self.name == "SGD" else ("momentum",)
        for name in foreign:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{self.name} has no {name}")
        return self


class Scheduler(Block):
    """Learning rate over the run: linear warm-up, hold, then decay to zero at the last step.

    `constant` never decays. `warmup` and `hold` are shares of all steps.
    """

    name: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(0.0, ge=0, le=1)
    hold: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> Scheduler:
        if self.warmup + self.hold > 1:
            raise ValueError(f"warmup {self.warmup} + hold {self.hold} is more than the whole run")
        return self


class SpecAug(Block):
    """SpecAugment on the features that the head sees (superb_tasks 2.3). Ranges are [low, high): s3prl's uniform integers.

    Attributes:
        freq_mask_scale_dim: with a number, frequency widths are meant for that many features and scaled to the upstream's.
    """

    apply_time_warp: bool = True
    time_warp_window: int = Field(5, ge=1)
    apply_freq_mask: bool = True
    freq_mask_width_range: tuple[int, int] = (0, 20)
    num_freq_mask: int = Field(2, ge=0)
    freq_mask_scale_dim: int | None = None
    apply_time_mask: bool = True
    time_mask_width_range: tuple[int, int] = (0, 100)
    num_time_mask: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _ranges(self) -> SpecAug:
        for name in ("freq_mask_width_range", "time_mask_width_range"):
            low, high = getattr(self, name)
            if not 0 <= low < high:
                raise ValueError(f"{name} [{low}, {high}] holds no width: it is [low, high) with 0 <= low < high")
        return self


def size_bytes(text: str) -> int:
    """Bytes of a size such as 500M or 10G. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 500M or 10G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


class Store(Block):
    """Representations of a frozen upstream kept on disk between epochs and runs.

    Attributes:
        mode: `auto` stores means over frames where they are all that the head needs, else the frames where there is room and reading
            them is faster than encoding anew; `frames` and `pooled` insist; `off` never stores.
        limit: largest store of a split, in bytes or as a size such as `50G`. Half of the free disk is another limit.
        dtype: of stored frames. `float16` and `bfloat16` take half the room and are not exact; means are always float32.
        crops: parts of each longer training utterance that are drawn once and stored, where a task trains on random parts; 0 draws a new
            part at every step and encodes it, as published.
    """

    mode: Literal["auto", "frames", "pooled", "off"] = "auto"
    limit: str = "50G"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    crops: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _size(self) -> Store:
        self.limit_bytes()
        return self

    def limit_bytes(self) -> int:
        """The largest store."""
        return size_bytes(self.limit)


class TaskConfig(Block):
    """A run of a task without training."""

    task: str
    protocol: Protocol = "superb"
    quirks: dict[str, bool] = {}
    corpus: CorpusBlock
    head: Block
    runner: Encoding = Field(default_factory=Encoding)
    store: Store = Field(default_factory=Store)


class DownstreamConfig(TaskConfig):
    """A run of a task whose head trains."""

    runner: Runner
    optimizer: Optimizer
    scheduler: Scheduler | None = None
    specaug: SpecAug | None = None


class PretrainConfig(Block):
    """A pre-training run."""

    task: str
    corpus: CorpusBlock
    model: Block
    runner: Runner
    optimizer: Optimizer
    scheduler: Scheduler | None = None


C = TypeVar("C", bound=Block)


def downstream_schema(task: type[Task]) -> type[TaskConfig]:
    """The configuration of this task, its own `corpus` and `head` blocks included."""
    base = DownstreamConfig if issubclass(task, HeadTask) else TaskConfig
    blocks: dict[str, Any] = {"task": (Literal[task.name], task.name), "corpus": (task.Corpus, ...), "head": (task.Head, ...)}
    if base is TaskConfig:
        blocks |= {"corpus": (task.Corpus, task.Corpus()), "head": (task.Head, task.Head())}
    return create_model(base.__name__, __base__=base, **blocks)


def pretrain_schema(objective: type[Objective]) -> type[PretrainConfig]:
    """The configuration of this objective."""
    blocks: dict[str, Any] = {"task": (Literal[objective.name], objective.name), "corpus": (objective.Corpus, ...)}
    return create_model("PretrainConfig", __base__=PretrainConfig, **blocks, model=(objective.Model, ...))


def resolve(schema: type[C], path: Path, overrides: str | None) -> C:
    """The configuration in a file with `-o` applied. Raises ConfigError listing every problem."""
    return validate(schema, override(_unaliased(yaml12.read(path)), overrides), str(path))


def override(values: dict[str, Any], text: str | None) -> dict[str, Any]:
    """A copy of `values` with `config.a.b=value` fields set, several separated by `,,`."""
    values = _copied(values)
    for field in filter(None, (part.strip() for part in (text or "").split(",,"))):
        key, equals, value = field.partition("=")
        path = key.strip().split(".")
        if not equals or path[0] != "config" or len(path) < 2 or not all(path):
            raise ConfigError(
                f"-o {field!r}: an override is config.BLOCK.KEY=VALUE, such as config.optimizer.lr=1.0e-4; ',,' separates several"
            )
        dotted = ".".join(path[1:])
        for old, new in ALIASES.items():
            if dotted == old or dotted.startswith(old + "."):
                dotted = new + dotted[len(old) :]
        if dotted in ("corpus.root", "corpus.demo"):
            raise ConfigError(f"-o {field!r}: --data DIR says where the data is, and --demo takes the built-in corpus")
        *parents, last = dotted.split(".")
        node = values
        for parent in parents:
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict):
                raise ConfigError(f"-o {field!r}: {parent!r} is a value, not a block")
        node[last] = yaml12.parse(value.strip(), f"-o {field!r}")
    return values


def validate(schema: type[C], values: dict[str, Any], where: str) -> C:
    """Checked configuration. Raises ConfigError listing every problem with the nearest valid key."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where} (with -o): {explain(schema, error, prefix='config.')}") from None


def _unaliased(values: dict[str, Any]) -> dict[str, Any]:
    """s3prl's `downstream_expert.datarc` and `.modelrc` moved to `corpus` and `head`."""
    expert = values.get("downstream_expert")
    if not isinstance(expert, dict):
        return values
    values = {key: value for key, value in values.items() if key != "downstream_expert"}
    for old, new in ALIASES.items():
        block = expert.get(old.split(".")[1])
        if isinstance(block, dict):
            values[new] = {**values.get(new, {}), **block}
    rest = {key: value for key, value in expert.items() if f"downstream_expert.{key}" not in ALIASES}
    return {**values, "downstream_expert": rest} if rest else values


def _copied(values: Any) -> Any:
    return {key: _copied(value) for key, value in values.items()} if isinstance(values, dict) else values
