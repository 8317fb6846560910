"""wav2vec: sizes, checkpoints in three formats, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import upstream
from tests.upstream import make, wav2vec_files
from upstream.errors import UpstreamError
from upstream.formats.wav2vec import read, write_fairseq, write_s3prl
from upstream.formats.wav2vec import read_config as read_published_config
from upstream.native import read_config, read_tensors
from upstream.wav2vec import Wav2Vec

pytestmark = pytest.mark.filterwarnings("ignore")


def written_native(folder: Path, source: Path) -> Path:
    """The native folder made from a checkpoint, head included."""
    _, tensors = read(source)
    head = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    Wav2Vec.from_checkpoint(source).save_native(folder, head)
    return folder


def assert_equal_weights(path: Path, key: str, expected: dict[str, Tensor]) -> None:
    """A file holds these weights, bit for bit."""
    found = torch.load(path, weights_only=True)[key]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_published_sizes_have_the_published_parameter_counts() -> None:
    # Full counts of the released checkpoints: encoder + prediction head, ConvTranspose2d(512, 512, (1, 12)) with its bias.
    head = 512 * 512 * 12 + 512
    for name, full in {"wav2vec": 32_537_088, "vq_wav2vec": 34_063_488, "vq_wav2vec_kmeans": 33_014_272}.items():
        with torch.device("meta"):
            model = upstream.registry.load(name).from_config(upstream.card(name).config)
        assert sum(parameter.numel() for parameter in model.parameters()) + head == full
        assert (model.num_states, model.dim, model.stride, model.minimum_samples) == (13, 512, 160, 465)


def test_cards_say_what_the_classes_are_by_themselves() -> None:
    for name in ("wav2vec", "vq_wav2vec"):
        kind = upstream.registry.load(name)
        assert issubclass(kind, Wav2Vec)
        with torch.device("meta"):
            assert kind.from_config(upstream.card(name).config).configuration() == kind().configuration()


@pytest.mark.parametrize(("samples", "frames"), [(465, 1), (624, 1), (625, 2), (10_000, 60), (16_000, 98)])
def test_frames_follow_the_chain_of_convolutions(samples: int, frames: int) -> None:
    model = make.build("wav2vec")
    assert model(*make.waveforms(samples)).lengths.tolist() == [frames]


def test_files_go_to_native_and_back_bit_equal(tmp_path: Path) -> None:
    weights = wav2vec_files.s3prl_file(tmp_path / "s3prl.pt")
    native = written_native(tmp_path / "native", tmp_path / "s3prl.pt")
    write_fairseq(tmp_path / "fairseq.pt", *read(native))
    assert_equal_weights(tmp_path / "fairseq.pt", "model", weights)
    write_s3prl(tmp_path / "again.pt", *read(tmp_path / "fairseq.pt"))
    assert_equal_weights(tmp_path / "again.pt", "model_weight", weights)


def test_the_configuration_survives_the_round_trip(tmp_path: Path) -> None:
    wav2vec_files.s3prl_file(tmp_path / "s3prl.pt", residual_scale=0.3, agg_zero_pad=True)
    write_fairseq(tmp_path / "fairseq.pt", *read(tmp_path / "s3prl.pt"))
    write_s3prl(tmp_path / "again.pt", *read(tmp_path / "fairseq.pt"))
    first, again = (torch.load(tmp_path / name, weights_only=True)["model_cfg"] for name in ("s3prl.pt", "again.pt"))
    unchanged = first.keys() - {"_name", "conv_feature_layers", "conv_aggregator_layers"}
    assert {key: again[key] for key in unchanged} == {key: first[key] for key in unchanged}
    assert read(tmp_path / "again.pt")[0] == read(tmp_path / "s3prl.pt")[0]


def test_all_formats_give_the_same_encoder(tmp_path: Path) -> None:
    wav2vec_files.s3prl_file(tmp_path / "s3prl.pt")
    wav2vec_files.fairseq_file(tmp_path / "fairseq.pt")
    written_native(tmp_path / "native", tmp_path / "s3prl.pt")
    prints = {upstream.fingerprint(upstream.load("wav2vec", tmp_path / name)) for name in ("s3prl.pt", "fairseq.pt", "native")}
    assert len(prints) == 1


def test_a_native_folder_may_be_half_precision(tmp_path: Path) -> None:
    model = make.build("wav2vec")
    assert isinstance(model, Wav2Vec)
    model.save_native(tmp_path, dtype=torch.float16)
    assert read_config(tmp_path)["family"] == "wav2vec"
    assert next(iter(read_tensors(tmp_path / "model.safetensors").values())).dtype == torch.float16
    assert next(Wav2Vec.from_checkpoint(tmp_path).parameters()).dtype == torch.float32
    wavs, lengths = make.waveforms(8_000)
    again = upstream.load("wav2vec", tmp_path)(wavs, lengths).hidden_states
    assert make.relative_error(again, model(wavs, lengths).hidden_states) < 1e-2


def test_configurations_of_omegaconf_are_read(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"model": wav2vec_files.PUBLISHED, "task": {"normalize": False}})
    torch.save({"cfg": cfg, "args": None, "model": wav2vec_files.reference_model().state_dict()}, tmp_path / "new.pt")
    wav2vec_files.fairseq_file(tmp_path / "old.pt")
    assert read(tmp_path / "new.pt")[0] == read(tmp_path / "old.pt")[0]


def test_projected_targets_travel_with_the_head(tmp_path: Path) -> None:
    for projection in ("same", "new"):
        weights = wav2vec_files.s3prl_file(tmp_path / "s3prl.pt", project_features=projection)
        native = written_native(tmp_path / projection, tmp_path / "s3prl.pt")
        write_s3prl(tmp_path / "again.pt", *read(native))
        assert_equal_weights(tmp_path / "again.pt", "model_weight", weights)


def test_weights_without_a_head_are_not_written_for_others(tmp_path: Path) -> None:
    make.build("wav2vec").save_native(tmp_path / "native")  # type: ignore[operator]
    with pytest.raises(UpstreamError, match="no prediction head, which fairseq and s3prl need"):
        write_s3prl(tmp_path / "out.pt", *read(tmp_path / "native"))


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    wav2vec_files.s3prl_file(tmp_path / "s3prl.pt")
    content = torch.load(tmp_path / "s3prl.pt", weights_only=True)
    lost = content["model_weight"].pop("feature_extractor.conv_layers.1.2.bias")
    torch.save(content, tmp_path / "s3prl.pt")
    with pytest.raises(UpstreamError, match=r"weights are missing: 'feature_extractor\.conv_layers\.1\.2\.bias'"):
        read(tmp_path / "s3prl.pt")
    content["model_weight"] |= {"feature_extractor.conv_layers.1.2.bias": lost, "odd.weight": lost}
    torch.save(content, tmp_path / "s3prl.pt")
    with pytest.raises(UpstreamError, match=r"not part of the configured model: 'odd\.weight'"):
        read(tmp_path / "s3prl.pt")


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    wav2vec_files.s3prl_file(tmp_path / "s3prl.pt")
    content = torch.load(tmp_path / "s3prl.pt", weights_only=True)
    content["model_cfg"]["conv_aggregator_layers"] = "[(32, 2, 1), (32, 3, 1), (32, 5, 1)]"
    torch.save(content, tmp_path / "s3prl.pt")
    with pytest.raises(UpstreamError, match=r"'aggregator\.layers\.2\.conv\.weight' is \(32, 32, 4\), expected \(32, 32, 5\)"):
        Wav2Vec.from_checkpoint(tmp_path / "s3prl.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "gru"}, "aggregator = 'gru' is an architecture that no published wav2vec has"),
        ({"skip_connections_feat": True}, "skip_connections_feat = True"),
        ({"conv_aggregator_layers": "[(64, 2, 1)]"}, "conv_aggregator_layers"),
        ({"vq_type": "gumbel", "vq_dim": 16}, "vq_dim = 16"),
        ({"vq_type": "pq"}, "'quantizer.kind' = 'pq'"),
        ({"activation": "tanh"}, "'activation' = 'tanh'"),
        ({"conv_feature_layers": "print()"}, "are not lists of"),
    ],
)
def test_architectures_that_are_not_built_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UpstreamError, match=message):
        read_published_config(wav2vec_files.PUBLISHED | changes, "model.pt")


def test_a_configuration_of_something_else_is_refused() -> None:
    with pytest.raises(UpstreamError, match=r"model\.pt: the configuration lacks 'conv_aggregator_layers', 'log_compression'"):
        read_published_config({"conv_feature_layers": "[(512, 10, 5)]", "skip_connections_agg": True}, "model.pt")


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / "odd.pt")
    with pytest.raises(UpstreamError, match="is no checkpoint of fairseq .* or s3prl"):
        read(tmp_path / "odd.pt")
    wav2vec_files.s3prl_file(tmp_path / "s3prl.pt")
    content = torch.load(tmp_path / "s3prl.pt", weights_only=True)
    content["task_cfg"]["normalize"] = True
    torch.save(content, tmp_path / "s3prl.pt")
    with pytest.raises(UpstreamError, match=r"task\.normalize is true"):
        read(tmp_path / "s3prl.pt")


def test_another_familys_checkpoint_is_refused_with_its_name(tmp_path: Path) -> None:
    wav2vec_files.s3prl_file(tmp_path / "vq.pt", **wav2vec_files.GUMBEL)
    with pytest.raises(UpstreamError, match="holds a vq_wav2vec encoder, not wav2vec; use -u vq_wav2vec"):
        upstream.load("wav2vec", tmp_path / "vq.pt")
    with pytest.raises(UpstreamError, match="needs a checkpoint"):
        upstream.load("wav2vec_local")


@pytest.mark.parametrize("key", ["conv_feature_layers", "log_compression"])
def test_value_that_is_needed_and_not_set_is_named(key: str) -> None:
    values = {"conv_feature_layers": "[(8, 10, 5)]", "conv_aggregator_layers": "[(8, 2, 1)]", "log_compression": True}
    with pytest.raises(UpstreamError, match=f"x: the configuration lacks '{key}'"):
        read_published_config({**values, "skip_connections_agg": True, key: None}, "x")
