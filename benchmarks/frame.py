"""How fast frame heads train from the store beside s3prl's live encoder: python benchmarks/frame.py [--json FILE] [--task pr|asr]

Phone (PR) and speech recognition (ASR) by their recipes on HuBERT Base, CTC, Adam, clip 1: 8 utterances of 6 to 14 s a step for PR,
4 for ASR, where s3prl's packed LSTMs take longer on a CPU than its encoder. Ours is the training loop that `run_downstream.py -m train`
runs, on a corpus of audio files, with its reading from the store of frames and, for ASR, its SpecAugment; the checkpoint behind
the last step is not counted. s3prl's are its own expert, featurizer and head: padded together as its runner does, and one utterance
after the other, which wastes nothing on padding.

The difference is the relative one of the batch's loss, before any training and without dropout, from s3prl's in fp32 with each
utterance encoded by itself. In a padded batch s3prl's own values change: zeros enter the first convolution's norm over time, and the
last frame that is kept of a shorter utterance is partly padding. White noise and random weights make this larger than speech would.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _hubert
import _loop
import _machine
import _s3prl
from _loop import Loop, Utterance
from _machine import Row, Times
from _s3prl import Live

from corpus.batch import load_batch
from corpus.units import CHARACTERS, PHONES, VOWELS
from downstream.kinds import RecurrentCTCHead
from downstream.pr import PRHead
from upstream.formats.wav2vec2 import WRITERS

WORDS_A_SECOND = 2.75
WORDS = ["".join(letters) for letters in itertools.product("BDMT", "AEIO", "NRST", "AEIO")]
DTYPES = ("float16", "float32")
HEADS = ("a step", "s min", "s median", "x RT", "x s3prl", "difference")
LIVE, ALONE, LOWER = "s3prl, live, padded", "s3prl, live, one by one", "s3prl, live, padded, encoder in bf16"


@dataclass(frozen=True)
class Case:
    """A task on one batch.

    Attributes:
        steps: of ours a round.
        settings: of the recipe, changed.
    """

    task: str
    seconds: tuple[float, ...]
    steps: int
    settings: dict[str, Any]

    @property
    def batch(self) -> str:
        """In words."""
        return f"batch {len(self.seconds)} of {min(self.seconds):g} to {max(self.seconds):g} s"


def cases(folder: Path, quick: bool) -> list[Case]:
    """Both tasks; every step is one batch of all utterances."""
    pr = (0.5, 1.0) if quick else (6.0, 7.0, 8.0, 9.5, 10.5, 12.0, 13.0, 14.0)
    asr = (0.5, 1.0) if quick else (6.0, 9.0, 11.0, 14.0)
    once = {"runner.gradient_accumulate_steps": 1, "runner.total_steps": 10_000}
    pr_only = {"corpus.lexicons": f"[{folder / 'lexicon.txt'}]", "optimizer.lr": 1e-2, **batching(len(pr))}
    asr_only = {"optimizer.lr": 1e-4, **batching(len(asr)), **({"head.projection": 16, "head.hidden": 16} if quick else {})}
    return [Case("pr", pr, 2 if quick else 20, once | pr_only), Case("asr", asr, 2 if quick else 3, once | asr_only)]


def batching(size: int) -> dict[str, str]:
    """Batches of so many utterances."""
    return {"corpus.batching": f"{{method: random, batch_size: {size}}}"}


def write_lexicon(path: Path) -> None:
    """Four phones for each word."""
    phones = [phone for phone in PHONES if not phone.startswith(("<", "S")) and (phone[:2] not in VOWELS or phone.endswith("1"))]
    path.write_text(
        "".join(f"{word} {' '.join(phones[(5 * place + i) % len(phones)] for i in range(4))}\n" for place, word in enumerate(WORDS))
    )


def utterances(seconds: Sequence[float]) -> list[Utterance]:
    """Utterances of these lengths with about as many words as speech has."""
    words = itertools.cycle(WORDS[::7])
    return [Utterance(each, " ".join(itertools.islice(words, max(1, round(WORDS_A_SECOND * each))))) for each in seconds]


def peer_head(loop: Loop) -> _s3prl.Head:
    """s3prl's head for the task, with our weights."""
    dim, head = loop.session.encoder.dim, loop.task.head
    if isinstance(head, PRHead):
        return _s3prl.linear_head(dim, head.projection, len(PHONES)).take(loop.head)
    assert isinstance(head, RecurrentCTCHead)
    return _s3prl.recurrent_head(dim, head.projection, len(CHARACTERS), head.hidden, head.layers, head.dropout).take(loop.head)


class Comparison:
    """Our loops, one for each precision of the store, and s3prl's, on one batch."""

    def __init__(self, case: Case, folder: Path, checkpoint: Path) -> None:
        self.case = case
        manifest = _loop.write_corpus(folder / "corpus", utterances(case.seconds))
        self.loops = {f"weir, frames in {dtype}": self._loop(folder / dtype, checkpoint, manifest, dtype) for dtype in DTYPES}
        loop = next(iter(self.loops.values()))
        self.cuts = loop.batches(1)[0]
        batch = load_batch(self.cuts)
        self.wavs = [wav[:length] for wav, length in zip(batch.wavs, batch.lengths.tolist(), strict=True)]
        self.labels = [loop.task.label(cut) for cut in self.cuts]
        encoder, loss, rate = _s3prl.expert(checkpoint), loop.task.loss, loop.session.config.optimizer.lr
        self.peers = {
            LIVE: Live(encoder, peer_head(loop), loss, rate),
            ALONE: Live(encoder, peer_head(loop), loss, rate, alone=True),
            LOWER: Live(encoder, peer_head(loop), loss, rate, lower=True),
        }

    def _loop(self, folder: Path, checkpoint: Path, manifest: Path, dtype: str) -> Loop:
        loop = Loop(folder, self.case.task, checkpoint, manifest, store="frames", settings={**self.case.settings, "store.dtype": dtype})
        loop.prepare()
        return loop

    def differences(self) -> dict[str, float]:
        """Each one's loss of the batch against s3prl's of utterances by themselves, with the weights of now."""
        losses = {name: loop.evaluate(self.cuts) for name, loop in self.loops.items()}
        losses |= {name: peer.evaluate(self.wavs, self.labels) for name, peer in self.peers.items()}
        return {name: abs(loss - losses[ALONE]) / losses[ALONE] for name, loss in losses.items()}

    def times(self, rounds: int) -> dict[str, Times]:
        """Seconds a step of each, in turns."""
        variants: dict[str, Any] = {name: lambda loop=loop: loop.steps(self.case.steps) for name, loop in self.loops.items()}
        variants |= {name: lambda peer=peer: peer.step(self.wavs, self.labels) for name, peer in self.peers.items()}
        found = _machine.interleaved(variants, rounds)
        own = {name: Times(tuple(taken / self.case.steps for taken in found[name].rounds)) for name in self.loops}
        return {**found, **own}

    def lines(self, times: dict[str, Times], differences: dict[str, float]) -> list[list[str]]:
        """The table's rows."""
        rows = []
        for name, taken in times.items():
            speed, against = sum(self.case.seconds) / taken.min, times[LIVE].min / taken.min
            rows.append([name, f"{taken.min:.3g}", f"{taken.median:.3g}", f"{speed:.3g}", f"{against:.3g}", f"{differences[name]:.1e}"])
        return rows

    def ratio(self, times: dict[str, Times]) -> Row:
        """Our faster store against s3prl as its runner batches."""
        fastest = min(self.loops, key=lambda name: times[name].min)
        own, peer = times[fastest].min, times[LIVE].min
        what = f"{self.case.task.upper()} step, {fastest} against s3prl live, fp32, {self.case.batch}"
        return Row(f"{self.case.task}-step", what, round(own, 4), round(peer, 4), "s", round(peer / own, 2))


def main() -> None:
    """Time, print and write."""
    parser = _machine.parser("Training of frame heads from the store beside s3prl's live encoder.")
    parser.add_argument("--task", choices=("pr", "asr"), help="one of them; default: both")
    args = parser.parse_args()
    _s3prl.require(parser)
    machine, versions = _machine.start(args)
    rows = []
    with tempfile.TemporaryDirectory() as name, _loop.own_cache():
        folder = Path(name)
        write_lexicon(folder / "lexicon.txt")
        WRITERS["s3prl"](_hubert.published(_hubert.random_model(1 if args.quick else 12)), folder / "hubert.pt")
        for case in cases(folder, args.quick):
            if args.task in (None, case.task):
                comparison = Comparison(case, folder / case.task, folder / "hubert.pt")
                differences, times = comparison.differences(), comparison.times(args.rounds)
                table = _machine.table(HEADS, comparison.lines(times, differences))
                print(f"\n{case.task.upper()} on HuBERT Base, {case.batch}\n{table}", flush=True)
                rows.append(comparison.ratio(times))
    _machine.finish(args, "frame", machine, versions, rows)


if __name__ == "__main__":
    main()
