"""Folders of Hugging Face are read, and transformers takes what is written without a missing or unexpected name."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.upstream import make
from tests.upstream.formats import published
from tests.upstream.formats.published import CONFIGS
from upstream.adapters.huggingface import HuggingFace
from upstream.errors import UpstreamError
from upstream.formats.wav2vec2 import WRITERS, Checkpoint, read
from upstream.native import HEAD

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {"conv_bias": True}),
    "wav2vec2 stable": ("Wav2Vec2", STABLE),
    "hubert": ("Hubert", {}),
    "hubert batch norm": ("Hubert", {"conv_pos_batch_norm": True}),
    "distilhubert": ("Hubert", {"feat_proj_layer_norm": False}),
    "wavlm": ("WavLM", STABLE | {"num_buckets": 64, "max_bucket_distance": 700}),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "wav2vec2_conformer relative": ("Wav2Vec2Conformer", {"feat_extract_norm": "layer", "hidden_act": "swish"}),
    "wav2vec2_conformer rotary": ("Wav2Vec2Conformer", {"position_embeddings_type": "rotary", "hidden_act": "swish"}),
}


def made(name: str, ending: str = "Model", **options: Any) -> Any:
    """A model of transformers with random weights."""
    stem, own = THEIRS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{stem}Config")(**SIZES | own | options)
        return make.perturbed(getattr(transformers, f"{stem}{ending}")(config))


def opened(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A folder of ours in the class that its configuration names, and what transformers says of its names."""
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    return model.eval(), info


def assert_states_agree(ours: Checkpoint, theirs: Any) -> None:
    wavs, lengths = make.waveforms(6_321)
    inputs = torch.nn.functional.layer_norm(wavs, wavs.shape[1:], eps=ours.config.normalize_eps) if ours.config.normalize else wavs
    with torch.no_grad():
        states = published.loaded(ours)(wavs, lengths).hidden_states
        assert make.relative_error(states[-1], theirs(inputs).last_hidden_state) < 1e-5


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", THEIRS)
def test_folder_is_read(name: str, sharded: bool, tmp_path: Path) -> None:
    theirs = made(name)
    theirs.save_pretrained(tmp_path, **({"max_shard_size": "40KB"} if sharded else {}))
    assert (tmp_path / "model.safetensors.index.json").is_file() == sharded
    ours = read(tmp_path, "test")
    assert ours.config.family == name.split()[0] and ours.config.padding_rule == "lengths"
    assert ours.notes == ("input normalisation: off (no preprocessor_config.json)",)
    assert_states_agree(ours, theirs)


@pytest.mark.parametrize("name", THEIRS)
def test_folder_written_again_has_the_same_tensors(name: str, tmp_path: Path) -> None:
    theirs = made(name)
    theirs.save_pretrained(tmp_path / "theirs")
    assert WRITERS["hf"](read(tmp_path / "theirs", "test"), tmp_path / "ours") == ()
    published.assert_same_tensors(*(load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "theirs")))
    first, again = (opened(tmp_path / folder)[0].config.to_dict() for folder in ("theirs", "ours"))
    assert again == first | {key: again[key] for key in ("_name_or_path", "dtype")}


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_takes_every_model_as_it_is(name: str, tmp_path: Path) -> None:
    ours = published.native(name)
    if name == "conformer rotary":  # transformers stores the unused convolution, and always in one size
        ours.tensors.update({key: tensor for key, tensor in published.native("conformer relative").tensors.items() if "head.posi" in key})
    WRITERS["hf"](ours, tmp_path / "out")
    model, info = opened(tmp_path / "out")
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), info
    assert_states_agree(ours, getattr(model, model.base_model_prefix, model))


@pytest.mark.parametrize("name", ["fine-tuned", "fine-tuned hubert"])
def test_fine_tuned_model_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    ours = published.native(name)
    WRITERS["hf"](ours, tmp_path / "out")
    kind = transformers.HubertForCTC if "hubert" in name else transformers.Wav2Vec2ForCTC
    model = kind.from_pretrained(tmp_path / "out").eval()
    wavs, lengths = make.waveforms(6_321)
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "out")
    inputs = extractor(wavs[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    config = ours.config.model_copy(update={"normalize_eps": 1e-7})
    with torch.no_grad():
        last = published.loaded(Checkpoint(config, ours.tensors))(wavs, lengths).hidden_states[-1]
        logits = last @ ours.tensors[f"{HEAD}ctc.weight"].T + ours.tensors[f"{HEAD}ctc.bias"]
        assert make.relative_error(logits, model(inputs).logits) < 1e-5
    assert (model.config.vocab_size, model.config.pad_token_id) == (7, 0)


def test_fine_tuned_file_of_fairseq_becomes_a_folder_with_its_letters(tmp_path: Path) -> None:
    path = published.fine_tuned_file(tmp_path / "ctc.pt", published.peer("wav2vec2 base"), symbols=published.LETTERS)
    assert WRITERS["hf"](read(path, "test"), tmp_path / "out") == ()
    assert json.loads((tmp_path / "out/vocab.json").read_text()) == {
        "<pad>": 0,
        "<s>": 1,
        "</s>": 2,
        "<unk>": 3,
        "|": 4,
        "E": 5,
        "T": 6,
    }
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode([5, 0, 5, 5, 4, 0, 6]) == "EE T"
    back = read(tmp_path / "out", "test")
    assert back.config.pretraining["target_dictionary"] == published.LETTERS


def test_fine_tuned_model_without_a_dictionary_says_so(tmp_path: Path) -> None:
    notes = WRITERS["hf"](published.native("fine-tuned hubert"), tmp_path / "out")
    assert any("no vocab.json" in note for note in notes) and not (tmp_path / "out/vocab.json").exists()


def test_dictionary_of_another_size_is_refused(tmp_path: Path) -> None:
    ours = published.native("fine-tuned")
    ours.config.pretraining["target_dictionary"] = published.LETTERS[:-1]
    with pytest.raises(UpstreamError, match="6 symbols, and the CTC head 7 outputs"):
        WRITERS["hf"](ours, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", ["ForCTC", "ForSequenceClassification", "ForPreTraining"])
def test_prefix_and_heads_of_other_classes_are_known(ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = made("wav2vec2", ending)
    theirs.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        ours = read(tmp_path, "test")
    heads = {name.removeprefix(HEAD).partition(".")[0] for name in ours.tensors if name.startswith(HEAD)}
    expected = {"ForCTC": {"ctc"}, "ForPreTraining": {"quantizer", "project_q", "final_proj"}}
    assert heads == {"mask_embedding"} | expected.get(ending, set())
    assert ("not read, as no hidden state needs it: 'classifier.bias'" in caplog.text) == (ending == "ForSequenceClassification")
    assert_states_agree(ours, theirs.wav2vec2)


def test_older_files_and_names_are_read(tmp_path: Path) -> None:
    theirs = made("hubert")
    theirs.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = {published.OLD_NAMES.get(name, name): tensor for name, tensor in state.items()}
    assert old.keys() != state.keys()
    (tmp_path / "model.safetensors").unlink()
    torch.save(old, tmp_path / "pytorch_model.bin")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        assert_states_agree(read(path, "test"), theirs)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("on", [True, False])
def test_normalisation_is_what_the_preprocessor_says(on: bool, name: str, tmp_path: Path) -> None:
    made("wav2vec2 stable").save_pretrained(tmp_path)
    values: dict[str, Any] = {"do_normalize": on, "sampling_rate": 16_000}
    (tmp_path / name).write_text(json.dumps({"feature_extractor": values} if name.startswith("proc") else values))
    ours = read(tmp_path, "test")
    assert (ours.config.normalize, ours.config.normalize_eps) == ((True, 1e-7) if on else (False, 1e-5))
    assert ours.notes == (f"input normalisation: {'on, eps 1e-07' if on else 'off'} ({name})",)


SETTINGS = {
    "[]": "holds list, not a JSON object",
    "5": "holds int, not a JSON object",
    '{"do_normalize": "false"}': "do_normalize is 'false', which is neither true nor false",
    '{"return_attention_mask": 1}': "return_attention_mask is 1",
    '{"auto_map": {}}': "auto_map asks to run code",
    "no json": "cannot be read as JSON",
}


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("content", SETTINGS)
def test_settings_that_do_not_say_on_or_off_are_refused(content: str, name: str, tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    nested = name == "processor_config.json" and content != "no json"
    (tmp_path / name).write_text(f'{{"feature_extractor": {content}}}' if nested else content)
    for reader in (read, HuggingFace.from_checkpoint):
        with pytest.raises(UpstreamError, match=rf"{re.escape(name)}: .*{re.escape(SETTINGS[content])}"):
            reader(tmp_path, "alone")


def test_zero_biases_of_huberts_convolutions_are_left_out(tmp_path: Path) -> None:
    theirs = made("hubert", conv_bias=True)
    for layer in theirs.feature_extractor.conv_layers:
        torch.nn.init.zeros_(layer.conv.bias)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = read(tmp_path / "theirs", "test")
    assert not ours.config.conv_bias
    WRITERS["fairseq"](ours, tmp_path / "fairseq.pt")
    content = torch.load(tmp_path / "fairseq.pt")
    assert content["cfg"]["model"]["conv_bias"] is False and "feature_extractor.conv_layers.0.0.bias" not in content["model"]
    assert_states_agree(ours, theirs)


def test_identity_stands_for_a_projection_that_there_is_not(tmp_path: Path) -> None:
    ours = published.native("wav2vec2 without projection")
    WRITERS["hf"](ours, tmp_path / "out")
    state = load_file(tmp_path / "out/model.safetensors")
    name = next(name for name in state if name.endswith("feature_projection.projection.weight"))
    assert torch.equal(state[name], torch.eye(32))


def test_heads_without_a_place_are_kept_beside(tmp_path: Path) -> None:
    WRITERS["hf"](published.native("hubert base"), tmp_path / "out")
    kept = load_file(tmp_path / "out/weir-heads.safetensors")
    assert kept.keys() == {"head.label_embeddings", "head.final_proj.weight", "head.final_proj.bias"}


def test_smaller_epsilon_of_transformers_is_said(tmp_path: Path) -> None:
    notes = WRITERS["hf"](published.native("wavlm"), tmp_path / "out")
    assert notes == ("transformers normalises the input with eps 1e-07, not 1e-05: quiet recordings differ",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "bert"}, "model_type is 'bert', not one of wav2vec2, .*; try -u hf"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps must be 1e-05"),
        ({"add_adapter": True}, "add_adapter must be False"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim must be None"),
        ({"hidden_act": "gelu_new"}, "'activation' = 'gelu_new'"),
        ({"num_hidden_layers": 3}, r"missing 'encoder\.layers\.2"),
    ],
)
def test_architecture_that_is_not_supported_is_named(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(UpstreamError, match=words):
        read(tmp_path, "test")


@pytest.mark.parametrize("kind", [None, "abs"])
def test_conformer_without_known_positions_is_refused(kind: str | None, tmp_path: Path) -> None:
    made("wav2vec2_conformer relative").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"position_embeddings_type": kind}))
    with pytest.raises(UpstreamError, match=f"position_embeddings_type {kind!r} is not supported, only relative and rotary"):
        read(tmp_path, "test")


def test_model_that_transformers_does_not_have_is_refused(tmp_path: Path) -> None:
    ours = published.native("conformer relative")
    first = Checkpoint(ours.config.model_copy(update={"pre_norm": False}), ours.tensors)
    with pytest.raises(UpstreamError, match="Hugging Face's wav2vec2-conformer: has no such wav2vec2_conformer model: pre_norm = False"):
        WRITERS["hf"](first, tmp_path / "out")


def test_index_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path / "model")
    (tmp_path / "model/model.safetensors").rename(tmp_path / "other.safetensors")
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(UpstreamError, match="which is no file beside it; do not trust it"):
        read(tmp_path / "model", "test")


def test_folder_without_weights_is_named(tmp_path: Path) -> None:
    made("wav2vec2").config.save_pretrained(tmp_path)
    with pytest.raises(UpstreamError, match="has no weights: none of model.safetensors"):
        read(tmp_path, "test")


def test_weights_of_another_sampling_rate_are_refused(tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    with pytest.raises(UpstreamError, match="sampling_rate is 8000"):
        read(tmp_path, "test")


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(UpstreamError, match="the weights do not fit the configuration: missing"):
        read(tmp_path, "test")


@pytest.mark.parametrize("value", ["text", [1, 2], {"a": 1}, None])
@pytest.mark.parametrize("key", ["model_type", "hidden_size", "conv_dim", "num_conv_pos_embeddings", "feat_extract_norm", "hidden_dropout"])
def test_damaged_configuration_is_an_error_of_ours(key: str, value: Any, tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UpstreamError, match=r"config\.json|do not fit"):
        read(tmp_path, "test")


@pytest.mark.parametrize("value", ["text", [1, 2], 5])
def test_fields_of_ours_must_be_a_mapping(value: Any, tmp_path: Path) -> None:
    made("wav2vec2").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weir": value}))
    with pytest.raises(UpstreamError, match=r"config\.json: 'weir' holds (str|list|int) where a mapping belongs"):
        read(tmp_path, "test")
