"""How soon the command answers beside the import of s3prl's HuBERT expert: python benchmarks/startup.py [--json FILE]

Every round starts a fresh interpreter for each command and waits for its end. Compiled modules are kept between them, as they are for
whoever runs a command twice. What is timed is right where the exit status is the expected one and the answer has the expected word.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import _machine
from _machine import Row, Times

PROGRAM = Path(__file__).parent.parent / "run_downstream.py"
HEADS = ("command", "s min", "s median", "exit status", "answers")
TRAIN = ("-m", "train", "-u", "tera", "--demo", "-d")


@dataclass(frozen=True)
class Command:
    """What is run in a fresh interpreter, the exit status that it should end with, and a word of its answer."""

    name: str
    words: tuple[str, ...]
    status: int
    answer: str

    def run(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run it in `folder` and wait for it."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return subprocess.run([sys.executable, *self.words], cwd=folder, env=environment, capture_output=True, text=True)

    def cells(self, times: Times, folder: Path) -> list[str]:
        """Its row of the table, from one more run."""
        done = self.run(folder)
        status = str(done.returncode) if done.returncode == self.status else f"{done.returncode}, not {self.status}: WRONG"
        found = self.answer in (done.stdout if self.status == 0 else done.stderr)
        return [self.name, f"{times.min:.3f}", f"{times.median:.3f}", status, self.answer if found else f"no {self.answer}: WRONG"]


def ours(name: str, *words: str, status: int = 0, answer: str) -> Command:
    """A run of the downstream command."""
    return Command(name, (str(PROGRAM), *words), status, answer)


HELP = ours("-h", "-h", answer="--upstream")
COMMANDS = (
    HELP,
    ours("--list", "--list", answer="hubert"),
    ours("an unknown task", *TRAIN, "kss", status=2, answer="did you mean 'ks'"),
    ours("a wrong key in -o", *TRAIN, "ks", "-o", "config.optimizer.lrr=1", status=2, answer="did you mean 'lr'"),
)
PEER = Command(
    "s3prl: import UpstreamExpert of HuBERT",
    ("-c", "from s3prl.upstream.hubert.expert import UpstreamExpert; print(UpstreamExpert.__module__)"),
    0,
    "s3prl.upstream.hubert",
)


def measure(args: argparse.Namespace, folder: Path) -> list[Row]:
    """Time and print. Returns no ratio where s3prl is not installed."""
    commands = list(COMMANDS)
    if importlib.util.find_spec("s3prl"):
        commands.append(PEER)
    else:
        print('s3prl is not installed (pip install -e ".[peers]"): no ratio')
    times = _machine.interleaved({command: lambda command=command: command.run(folder) for command in commands}, args.rounds)
    print("\n" + _machine.table(HEADS, [command.cells(times[command], folder) for command in commands]), flush=True)
    if PEER not in times:
        return []
    own, peer = times[HELP].min, times[PEER].min
    what = "run_downstream.py -h against the import of s3prl's HuBERT expert, each in a fresh interpreter"
    return [Row("startup-help", what, round(own, 3), round(peer, 3), "s", round(peer / own, 1))]


def main() -> None:
    """Time, print and write."""
    args = _machine.parser("How soon the command answers beside the import of s3prl's HuBERT expert.").parse_args()
    machine, versions = _machine.start(args)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    _machine.finish(args, "startup", machine, versions, rows)


if __name__ == "__main__":
    main()
