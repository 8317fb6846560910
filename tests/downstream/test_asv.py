"""ASV: the head against its definition, the benchmark's sizes and quirks, trials from embeddings to error rates."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from corpus.errors import DataError
from corpus.voxceleb import VoxCeleb1
from downstream.asv import ASV, TASK
from downstream.xvector import Speaker, XVector, am_softmax, repeated, statistics
from engine.config import downstream_schema, resolve
from engine.task import Outcomes, Prediction, Protocol, Setting
from tests.corpus.make import write_tone

SMALL = {"projection": 5, "channels": [6, 6, 7], "contexts": [5, 3, 1], "dilations": [1, 2, 1], "embedding": 4}
LOST = 4 + 4


def lay_out(root: Path, speakers: int, seconds: Callable[[int], float] = lambda number: 0.2) -> Path:
    """`speakers` for training and two for trials, three utterances each, in two videos."""
    for folder, first, count in (("dev", 10_001, speakers), ("test", 10_270, 2)):
        for place in range(count):
            for number in range(3):
                write_tone(root / folder / f"wav/id{first + place}/v{number // 2}/0000{number}.wav", seconds(number))
    (root / "voxceleb1_test_v2.txt").write_text(
        "1 id10270/v0/00000.wav id10270/v1/00002.wav\n0 id10270/v0/00000.wav id10271/v0/00001.wav\n"
        "1 id10270/v0/00000.wav id10270/v1/00002.wav\n"
    )
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return lay_out(tmp_path / "VoxCeleb1", 9)


def task(root: Path | None = None, protocol: Protocol = "superb", speakers: list[str] | None = None, **options: object) -> ASV:
    corpus = ASV.Corpus(root=root, **{"longer_than_seconds": 0.0, **options})
    return ASV(corpus, ASV.Head(**SMALL), Setting(protocol, classes={"speaker": speakers or []}))


def head(speakers: int = 3, quirk: bool = False) -> XVector:
    torch.manual_seed(0)
    return XVector(8, speakers, **SMALL, one_frame_too_many=quirk)


def defined(model: XVector, features: Tensor) -> tuple[Tensor, Tensor]:
    """The definition in superb_tasks.md 8.2 on one utterance (F, D): windows unfolded, linear layers, ReLU."""
    x = model.projection(features)
    for layer in model.layers:
        (context,), (dilation,) = layer.kernel_size, layer.dilation
        windows = [x[start : start + (context - 1) * dilation + 1 : dilation] for start in range(len(x) - (context - 1) * dilation)]
        weight = layer.weight.transpose(1, 2).flatten(1)  # (out, context × in)
        x = F.relu(torch.stack(windows).flatten(1) @ weight.T + layer.bias)
    embedding = F.relu(model.embedding(torch.cat([x.mean(0), x.std(0)])))
    hidden = F.relu(model.hidden(embedding))
    return embedding, F.cosine_similarity(hidden[:, None], model.speakers, dim=0)


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is ASV and ASV.name == "asv" and ASV.splits == ("train", "dev", "test")
    assert [(metric.name, metric.unit, metric.higher_is_better) for metric in ASV.metrics] == [("eer", "%", False), ("mindcf", "", False)]


def test_recipe_is_that_of_the_benchmark() -> None:
    """superb_tasks.md, sections 0 and 8."""
    config = resolve(downstream_schema(ASV), Path("configs/downstream/superb/asv.yaml"), None)
    assert (config.corpus.batching.batch_size, config.runner.gradient_accumulate_steps) == (10, 5)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("AdamW", 1e-4, 0.01)
    assert (config.runner.total_steps, config.runner.save_step, config.runner.max_keep) == (200_000, 10_000, 20)
    assert config.runner.gradient_clipping == 1000.0
    assert (config.head, config.corpus.longer_than_seconds, config.corpus.crop_seconds) == (ASV.Head(), 2.0, 8.0)


def test_head_has_exactly_the_published_size() -> None:
    """6,730,204 for D = 768 and 1,211 speakers, loss included: superb_tasks.md, section 16."""
    superb = ASV(ASV.Corpus(), ASV.Head(), Setting(classes={"speaker": [f"id{10_001 + place}" for place in range(1211)]}))
    model = superb.build_head(768, 320)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_730_204
    assert model.lost == 14


def test_head_is_its_definition() -> None:
    model, features = head().eval(), torch.randn(1, 30, 8)
    output = model(features, torch.tensor([30]))
    embedding, cosines = defined(model, features[0])
    torch.testing.assert_close(output.embedding[0], embedding, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.cosines[0], cosines, rtol=1e-5, atol=1e-6)


def test_padding_and_neighbours_never_show() -> None:
    model, lengths = head(quirk=True).eval(), torch.tensor([30, 17, 3, 1])
    features = torch.randn(4, 30, 8)
    together = model(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together.embedding[row], alone.embedding[0], rtol=1e-5, atol=1e-6)


def test_one_frame_too_many_is_pooled_while_training_alone() -> None:
    features, lengths = torch.randn(2, 30, 8), torch.tensor([30, 20])
    kept, mended = head(quirk=True), head()
    longest, shorter = (kept(features, lengths).embedding == mended(features, lengths).embedding).all(1).tolist()
    assert longest and not shorter  # the longest of a batch has no padding
    padded = F.pad(features[1, :20], (0, 0, 0, 1))  # one frame of zeros
    torch.testing.assert_close(kept(features, lengths).embedding[1], defined(mended, padded)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kept.eval()(features, lengths), mended.eval()(features, lengths))


def test_short_utterances_are_repeated_until_two_frames_are_pooled() -> None:
    model, features = head().eval(), torch.randn(1, 3, 8)
    output = model(features, torch.tensor([3]))
    embedding, _ = defined(model, features[0].repeat(4, 1)[: LOST + 2])
    torch.testing.assert_close(output.embedding[0], embedding, rtol=1e-5, atol=1e-6)
    frames, lengths = repeated(torch.arange(3.0).reshape(1, 3, 1), torch.tensor([2]), 5)
    assert frames.flatten().tolist() == [0, 1, 0, 1, 0] and lengths.tolist() == [5]


def test_statistics_are_those_of_the_valid_frames() -> None:
    x, lengths = torch.randn(2, 4, 9), torch.tensor([9, 5])
    expected = torch.stack([torch.cat([row[:, :length].mean(1), row[:, :length].std(1)]) for row, length in zip(x, [9, 5], strict=True)])
    torch.testing.assert_close(statistics(x, lengths), expected)


def test_a_silent_channel_has_a_finite_gradient() -> None:
    x = torch.zeros(1, 2, 5, requires_grad=True)
    statistics(x, torch.tensor([5])).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_am_softmax_is_its_definition() -> None:
    """superb_tasks.md 8.2, without log-sum-exp: numerator s (cos - m), denominator with the other classes as they are."""
    cosines, speakers = torch.rand(5, 4) * 2 - 1, torch.tensor([0, 3, 1, 1, 2])
    losses = []
    for row, speaker in zip(cosines.double(), speakers.tolist(), strict=True):
        numerator = 30 * (row[speaker] - 0.4)
        others = sum(torch.exp(30 * row[other]) for other in range(4) if other != speaker)
        losses.append(torch.log(torch.exp(numerator) + others) - numerator)
    torch.testing.assert_close(
        am_softmax(cosines, speakers, scale=30.0, margin=0.4).double(), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6
    )


def test_loss_adds_the_margin_and_predictions_are_unit_embeddings() -> None:
    named = task(speakers=["id10001", "id10002"])
    output = Speaker(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.9, -0.2], [0.1, 0.3]]))
    torch.testing.assert_close(named.loss(output, [0, 1]), am_softmax(output.cosines, torch.tensor([0, 1]), scale=30.0, margin=0.4))
    np.testing.assert_allclose(named.predict(output, ["a", "b"]), [[0.6, 0.8], [0.0, 1.0]], rtol=1e-6)
    first, second = named.infer(output, ["a", "b"])
    assert (first.prediction, second.prediction) == ("id10001", "id10002") and first.scores["cosine"] == pytest.approx(0.9)


def test_layers_of_a_head_must_match() -> None:
    for wrong in ({"channels": [8, 8]}, {"channels": [], "contexts": [], "dilations": []}, {"dilations": [1, 0, 1, 1, 1]}):
        with pytest.raises(ValidationError, match="one positive number each"):
            ASV.Head(**wrong)


def test_training_takes_every_speaker_unless_corrected(root: Path) -> None:
    superb, corrected = task(root), task(root, "corrected")
    everyone = superb.find_classes(superb.cuts("train"))["speaker"]
    assert everyone == [f"id1000{place}" for place in range(1, 10)]
    held_out = {cut.supervisions[0].speaker for cut in superb.cuts("dev")}
    assert len(held_out) == 2 and held_out < set(everyone)
    assert {cut.supervisions[0].speaker for cut in corrected.cuts("dev")} == held_out
    assert corrected.find_classes(corrected.cuts("train"))["speaker"] == sorted(set(everyone) - held_out)
    assert superb.chosen_on_test and not corrected.chosen_on_test
    assert superb.is_labelled("train") and not superb.is_labelled("dev") and not superb.is_labelled("test")


def test_few_speakers_give_no_development_trials(root: Path, tmp_path: Path) -> None:
    assert task(root).unavailable("dev") is None and task(root).unavailable("test") is None
    few = task(lay_out(tmp_path / "few" / "VoxCeleb1", 7))
    assert "7 training speakers give no development trials" in (few.unavailable("dev") or "")
    assert len(few.cuts("train")) == 21
    assert len(task(tmp_path / "few", "corrected").cuts("train")) == 21  # nobody is held out


def test_short_utterances_do_not_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    data = lay_out(tmp_path / "VoxCeleb1", 8, lambda number: [0.2, 0.3, 0.4][number])
    caplog.set_level(logging.INFO)
    assert len(task(data, longer_than_seconds=0.3).cuts("train")) == 8  # longer than, not as long as
    assert "16 of 24 utterances are left out of training" in caplog.text
    with pytest.raises(DataError, match="none of 24 training utterances is longer than 2.0 s"):
        task(data, longer_than_seconds=2.0).cuts("train")


def test_speakers_on_both_sides_are_counted_and_stay(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    trials = root / "voxceleb1_test_v2.txt"
    trials.write_text(trials.read_text() + "0 id10001/v0/00000.wav id10270/v0/00000.wav\n")
    assert len(task(root).cuts("train")) == 27
    assert "1 of 3 speakers of the test trials are training speakers too" in caplog.text
    caplog.clear()
    assert len(task(root, speakers=["id10001", "id10270"]).cuts("test")) == 4
    assert "2 of 3 speakers" in caplog.text


def test_trials_become_predictions_at_the_equal_error_threshold(root: Path) -> None:
    asv = task(root)
    cuts = {cut.id: cut for cut in asv.cuts("test")}
    assert sorted(cuts) == ["id10270-v0-00000", "id10270-v1-00002", "id10271-v0-00001"]
    found = {utt_id: np.array(vector, dtype=np.float32) for utt_id, vector in zip(sorted(cuts), [[1, 0], [0.8, 0.6], [0, 1]], strict=True)}
    rows = asv.collect(Outcomes("test", cuts, found), lambda: Outcomes("dev", {}, {}))
    same, different, again = rows
    assert same.utt_id == "id10270-v0-00000_id10270-v1-00002" and again.utt_id == f"{same.utt_id}#2"
    assert (same.prediction, same.reference, different.prediction, different.reference) == ("same", "same", "different", "different")
    assert same.scores["cosine"] == pytest.approx(0.8) and different.scores["cosine"] == pytest.approx(0.0)
    scores = asv.score(rows)
    assert scores["eer"].value == pytest.approx(0.0, abs=1e-6) and scores["mindcf"].value == 0.0


def test_development_trials_are_collected_from_their_own_list(root: Path) -> None:
    asv = task(root)
    cuts = {cut.id: cut for cut in asv.cuts("dev")}
    found = {utt_id: np.array([1.0, 0.0] if utt_id.startswith(min(cuts)[:7]) else [0.0, 1.0], np.float32) for utt_id in cuts}
    rows = asv.collect(Outcomes("dev", cuts, found), lambda: Outcomes("dev", {}, {}))
    assert len(rows) >= 4 and asv.score(rows)["eer"].value == pytest.approx(0.0, abs=1e-6)
    assert task(root, dev_trials=2).cuts("dev").subset(first=1) is not None and len(task(root, dev_trials=2)._dev_trials) == 2


def test_speakers_of_a_trial_are_found_in_its_id() -> None:
    """Names of videos hold dashes and underscores; the interval needs the speakers."""
    row = Prediction("id10270-x_6-u_-YE-00001_id10300-_-id_5-_x-00008#2", "same", "different", {"cosine": 0.5})
    other = Prediction("id10270-x-00001_id10270-y-00001", "same", "same", {"cosine": 0.7})
    assert math.isfinite(task().score([row, other])["eer"].high)
    with pytest.raises(DataError, match="anna is no trial"):
        task().score([Prediction("anna", "same", "same", {"cosine": 0.5}), other])


def test_a_trial_with_a_missing_file_is_one_clear_error(root: Path) -> None:
    (root / "test/wav/id10271/v0/00001.wav").unlink()
    with pytest.raises(DataError, match=r"voxceleb1_test_v2\.txt names id10271/v0/00001\.wav, not found"):
        task(root).cuts("test")
    assert len(task(root).cuts("train")) == 27  # training does not need it


def test_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="asv needs trials"):
        ASV.Corpus(manifests={"train": tmp_path / "train.tsv"})


def test_the_trials_may_stand_in_another_list(root: Path) -> None:
    (root / "hard.txt").write_text("0 id10270/v0/00001.wav id10271/v0/00000.wav\n1 id10271/v0/00000.wav id10271/v0/00001.wav\n")
    assert [cut.id for cut in task(root, trials=Path("hard.txt")).cuts("test")] == [
        "id10270-v0-00001",
        "id10271-v0-00000",
        "id10271-v0-00001",
    ]
    with pytest.raises(DataError, match="harder.txt"):
        task(root, trials=Path("harder.txt")).cuts("train")
    assert VoxCeleb1(root).trial_speakers(Path("hard.txt")) == {"id10270", "id10271"}
