"""`--check`: what a training run would read, build and take, without running it."""

from __future__ import annotations

import shutil
import time

from lhotse.cut import Cut

from corpus.batching import Position, stream
from engine import results, sources
from engine.learners import cropped
from engine.session import HeadSession, headline, trained_parameters
from engine.store import choosing


def report(session: HeadSession) -> str:
    """What a run would take, after one update's forward and backward."""
    plan = session.plan
    config, encoder, train_split = session.config, session.encoder, session.task.train_split
    splits = {
        split: session.cuts(split)
        for split in dict.fromkeys([train_split, *config.runner.eval_dataloaders])
        if not session.task.unavailable(split)
    }
    hours = {split: sum(cut.duration for cut in cuts) / 3600 for split, cuts in splits.items()}
    stored, why = _is_stored(session, [cut for cuts in splits.values() for cut in cuts])
    _, first = next(stream(splits[train_split], config.corpus.batching, plan.arguments.seed, Position(0, 0), session.task.label))
    loaded = session.live(train_split).load([cropped(cut, session.task.crop_seconds(cut), cut.id) for cut in first])
    loss, encoding, update = _timed_update(session, loaded)
    updates = config.runner.total_steps * config.runner.gradient_accumulate_steps
    audio = float(loaded.samples.sum()) / encoder.sample_rate
    once = encoding / audio * 3600 * sum(hours.values())
    seconds = updates * update + (once if stored else updates * encoding)
    assert loaded.audio is not None
    rows = {
        **{f"split {split}": f"{len(cuts):,} utterances, {hours[split]:.2f} h" for split, cuts in splits.items()},
        "upstream parameters": f"{sum(p.numel() for p in encoder.parameters()):,}",
        "trained parameters": f"{trained_parameters(session):,}",
        "one batch of audio": f"{tuple(loaded.audio.wavs.shape)} samples",
        "hidden states": f"{encoder.num_states} of {encoder.dim} features, one a {1000 * encoder.stride / encoder.sample_rate:g} ms",
        "first loss": f"{loss:.3f}",
        "representations": f"{'encoded once and stored' if stored else 'encoded at every step'} ({why})",
        "time": f"about {seconds / 60:.1f} min for {updates:,} micro-batches, evaluation not counted",
        "memory so far": f"{results.peak_memory_bytes() / 2**30:.2f} GB",
        "free disk": f"{shutil.disk_usage('.').free / 2**30:.0f} GB",
    }
    return "\n".join([headline(session), *(f"  {name:<20} {value}" for name, value in rows.items())])


def _is_stored(session: HeadSession, cuts: list[Cut]) -> tuple[bool, str]:
    """Whether there would be a store, speed apart, and why."""
    config = session.config.store
    if session.frozen is None or config.mode == "off":
        return False, "the upstream trains" if session.frozen is None else "--store off"
    reduction = session.reduction()
    size = sources.estimate_bytes(session.encoder, cuts, reduction)
    fits, sizes = choosing.room(config, choosing.Demand(size, 0, sources.seconds(cuts), 1))
    return fits, f"{reduction}, {sizes}"


def _timed_update(session: HeadSession, loaded: sources.Loaded) -> tuple[float, float, float]:
    """The loss of a micro-batch, the seconds that encoding it takes, and those of the rest of the update."""
    session.probe.train()
    encoding = update = loss = 0.0
    for _ in range(2):  # the first one warms up
        began = time.monotonic()
        prepared = session.evaluator.prepare(loaded)
        encoded = time.monotonic()
        value = session.task.loss(prepared.through(session.probe), loaded.labels)
        value.backward()
        loss = value.item()
        encoding, update = encoded - began, time.monotonic() - encoded
    return loss, encoding, update
