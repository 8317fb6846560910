"""Pictures that a run leaves: what the layers weigh, and a metric over the layers or over learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.files import write_atomically


def layer_weights(path: Path, weights: Sequence[float], title: str) -> None:
    """Bars: the share of each hidden state in the weighted sum."""
    figure, axes = _figure(f"{title}: learned layer weights", "hidden state", "share")
    axes.bar(range(len(weights)), weights, color="tab:blue")
    axes.axhline(1 / len(weights), color="gray", linewidth=1, linestyle="--")
    axes.set_xticks(range(len(weights)))
    _save(figure, path)


def metric_over_layers(path: Path, values: Mapping[str, Sequence[float]], label: str, title: str) -> None:
    """Lines: a metric of one head a hidden state, one line a split."""
    figure, axes = _figure(title, "hidden state", label)
    for split, line in values.items():
        axes.plot(range(len(line)), line, marker="o", label=split)
        axes.set_xticks(range(len(line)))
    axes.legend()
    _save(figure, path)


def metric_over_rates(path: Path, rates: Sequence[float], values: Sequence[Sequence[float]], label: str, title: str) -> None:
    """A line through the means of a metric over learning rates, and a point for each seed."""
    figure, axes = _figure(title, "learning rate", label)
    for rate, of_rate in zip(rates, values, strict=True):
        axes.plot([rate] * len(of_rate), of_rate, ".", color="gray")
    axes.plot(rates, [sum(of_rate) / len(of_rate) for of_rate in values], marker="o", color="tab:blue")
    axes.set_xscale("log")
    _save(figure, path)


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # no window, no global state

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    write_atomically(path, lambda making: figure.savefig(making, format="png", dpi=150))
