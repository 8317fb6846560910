"""Time and memory of representing against utterances and layers, and a large store's opening: python benchmarks/growth.py [--json FILE]

Each corpus of audio files is represented by the code of `run_downstream.py -m train` in a process of its own, whose largest resident
memory is measured: PyTorch, the encoder, a small head and the writing of the store, without what loading the checkpoint took. The
store of 100,000 utterances is simulated: its index and shards have their true sizes, the shards are holes. Its opening is timed in
this process, with the files in the page cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from dataclasses import dataclass
from pathlib import Path

import _hubert
import _loop
import _machine
import torch
from _loop import Loop, Utterance
from _machine import Row, Times

from engine.store import layout
from engine.store.reading import Store
from engine.store.reduction import Reduction

LIMIT_GB, OPENING_MS = 4.0, 200.0
"""What the issue asks for."""

FORGETTING = Path("/proc/self/clear_refs")
OPENED = 100_000
SHARDS = 8
STATES, DIM = 13, 768
HEADS = ("representing", "audio s", "s min", "s median", "x RT", "peak memory GB", "store MB")
WRITTEN = ("pooled", "frames")


@dataclass(frozen=True)
class Case:
    """A corpus of so many utterances and an encoder of so many layers."""

    utterances: int
    seconds: float
    layers: int
    store: str

    def __str__(self) -> str:
        return f"{self.store}, {self.utterances} utterances, {self.layers} layers"

    @property
    def audio(self) -> float:
        """Seconds of it."""
        return self.utterances * self.seconds


@dataclass(frozen=True)
class Found:
    """What a process measured: seconds, and bytes of memory and of the store."""

    seconds: float
    memory: int
    stored: int


def cases(quick: bool) -> list[Case]:
    """Utterances x 1, x 4 and x 16 for both kinds of store, then a third and two thirds of the layers."""
    least, seconds, layers = (1, 0.5, 3) if quick else (8, 4.0, 12)
    more = [Case(least * times, seconds, layers, store) for store in WRITTEN for times in (1, 4, 16)]
    return more + [Case(4 * least, seconds, layers * thirds // 3, "frames") for thirds in (1, 2)]


def represent(case: Case, folder: Path, encoder: Path, threads: int) -> Found:
    """Represent a case's corpus, in a process that does nothing else."""
    torch.set_num_threads(threads)
    with _loop.own_cache():
        manifest = folder / f"{case.utterances}" / "manifest.csv"
        run = Path(tempfile.mkdtemp(dir=folder))
        loop = Loop(run / "run", "ks", encoder, manifest, store=case.store, settings={})
        forget_peak()
        seconds = loop.represent()
        return Found(seconds, peak_memory(), sum(path.stat().st_size for path in loop.store.rglob("*.bin")))


def forget_peak() -> None:
    """Largest memory counts from here: loading a checkpoint takes more than an encoder keeps."""
    FORGETTING.write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Bytes resident at most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def fresh(case: Case, folder: Path, encoder: Path, threads: int) -> Found:
    """`represent` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(represent, (case, folder, encoder, threads))
        pool.close()  # it ends by itself, and not by a signal
        pool.join()
    return found


def simulated(folder: Path) -> Path:
    """A pooled store of 100,000 utterances in 8 shards without content."""
    folder.mkdir()
    block, count = Reduction("pooled").bytes(STATES, DIM, 1), OPENED // SHARDS
    parts = []
    for number in range(SHARDS):
        with open(layout.shard_path(folder, number), "wb") as file:
            file.truncate(count * block)
        names = [(f"speaker-{number * count + place:06d}", 1, 16_000) for place in range(count)]
        parts.append(layout.Part(layout.Shard(count * block, "", "float32"), names))
    layout.write_index(folder, parts, STATES, DIM, True)
    return folder


def opening(folder: Path, rounds: int) -> Times:
    """How long the simulated store takes to open; what it then gives for an utterance is checked."""
    times = _machine.interleaved({"open": lambda: Store(folder)}, max(rounds, 5))["open"]
    store = Store(folder)
    found, samples = store.read([f"speaker-{OPENED - 1:06d}"])
    assert len(store) == OPENED and samples.tolist() == [16_000] and not found.hidden_states.any()
    return times


def growth(args: argparse.Namespace, folder: Path) -> dict[Case, list[Found]]:
    """Every case in turns, each time in a new process."""
    wanted = cases(args.quick)
    for count in {case.utterances for case in wanted}:
        _loop.write_corpus(folder / f"{count}", [Utterance(wanted[0].seconds, "YES") for _ in range(count)])
    for layers in {case.layers for case in wanted}:
        _hubert.random_model(layers).save_native(folder / f"hubert-{layers}")
    found: dict[Case, list[Found]] = {case: [] for case in wanted}
    for _ in range(1 if args.quick else args.rounds):
        for case in wanted:
            found[case].append(fresh(case, folder, folder / f"hubert-{case.layers}", args.threads))
    return found


def lines(found: dict[Case, list[Found]]) -> list[list[str]]:
    """The table's rows."""
    rows = []
    for case, each in found.items():
        times, memory = Times(tuple(one.seconds for one in each)), max(one.memory for one in each)
        figures = [f"{times.min:.3g}", f"{times.median:.3g}", f"{case.audio / times.min:.3g}", f"{memory / 1e9:.2f}"]
        rows.append([str(case), f"{case.audio:g}", *figures, f"{each[0].stored / 1e6:.4g}"])
    return rows


def ratios(found: dict[Case, list[Found]], opened: Times) -> list[Row]:
    """Memory and opening against what is asked for, and the growth of memory over 16 times the utterances (1: none)."""
    peaks = {case: max(one.memory for one in each) / 1e9 for case, each in found.items()}
    most, milliseconds = max(peaks.values()), 1e3 * opened.min
    rows = [Row("represent-memory", "most memory of all, against the limit", round(most, 3), LIMIT_GB, "GB", round(LIMIT_GB / most, 2))]
    for store in WRITTEN:
        same = [case for case in found if case.store == store]  # x 1, x 4, x 16
        small, large = peaks[same[0]], peaks[same[2]]
        what = f"memory of x 16 utterances against x 1, {store}"
        rows.append(Row(f"represent-growth-{store}", what, round(large, 3), round(small, 3), "GB", round(small / large, 3)))
    what = f"opening {OPENED:,} utterances, against the limit"
    rows.append(Row("store-open", what, round(milliseconds, 1), OPENING_MS, "ms", round(OPENING_MS / milliseconds, 2)))
    return rows


def main() -> None:
    """Time, print and write."""
    parser = _machine.parser("Time and memory of representing against utterances and layers.")
    args = parser.parse_args()
    if not FORGETTING.exists():
        parser.error(f"largest memory is measured through {FORGETTING}, which this system does not have")
    machine, versions = _machine.start(args)
    with tempfile.TemporaryDirectory() as name, _loop.own_cache():
        folder = Path(name)
        opened = opening(simulated(folder / "simulated"), args.rounds)
        print(f"\nopening {OPENED:,} utterances: {1e3 * opened.min:.1f} ms min, {1e3 * opened.median:.1f} median", flush=True)
        found = growth(args, folder)
    print("\n" + _machine.table(HEADS, lines(found)))
    _machine.finish(args, "growth", machine, versions, ratios(found, opened))


if __name__ == "__main__":
    main()
