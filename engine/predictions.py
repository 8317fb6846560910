"""`predictions/SPLIT.jsonl`: one line an utterance, sorted by id; what every metric is computed from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from corpus.files import write_atomically
from engine.errors import CheckpointError
from engine.task import Prediction


def path_of(folder: Path, split: str) -> Path:
    """Where an experiment's folder holds the predictions of a split."""
    return folder / "predictions" / f"{split}.jsonl"


def write(folder: Path, split: str, predictions: Sequence[Prediction]) -> None:
    """Write a split's predictions, which are sorted by `utt_id`."""
    path = path_of(folder, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(prediction), ensure_ascii=False) for prediction in predictions]
    write_atomically(path, "".join(line + "\n" for line in lines))


def read(folder: Path, split: str) -> list[Prediction]:
    """What `write` wrote. Raises CheckpointError, naming file and line, where it is missing or broken."""
    path = path_of(folder, split)
    try:
        with open(path, encoding="utf-8") as lines:
            return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); evaluate {folder} again") from None


def _parse(line: str, where: str) -> Prediction:
    try:
        return Prediction(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{where} is broken ({error}); evaluate again") from None
