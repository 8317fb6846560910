"""The command line of `leaderboard.py`. What is needed is imported where it is needed, so that `-h` answers at once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

RUNS = Path("result/downstream")
SUBMISSION = Path("superb-submission")

EXAMPLES = """examples:
  python leaderboard.py                                       every run in result/downstream, beside the published numbers
  python leaderboard.py result/downstream --format csv        for a spreadsheet; --format json for programs
  python leaderboard.py --compare result/downstream/ks-tera result/downstream/ks-fbank
                                                              is A better than B? paired bootstrap
  python leaderboard.py --export superb result/downstream/*-hubert -o my-submission
                                                              the prediction files of a SUPERB submission, and their zip
"""


@dataclass(frozen=True)
class Answer:
    """What goes to stdout, what to stderr, and the exit status: 2 where something named could not be used."""

    text: str
    remarks: tuple[str, ...] = ()
    status: int = 0


def parser() -> argparse.ArgumentParser:
    """The flags of `leaderboard.py`."""
    found = argparse.ArgumentParser(
        prog="leaderboard.py",
        description="Show what runs gave in one table, compare two of them, or write a submission to SUPERB.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help=f"experiments, or folders that hold them (default: {RUNS})")
    add("--format", choices=("markdown", "csv", "json"), default="markdown", help="default: %(default)s")
    add("--intervals", action="store_true", help="95 %% intervals in the Markdown table; CSV and JSON always have them")
    add("--no-published", action="store_true", help="leave the published numbers out")
    add("--compare", nargs=2, type=Path, metavar=("A", "B"), help="compare two experiments of one task on the same data")
    add("-t", "--split", metavar="SPLIT", help="with --compare: the split (default: the task's test split)")
    add("--export", choices=("superb",), help="write the files of a submission of the runs in FOLDER")
    add("-o", "--out", type=Path, metavar="OUT", help=f"with --export: the folder to make (default: {SUBMISSION})")
    add("--demo", action="store_true", help="with --export: runs on demo corpora are meant")
    return found


def run(args: argparse.Namespace) -> Answer:
    """Do what the command line asks for. Raises ConfigError for flags that do not go together."""
    from engine.errors import ConfigError

    given = {
        "--compare": bool(args.compare), "--export": bool(args.export), "-t": bool(args.split), "-o": bool(args.out), "--demo": args.demo,
        "--intervals": args.intervals, "--no-published": args.no_published, "FOLDER": bool(args.folders),
        "--format": args.format != "markdown",
    }  # fmt: skip
    what = "--compare" if args.compare else "--export" if args.export else "the table"
    fitting = {
        "--compare": ("--compare", "-t", "--format"),
        "--export": ("--export", "-o", "--demo", "FOLDER"),
        "the table": ("--format", "--intervals", "--no-published", "FOLDER"),
    }
    if odd := [flag for flag, is_given in given.items() if is_given and flag not in fitting[what]]:
        raise ConfigError(f"{', '.join(odd)} cannot act beside {what}; -h shows examples")
    return _compare(args) if args.compare else _export(args) if args.export else _table(args)


def _table(args: argparse.Namespace) -> Answer:
    from report import board, collect, published, table

    reference = published.load()
    runs, broken = collect.collect(args.folders or [RUNS])
    found = board.build(runs, reference, not args.no_published)
    if args.format == "csv":
        text = table.as_csv(found)
    elif args.format == "json":
        text = table.as_json(found, reference)
    else:
        text = table.markdown(found, reference, args.intervals)
    return Answer(text, (*found.left_out, *(f"error: {message}" for message in broken)), 2 if broken else 0)


def _compare(args: argparse.Namespace) -> Answer:
    from engine.errors import ConfigError
    from report import collect, compare

    if args.format == "csv":
        raise ConfigError("--compare has no CSV; take --format json")
    a, b = (collect.read(folder) for folder in args.compare)
    found = compare.compare(a, b, args.split)
    return Answer(compare.as_json(found) if args.format == "json" else compare.as_text(found))


def _export(args: argparse.Namespace) -> Answer:
    from report import collect, export, published

    runs, broken = collect.collect(args.folders or [RUNS])
    made = export.export(runs, args.out or SUBMISSION, published.load(), args.demo)
    lines = [f"{made.folder / path}  {run.name}" for path, run in made.files] + [str(made.folder / "predict.zip")]
    return Answer("\n".join(lines) + "\n", (*made.lacking, *(f"error: {message}" for message in broken)), 2 if broken else 0)
