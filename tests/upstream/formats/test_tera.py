"""Published TERA files: what is read, and what is refused with which words."""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

import upstream
from tests.upstream import make
from upstream.errors import UpstreamError
from upstream.formats.tera import read_s3prl, to_published, write_s3prl
from upstream.tera import Tera, head_tensors, load_head, read_native


def published_weights(model: Tera) -> dict[str, torch.Tensor]:
    """An encoder's weights under s3prl's names."""
    return to_published(model.config, model.encoder.state_dict())


def content(model: Tera, **changes: Any) -> dict[str, Any]:
    """A published file's content."""
    return {"Transformer": published_weights(model), "Upstream_Config": make.published_config(), "Config": {}, "Step": 7} | changes


def write(path: Path, made: dict[str, Any], **options: Any) -> Path:
    """Save, and give the path back."""
    torch.save(made, path, **options)
    return path


def assert_same_weights(one: Tera, other: Tera) -> None:
    """Bit-equal encoders."""
    own, theirs = one.encoder.state_dict(), other.encoder.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_old_file_keeps_the_model_under_config(tmp_path: Path) -> None:
    model = make.tera()
    old = make.published_config()
    old["transformer"]["downsample_rate"] = 1
    made = content(model, Config=old | {"Runner": {"n_epochs": 3}})
    del made["Upstream_Config"]
    assert_same_weights(Tera.from_checkpoint(write(tmp_path / "old.ckpt", made)), model)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_optimizer_objects_and_arguments_in_a_file_do_no_harm(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers = types.ModuleType("optimizers")

    class WarmupLinearSchedule:
        def __init__(self) -> None:
            self.warmup = 0.07

    WarmupLinearSchedule.__module__, WarmupLinearSchedule.__qualname__ = "optimizers", "WarmupLinearSchedule"
    optimizers.WarmupLinearSchedule = WarmupLinearSchedule  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "optimizers", optimizers)
    model = make.tera()
    extra = {"Args": argparse.Namespace(lr=1.0), "Optimizer": {"param_groups": [{"lr": 1e-4, "schedule": WarmupLinearSchedule()}]}}
    path = write(tmp_path / "published.ckpt", content(model, **extra), _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "optimizers")
    assert_same_weights(Tera.from_checkpoint(path), model)


def test_gamma_and_beta_are_the_old_names_of_a_norm(tmp_path: Path) -> None:
    model = make.tera()
    swap = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, tensor in published_weights(model).items():
        for new, former in swap.items():
            name = name.replace(new, former)
        old[name] = tensor
    assert_same_weights(Tera.from_checkpoint(write(tmp_path / "old.ckpt", content(model, Transformer=old))), model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder.layer.1.output.dense.bias": None}, "missing: 'encoder.layer.1.output.dense.bias'"),
        ({"encoder.layer.9.output.dense.bias": torch.zeros(3)}, "not part of the configured encoder: 'encoder.layer.9.output.dense.bias'"),
        ({"encoder.layer.0.intermediate.dense.weight": torch.zeros(9, 64)}, r"is \(9, 64\), expected \(160, 64\)"),
        ({"input_representations.spec_transform.weight": torch.zeros(64, 240)}, "stacks consecutive frames"),
        ({"encoder.layer.0.attention.self.key.weight": torch.zeros(3)}, r"should have one shape, not \[\(64, 64\), \(3,\), \(64, 64\)\]"),
        ({"encoder.layer.0.attention.self.key.weight": "words"}, "'encoder.layer.0.attention.self.key.weight' among the weights is not"),
    ],
    ids=["missing", "unexpected", "shape", "stacked", "parts", "text"],
)
def test_weights_that_do_not_fit_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = make.tera()
    weights = {name: tensor for name, tensor in (published_weights(model) | change).items() if tensor is not None}
    with pytest.raises(UpstreamError, match=words) as caught:
        Tera.from_checkpoint(write(tmp_path / "bad.ckpt", content(model, Transformer=weights)))
    assert "bad.ckpt" in str(caught.value)


def test_unequal_copies_of_a_shared_layer_are_refused(tmp_path: Path) -> None:
    model = make.tera(share_layer=True)
    weights = published_weights(model)
    weights["encoder.layer.2.output.dense.bias"] = weights["encoder.layer.2.output.dense.bias"] + 1
    made = content(model, Transformer=weights, Upstream_Config=make.published_config(share_layer=True))
    with pytest.raises(UpstreamError, match=r"'encoder.layer.2.output.dense.bias' should equal"):
        Tera.from_checkpoint(write(tmp_path / "bad.ckpt", made))


@pytest.mark.parametrize(
    ("block", "key", "value", "words"),
    [
        ("transformer", "num_attention_heads", None, "lacks 'num_attention_heads'"),
        ("transformer", "hidden_act", "tanh", "'transformer.hidden_act' = 'tanh'"),
        ("transformer", "downsample_rate", 3, "stacks consecutive frames"),
        ("transformer", "num_attention_heads", 5, "5 heads do not divide 64"),
        ("transformer", "num_hidden_layers", 0, "'transformer.num_hidden_layers' = '0'"),
        ("audio", "input", {"feat_type": "phase"}, "input.feat_type"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(block: str, key: str, value: Any, words: str, tmp_path: Path) -> None:
    published = make.published_config()
    published[block][key] = value
    if value is None:
        del published[block][key]
    with pytest.raises(UpstreamError, match=words):
        Tera.from_checkpoint(write(tmp_path / "bad.ckpt", content(make.tera(), Upstream_Config=published)))


def test_key_without_effect_in_a_published_file_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    published = make.published_config()
    published["transformer"]["hidden_activation"] = "relu"
    Tera.from_checkpoint(write(tmp_path / "odd.ckpt", content(make.tera(), Upstream_Config=published)))
    assert "'hidden_activation' has no effect" in caplog.text


def test_other_dictionaries_are_no_tera_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="no 'Transformer' weights"):
        Tera.from_checkpoint(write(tmp_path / "other.ckpt", {"model": torch.zeros(1)}))
    with pytest.raises(UpstreamError, match="must be mappings"):
        Tera.from_checkpoint(write(tmp_path / "odd.ckpt", content(make.tera(), Upstream_Config={"transformer": 3})))
    with pytest.raises(UpstreamError, match="has no 'audio' block"):
        Tera.from_checkpoint(write(tmp_path / "npy.ckpt", content(make.tera(), Upstream_Config=make.published_config() | {"audio": None})))


def test_both_formats_keep_encoder_and_head_to_the_bit(tmp_path: Path) -> None:
    model = make.tera(pre_layer_norm=True)
    head = make.head(model)
    model.save_native(tmp_path / "native", head_tensors(head), notes={"steps": 3})
    again = Tera.from_native(tmp_path / "native")
    write_s3prl(tmp_path / "published.ckpt", again.config, again.encoder.state_dict(), head.state_dict())
    config, tensors = read_s3prl(tmp_path / "published.ckpt")
    assert config == model.config == read_native(tmp_path / "native")[0]
    assert_same_weights(again, model)
    assert_same_weights(Tera.from_checkpoint(tmp_path / "published.ckpt"), model)
    loaded = load_head(config, tensors, "test").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in head.state_dict().items())


def test_half_precision_storage_is_read_as_float32(tmp_path: Path) -> None:
    model = make.tera()
    model.save_native(tmp_path / "small", dtype=torch.float16)
    model.save_native(tmp_path / "large")
    small, large = (tmp_path / name / "model.safetensors" for name in ("small", "large"))
    assert small.stat().st_size < 0.6 * large.stat().st_size
    again = Tera.from_native(tmp_path / "small")
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], tensor.half().float())


def test_folder_file_and_name_load_the_same_encoder(tmp_path: Path) -> None:
    model = make.tera()
    model.save_native(tmp_path / "run")
    write_s3prl(tmp_path / "published.ckpt", model.config, model.encoder.state_dict())
    prints = {upstream.fingerprint(upstream.load("tera", place)) for place in (tmp_path / "run", tmp_path / "run" / "model.safetensors")}
    prints |= {upstream.fingerprint(upstream.load("tera_local", str(tmp_path / "published.ckpt")))}
    assert len(prints) == 1
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert not upstream.load("tera", tmp_path / "run").training
    assert torch.equal(torch.rand(1), expected), "loading must not shift the random numbers of its caller"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "holds list"),
        ('{"family": "hubert"}', "holds a hubert encoder, not tera; use -u hubert"),
        ('{"family": "tera", "transfomer": {}}', "unknown key 'transfomer': did you mean 'transformer'"),
        ('{"family": "tera", "transformer": {"hiden_size": 3}}', "did you mean 'hidden_size'"),
        ('{"family": "tera", "audio": {"n_mel": 3}}', "unknown key 'n_mel': did you mean 'n_mels'"),
        ('{"family": "tera", "transformer": {"input_dim": 81}}', "input_dim is 81, but the front end gives 80"),
    ],
)
def test_native_configurations_that_cannot_be_built_are_refused(text: str, words: str, tmp_path: Path) -> None:
    make.tera().save_native(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UpstreamError, match=words):
        upstream.load("tera", tmp_path)


def test_interrupted_save_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make.tera()
    model.save_native(tmp_path)
    before = upstream.fingerprint(Tera.from_native(tmp_path))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        make.tera(num_hidden_layers=1).save_native(tmp_path)
    assert upstream.fingerprint(Tera.from_native(tmp_path)) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
