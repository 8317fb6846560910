"""The TERA family against s3prl's own code, with random weights.

A correct implementation stays below 1e-6; the gate of 2e-6 also catches a wrong norm epsilon.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.upstream import make
from upstream.features.logmel import LogMel, LogMelConfig
from upstream.formats.tera import from_published, to_published
from upstream.tera import Tera

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 2e-6
VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"pre_layer_norm": True},
    "shared": {"share_layer": True},
    "shared pre-norm": {"share_layer": True, "pre_layer_norm": True},
    "relu": {"hidden_act": "relu"},
    "swish": {"hidden_act": "swish"},
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One architecture."""
    return VARIANTS[request.param]


@pytest.fixture(autouse=True)
def short_position_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """s3prl fills a table of 24,000 rows in a Python loop; its first rows are the same."""
    from s3prl.upstream.mockingjay import builder

    monkeypatch.setattr(builder, "MAX_SEQLEN", 2500)


def reference_states(path: Path, wavs: Tensor, lengths: Tensor) -> list[Tensor]:
    """All hidden states (B, F, D) of s3prl's expert."""
    from s3prl.upstream.mockingjay.expert import UpstreamExpert

    expert = UpstreamExpert(str(path)).eval()
    with torch.no_grad():
        return list(expert([wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)])["hidden_states"])


def assert_equal_states(model: Tera, theirs: list[Tensor], wavs: Tensor, lengths: Tensor) -> None:
    """Every valid frame of every state agrees."""
    with torch.no_grad():
        ours = model(wavs, lengths)
    assert len(ours.hidden_states) == len(theirs) == model.num_states
    for own, other in zip(ours.hidden_states, theirs, strict=True):
        for row, frames in enumerate(ours.lengths.tolist()):
            assert make.relative_error(own[row, :frames], other[row, :frames]) < TOLERANCE


def test_encoder_alone_with_padding(variant: dict[str, Any]) -> None:
    from s3prl.upstream.mockingjay.builder import position_encoding
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    published = make.published_config(**variant)
    theirs = make.perturbed(TransformerModel(TransformerConfig(published["transformer"]), input_dim=80))
    model = Tera(make.config(**variant)).eval()
    model.encoder.load_state_dict(from_published(theirs.state_dict(), model.config, "test"))
    lengths, features = torch.tensor([200, 120, 57]), torch.randn(3, 200, 80)
    mask = (torch.arange(200) < lengths[:, None]).float()
    positions = torch.FloatTensor(position_encoding(200, 64)).expand(3, -1, -1)
    with torch.no_grad():
        states = theirs(features, positions, mask, output_all_encoded_layers=True)
        ours = model.encoder(features, lengths)
    for own, other in zip(ours, states, strict=True):
        assert make.relative_error(own, other) < TOLERANCE


def test_waveform_to_states_single(variant: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(**variant))
    wavs, lengths = make.waveforms(23_457)
    theirs = reference_states(path, wavs, lengths)
    assert_equal_states(Tera.from_checkpoint(path).eval(), theirs, wavs, lengths)
    assert_equal_states(Tera.from_checkpoint(path, "reference").eval(), theirs, wavs, lengths)


def test_reference_padding_repeats_the_published_batch(variant: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(**variant))
    wavs, lengths = make.waveforms(47_237, 32_000, 9_999)
    assert_equal_states(Tera.from_checkpoint(path, "reference").eval(), reference_states(path, wavs, lengths), wavs, lengths)


@pytest.mark.parametrize(
    ("seconds", "limit", "pre_norm"),
    [((20, 3), 1500, False), ((6, 1, 3), 250, True)],  # two and three pieces; the later ones hold nothing of the short utterance
)
def test_long_utterances_are_encoded_in_pieces(seconds: tuple[int, ...], limit: int, pre_norm: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(sequence_length=limit, pre_layer_norm=pre_norm))
    wavs, lengths = make.waveforms(*(16_000 * each for each in seconds))
    assert_equal_states(Tera.from_checkpoint(path, "reference").eval(), reference_states(path, wavs, lengths), wavs, lengths)
    single = wavs[:1], lengths[:1]
    assert_equal_states(Tera.from_checkpoint(path).eval(), reference_states(path, *single), *single)


def test_no_limit_encodes_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(sequence_length=0))
    wavs, lengths = make.waveforms(260_000)
    assert_equal_states(Tera.from_checkpoint(path).eval(), reference_states(path, wavs, lengths), wavs, lengths)


def test_kaldi_front_end(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(audio=make.KALDI))
    wavs, lengths = make.waveforms(20_000, 12_345)
    assert_equal_states(Tera.from_checkpoint(path).eval(), reference_states(path, wavs, lengths), wavs, lengths)


def test_fbank_is_superbs_baseline() -> None:
    from s3prl.upstream.baseline import expert, hubconf

    from upstream.fbank import Fbank

    wavs, lengths = make.waveforms(20_000, 12_345, 1_500)
    theirs = expert.UpstreamExpert(str(Path(hubconf.__file__).with_name("fbank.yaml")))
    padded = theirs([wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)])["hidden_states"][0]
    ours = Fbank()(wavs, lengths)
    for row, frames in enumerate(ours.lengths.tolist()):
        assert make.relative_error(ours.hidden_states[0, row, :frames], padded[row, :frames]) < TOLERANCE


@pytest.mark.parametrize(
    "feature",
    [
        {},
        {"delta": 2},
        {"feat_type": "linear"},
        {"feat_type": "mfcc", "log": False, "delta": 1},
        {"cmvn": False},
        {"log": False, "cmvn": False},
    ],
    ids=["mel", "deltas", "linear", "mfcc", "no cmvn", "power"],
)
def test_log_mel_front_end(feature: dict[str, Any]) -> None:
    from s3prl.upstream.baseline.preprocessor import get_preprocessor

    audio = make.AUDIO | {"input": make.FEATURE | feature}
    theirs, width, _ = get_preprocessor(copy.deepcopy(audio), process_input_only=True)
    wavs, lengths = make.waveforms(47_237, 32_000, 9_999)
    each = [wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)]
    leveled = [wav * (10 ** (-25 / 20) / (wav.pow(2).mean().sqrt() + 1e-10)) for wav in each]
    expected = theirs(torch.nn.utils.rnn.pad_sequence(leveled, batch_first=True)[:, None], wavs_len=lengths.tolist())[0]
    front = LogMel(LogMelConfig(**audio), "reference")
    features, frames = front(wavs, lengths)
    assert front.dim == width == features.shape[-1]
    # The logarithm of single bins near zero shows the last digits of the FFT, which mel sums hide.
    tolerance = 1e-4 if feature.get("feat_type") == "linear" else TOLERANCE
    for row, count in enumerate(frames.tolist()):
        assert make.relative_error(features[row, :count], expected[row, :count]) < tolerance


def test_head_output() -> None:
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerSpecPredictionHead

    theirs = make.perturbed(TransformerSpecPredictionHead(TransformerConfig(make.published_config()["transformer"]), 80))
    ours = make.head(make.tera())
    renamed = {name.replace("LayerNorm", "norm"): tensor for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict(renamed)
    states = torch.randn(2, 50, 64)
    assert make.relative_error(ours(states), theirs(states)[0]) < TOLERANCE


def test_written_file_loads_in_s3prl_and_is_bit_equal(variant: dict[str, Any], tmp_path: Path) -> None:
    from upstream.formats.tera import write_s3prl

    weights = make.s3prl_file(tmp_path / "theirs.ckpt", make.published_config(**variant))
    model = Tera.from_checkpoint(tmp_path / "theirs.ckpt").eval()
    model.save_native(tmp_path / "native")
    again = Tera.from_native(tmp_path / "native").eval()
    written = to_published(again.config, again.encoder.state_dict())
    assert written.keys() == weights.keys()
    assert all(torch.equal(written[name], weights[name]) for name in weights)
    write_s3prl(tmp_path / "ours.ckpt", again.config, again.encoder.state_dict())
    wavs, lengths = make.waveforms(16_000)
    assert_equal_states(again, reference_states(tmp_path / "ours.ckpt", wavs, lengths), wavs, lengths)


def test_published_sizes_have_the_published_parameter_counts() -> None:
    from upstream.tera import SpecHead, TeraConfig, TeraEncoder

    for size, encoder, head in [("base", 21_327_360, 653_648), ("slim", 14_238_336, 179_408)]:
        made = TeraConfig.of_size(size)
        assert sum(parameter.numel() for parameter in TeraEncoder(made, 80).parameters()) == encoder
        assert sum(parameter.numel() for parameter in SpecHead(made).parameters()) == head
