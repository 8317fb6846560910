"""What `-m extract` was asked for: its flags checked and its audio listed before anything heavy begins."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import upstream
from engine.arguments import typed
from engine.config import size_bytes
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.extract.utterances import Utterance

FORMATS = ("safetensors", "npy", "hdf5")
CONTENTS = ("states", "mean", "codes")
DTYPES = ("float32", "float16")

SHARD_SIZE = "512M"
BATCH_SECONDS = 60.0

OWN = {
    "what": "--what",
    "format": "--format",
    "dtype": "--dtype",
    "shard_size": "--shard-size",
    "batch_seconds": "--batch-seconds",
}
"""Flags of this command alone."""

FOREIGN = {
    "downstream": "-d",
    "downstream_variant": "-v",
    "config": "-c",
    "override": "-o",
    "preset": "--preset",
    "check": "--check",
    "past_exp": "-e",
    "init_ckpt": "-i",
    "json": "--json",
    "upstream_trainable": "-f",
    "upstream_feature_normalize": "--upstream_feature_normalize",
    "data": "--data",
    "demo": "--demo",
    "store": "--store",
    "store_limit": "--store-limit",
    "seed": "--seed",
    "sweep": "--sweep",
    "seeds": "--seeds",
}
"""Flags that mean nothing to it."""


@dataclass(frozen=True)
class Extraction:
    """One extraction, resolved.

    Attributes:
        upstream: registered name.
        checkpoint: what -k says; None for the published weights.
        what: one of `CONTENTS`.
        layers: hidden states as typed, negative ones from the end; None for all.
        shard_bytes: largest shard; one utterance may be larger.
        batch_seconds: padded audio that is encoded at once.
        folder: where everything is written.
    """

    upstream: str
    checkpoint: str | None
    padding: Any
    precision: str
    what: str
    layers: tuple[int, ...] | None
    format: str
    dtype: str
    shard_bytes: int
    batch_seconds: float
    utterances: tuple[Utterance, ...]
    folder: Path
    overwrite: bool


def refuse_own_flags(args: argparse.Namespace) -> None:
    """Raises ConfigError where another command is given a flag of this one."""
    for name, flag in OWN.items():
        if getattr(args, name) is not None:
            raise ConfigError(f"{flag} belongs to -m extract")
    if args.layers not in (None, "all"):
        raise ConfigError(f"--layers {args.layers}: -m {args.mode} takes --layers all; a list of hidden states belongs to -m extract")


def plan_extraction(args: argparse.Namespace) -> Extraction:
    """The extraction that the command line asks for.

    Raises:
        ConfigError: flags that are missing, contradict each other or mean nothing here.
        DataError: audio or manifests that do not exist, or utterances that would share a name.
        UpstreamError: unknown upstream or checkpoint.
    """
    from engine.extract.utterances import find

    for name, flag in FOREIGN.items():
        if getattr(args, name) is not None:
            raise ConfigError(f"{flag} means nothing to -m extract, which writes what an upstream gives for audio; leave it out")
    if not args.upstream:
        raise ConfigError("-u is not given: it names the upstream (see --list)")
    if not args.evaluate_split:
        raise ConfigError("-m extract needs -t: audio files, folders or manifests (.tsv, .csv, .jsonl)")
    if args.auto_resume and args.overwrite:
        raise ConfigError("-a goes on with an extraction and --overwrite replaces it: give one of them")
    what = args.what or "states"
    if what == "codes" and args.dtype:
        raise ConfigError(f"--dtype {args.dtype}: codes are whole numbers, stored as int64; leave it out")
    given = typed(args, None)
    if given.get("upstream_ckpt"):
        upstream.find_checkpoint(given["upstream_ckpt"])
    utterances = tuple(find(args.evaluate_split))
    if args.format == "hdf5":
        _check_groups(utterances)
    return Extraction(
        upstream=given["upstream"],
        checkpoint=given.get("upstream_ckpt"),
        padding=given.get("padding", "alone"),
        precision=given.get("precision", "fp32"),
        what=what,
        layers=_layers(args, what),
        format=args.format or "safetensors",
        dtype="int64" if what == "codes" else args.dtype or "float32",
        shard_bytes=_bytes(args.shard_size or SHARD_SIZE),
        batch_seconds=_positive(BATCH_SECONDS if args.batch_seconds is None else args.batch_seconds),
        utterances=utterances,
        folder=_folder(args),
        overwrite=bool(args.overwrite),
    )


def _layers(args: argparse.Namespace, what: str) -> tuple[int, ...] | None:
    """The hidden states that --layers, -l or -s choose; None for all."""
    last = args.upstream_feature_selection == "last_hidden_state"
    number = args.upstream_layer_selection
    if what == "codes" and (args.layers or last or number is not None):
        raise ConfigError("--what codes has no layers to choose: leave --layers, -l and -s out")
    if args.layers and (last or number is not None):
        raise ConfigError("--layers chooses the hidden states: leave -l and -s last_hidden_state out")
    if last or number is not None:
        return (-1 if last else number,)
    if args.layers in (None, "all"):
        return None
    try:
        return tuple(int(word) for word in args.layers.split(","))
    except ValueError:
        raise ConfigError(f"--layers {args.layers}: give all, or numbers such as 6,9,-1") from None


def _bytes(text: str) -> int:
    """A size as `--store-limit` writes it."""
    try:
        size = size_bytes(text)
    except ValueError:
        size = 0
    if size <= 0:
        raise ConfigError(f"--shard-size {text}: give a size such as 500M or 1G")
    return size


def _positive(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--batch-seconds {seconds:g}: give a number of seconds above 0, such as 60")
    return seconds


def _folder(args: argparse.Namespace) -> Path:
    if args.expdir and args.expname:
        raise ConfigError("-n names an extraction and -p its folder: give one of them")
    if not (args.expdir or args.expname):
        raise ConfigError("-m extract needs -p, the folder to write (or -n NAME for result/extract/NAME)")
    folder = Path(args.expdir) if args.expdir else Path("result/extract") / args.expname
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: -p names the folder to write")
    return folder


def _check_groups(utterances: tuple[Utterance, ...]) -> None:
    """Raises ConfigError where a name is also the folder of another: HDF5 has one object of a name, data set or group."""
    by_key = {utterance.key: utterance for utterance in utterances}
    for utterance in utterances:
        for parent in PurePosixPath(utterance.key).parents:
            if other := by_key.get(str(parent)):
                raise ConfigError(
                    f"--format hdf5: {other.path} would be called {other.key}, which is a folder of {utterance.path}; "
                    "give --format safetensors or npy"
                )
