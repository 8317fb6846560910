"""`-m evaluate` of a task without training: every hidden state, the best one chosen on dev and reported for the other splits."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lhotse.cut import Cut
from torch import Tensor
from tqdm import tqdm

from corpus.files import write_atomically
from corpus.fingerprint import fingerprint
from engine import evaluating, experiment, predictions, results, sweep, yaml12
from engine.errors import ConfigError
from engine.plan import Plan
from engine.session import Session, check_split
from engine.sources import Source
from engine.task import FRAME_ROUNDING, Prediction, Score, SearchTask
from upstream.featurizer import check_layer, nominal_lengths

log = logging.getLogger("weir")


def evaluate(plan: Plan, args: argparse.Namespace) -> int:
    """Search with each layer, write what the best one on dev gives, and print the table."""
    for split in args.evaluate_split or []:
        check_split(plan.task, split)
    there = results.read(plan.folder).get("task")
    if experiment.holds_run(plan.folder) and there != plan.task.name:
        raise ConfigError(f"{plan.folder} holds a run of {there or 'another task'}; give -n for another name")
    session = Session(plan, args.device)
    if session.accelerator.num_processes > 1:
        raise ConfigError(f"{plan.task.name} runs in one process: leave torchrun or accelerate launch out")
    search = Search(session, list(dict.fromkeys([plan.task.dev_split, *(args.evaluate_split or [plan.task.test_split])])))
    search.prepare_folder()
    entries = search.run()
    evaluating.show(plan.folder, results.read(plan.folder), entries, bool(args.json))
    return 0


class Search:
    """A task's search over the layers of an upstream.

    Args:
        splits: the first one, dev, chooses the layer.
    """

    def __init__(self, session: Session, splits: Sequence[str]) -> None:
        assert isinstance(session.task, SearchTask)
        self.session, self.task, self.splits, self.began = session, session.task, splits, time.monotonic()
        every, chosen = range(session.encoder.num_states), session.plan.arguments.layer
        if chosen is not None:
            check_layer(chosen, len(every))
        self.layers = list(every) if chosen is None else [every[chosen]]
        self.store: dict[str, Any] = {}

    def prepare_folder(self) -> None:
        session, folder = self.session, self.session.plan.folder
        results.check_same_run(folder, self._record())
        experiment.prepare(folder, overwrite=False, resume=False)
        write_atomically(folder / "config.yaml", yaml12.write(session.config.model_dump(mode="json")))
        experiment.log_to(folder)

    def run(self) -> evaluating.Entries:
        """Every layer on every split; the entries of the best one, which are written."""
        cuts = {cut.id: cut for split in self.splits for cut in self.session.cuts(split)}
        source = self.session.source(self.splits[0], list(cuts.values()), uses=len(self.layers))
        self.store = source.origin.record()
        main = self.task.metrics[0]
        values: dict[str, list[float]] = {split: [] for split in self.splits}
        best: tuple[float, int] | None = None
        kept: dict[str, tuple[list[Prediction], dict[str, Score]]] = {}
        for layer in self.layers:
            features = self._features(source, list(cuts.values()), layer)
            found = {split: self._search(split, features) for split in self.splits}
            for split, (_, scores) in found.items():
                values[split].append(scores[main.name].value)
            figures = "  ".join(f"{split} {line[-1]:.4f}" for split, line in values.items())
            log.info("layer %d%s  %s  %s", layer, self.session.plan.mark, main.name, figures)
            rank = values[self.splits[0]][-1] * (1 if main.higher_is_better else -1)
            if best is None or rank > best[0]:
                best, kept = (rank, layer), found
        assert best is not None
        if len(self.layers) > 1:
            sweep.write_layers(self.session.plan.folder, main, values, f"{self.task.name}{self.session.plan.mark}")
        return {split: self._write(split, best[1], *kept[split]) for split in self.splits}

    def _features(self, source: Source, cuts: list[Cut], layer: int) -> dict[str, Tensor]:
        """One hidden state of every utterance: (F, D) float32 by id."""
        session, features = self.session, {}
        assert session.frozen is not None
        for batch in tqdm(session.evaluation_batches(cuts), desc=f"layer {layer}", unit="batch", leave=False):
            loaded = source.load(batch)
            representation = session.frozen.represent(loaded)
            states, lengths = representation.hidden_states[layer].float().cpu(), representation.lengths.cpu()
            if self.task.keeps(FRAME_ROUNDING):
                lengths = nominal_lengths(loaded.samples, session.encoder.stride, lengths)
            for utt_id, row, frames in zip(loaded.utt_ids, states, lengths.tolist(), strict=True):
                features[utt_id] = row[:frames].clone()
        return features

    def _search(self, split: str, features: dict[str, Tensor]) -> tuple[list[Prediction], dict[str, Score]]:
        rows = sorted(self.task.search(split, self.session.cuts(split), features), key=lambda row: row.utt_id)
        return rows, self.task.score(rows)

    def _write(self, split: str, layer: int, rows: list[Prediction], scores: dict[str, Score]) -> dict[str, Any]:
        session = self.session
        fingerprints = {"upstream": session.upstream_fingerprint, "corpus": fingerprint(session.cuts(split))}
        entry = results.entry(
            self.task.metrics, scores, utterances=len(rows), checkpoint=f"layer {layer}", step=0, selection="dev",
            demo=session.plan.arguments.demo, fingerprints=fingerprints, store=self.store, cost=self._cost(),
        )  # fmt: skip
        predictions.write(session.plan.folder, split, rows)
        results.update(session.plan.folder, self._record(), split, entry)
        return entry

    def _cost(self) -> results.Cost:
        return results.Cost(time.monotonic() - self.began, results.peak_memory_bytes(), 0)

    def _record(self) -> dict[str, Any]:
        """The run's own keys in results.json."""
        session, arguments = self.session, self.session.plan.arguments
        corpus = fingerprint([cut for split in self.task.splits for cut in session.cuts(split)])
        return {
            "task": self.task.name,
            "upstream": arguments.upstream,
            "protocol": session.config.protocol,
            "preset": arguments.preset,
            "demo": arguments.demo,
            "config": {**session.config.model_dump(mode="json"), "args": asdict(arguments)},
            "seed": arguments.seed,
            "versions": results.versions(),
            "fingerprints": {"upstream": session.upstream_fingerprint, "corpus": corpus},
            "store": self.store,
            "cost": asdict(self._cost()),
        }
