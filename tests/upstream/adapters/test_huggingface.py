"""Encoders of Transformers against the library itself, with random weights."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import upstream
from tests.upstream import make
from upstream.adapters.huggingface import HuggingFace
from upstream.errors import UpstreamError

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 1e-5
CONVOLUTIONS = {"conv_dim": [16] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
WAVE = {**SIZE, **CONVOLUTIONS, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 12}
LARGE = {**WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFORMER = {**WAVE, "conv_depthwise_kernel_size": 5, "max_source_positions": 50}
SQUEEZED = {**WAVE, "squeeze_factor": 2}
BERT = {**SIZE, "position_embeddings_type": "relative_key", "conv_depthwise_kernel_size": 5, "vocab_size": 12}
WHISPER = {"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "max_source_positions": 100}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 60, "max_target_positions": 8}
TOKENS = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav2vec2 base": ("Wav2Vec2Config", "Wav2Vec2Model", WAVE),
    "wav2vec2 large": ("Wav2Vec2Config", "Wav2Vec2Model", LARGE),
    "MMS": ("Wav2Vec2Config", "Wav2Vec2Model", LARGE | {"adapter_attn_dim": 4}),
    "conformer relative": ("Wav2Vec2ConformerConfig", "Wav2Vec2ConformerModel", CONFORMER | {"position_embeddings_type": "relative"}),
    "conformer rotary": ("Wav2Vec2ConformerConfig", "Wav2Vec2ConformerModel", CONFORMER | {"position_embeddings_type": "rotary"}),
    "hubert base": ("HubertConfig", "HubertModel", WAVE),
    "hubert large": ("HubertConfig", "HubertModel", LARGE),
    "hubert batch norm": ("HubertConfig", "HubertModel", LARGE | {"conv_pos_batch_norm": True}),
    "wavlm base": ("WavLMConfig", "WavLMModel", WAVE),
    "wavlm large": ("WavLMConfig", "WavLMModel", LARGE),
    "data2vec": ("Data2VecAudioConfig", "Data2VecAudioModel", WAVE | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "unispeech": ("UniSpeechConfig", "UniSpeechModel", LARGE),
    "unispeech-sat": ("UniSpeechSatConfig", "UniSpeechSatModel", LARGE),
    "sew": ("SEWConfig", "SEWModel", SQUEEZED),
    "sew-d": ("SEWDConfig", "SEWDModel", SQUEEZED),
    "w2v-BERT 2": ("Wav2Vec2BertConfig", "Wav2Vec2BertModel", BERT),
    "whisper": ("WhisperConfig", "WhisperModel", WHISPER | DECODER | TOKENS),
}
EXTRACTORS: dict[str, Any] = {
    "w2v-BERT 2": lambda: transformers.SeamlessM4TFeatureExtractor(padding_value=1),
    "whisper": lambda: transformers.WhisperFeatureExtractor(chunk_length=2),
}


def theirs(name: str, **changes: Any) -> Any:
    """The library's own small model with random weights."""
    config, kind, values = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, kind)(getattr(transformers, config)(**values | changes))
    return make.perturbed(model)


def extractor(name: str, **options: Any) -> Any:
    """The library's own front end of a model."""
    return EXTRACTORS[name]() if name in EXTRACTORS else transformers.Wav2Vec2FeatureExtractor(**options)


def save(folder: Path, model: nn.Module, front: Any = None) -> Path:
    """Write a model, and its front end where one is given."""
    model.save_pretrained(folder)  # type: ignore[operator]
    if front is not None:
        front.save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """One kind of model."""
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    """A model with the settings of its input."""
    return save(tmp_path, theirs(name), extractor(name))


@torch.no_grad()
def states_of(model: Any, front: Any, wavs: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The library's states of a batch (B, F, D), the last one normed, and the lengths that it computes itself."""
    whisper = model.config.model_type == "whisper"
    inputs = front([wav.numpy() for wav in wavs], sampling_rate=16_000, return_tensors="pt", padding="max_length" if whisper else True)
    encoder = model.encoder if whisper else model
    output = encoder(**inputs, output_hidden_states=True)
    states, last = list(output.hidden_states[:-1]), output.last_hidden_state
    squeezed = [state.repeat_interleave(2, 1) if state.shape[1] < last.shape[1] else state for state in states]
    aligned = [torch.cat([state, state[:, -1:]], 1)[:, : last.shape[1]] for state in squeezed]
    samples = torch.tensor([len(wav) for wav in wavs])
    if whisper:
        frames = -(-samples // 320)
    elif "attention_mask" in inputs and model.config.model_type == "wav2vec2-bert":
        frames = inputs["attention_mask"].sum(1)
    else:
        frames = model._get_feat_extract_output_lengths(samples)
    return [*aligned, last], frames


def assert_equal_states(ours: upstream.base.Representation, row: int, states: list[Tensor], their_row: int, frames: int) -> None:
    """Every valid frame of every state of one utterance agrees."""
    assert int(ours.lengths[row]) == frames
    assert len(ours.hidden_states) == len(states)
    for own, other in zip(ours.hidden_states, states, strict=True):
        assert make.relative_error(own[row, :frames], other[their_row, :frames]) < TOLERANCE


@torch.no_grad()
def test_states_are_those_of_the_library_for_each_utterance_alone(name: str, folder: Path) -> None:
    model = HuggingFace.from_checkpoint(folder)
    wavs, lengths = make.waveforms(8_000, 6_321, 3_000, 8_000, 29_999)
    made = model(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        states, frames = states_of(theirs(name), extractor(name), [wavs[row, :samples]])
        assert_equal_states(made, row, states, 0, int(frames[0]))


@torch.no_grad()
def test_reference_padding_is_the_librarys_own_batch(name: str, tmp_path: Path) -> None:
    for masked in (False, True):
        front = extractor(name, return_attention_mask=masked)
        model = HuggingFace.from_checkpoint(save(tmp_path, theirs(name), front), "reference")
        wavs, lengths = make.waveforms(8_000, 6_321, 3_000)
        states, frames = states_of(theirs(name), front, [wav[:samples] for wav, samples in zip(wavs, lengths.tolist(), strict=True)])
        made = model(wavs, lengths)
        for row in range(3):
            assert_equal_states(made, row, states, row, int(frames[row]))


@torch.no_grad()
def test_nothing_around_an_utterance_changes_it(folder: Path) -> None:
    model = HuggingFace.from_checkpoint(folder)
    wavs, lengths = make.waveforms(16_000, 9_111, model.minimum_samples)
    clean = model(wavs, lengths)
    wavs[1, 9_111:] = float("nan")
    dirty = model(wavs, lengths)
    assert torch.equal(clean.hidden_states, dirty.hidden_states)
    assert not clean.hidden_states[:, 1, int(clean.lengths[1]) :].any()
    for row, samples in enumerate(lengths.tolist()):
        alone = model(wavs[row : row + 1, :samples], lengths[row : row + 1])
        frames = int(alone.lengths[0])
        assert make.relative_error(clean.hidden_states[:, row, :frames], alone.hidden_states[:, 0]) < 2e-6
    wavs[0, 5_000] = float("nan")
    assert torch.equal(model(wavs, lengths).hidden_states[:, 1], clean.hidden_states[:, 1])


def test_declared_constants_are_true(folder: Path) -> None:
    model = HuggingFace.from_checkpoint(folder)
    made = model(*make.waveforms(16_000, 8_000))
    assert made.hidden_states.shape == (model.num_states, 2, int(made.lengths.max()), model.dim)
    assert model.stride == 320
    assert abs(int(made.lengths[0]) - 50) <= 1
    assert model(*make.waveforms(model.minimum_samples)).hidden_states.isfinite().all()
    with pytest.raises(UpstreamError, match=f"it needs at least {model.minimum_samples}"):
        model(*make.waveforms(16_000, model.minimum_samples - 1))


def test_training_reaches_every_weight_and_keeps_every_state(folder: Path) -> None:
    model = HuggingFace.from_checkpoint(folder).train()
    made = model(*make.waveforms(16_000, 20_000))
    assert len(made.hidden_states) == model.num_states
    made.hidden_states.square().mean().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle


@torch.no_grad()
@pytest.mark.parametrize("name", ["wav2vec2 base", "wav2vec2 large"])
def test_lengths_may_be_on_another_device_than_the_waveforms(name: str, tmp_path: Path) -> None:
    model = HuggingFace.from_checkpoint(save(tmp_path, theirs(name), extractor(name)), "reference").to("meta")
    seen: list[Tensor] = []
    model.inputs.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments))
    wavs, lengths = make.waveforms(9_000, 8_000)
    made = model(wavs.to("meta"), lengths)
    assert (made.hidden_states.device.type, made.lengths.device.type) == ("meta", "cpu")
    assert {tensor.device.type for tensor in seen} == {"meta"}


@torch.no_grad()
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_lengths_on_the_cpu_serve_waveforms_on_the_gpu(folder: Path) -> None:
    wavs, lengths = make.waveforms(9_000, 8_000, 8_000)
    for padding in ("alone", "reference"):
        model = HuggingFace.from_checkpoint(folder, padding)  # type: ignore[arg-type]
        expected = model(wavs, lengths)
        made = model.cuda()(wavs.cuda(), lengths)
        assert made.lengths.tolist() == expected.lengths.tolist()
        assert make.relative_error(made.hidden_states.cpu(), expected.hidden_states) < 1e-3


def test_silence_is_finite(folder: Path) -> None:
    made = HuggingFace.from_checkpoint(folder)(torch.zeros(1, 9_000), torch.tensor([9_000]))
    assert made.hidden_states.isfinite().all()


def test_input_normalisation_follows_the_preprocessor(tmp_path: Path) -> None:
    wavs, lengths = make.waveforms(8_000)
    model = theirs("wav2vec2 large")
    without = HuggingFace.from_checkpoint(save(tmp_path, model))
    assert without.notes[0] == "input normalisation: off (no preprocessor_config.json)"
    off = HuggingFace.from_checkpoint(save(tmp_path, model, extractor("wav2vec2 large", do_normalize=False)))
    assert off.notes[0] == "input normalisation: off (preprocessor_config.json)"
    on = HuggingFace.from_checkpoint(save(tmp_path, model, extractor("wav2vec2 large")))
    assert on.notes[0] == "input normalisation: on, eps 1e-07 (preprocessor_config.json)"
    quiet = 0.01 * wavs
    assert make.relative_error(without(quiet, lengths).hidden_states, off(quiet, lengths).hidden_states) == 0
    assert make.relative_error(on(quiet, lengths).hidden_states, on(wavs, lengths).hidden_states) < 0.02
    assert make.relative_error(off(quiet, lengths).hidden_states, on(quiet, lengths).hidden_states) > 0.05
    assert len({upstream.fingerprint(each) for each in (off, on)}) == 2


def test_settings_inside_a_processors_file_count(tmp_path: Path) -> None:
    save(tmp_path, theirs("hubert large"))
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor("hubert large").to_dict()}, default=str))
    assert HuggingFace.from_checkpoint(tmp_path).notes[0] == "input normalisation: on, eps 1e-07 (processor_config.json)"


def test_heads_are_left_out_and_named(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(**LARGE, add_adapter=True)
    full = make.perturbed(transformers.Wav2Vec2ForCTC(config))
    model = HuggingFace.from_checkpoint(save(tmp_path, full))
    assert "'lm_head.bias'" in model.notes[1] and "adapter" in model.notes[1]
    wavs, lengths = make.waveforms(8_000)
    inner = full.wav2vec2
    inner.adapter = None
    with torch.no_grad():
        expected = inner(wavs).last_hidden_state
        assert make.relative_error(model(wavs, lengths).hidden_states[-1], expected) < TOLERANCE


def test_whisper_for_transcription_gives_its_encoder(tmp_path: Path) -> None:
    config = transformers.WhisperConfig(**WHISPER, **DECODER, **TOKENS)
    full = make.perturbed(transformers.WhisperForConditionalGeneration(config))
    model = HuggingFace.from_checkpoint(save(tmp_path, full))
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in full.model.encoder.parameters())
    assert torch.equal(model.model.conv1.weight, full.model.encoder.conv1.weight)


@torch.no_grad()
def test_a_long_utterance_of_whisper_is_its_windows_one_by_one(tmp_path: Path) -> None:
    model = HuggingFace.from_checkpoint(save(tmp_path, theirs("whisper"), extractor("whisper")))
    assert any("windows of 2 s" in note for note in model.notes)
    wavs, lengths = make.waveforms(70_001, 5_000)
    made = model(wavs, lengths)
    assert made.lengths.tolist() == [219, 16]
    pieces = [model(piece, torch.tensor([piece.shape[1]])).hidden_states[:, 0] for piece in wavs[:1].split(32_000, 1)]
    assert make.relative_error(made.hidden_states[:, 0], torch.cat(pieces, 1)) < 2e-6


@pytest.mark.parametrize("name", ["w2v-BERT 2", "whisper"])
def test_features_are_those_of_the_librarys_extractor(name: str, tmp_path: Path) -> None:
    model = HuggingFace.from_checkpoint(save(tmp_path, theirs(name), extractor(name)))
    for samples in (3_000, 20_000, 32_000):  # two frames alone, whose variance is all rounding, would tell nothing
        wavs, lengths = make.waveforms(samples)
        padded = torch.nn.functional.pad(wavs, (0, (model.inputs.window or samples) - samples))
        ours = model.inputs(padded, lengths)["input_features"]
        expected = extractor(name)(wavs[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_features"]
        if name == "w2v-BERT 2":
            expected = expected[:, : ours.shape[1]]
        assert make.relative_error(ours, expected) < 2e-6


@pytest.mark.parametrize("spelling", ["weight_g", "parametrizations"])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "shards"])
def test_both_spellings_of_weight_norm_load_from_every_kind_of_file(spelling: str, file: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = theirs("hubert base")
    tensors = {f"hubert.{name}": tensor for name, tensor in model.state_dict().items()}
    if spelling == "weight_g":
        pairs = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        tensors = {
            name.replace(long, short): tensor for long, short in pairs.items() for name, tensor in tensors.items() if long in name
        } | {name: tensor for name, tensor in tensors.items() if "parametrizations" not in name}
    model.config.save_pretrained(tmp_path)
    if file == "model.safetensors":
        save_file(tensors, tmp_path / file)
    elif file == "pytorch_model.bin":
        torch.save(tensors, tmp_path / file)
    else:
        parts = {name: f"pytorch_model-{1 + index % 2}.bin" for index, name in enumerate(tensors)}
        for part in set(parts.values()):
            torch.save({name: tensor for name, tensor in tensors.items() if parts[name] == part}, tmp_path / part)
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": parts}))
    loaded = HuggingFace.from_checkpoint(tmp_path).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items() if name != "masked_spec_embed")


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    model = HuggingFace.from_checkpoint(save(tmp_path, theirs("wavlm large").half()))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "lost", ["encoder.layers.1.attention.k_proj.weight", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"]
)
def test_missing_weights_are_named(lost: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save(tmp_path, theirs("wav2vec2 base"))
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UpstreamError, match=f"weights are missing: '{lost}'"):
        HuggingFace.from_checkpoint(tmp_path)


def test_weights_of_another_size_are_named(tmp_path: Path) -> None:
    save(tmp_path, theirs("wav2vec2 base"))
    edit(tmp_path / "config.json", intermediate_size=48)
    with pytest.raises(UpstreamError, match=r"feed_forward.intermediate_dense.bias' is \(64,\), expected \(48,\)"):
        HuggingFace.from_checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_in_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    save(tmp_path, theirs("wav2vec2 base"), extractor("wav2vec2 base"))
    (tmp_path / "modeling.py").write_text("raise SystemExit('this ran')\n")
    edit(tmp_path / file, auto_map={"AutoModel": "modeling.Model", "AutoFeatureExtractor": "modeling.Front"})
    with pytest.raises(UpstreamError, match=f"{file}: auto_map asks to run code"):
        HuggingFace.from_checkpoint(tmp_path)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    model = theirs("wav2vec2 base")
    model.config.save_pretrained(tmp_path)
    torch.save({**model.state_dict(), "harm": Harm()}, tmp_path / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises(UpstreamError, match="refused: it names 'builtins.exec'"):
        HuggingFace.from_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_how_the_library_computes_is_not_the_folders_choice(tmp_path: Path) -> None:
    save(tmp_path, theirs("hubert large"))
    edit(tmp_path / "config.json", attn_implementation="someone/kernel", output_attentions=True, return_dict=False)
    model = HuggingFace.from_checkpoint(tmp_path)
    assert model.model.config._attn_implementation == "sdpa"
    assert model(*make.waveforms(8_000)).hidden_states.isfinite().all()


def test_what_is_no_speech_encoder_is_refused_with_the_ones_that_are(tmp_path: Path) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    save(tmp_path / "bert", transformers.BertModel(transformers.BertConfig(**size)))
    with pytest.raises(UpstreamError, match="model_type 'bert' is no speech encoder .*supported: wav2vec2 .*whisper"):
        HuggingFace.from_checkpoint(tmp_path / "bert")
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec9"}')
    with pytest.raises(UpstreamError, match="model_type 'wav2vec9' is not known to Transformers"):
        HuggingFace.from_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"family": "tera"}')
    with pytest.raises(UpstreamError, match="has no model_type.*load it with -u tera"):
        HuggingFace.from_checkpoint(tmp_path)


def test_another_sample_rate_is_refused(tmp_path: Path) -> None:
    save(tmp_path, theirs("hubert base"), extractor("hubert base", sampling_rate=8_000))
    with pytest.raises(UpstreamError, match="sampling_rate is 8000"):
        HuggingFace.from_checkpoint(tmp_path)


def test_a_model_must_be_named_and_be_a_folder_with_weights(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="give its folder, or OWNER/NAME on the hub, with -k"):
        HuggingFace.from_checkpoint(None)
    with pytest.raises(UpstreamError, match="upstream 'hf' needs a checkpoint"):
        upstream.load("hf")
    theirs("hubert base").config.save_pretrained(tmp_path)
    with pytest.raises(UpstreamError, match="has no weights"):
        HuggingFace.from_checkpoint(tmp_path)
    with pytest.raises(UpstreamError, match=f"is a file; -u hf takes the folder of a model: -k {tmp_path}"):
        HuggingFace.from_checkpoint(tmp_path / "config.json")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.pt").write_bytes(b"x")
    with pytest.raises(UpstreamError, match="files of fairseq or s3prl go with -u hubert"):
        HuggingFace.from_checkpoint(tmp_path / "sub" / "model.pt")


def test_loading_by_name_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, make.perturbed(transformers.HubertForCTC(transformers.HubertConfig(**LARGE))))
    capfd.readouterr()
    model = upstream.load("hf", tmp_path)
    assert (model.name, model.family) == ("hf", "hf")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_the_library_is_imported_only_when_a_model_is_loaded() -> None:
    seen = "import sys, upstream.adapters.huggingface; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", seen], cwd=Path(upstream.__file__).parent.parent).returncode == 0


def test_a_fingerprint_does_not_depend_on_heads(tmp_path: Path) -> None:
    full = make.perturbed(transformers.HubertForCTC(transformers.HubertConfig(**LARGE)))
    prints = {upstream.fingerprint(upstream.load("hf", save(tmp_path / kind, model))) for kind, model in (("a", full), ("b", full.hubert))}
    assert len(prints) == 1


def test_a_fingerprint_follows_what_decides_masks_and_the_librarys_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = theirs("wav2vec2 large")
    folders = [save(tmp_path / str(masked), model, extractor("wav2vec2 large", return_attention_mask=masked)) for masked in (True, False)]
    alone = {upstream.fingerprint(upstream.load("hf", folder)) for folder in folders}
    assert len(alone) == 1  # padding is masked whatever the file says
    assert len(alone | {upstream.fingerprint(upstream.load("hf", folder, padding="reference")) for folder in folders}) == 3
    loaded = upstream.load("hf", folders[0])
    monkeypatch.setattr("upstream.adapters.huggingface.version", lambda package: f"{package} 99.0")
    assert upstream.fingerprint(loaded) not in alone


def test_a_fingerprint_does_not_follow_where_the_input_settings_stand(tmp_path: Path) -> None:
    save(tmp_path / "silent", theirs("hubert large"))
    save(tmp_path / "said", theirs("hubert large"), extractor("hubert large", do_normalize=False))
    assert len({upstream.fingerprint(upstream.load("hf", tmp_path / name)) for name in ("silent", "said")}) == 1
