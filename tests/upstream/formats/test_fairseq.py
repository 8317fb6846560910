"""Files of fairseq, s3prl, WavLM and DistilHuBERT are read, and s3prl's own readers take what is written."""

from __future__ import annotations

import argparse
import importlib
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.upstream import make
from tests.upstream.formats import published
from tests.upstream.formats.published import PEERS, Peer
from upstream.errors import UpstreamError
from upstream.formats.wav2vec2 import WRITERS, read

pytestmark = pytest.mark.filterwarnings("ignore")
NAMED = [name for name in PEERS if not name.startswith(("wavlm", "distil"))]  # whose configuration says whose it is
FAMILIES = {"conformer": "wav2vec2_conformer"}


def family_of(name: str) -> str:
    first = name.split()[0]
    return FAMILIES.get(first, first)


def expert_states(path: Path, family: str, wav: Tensor) -> list[Tensor]:
    """The hidden states that s3prl's own upstream gives with a file."""
    room = {"wav2vec2_conformer": "wav2vec2", "distilhubert": "distiller"}.get(family, family)
    module = importlib.import_module(f"s3prl.upstream.{room}.expert")
    expert = module.UpstreamExpert(str(path)).eval()
    with torch.no_grad():
        states = expert([wav])["hidden_states"]
    return list(states[1:3] if family == "distilhubert" else states)  # the projection, two layers, then what they predict


@pytest.mark.parametrize("name", PEERS)
def test_s3prl_gives_the_same_states_with_a_file_of_ours(name: str, tmp_path: Path) -> None:
    ours = read(published.s3prl_file(tmp_path / "theirs.pt", published.peer(name)), "test")
    assert ours.config.family == family_of(name)
    notes = WRITERS["s3prl"](ours, tmp_path / "ours.pt")
    assert notes == ()
    wavs, lengths = make.waveforms(6_321)
    with torch.no_grad():
        expected = published.loaded(ours)(wavs, lengths).hidden_states
    states = expert_states(tmp_path / "ours.pt", ours.config.family, wavs[0])
    for theirs, mine in zip(states, expected[-len(states) :], strict=True):
        assert make.relative_error(mine[:, : theirs.shape[1]], theirs[:, : mine.shape[1]]) < 1e-5


@pytest.mark.parametrize("name", PEERS)
def test_s3prl_file_keeps_every_tensor(name: str, tmp_path: Path) -> None:
    peer = published.peer(name)
    ours = read(published.s3prl_file(tmp_path / "theirs.pt", peer), "test")
    WRITERS["s3prl"](ours, tmp_path / "ours.pt")
    content = torch.load(tmp_path / "ours.pt")
    state = content.get("model_weight", content.get("Distiller", content.get("model")))
    heads = ("final_proj", "_ema") if name == "data2vec" else ()  # its reader drops them
    kept = {key: tensor for key, tensor in peer.model.state_dict().items() if not key.startswith(heads or ("none",))}
    published.assert_same_tensors({key: tensor for key, tensor in state.items() if key != "_ema"}, published.spelled(kept))


@pytest.mark.parametrize("name", NAMED)
def test_fairseq_files_old_and_new_hold_what_s3prls_does(name: str, tmp_path: Path) -> None:
    peer = published.peer(name)
    theirs = read(published.s3prl_file(tmp_path / "s3prl.pt", peer), "test")
    for old in (False, True):
        ours = read(published.fairseq_file(tmp_path / "fairseq.pt", peer, old), "test")
        published.assert_same_tensors(ours.tensors, theirs.tensors)
        assert ours.config.model_copy(update={"pretraining": {}}) == theirs.config.model_copy(update={"pretraining": {}})


def test_pretraining_keeps_what_decides_no_state(tmp_path: Path) -> None:
    peer = published.peer("hubert large")
    for old in (False, True):
        config = read(published.fairseq_file(tmp_path / "fairseq.pt", peer, old), "test").config
        kept = config.pretraining
        assert (kept["final_dim"], kept["label_rate"], kept["mask_prob"], kept["untie_final_proj"]) == (16, 50, 0.65, True)
        assert kept["dictionaries_symbols"] == published.SYMBOLS and kept["latent_temp"] == [2, 0.5, 0.999995]
        assert kept["task"]["data"] == "/corpus" and "lr" not in kept and "stop_time_hours" not in kept
        assert config.normalize and config.padding_rule == "chunks"


def test_written_fairseq_file_is_plain_and_holds_the_same(tmp_path: Path) -> None:
    peer = published.peer("hubert base")
    ours = read(published.fairseq_file(tmp_path / "theirs.pt", peer), "test")
    WRITERS["fairseq"](ours, tmp_path / "ours.pt")
    content = torch.load(tmp_path / "ours.pt")
    published.assert_same_tensors(content["model"], published.spelled(peer.model.state_dict()))
    model, task = content["cfg"]["model"], content["cfg"]["task"]
    respelled = {"conv_feature_layers": published.CONVOLUTIONS, "latent_temp": [2, 0.5, 0.999995]}
    assert model == peer.cfg | respelled and task == peer.task


@pytest.mark.parametrize("nested", ["cfg", "args"])
@pytest.mark.parametrize("name", ["wav2vec2 large", "hubert large"])
def test_fine_tuned_file_gives_the_encoder_and_its_ctc_head(name: str, nested: str, tmp_path: Path) -> None:
    peer = published.peer(name)
    path = published.fine_tuned_file(tmp_path / "ctc.pt", peer, nested, published.LETTERS)
    ours, base = read(path, "test"), read(published.fairseq_file(tmp_path / "base.pt", peer), "test")
    assert ours.config.family == base.config.family and ours.config.normalize
    published.assert_same_tensors({key: tensor for key, tensor in ours.tensors.items() if not key.startswith("head.ctc")}, base.tensors)
    assert torch.equal(ours.tensors["head.ctc.weight"], torch.load(path, weights_only=False)["model"]["w2v_encoder.proj.weight"])
    assert ours.config.dropout == 0.0 and ours.config.pretraining["target_dictionary"] == published.LETTERS
    assert ours.config.pretraining["fine_tuning"]["model"]["mask_prob"] == 0.5


def test_objects_of_omegaconf_and_fairseq_in_a_file_are_read(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    path = published.fine_tuned_file(tmp_path / "plain.pt", published.peer("hubert base"), symbols=published.LETTERS)
    content = torch.load(path, weights_only=False)
    content["cfg"] = omegaconf.OmegaConf.create(content["cfg"])
    content["task_state"]["target_dictionary"] = published.Dictionary(published.LETTERS)
    published.save_with_dictionaries(content, tmp_path / "objects.pt")
    published.assert_equal(read(tmp_path / "objects.pt", "test"), read(path, "test"))


def test_fine_tuned_model_is_written_as_fine_tuning_does(tmp_path: Path) -> None:
    theirs = published.fine_tuned_file(tmp_path / "theirs.pt", published.peer("wav2vec2 base"))
    WRITERS["fairseq"](read(theirs, "test"), tmp_path / "ours.pt")
    ours, before = torch.load(tmp_path / "ours.pt"), torch.load(theirs, weights_only=False)
    published.assert_same_tensors(ours["model"], published.spelled(before["model"]))
    assert ours["cfg"]["model"]["_name"] == "wav2vec_ctc" and ours["cfg"]["model"]["layerdrop"] == 0.1
    assert ours["cfg"]["model"]["w2v_args"]["model"]["encoder_embed_dim"] == 32


def test_missing_heads_are_named_where_s3prl_wants_them(tmp_path: Path) -> None:
    notes = WRITERS["s3prl"](published.native("hubert large", heads=False), tmp_path / "out.pt")
    assert notes == (
        "s3prl will refuse the file: it wants heads of pre-training that this checkpoint lacks: 'final_proj', 'mask_embedding'",
    )


def rewritten(path: Path, peer: Peer, model: dict[str, Any] | None = None, state: dict[str, Any] | None = None) -> Path:
    """A fairseq file with other values in its configuration, or other tensors (None removes one)."""
    peer.cfg.update(model or {})
    published.fairseq_file(path, peer)
    content = torch.load(path, weights_only=False)
    content["model"] = {name: tensor for name, tensor in {**content["model"], **(state or {})}.items() if tensor is not None}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "model", "words"),
    [
        ("conformer relative", {"pos_enc_type": "abs"}, "pos_enc_type 'abs' is not supported"),
        ("wav2vec2 base", {"layer_type": "trf_adp"}, "layer_type 'trf_adp' is not supported"),
        ("wav2vec2 base", {"quantize_input": True}, "quantize_input must be False"),
        ("wav2vec2 base", {"crop_seq_to_multiple": 2}, "crop_seq_to_multiple must be 1"),
        ("wav2vec2 base", {"extractor_mode": "other"}, "extractor_mode 'other' is not known"),
        ("wav2vec2 base", {"conv_feature_layers": "__import__('os')"}, "are not lists of"),
        ("wav2vec2 base", {"encoder_layers": 3}, "the weights do not fit the configuration: missing 'encoder.layers.2"),
        ("wav2vec2 base", {"encoder_attention_heads": 5}, "5 heads do not divide 32 features"),
    ],
)
def test_architecture_that_is_not_supported_is_named(name: str, model: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=rf"odd\.pt.*{words}"):
        read(rewritten(tmp_path / "odd.pt", published.peer(name), model), "test")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"surprise": torch.ones(1)}, "unknown 'surprise'"),
        ({"layer_norm.weight": None}, "missing 'layer_norm.weight'"),
        ({"encoder.layers.0.adapter_layer.W_a": torch.ones(1)}, r"adapters are not read: 'encoder\.layers\.0\.adapter_layer\.W_a'"),
        ({"layer_norm.weight": "text"}, "'layer_norm.weight' among the weights is not a tensor"),
    ],
)
def test_weights_that_do_not_fit_are_named(state: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=rf"odd\.pt.*{words}"):
        read(rewritten(tmp_path / "odd.pt", published.peer("wav2vec2 base"), state=state), "test")


def test_rotary_rates_of_another_base_are_refused(tmp_path: Path) -> None:
    state = {"encoder.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    with pytest.raises(UpstreamError, match="is not of base 10000"):
        read(rewritten(tmp_path / "odd.pt", published.peer("conformer rotary"), state=state), "test")


def test_teacher_of_data2vec_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = rewritten(tmp_path / "file.pt", published.peer("data2vec"), state={"_ema": {"layers.0.fc1.weight": torch.ones(1)}})
    with caplog.at_level(logging.INFO):
        assert read(path, "test").config.family == "data2vec"
    assert "not read: '_ema'" in caplog.text


def test_first_name_of_huberts_classes_is_known(tmp_path: Path) -> None:
    peer = published.peer("hubert base")
    classes = peer.model.state_dict()["label_embs_concat"]
    path = rewritten(tmp_path / "file.pt", peer, state={"label_embs_concat": None, "label_embs": classes})
    assert torch.equal(read(path, "test").tensors["head.label_embeddings"], classes)


@pytest.mark.parametrize("named", [True, False])
def test_tera2_is_told_from_hubert_by_its_name_or_its_outputs(named: bool, tmp_path: Path) -> None:
    peer = published.peer("hubert base")
    state = {"final_proj.weight": torch.ones(78, 32), "final_proj.bias": torch.ones(78)}
    ours = read(rewritten(tmp_path / "file.pt", peer, {"_name": "tera" if named else "hubert"}, state), "test")
    assert ours.config.family == "tera2" and ours.config.padding_rule == "chunks"


def test_half_precision_and_both_spellings_of_weight_norm_are_read(tmp_path: Path) -> None:
    peer = published.peer("wav2vec2 base")
    first = read(published.fairseq_file(tmp_path / "file.pt", peer), "test")
    g, v = (f"encoder.pos_conv.0.parametrizations.weight.original{index}" for index in (0, 1))
    weights = peer.model.state_dict()
    moved = {"encoder.pos_conv.0.weight_g": None, "encoder.pos_conv.0.weight_v": None}
    moved |= {g: weights["encoder.pos_conv.0.weight_g"], v: weights["encoder.pos_conv.0.weight_v"].half()}
    ours = read(rewritten(tmp_path / "moved.pt", peer, state=moved), "test")
    name = "encoder.positional_convolution.layers.0.weight_"
    assert torch.equal(ours.tensors[f"{name}g"], first.tensors[f"{name}g"])
    assert torch.equal(ours.tensors[f"{name}v"], first.tensors[f"{name}v"].half())
    assert published.loaded(ours).encoder.state_dict()[name.removeprefix("encoder.") + "v"].dtype == torch.float32


def test_fine_tuned_file_without_the_encoders_configuration_is_refused(tmp_path: Path) -> None:
    path = published.fine_tuned_file(tmp_path / "ctc.pt", published.peer("wav2vec2 base"))
    content = torch.load(path, weights_only=False)
    del content["cfg"]["model"]["w2v_args"]
    torch.save(content, path)
    with pytest.raises(UpstreamError, match="is fine-tuned, and lacks 'w2v_args'"):
        read(path, "test")


@pytest.mark.parametrize(
    "content", [{"state": {"a": torch.ones(1)}}, [1, 2], {"model": {}, "args": None}, {"model": {}, "args": argparse.Namespace()}]
)
def test_file_of_no_known_format_says_what_was_looked_for(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UpstreamError, match=r"other\.pt"):
        read(tmp_path / "other.pt", "test")


def test_no_checkpoint_at_all_asks_for_one() -> None:
    with pytest.raises(UpstreamError, match="upstream 'hubert' needs a checkpoint: .* -k PATH"):
        read(None, "hubert")


@pytest.mark.parametrize("value", ["text", [1, 2], {"a": 1}, -1, torch.ones(2)], ids=repr)
@pytest.mark.parametrize(
    "key", ["encoder_layers", "conv_pos", "pos_conv_depth", "extractor_mode", "layer_type", "dropout", "activation_fn"]
)
def test_damaged_configuration_is_an_error_of_ours(key: str, value: Any, tmp_path: Path) -> None:
    if key == "pos_conv_depth" and isinstance(value, int):
        pytest.skip("counts as one")
    with pytest.raises(UpstreamError, match=r"odd\.pt"):
        read(rewritten(tmp_path / "odd.pt", published.peer("wav2vec2 base"), {key: value}), "test")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cfg": {"task": "abc"}}, "cfg.task: is missing or no mapping"),
        ({"cfg": {"task": 5}}, "cfg.task: is missing or no mapping"),
        ({"cfg": {"task": {"normalize": "maybe"}}}, "'normalize' = 'maybe'"),
        ({"cfg": None, "args": {5: 1, "encoder_layers": 3}}, "do not fit the configuration"),
        ({"weir": 5}, "'weir' holds int"),
        ({"weir": {"config": 5}}, "'weir' holds int"),
        ({"weir": {"tensors": [1]}}, "'weir' holds list"),
        ({"weir": {5: 1, "config": {5: 1}}}, "unknown key '5'"),
    ],
)
def test_container_of_another_shape_is_an_error_of_ours(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = published.fairseq_file(tmp_path / "odd.pt", published.peer("wav2vec2 base"))
    content = torch.load(path, weights_only=False)
    if changes.get("cfg"):
        changes = {"cfg": content["cfg"] | changes["cfg"]}
    torch.save(content | changes, path)
    with pytest.raises(UpstreamError, match=rf"odd\.pt.*{re.escape(words)}"):
        read(path, "test")


@pytest.mark.parametrize("task", ["abc", 5])
def test_task_of_the_encoder_in_a_fine_tuned_file_must_be_a_mapping(task: Any, tmp_path: Path) -> None:
    path = published.fine_tuned_file(tmp_path / "ctc.pt", published.peer("wav2vec2 base"))
    content = torch.load(path, weights_only=False)
    content["cfg"]["model"]["w2v_args"]["task"] = task
    torch.save(content, path)
    with pytest.raises(UpstreamError, match=r"ctc\.pt: w2v_args\.task: is missing or no mapping"):
        read(path, "test")


def test_value_that_is_not_set_is_fairseqs_default(tmp_path: Path) -> None:
    config = read(
        rewritten(tmp_path / "file.pt", published.peer("wav2vec2 base"), {"dropout": None, "pos_conv_depth": None}), "test"
    ).config
    assert config.dropout == 0.1 and config.positional_convolution is not None and config.positional_convolution.depth == 1
