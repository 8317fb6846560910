"""`-m inference`: one JSON object a file on stdout, in the order given."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from corpus.audio import audio_files, read_audio
from corpus.batch import Batch
from engine.errors import USER_ERRORS, ConfigError
from engine.plan import Plan
from engine.session import HeadSession
from engine.sources import Loaded, check_samples


def run(plan: Plan, args: argparse.Namespace) -> int:
    """Files that cannot be used are named and the others still done; then the exit status is 2."""
    assert plan.checkpoint is not None and plan.state is not None
    if not args.evaluate_split:
        raise ConfigError("-m inference needs -t: audio files or folders")
    session = HeadSession(plan, args.device, audio_only=True)
    session.check_upstream(plan.state, plan.checkpoint)
    session.load_weights(plan.state, plan.checkpoint)
    if not session.main:  # one process is enough
        return 0
    failed = False
    for given in args.evaluate_split:
        try:
            files = audio_files([given])
        except USER_ERRORS as error:
            print(f"error: {error}", file=sys.stderr)
            files, failed = [], True
        done = [_infer(session, path) for path in files]
        failed = failed or not all(done)
    return 2 if failed else 0


def _infer(session: HeadSession, path: Path) -> bool:
    """Print one file's prediction; False, after one message, for a file that cannot be used."""
    try:
        prediction = session.evaluator.infer(session.probe, _read_file(path, session.encoder.minimum_samples))[0]
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    row = {"utt_id": path.stem, "path": str(path), "prediction": prediction.prediction, "scores": prediction.scores}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return True


def _read_file(path: Path, least: int) -> Loaded:
    """One audio file as a micro-batch of its own."""
    samples = torch.from_numpy(read_audio(path))
    check_samples(str(path), len(samples), least)
    lengths = torch.tensor([len(samples)])
    return Loaded([path.stem], [], lengths, audio=Batch(samples[None], lengths, [path.stem]))
