"""The training loop: order, accumulation, what it logs, what it saves, and going on after any interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import checkpoint, experiment
from engine.errors import CheckpointError
from tests.conftest import ROOT
from tests.engine import make

pytestmark = [  # where a test takes the place of the optimizer's step
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    pytest.mark.filterwarnings("ignore:Seems like `optimizer.step"),
]


def weights(folder: Path, step: int) -> dict[str, Any]:
    return checkpoint.load(folder / f"states-{step}.ckpt")


def assert_same(one: Any, two: Any, place: str = "state") -> None:
    """Equal to the last bit, whatever is nested."""
    assert type(one) is type(two), place
    if isinstance(one, dict):
        assert one.keys() == two.keys(), place
        for key in one:
            assert_same(one[key], two[key], f"{place}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), place
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{place}.{index}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), place
    else:
        assert one == two, place


def without_clock(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "Run": {key: value for key, value in state["Run"].items() if key not in ("seconds", "peak_memory_bytes")}}


@pytest.mark.parametrize("stop", [3, 6, 9])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, stop: int, accumulate: int) -> None:
    whole = make.trainer(tmp_path / "whole", make.ToyLearner(), gradient_accumulate_steps=accumulate)
    whole.run()
    for path in experiment.states(tmp_path / "whole"):  # a run that is killed after `stop` leaves this behind
        if int(path.stem.split("-")[1]) <= stop:
            (tmp_path / "cut").mkdir(exist_ok=True)
            (tmp_path / "cut" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cut" / "metrics.jsonl").write_text((tmp_path / "whole" / "metrics.jsonl").read_text())
    torch.manual_seed(99)
    resumed = make.trainer(tmp_path / "cut", make.ToyLearner(), gradient_accumulate_steps=accumulate)
    resumed.restore(weights(tmp_path / "cut", stop))
    resumed.run()
    assert_same(without_clock(weights(tmp_path / "whole", 12)), without_clock(weights(tmp_path / "cut", 12)))
    assert make.lines(tmp_path / "whole") == make.lines(tmp_path / "cut")


def test_micro_batches_come_in_the_order_of_the_stream(tmp_path: Path) -> None:
    learner = make.ToyLearner()
    make.trainer(tmp_path, learner, gradient_accumulate_steps=2, total_steps=7).run()
    stream = make.ToyLearner().stream(make.Position(0, 0))
    assert learner.seen == [next(stream)[1][0] for _ in range(14)]
    assert weights(tmp_path, 7)["Run"]["position"] == [2, 4]
    assert weights(tmp_path, 7)["Epoch"] == 2


def test_accumulated_gradient_is_the_mean_over_micro_batches(tmp_path: Path) -> None:
    """Against SGD by hand: no dropout, weights after one update from two micro-batches."""
    learner = make.ToyLearner()
    learner.module.dropout.p = 0.0
    trainer = make.trainer(tmp_path, learner, gradient_accumulate_steps=2, total_steps=1, gradient_clipping=1e9)
    by_hand = make.ToyLearner()
    by_hand.module.dropout.p = 0.0
    stream = by_hand.stream(make.Position(0, 0))
    loss = sum(by_hand.compute(by_hand.module, next(stream)[1][0])[0] for _ in range(2)) / 2
    loss.backward()
    trainer.raw_optimizer.step = lambda: None  # keep the gradient: look at it where it would be used
    seen = {}
    trainer.raw_optimizer.zero_grad = lambda: seen.update({n: p.grad.clone() for n, p in learner.module.named_parameters()})
    trainer.run()
    for name, parameter in by_hand.module.named_parameters():
        torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-6, atol=1e-7)


def test_gradient_is_clipped_to_its_norm_and_the_log_has_the_norm_before(tmp_path: Path) -> None:
    learner = make.ToyLearner()
    trainer = make.trainer(tmp_path, learner, total_steps=1, log_step=1, gradient_clipping=0.25)
    norms = []
    trainer.raw_optimizer.step = lambda: norms.append(torch.cat([p.grad.flatten() for p in learner.module.parameters()]).norm().item())
    trainer.run()
    assert norms[0] == pytest.approx(0.25, rel=1e-4)
    assert make.lines(tmp_path, "train")[0]["grad_norm"] > 1.0


def test_logged_loss_is_the_mean_over_all_micro_batches_since_the_last_line(tmp_path: Path) -> None:
    """Saves (steps 3, 6) and evaluations (step 5) in between take nothing away."""
    learner = make.ToyLearner()
    make.trainer(tmp_path, learner, gradient_accumulate_steps=2, log_step=7, total_steps=12).run()
    first, last = make.lines(tmp_path, "train")
    assert (first["step"], last["step"]) == (7, 12)
    assert first["loss"] == pytest.approx(sum(learner.losses[:14]) / 14, rel=1e-6)
    assert last["loss"] == pytest.approx(sum(learner.losses[14:]) / 10, rel=1e-6)
    assert first["number"] == pytest.approx(sum(learner.seen[:14]) / 14)


def test_measure_that_some_micro_batches_lack_is_the_mean_over_those_that_have_it(tmp_path: Path) -> None:
    class Sometimes(make.ToyLearner):
        def compute(self, module: Any, loaded: int) -> Any:
            loss, measures = super().compute(module, loaded)
            return loss, measures if loaded % 2 else {}

    learner = Sometimes()
    make.trainer(tmp_path, learner, total_steps=5, log_step=5).run()
    assert make.lines(tmp_path, "train")[0]["number"] == pytest.approx((1 + 3) / 2)
    assert sorted(learner.seen) == [0, 1, 2, 3, 4]


def test_logged_rate_is_the_one_the_update_used(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner(), log_step=1).run()
    rates = [line["lr"] for line in make.lines(tmp_path, "train")]
    # 12 steps, warm-up 0.2 × 12 = 2.4: (step + 1) / 3.4, then (12 - step) / 9.6 of 0.05
    assert rates[:4] == pytest.approx([0.05 / 3.4, 0.05 * 2 / 3.4, 0.05 * 3 / 3.4, 0.05 * 9 / 9.6])
    assert rates[-1] == pytest.approx(0.05 / 9.6)


def test_no_line_lies_beyond_the_checkpoint_after_a_resume(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner()).run()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 13, "split": "tr')  # what a kill leaves
    resumed = make.trainer(tmp_path, make.ToyLearner())
    resumed.restore(weights(tmp_path, 6))
    resumed._open_logs()
    resumed.writer.close()
    assert [line["step"] for line in make.lines(tmp_path)] == [2, 4, 5, 6]


def test_first_evaluation_writes_the_best_checkpoint_and_only_better_ones_replace_it(tmp_path: Path) -> None:
    for values, step in (((-200.0, -250.0, -300.0), 5), ((-200.0, -150.0, -150.0), 10), ((-3.0, -2.0, -1.0), 12)):
        folder = tmp_path / str(step)
        make.trainer(folder, make.ToyLearner(values)).run()
        best = checkpoint.load(folder / "dev-best.ckpt")
        assert best["Step"] == step
        assert best["Run"]["best"] == max(values)


def test_best_value_is_remembered_over_a_resume(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner((5.0, 0.0, 0.0))).run()
    resumed = make.trainer(tmp_path, make.ToyLearner((4.0, 4.5)))
    resumed.restore(weights(tmp_path, 6))
    resumed.run()
    assert checkpoint.load(tmp_path / "dev-best.ckpt")["Step"] == 5


def test_last_step_is_always_saved_logged_and_evaluated(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner((1.0,)), total_steps=4, log_step=100, eval_step=100, save_step=100).run()
    assert [path.name for path in experiment.states(tmp_path)] == ["states-4.ckpt"]
    assert (tmp_path / "dev-best.ckpt").exists()
    assert [(line["step"], line["split"]) for line in make.lines(tmp_path)] == [(4, "train"), (4, "dev")]


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner(), total_steps=24, max_keep=2).run()
    assert [path.name for path in experiment.states(tmp_path)] == ["states-21.ckpt", "states-24.ckpt"]


def test_update_with_a_gradient_that_is_not_finite_is_left_out_and_counted(tmp_path: Path) -> None:
    learner = make.ToyLearner(poisoned=(1, 4))
    trainer = make.trainer(tmp_path, learner, total_steps=6, save_step=1, log_step=6)
    trainer.run()
    states = [weights(tmp_path, step) for step in range(1, 7)]
    for before, after, skipped in zip(states, states[1:], (True, False, False, True, False), strict=False):
        assert torch.equal(before["Downstream"]["weight"], after["Downstream"]["weight"]) is skipped
    assert all(bool(torch.isfinite(state["Downstream"]["weight"]).all()) for state in states)
    assert states[-1]["Run"]["skipped"] == 2
    assert make.lines(tmp_path, "train")[-1]["skipped"] == 2


def test_run_stops_after_too_many_skipped_updates_in_a_row(tmp_path: Path) -> None:
    learner = make.ToyLearner(poisoned=(1, 3, 4, 5, 6, 7, 8))
    with pytest.raises(CheckpointError, match=r"not finite in 3 updates in a row \(step 6\)"):
        make.trainer(tmp_path, learner, patience=2).run()


def test_evaluation_in_between_changes_nothing(tmp_path: Path) -> None:
    for eval_step in (1, 100):
        make.trainer(tmp_path / str(eval_step), make.ToyLearner(), eval_step=eval_step).run()
    assert_same(without_clock(weights(tmp_path / "1", 12)), without_clock(weights(tmp_path / "100", 12)))


def test_reading_ahead_changes_nothing(tmp_path: Path) -> None:
    for depth in (0, 5):
        make.trainer(tmp_path / str(depth), make.ToyLearner(), prefetch=depth, gradient_accumulate_steps=2).run()
    assert_same(without_clock(weights(tmp_path / "0", 12)), without_clock(weights(tmp_path / "5", 12)))


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner()).run()
    state = weights(tmp_path, 12)
    state["Downstream"]["weight"] = torch.zeros(2, 2)
    with pytest.raises(CheckpointError, match="step 12 does not fit"):
        make.trainer(tmp_path, make.ToyLearner()).restore(state)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tests.engine import make

folder, moment = Path(sys.argv[1]), sys.argv[2]
real_save, real_replace, calls = torch.save, os.replace, []

def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

def save(state, file):
    calls.append(1)
    if moment == "writing" and len(calls) == 3:
        real_save(state, file)
        os.truncate(file, os.path.getsize(file) // 2)
        die()
    real_save(state, file)

def replace(source, target):
    if moment == "renaming" and len(calls) == 3:
        die()
    real_replace(source, target)

torch.save, os.replace = save, replace
make.trainer(folder, make.ToyLearner(), max_keep=1, eval_step=100).run()
"""


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_kill_in_the_middle_of_a_save_leaves_the_old_checkpoint_and_the_run_goes_on(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), moment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in experiment.states(tmp_path / "run")] == ["states-6.ckpt"]
    assert checkpoint.load(tmp_path / "run" / "states-6.ckpt")["Step"] == 6
    experiment.prepare(tmp_path / "run", overwrite=False, resume=True)
    names = {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("events")}
    assert names == {"states-6.ckpt", "metrics.jsonl"}  # no half-written file stays
    resumed = make.trainer(tmp_path / "run", make.ToyLearner(), max_keep=1, eval_step=100)
    resumed.restore(weights(tmp_path / "run", 6))
    resumed.run()
    make.trainer(tmp_path / "whole", make.ToyLearner(), eval_step=100).run()
    assert_same(without_clock(weights(tmp_path / "whole", 12)), without_clock(weights(tmp_path / "run", 12)))


def test_metrics_are_strict_json_even_where_a_loss_was_not_a_number(tmp_path: Path) -> None:
    make.trainer(tmp_path, make.ToyLearner(poisoned=(1,)), total_steps=4).run()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for text in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=refuse)


def test_states_of_a_course_that_was_left_make_room_for_those_of_the_new_one(tmp_path: Path) -> None:
    """Going on from step 3 where 6, 9 and 12 lie too: what is written last must be what a resume finds."""
    make.trainer(tmp_path, make.ToyLearner(), total_steps=12).run()
    again = make.trainer(tmp_path, make.ToyLearner(), total_steps=8, max_keep=1, save_step=4)
    again.restore(weights(tmp_path, 3))
    again.run()
    assert [path.name for path in experiment.states(tmp_path)] == ["states-8.ckpt"]
