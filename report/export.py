"""The prediction files of a SUPERB submission, under the names and in the formats of s3prl's `submit/submit.py`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from corpus.files import make_folder, write_atomically
from engine.errors import ConfigError
from engine.task import Prediction
from report.collect import Run, lone_variant, predictions, test_split
from report.published import Reference

Predictions = Sequence[Prediction]

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip: the same predictions make the same bytes."""


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        files: path below the folder, and the run that it comes from.
        lacking: what SUPERB would miss or stumble over, one message each.
    """

    folder: Path
    files: tuple[tuple[str, Run], ...]
    lacking: tuple[str, ...]


def export(runs: Sequence[Run], out: Path, reference: Reference, demo: bool = False) -> Submission:
    """Write `predict/TASK_public/…` and `predict.zip` into a new folder.

    Args:
        demo: runs on the demo corpora are meant.
    Raises:
        ConfigError: no run has a task of SUPERB, two runs have the same one, the runs are of different upstreams, or on demo
            corpora without `demo`; the folder exists.
        CheckpointError: predictions are missing or broken.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; name a new folder with -o")
    runs = [run for run in runs if run.record.task in FORMATS and test_split(run) in run.record.splits]
    _check(runs, demo)
    texts: dict[str, str] = {}
    files: dict[str, Run] = {}
    for run in runs:
        file, write = FORMATS[run.record.task].file, FORMATS[run.record.task].write
        for place, rows in _places(run).items():
            path = f"predict/{place}_public/{file}"
            if path in files:
                raise ConfigError(f"two runs make {path}: {files[path].folder} and {run.folder}; name the folders of one submission")
            texts[path], files[path] = write(rows), run
    make_folder(out, lambda folder: _write(folder, texts))
    return Submission(out, tuple(sorted(files.items())), tuple(_lacking(runs, texts, reference)))


def _check(runs: Sequence[Run], demo: bool) -> None:
    """Refuse what cannot be one submission."""
    if not runs:
        raise ConfigError(f"no run of {', '.join(FORMATS)} has a result on its test split; run -m evaluate first")
    upstreams = sorted({f"{run.record.upstream} {run.record.arguments.get('upstream_ckpt') or ''}".strip() for run in runs})
    if len(upstreams) > 1:
        raise ConfigError(f"runs of {' and '.join(upstreams)}: a submission is of one upstream; name the folders of its runs")
    on_demo = [run.name for run in runs if run.record.demo]
    if on_demo and not demo:
        raise ConfigError(f"{', '.join(on_demo)}: on demo corpora, which SUPERB cannot score; --demo writes the files all the same")


def _places(run: Run) -> dict[str, list[Prediction]]:
    """Predictions by what SUPERB calls them; each fold of a cross-validation has a place of its own."""
    found, public = predictions(run, test_split(run)), FORMATS[run.record.task].public
    fold = lone_variant(run)
    return {f"{public}_{name or fold}" if name or fold else public: rows for name, rows in found.items()}


def _lacking(runs: Sequence[Run], paths: Collection[str], reference: Reference) -> Iterator[str]:
    """What SUPERB would miss or stumble over, one message each."""
    for task, form in FORMATS.items():
        folders = [path.split("/")[1] for path in paths]
        wanted = [f"{form.public}_{fold}_public" for fold in form.folds] or [f"{form.public}_public"]
        if absent := [name for name in wanted if name not in folders]:
            yield f"{', '.join(absent)} missing: no run of {task} has its test predictions"
    for run in runs:
        lines, whole = run.record.splits[test_split(run)].utterances, reference.test_size.get(run.record.task)
        if whole and lines != whole and not lone_variant(run):
            yield f"{run.name}: {lines:,} of {whole:,} test items"
    yield "sd_public left out: it holds the probabilities of every frame (HDF5), and runs save turns; diarization cannot be submitted"


def _write(folder: Path, texts: dict[str, str]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in texts.items():
            write_atomically(folder / path, text)
            archive.writestr(zipfile.ZipInfo(path, LONG_AGO), text, zipfile.ZIP_DEFLATED)
    write_atomically(folder / "predict.zip", packed.getvalue())


def _lines(line: Callable[[Prediction], str]) -> Callable[[Predictions], str]:
    return lambda rows: "".join(f"{line(row)}\n" for row in rows)


def _spoken(row: Prediction) -> str:
    """An utterance and its text, or its class."""
    return f"{row.utt_id} {row.prediction}"


def _command(row: Prediction) -> str:
    """A clip of Speech Commands by its folder and file, and its word."""
    return f"{row.utt_id.replace('/', '-')}.wav {row.prediction}"


def _trial(row: Prediction) -> str:
    """A trial and its score; one that the list repeats is called ID#2 here."""
    return f"{row.utt_id.partition('#')[0]} {row.scores['cosine']}"


def _detections(rows: Predictions) -> str:
    """NIST's list of detected terms as s3prl writes it: every query with its score in every document."""
    from downstream.qbe import SEPARATOR

    name = "benchmark"
    root = ElementTree.Element(
        "stdlist", termlist_filename=f"{name}.stdlist.xml", indexing_time="1.00", language="english", index_size="1", system_id=name
    )
    terms: dict[str, ElementTree.Element] = {}
    for row in rows:
        query, _, document = row.utt_id.partition(SEPARATOR)
        if query not in terms:
            terms[query] = ElementTree.SubElement(root, "detected_termlist", termid=query, term_search_time="1.0", oov_term_count="1")
        place = {"file": document, "channel": "1", "tbeg": "0.000", "dur": "0.00"}
        ElementTree.SubElement(terms[query], "term", place, score=f"{row.scores['score']:.4f}", decision=row.prediction)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True).decode() + "\n"


@dataclass(frozen=True)
class Format:
    """What SUPERB calls a task, the name of its file, and how that is written; `folds` have a file each."""

    public: str
    file: str
    write: Callable[[Predictions], str]
    folds: tuple[str, ...] = ()


FORMATS = {
    "pr": Format("pr", "predict.ark", _lines(_spoken)),
    "asr": Format("asr", "predict.ark", _lines(_spoken)),
    "ks": Format("ks", "predict.txt", _lines(_command)),
    "ic": Format("ic", "predict.csv", _lines(lambda row: f"{row.utt_id},{row.prediction}")),
    "sid": Format("sid", "predict.txt", _lines(_spoken)),
    "er": Format("er", "predict.txt", _lines(_spoken), folds=("fold1", "fold2", "fold3", "fold4", "fold5")),
    "qbe": Format("qbe", "benchmark.stdlist.xml", _detections),
    "sf": Format("sf", "predict.ark", _lines(_spoken)),
    "asv": Format("sv", "predict.txt", _lines(_trial)),
}
"""By task."""
