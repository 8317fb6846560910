"""The padding certificate: it finds what leaks, counts what is computed, and is kept until something changes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import upstream
from tests.upstream import make
from upstream import certificate_cache, certify, measure
from upstream.base import Padding, Representation, Upstream
from upstream.certificate import THRESHOLD, Certificate, Effect, in_short, verdict
from upstream.errors import UpstreamError
from upstream.layers.lengths import valid_frames
from upstream.wav2vec2 import Wav2Vec2
from upstream.wav2vec2_config import Wav2Vec2Config

TINY: dict[str, Any] = {
    "conv_layers": ((16, 10, 5), *((16, 3, 2),) * 4, *((16, 2, 2),) * 2),
    "dim": 32,
    "layers": 2,
    "heads": 4,
    "ffn_dim": 64,
    "positional_convolution": {"kernel": 16, "groups": 4},
}
DIM = 6
WINDOW = 400
STRIDE = 320


class Toy(Upstream):
    """One linear map of windows, in two states; what it declares can be wrong, and what it does too."""

    name = family = "toy"

    def __init__(self, leak: float = 0.0, mask: bool = True, noise: float = 0.0, **declared: int) -> None:
        super().__init__()
        self.leak, self.mask, self.noise = leak, mask, noise
        self.linear = nn.Linear(WINDOW, DIM)
        self.unused = nn.Linear(3, 5, bias=False)
        true = {"stride": STRIDE, "dim": DIM, "num_states": 2, "minimum_samples": WINDOW}
        for attribute, value in (true | declared).items():
            setattr(self, attribute, value)

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> Toy:
        """Not needed: tests build it themselves."""
        return cls()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode; with `leak` each utterance hears the loudest of its batch."""
        if int(lengths.min()) < WINDOW:
            raise UpstreamError("toy: too short")
        if self.mask:
            wavs = wavs.masked_fill(~valid_frames(lengths, wavs.shape[1]), 0.0)
        states = self.linear(wavs.unfold(1, WINDOW, STRIDE))
        states = states + self.leak * wavs.square().mean() + self.noise * torch.rand(())
        frames = (lengths - WINDOW) // STRIDE + 1
        valid = valid_frames(frames, states.shape[1])[:, :, None]
        return Representation(torch.stack([states, 2 * states]).masked_fill(~valid, 0.0), frames)


def of(build: Callable[[Padding], Upstream]) -> Certificate:
    """The certificate of what a function builds."""
    return measure.measure(build, "made by the test")


def worst(effects: tuple[Effect, ...]) -> float:
    """The largest difference."""
    return max(effect.difference for effect in effects)


def tiny_wav2vec2(padding: Padding) -> Wav2Vec2:
    """Group norm over time, which sees the padding in the published code."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make.perturbed(Wav2Vec2(Wav2Vec2Config(**TINY), padding))
    assert isinstance(model, Wav2Vec2)
    return model


def tiny_tera(padding: Padding) -> Upstream:
    """A small encoder over log mels."""
    model = make.tera()
    return type(model)(model.config, padding)


def test_alone_nothing_changes_a_frame_and_in_the_published_code_padding_does() -> None:
    certificate = of(tiny_wav2vec2)
    assert certificate.reference is not None
    assert worst(certificate.alone) < THRESHOLD
    assert worst(certificate.reference) > 1e-3
    text = certificate.table()
    assert "padding, neighbours and batch size change nothing (worst " in text
    assert "(published behaviour)" in text
    assert "input normalisation: off" in text


def test_tera_alone_depends_on_nothing() -> None:
    certificate = of(tiny_tera)
    assert worst(certificate.alone) < THRESHOLD
    assert (certificate.dim, certificate.num_states, certificate.stride) == (64, 4, 160)


def test_an_encoder_that_ignores_padding_is_measured_once() -> None:
    certificate = of(lambda padding: upstream.load("fbank", padding=padding))
    assert certificate.reference is None
    assert "as alone: this encoder has no other behaviour" in certificate.table()


def test_a_leaking_neighbour_is_caught() -> None:
    certificate = of(lambda padding: Toy(leak=1.0))
    changed = {effect.what: effect.matters for effect in certificate.alone}
    assert changed["longer and shorter neighbours"] and changed["zeros to twice its length"]
    assert not changed["the same again"] and not changed["another order of the batch"]
    assert "depends on its batch: up to 0." in certificate.table()
    assert "an error: alone must not" in certificate.table()


def test_padding_that_is_read_is_caught_whatever_it_holds() -> None:
    certificate = of(lambda padding: Toy(leak=1e-3, mask=False))
    garbage = next(effect for effect in certificate.alone if effect.what == "NaN in place of zeros as padding")
    assert math.isinf(garbage.difference)
    assert "values that are not finite" in certificate.table()


def test_an_encoder_that_is_random_is_not_blamed_on_its_batch() -> None:
    certificate = of(lambda padding: Toy(noise=0.1))
    assert "not deterministic" in certificate.table()


def test_states_that_are_never_numbers_are_unchanged_and_those_that_become_or_stop_being_are_not() -> None:
    states = torch.tensor([[[1.0, math.nan]], [[2.0, 4.0]]])
    assert measure.worst_difference(states, states.clone()) == (0.0, 0)
    assert measure.worst_difference(states, states + 1) == (1.0, 0)
    assert measure.worst_difference(states, states.nan_to_num(3.0)) == (math.inf, 0)
    assert measure.worst_difference(states, states / torch.tensor([1.0, 0.0])) == (math.inf, 1)


@pytest.mark.parametrize(
    "declared, message",
    [
        ({"dim": 7}, "dim is declared as 7, but measured as 6"),
        ({"num_states": 3}, "num_states is declared as 3, but measured as 2"),
        ({"stride": 160}, "stride is declared as 160, but measured as 320"),
        ({"minimum_samples": 100}, "minimum_samples is declared as 100, but measured as 400"),
        ({"minimum_samples": 720}, "minimum_samples is declared as 720, but measured as 400"),
    ],
)
def test_a_false_declaration_is_an_error_with_both_values(declared: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UpstreamError, match=f"toy: {message}$"):
        of(lambda padding: Toy(**declared))


def test_parameters_and_multiply_adds_are_those_of_the_forward() -> None:
    certificate = of(lambda padding: Toy())
    assert certificate.parameters == WINDOW * DIM + DIM + 15
    assert certificate.parameters_used == WINDOW * DIM + DIM
    frames = (8 * 16_000 - WINDOW) // STRIDE + 1
    assert certificate.macs * 8 == frames * WINDOW * DIM


def by_hand(config: Wav2Vec2Config, samples: int) -> float:
    """Multiply-adds of a transformer over convolutions."""
    total, inputs = 0, 1
    for channels, kernel, stride in config.conv_layers:
        samples = (samples - kernel) // stride + 1
        total, inputs = total + samples * inputs * kernel * channels, channels
    position = config.positional_convolution
    assert position is not None
    padded = samples + 2 * (position.kernel // 2) - position.kernel + 1
    total += samples * inputs * config.dim + padded * position.kernel * config.dim**2 // position.groups
    weights = 4 * config.dim**2 + 2 * config.dim * config.ffn_dim
    return total + config.layers * (samples * weights + 2 * samples**2 * config.dim)


def test_attention_and_convolutions_are_counted_as_by_hand() -> None:
    model = tiny_wav2vec2("alone")
    assert measure.cost(model, 2.0)[0] == by_hand(model.config, 32_000)


@pytest.mark.parametrize(
    "name, seconds, gmacs",
    # HuBERT Base: 7.3 GMAC a second; TERA2: the GMAC at 15.6 s of its authors' configurations, pre-training heads included.
    [("hubert", 8.0, 8 * 7.3), ("tera2_slim", 15.6, 56.1), ("tera2", 15.6, 120.0), ("tera2_large", 15.6, 311.2)],
)
def test_published_configurations_cost_what_is_known_of_them(name: str, seconds: float, gmacs: float) -> None:
    with torch.device("meta"):
        model = upstream.build(name)
    assert measure.cost(model, seconds)[0] / 1e9 == pytest.approx(gmacs, rel=0.006)


class Layers(nn.Module):
    """What PyTorch computes in one fused operation on the CPU."""

    sample_rate = 16_000

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers.eval()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Any:
        """100 frames of 16."""
        return self.layers(wavs[:, :1600].reshape(1, 100, 16))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_counted(kind: type[nn.Module]) -> None:
    model = Layers(kind(16, 8, num_layers=2, bidirectional=True, batch_first=True))
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if "weight" in name)
    macs, used = measure.cost(model, 0.1)  # type: ignore[arg-type]
    assert macs == 100 * weights
    assert used == sum(parameter.numel() for parameter in model.parameters())


def test_fused_transformer_layers_are_counted() -> None:
    model = Layers(nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2))
    macs, used = measure.cost(model, 0.1)  # type: ignore[arg-type]
    assert macs == 2 * (100 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 100 * 100 * 16)
    assert used == sum(parameter.numel() for parameter in model.parameters())


def test_json_and_back_loses_nothing() -> None:
    effects = (Effect("some change", math.inf, 2, 1), Effect("another", 4e-7, 0, 0))
    certificate = Certificate("toy", "none", 6, 2, 320, 16_000, 400, 10, 10, 1e9, 8.0, ("a note",), effects, effects)
    content = json.loads(certificate.as_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert content["alone"][0]["difference"] is None
    assert content["threshold"] == THRESHOLD
    assert Certificate.from_json(certificate.as_json()) == certificate


def test_numbers_are_short() -> None:
    assert [in_short(number) for number in (0, 12, 94_370_944)] == ["0", "12", "94.4 M"]
    assert in_short(7.31e9, "MAC") == "7.31 GMAC"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_certificate_is_kept_until_its_checkpoint_or_the_code_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make.tera()
    model.save_native(tmp_path / "tera")
    assert certificate_cache.kept("tera", {str(tmp_path / "tera")}) is None
    made = certify.certify("tera_local", str(tmp_path / "tera"))
    assert made.weights == str(tmp_path / "tera")
    assert certificate_cache.kept("tera", {str(tmp_path / "tera")}) == made
    assert certificate_cache.kept("mockingjay", {str(tmp_path / "tera")}) is None
    with monkeypatch.context() as patch:
        patch.setattr(certificate_cache, "_code", lambda: "other")
        assert certificate_cache.kept("tera", {str(tmp_path / "tera")}) is None
    weights = tmp_path / "tera" / "model.safetensors"
    os.utime(weights, ns=(0, 0))
    assert certificate_cache.kept("tera", {str(tmp_path / "tera")}) is None
    weights.unlink()
    assert certificate_cache.kept("tera", {str(tmp_path / "tera")}) is None
    assert len(list(cache.rglob("*"))) == 2


def test_a_damaged_record_is_as_good_as_none(cache: Path) -> None:
    made = certify.certify("fbank")
    (record,) = (cache / "certificates").iterdir()
    content = json.loads(record.read_text())
    certificate = json.loads(content["certificate"])
    shorter = json.dumps({key: value for key, value in certificate.items() if key != "dim"})
    damaged = ["", "{", "[]", "null", "{}", json.dumps(content | {"certificate": "{}"}), json.dumps(content | {"certificate": shorter})]
    damaged += [json.dumps(content | {"files": 3}), json.dumps(content | {"certificate": json.dumps(certificate | {"alone": ["?"]})})]
    for text in damaged:
        record.write_text(text)
        assert certificate_cache.kept("fbank", {"none"}) is None
    record.write_bytes(b"\xff")
    assert certificate_cache.kept("fbank", {"none"}) is None
    assert certify.at_hand("fbank") == made  # measured again, in the place of the damaged one
    assert certificate_cache.kept("fbank", {"none"}) == made


def test_a_cache_that_cannot_be_written_is_said(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    assert certify.certify("fbank").dim == 240
    assert "the certificate was not kept" in caplog.text


def test_random_weights_are_the_same_every_time_and_marked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "build", lambda name, padding: Wav2Vec2(Wav2Vec2Config(**TINY), padding))
    first, second = (certify.certify("wav2vec2", random=True) for _ in range(2))
    assert first.weights == "random, in the published configuration"
    assert first.reference == second.reference


def test_without_parameters_no_weights_are_random(cache: Path) -> None:
    assert certify.certify("fbank", random=True).weights == "none"


@pytest.mark.parametrize(
    "difference, frames, said",
    [(0.0, 2, "2 frames more or fewer"), (0.31, 1, "up to 0.31 and 1 frame more or fewer"), (0.31, 0, "up to 0.31")],
)
def test_the_verdict_names_what_changed(difference: float, frames: int, said: str) -> None:
    assert verdict([Effect("x", difference, 0, frames)], published=True) == f"depends on its batch: {said} (published behaviour)"


def test_the_command_prints_a_table_or_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify.main(["tera", "-k", "tera-mini"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["upstream", "tera"]
    assert len({len(line) - len(line.split("  ", 1)[1].lstrip()) for line in lines if not line.startswith("  ")}) == 1
    assert certify.main(["fbank", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"]["alone"].startswith("padding, neighbours and batch size change nothing")


def test_the_command_says_its_stages_beside_what_it_prints(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify.main(["fbank", "--json"]) == 0
    stages = capsys.readouterr().err.splitlines()
    assert stages[0] == "building the encoder …" and stages[-1] == "measuring padding, neighbours, order and batch size …"


@pytest.mark.parametrize(
    "words, said",
    [
        (["terra"], "did you mean 'tera'"),
        (["fbank", "-k", "x.pt"], "takes no checkpoint"),
        (["tera_local"], "needs a checkpoint"),
        (["tera", "-k", "./none.pt"], "there is no such file"),
    ],
)
def test_mistakes_are_one_message_and_status_2(words: list[str], said: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ") and error.count("\n") == 1


def test_help_and_mistakes_need_no_torch(repository: Path) -> None:
    refused = "import sys; from upstream import certify; assert certify.main(['terra']) == 2; assert 'torch' not in sys.modules"
    code = f"{refused}; certify.main(['-h'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout
