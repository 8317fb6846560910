"""What an experiment keeps of its command line, and what may be typed beside a checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

import upstream
from engine import yaml12
from engine.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class Arguments:
    """What an experiment keeps of its command line, under s3prl's names. Plain values only."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    downstream: str
    upstream: str
    upstream_ckpt: str | None = None
    padding: Literal["alone", "reference"] = "alone"
    upstream_trainable: bool = False
    upstream_feature_selection: str = "hidden_states"
    upstream_layer_selection: int | None = None
    upstream_feature_normalize: bool = False
    preset: str = "superb"
    config: str | None = None
    init_ckpt: str | None = None
    data: str | None = None
    demo: bool = False
    seed: int = 1337
    precision: str = "fp32"

    @property
    def layer(self) -> int | None:
        """The hidden state that the head sees; None for the weighted sum."""
        return -1 if self.upstream_feature_selection == "last_hidden_state" else self.upstream_layer_selection


def typed(args: argparse.Namespace, task: str | None) -> dict[str, Any]:
    """The fields of `Arguments` that were typed, in the form in which they are kept."""
    values: dict[str, Any] = {field.name: getattr(args, field.name, None) for field in fields(Arguments)}
    values["downstream"] = task
    if args.upstream is not None:
        values["upstream"] = upstream.check(args.upstream, args.upstream_ckpt)
    for name in ("upstream_ckpt", "config", "init_ckpt"):
        if values[name] is not None and Path(values[name]).exists():
            values[name] = str(Path(values[name]).resolve())
    if args.upstream_model_config is not None:
        options = yaml12.read(Path(args.upstream_model_config))
        if set(options) - {"padding"} or options.get("padding") not in ("alone", "reference"):
            raise ConfigError(f"-g {args.upstream_model_config}: {options}; an upstream takes padding: alone or padding: reference")
        values |= options
    if values["data"] is not None:
        values["data"] = str(values["data"].resolve())
    if args.upstream_feature_selection == "last_hidden_state" and args.upstream_layer_selection is not None:
        raise ConfigError("-s last_hidden_state and -l choose two different layers; give one of them")
    return {name: value for name, value in values.items() if value is not None}


ACTING = ("data", "demo", "precision")
"""What may be typed beside a checkpoint to act on it; everything else must be as the checkpoint has it."""


def from_checkpoint(saved: dict[str, Any], given: dict[str, Any], path: Path) -> Arguments:
    """The arguments of a checkpoint with those typed beside it. Raises ConfigError for one that says otherwise, naming both."""
    try:
        arguments = TypeAdapter(Arguments).validate_python(saved)
    except ValidationError as error:
        odd = ", ".join(".".join(map(str, problem["loc"])) or "all" for problem in error.errors())
        raise CheckpointError(f"{path} is no checkpoint of a head, or of another version: its arguments do not fit ({odd})") from None
    for name, value in given.items():
        if name not in ACTING and getattr(arguments, name) != value:
            had = getattr(arguments, name)
            raise ConfigError(f"--{name} {value}: {path} was trained with {had}; leave the flag out, or give -n for another run")
    acting = {name: value for name, value in given.items() if name in ACTING}
    if "data" in acting:
        acting["demo"] = False
    elif acting.get("demo"):
        acting["data"] = None
    return replace(arguments, **acting)
