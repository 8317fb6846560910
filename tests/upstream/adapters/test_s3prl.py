"""Encoders of s3prl behind the interface: the promises, parity with their own code, and files that want to run something."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import upstream
from tests.upstream import make
from tests.upstream.adapters import s3prl_files
from upstream.adapters import s3prl_catalogue as catalogue
from upstream.base import Upstream
from upstream.errors import UpstreamError

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL_DECOAR2 = {"encoder_layers": 2, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 96, "encoder_attention_heads": 4, "conv_pos": 16}
MEMBERS = [*s3prl_files.WRITERS, "fbank", "mel"]


@pytest.fixture(scope="module", autouse=True)
def small_where_the_code_fixes_the_size() -> Iterator[None]:
    """s3prl has DeCoAR 2.0 in one size, and fills a table of 24,000 positions in a Python loop."""
    from s3prl.upstream.decoar2 import decoar2
    from s3prl.upstream.mockingjay import builder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoar2, "args", decoar2.args | SMALL_DECOAR2)
        patch.setattr(builder, "MAX_SEQLEN", 2500)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """A checkpoint of each member; None for those without weights."""
    folder = tmp_path_factory.mktemp("s3prl")
    return {member: s3prl_files.write(member, folder) if member in s3prl_files.WRITERS else None for member in MEMBERS}


@pytest.fixture(scope="module", params=MEMBERS)
def member(request: pytest.FixtureRequest) -> str:
    """One of s3prl's encoders."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(member: str, files: dict[str, Path | None]) -> Upstream:
    """The same behind the interface."""
    return upstream.load(f"s3prl:{member}", files[member])


def expert_of(member: str, path: Path | None) -> Any:
    """The same as s3prl gives it."""
    if path is None:
        from s3prl.upstream.baseline import hubconf

        return getattr(hubconf, member)().eval()
    from importlib import import_module

    family = catalogue.family_of().get(member, member)
    return import_module(f"s3prl.upstream.{family}.expert").UpstreamExpert(str(path)).eval()


def without_memory(expert: Any) -> Any:
    """An expert at the start of its work: that of cpc goes on where its last batch ended."""
    for module in expert.modules():
        if hasattr(module, "keepHidden"):
            module.hidden = None
    return expert


def shapes_alike(model: Upstream, states: Any) -> list[Tensor]:
    """The states that are given."""
    return [states[index] for index in model.configuration()["states"]]


@torch.no_grad()
def test_batch_neighbours_change_nothing(model: Upstream) -> None:
    wavs, lengths = make.waveforms(33_333, 16_000, 24_001, model.minimum_samples)
    together = model(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        alone = model(wavs[row : row + 1, :samples], lengths[row : row + 1])
        frames = int(alone.lengths[0])
        assert int(together.lengths[row]) == frames
        assert make.relative_error(together.hidden_states[:, row, :frames], alone.hidden_states[:, 0]) < 2e-6


@torch.no_grad()
def test_each_utterance_gets_what_s3prl_gives_for_it_alone(member: str, model: Upstream, files: dict[str, Path | None]) -> None:
    wavs, lengths = make.waveforms(20_000, 12_345)
    made, expert = model(wavs, lengths), expert_of(member, files[member])
    for row, samples in enumerate(lengths.tolist()):
        theirs = shapes_alike(model, without_memory(expert)([wavs[row, :samples]])["hidden_states"])
        assert int(made.lengths[row]) == theirs[0].shape[1]
        for own, other in zip(made.hidden_states, theirs, strict=True):
            assert make.relative_error(own[row, : other.shape[1]], other[0]) < 2e-6


@torch.no_grad()
def test_reference_padding_repeats_s3prls_batch(member: str, files: dict[str, Path | None]) -> None:
    model = upstream.load(f"s3prl:{member}", files[member], padding="reference")
    wavs, lengths = make.waveforms(20_000, 12_345, 5_000)
    theirs = shapes_alike(
        model, expert_of(member, files[member])([wav[:n] for wav, n in zip(wavs, lengths.tolist(), strict=True)])["hidden_states"]
    )
    made = model(wavs, lengths)
    for row, samples in enumerate(lengths.tolist()):
        frames = min(round(samples / model.stride), theirs[0].shape[1])
        assert int(made.lengths[row]) == frames
        assert not made.hidden_states[:, row, frames:].any()
        for own, other in zip(made.hidden_states, theirs, strict=True):
            assert make.relative_error(own[row, :frames], other[row, :frames]) < 2e-6


@torch.no_grad()
def test_declared_constants_are_true(model: Upstream) -> None:
    made = model(*make.waveforms(16_000, 8_000))
    assert made.hidden_states.shape == (model.num_states, 2, int(made.lengths.max()), model.dim)
    assert abs(int(made.lengths[0]) - 16_000 / model.stride) <= 3
    assert made.lengths.dtype == torch.int64


@torch.no_grad()
def test_padded_frames_are_zero_whatever_the_padding_holds(model: Upstream) -> None:
    wavs, lengths = make.waveforms(16_000, 8_000)
    clean = model(wavs, lengths)
    wavs[1, 8_000:] = float("nan")
    dirty = model(wavs, lengths)
    assert torch.equal(clean.hidden_states, dirty.hidden_states)
    assert not clean.hidden_states[:, 1, int(clean.lengths[1]) :].any()


def test_too_short_an_utterance_is_refused_with_the_least_number(model: Upstream) -> None:
    least = model.minimum_samples
    with pytest.raises(UpstreamError, match=f"has {least - 1} samples; it needs at least {least}"):
        model(*make.waveforms(16_000, least - 1))
    for samples in (least, least + 1, least + 7):
        assert model(*make.waveforms(samples, seed=samples)).hidden_states.isfinite().all()


def test_silence_gives_finite_states(model: Upstream) -> None:
    assert model(torch.zeros(1, 16_000), torch.tensor([16_000])).hidden_states.isfinite().all()


def test_weights_can_be_trained_and_are_in_the_fingerprint(model: Upstream, files: dict[str, Path | None], member: str) -> None:
    assert upstream.fingerprint(model) == upstream.fingerprint(upstream.load(f"s3prl:{member}", files[member]))
    if not list(model.parameters()):
        return
    model(*make.waveforms(16_000)).hidden_states.square().mean().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_nothing_is_printed(files: dict[str, Path | None], capfd: pytest.CaptureFixture[str]) -> None:
    model = upstream.load("s3prl:distiller_local", files["distiller"])
    model(*make.waveforms(16_000))
    assert capfd.readouterr() == ("", "")


def test_a_recurrent_state_is_not_carried_from_batch_to_batch(files: dict[str, Path | None]) -> None:
    model = upstream.load("s3prl:cpc_local", files["cpc_local"])
    assert any("empty recurrent state" in note for note in model.notes)
    first = model(*make.waveforms(16_000, 8_000)).hidden_states
    model(*make.waveforms(9_000, 8_000, 7_000, seed=1))
    assert torch.equal(model(*make.waveforms(16_000, 8_000)).hidden_states, first)


def test_states_of_another_dimension_are_left_out_and_named(tmp_path: Path) -> None:
    s3prl_files.write_cpc(tmp_path / "cpc.ckpt", hiddenEncoder=24)
    model = upstream.load("s3prl:cpc", tmp_path / "cpc.ckpt")
    assert (model.num_states, model.dim) == (1, 32)
    assert "of 2 hidden states, those unlike the last (100, 32) are left out: 0 (100, 24)" in model.notes


def test_another_file_of_the_same_weights_has_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = upstream.load("s3prl:apc", s3prl_files.write("apc", tmp_path))
    monkeypatch.setattr(s3prl_files, "AUDIO", s3prl_files.AUDIO | {"cmvn": False})
    second = upstream.load("s3prl:apc", s3prl_files.write("apc", tmp_path))
    assert all(torch.equal(first.state_dict()[name], tensor) for name, tensor in second.state_dict().items())
    assert upstream.fingerprint(first) != upstream.fingerprint(second)


def test_weights_that_the_file_lacks_are_named_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    path = s3prl_files.write("cpc_local", tmp_path)
    content = torch.load(path, weights_only=True)
    del content["weights"]["gEncoder.conv4.bias"]
    torch.save(content, path)
    assert "these weights are in no file and stay random: 'gEncoder.conv4.bias'" in upstream.load("s3prl:cpc", path).notes
    torch.save(content | {"weights": {"other": torch.zeros(1)}}, path)
    with pytest.raises(UpstreamError, match="s3prl:cpc: the file holds none of the weights of CPCModel"):
        upstream.load("s3prl:cpc", path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("apk", "unknown s3prl encoder 'apk': did you mean 'apc'? known: apc, ast,"),
        ("wav2vec2_large_96", "did you mean 'wav2vec2_large_960'?"),
        ("apc_local", "s3prl:apc_local: needs a checkpoint: give it with -k PATH"),
        ("byol_a", "has several encoders, name one: s3prl:byol_a_2048, s3prl:byol_a_1024, s3prl:byol_a_512"),
        ("espnet_hubert_base", "did you mean 'espnet_hubert_base_iter1'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, message: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        upstream.load(f"s3prl:{name}")
    assert message in str(caught.value)


def test_a_family_that_cannot_be_imported_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = catalogue.Family("byol_s", ("byol_s_cvt",), frozenset(), "torchaudio has no set_audio_backend")
    monkeypatch.setattr(catalogue, "families", lambda: {"byol_s": broken})
    with pytest.raises(UpstreamError, match="s3prl:byol_s_cvt: s3prl's byol_s cannot be imported here: torchaudio has no set_audio"):
        upstream.load("s3prl:byol_s_cvt")


def test_a_file_of_another_family_is_refused(files: dict[str, Path | None]) -> None:
    with pytest.raises(UpstreamError, match=r"s3prl:wav2vec: s3prl cannot build it .*is .*apc.ckpt a checkpoint of s3prl's wav2vec\?"):
        upstream.load("s3prl:wav2vec", files["apc"])


def test_a_checkpoint_for_an_encoder_that_takes_none_is_refused(files: dict[str, Path | None]) -> None:
    with pytest.raises(UpstreamError, match="s3prl's passt takes no checkpoint"):
        upstream.load("s3prl:passt_base", files["apc"])


@pytest.mark.parametrize("member", ["hf_hubert_custom", "hf_wav2vec2_custom", "hf_hubert"])
def test_models_that_s3prl_hands_to_transformers_are_refused_naming_our_own_adapter(member: str, tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).touch()
    for checkpoint in (tmp_path, None):
        with pytest.raises(UpstreamError, match=f"s3prl:{member}: .*load it with -u hf -k DIR"):
            upstream.load(f"s3prl:{member}", checkpoint)


def test_a_folder_is_no_checkpoint_of_s3prl(tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).touch()
    with pytest.raises(UpstreamError, match=f"{tmp_path}: cannot be read \\(Is a directory\\)"):
        upstream.load("s3prl:apc", tmp_path)


class Hostile:
    """Unpickles by running a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def hostile(path: Path, mark: Path) -> Path:
    """A checkpoint that writes `mark` when it is unpickled."""
    with path.open("wb") as file:
        pickle.dump({"config": {}, "model": Hostile(f"touch {mark}"), "weights": {}}, file)
    return path


@pytest.mark.parametrize("member", ["apc", "cpc_local", "decoar2", "mockingjay", "hubert", "pase_local"])
def test_a_pickle_that_runs_a_command_runs_nothing(member: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="system"):
        upstream.load(f"s3prl:{member}", hostile(tmp_path / "model.ckpt", tmp_path / "mark"))
    assert not (tmp_path / "mark").exists()


def test_a_downloaded_pickle_that_runs_a_command_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded(hostile(tmp_path / "model.ckpt", tmp_path / "mark"), tmp_path, monkeypatch)
    with pytest.raises(UpstreamError, match="system"):
        upstream.load("s3prl:apc")
    assert not (tmp_path / "mark").exists()


def downloaded(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file where s3prl keeps its download of `apc`."""
    from s3prl.util import download

    monkeypatch.setattr(download, "_download_dir", folder)
    address = "https://huggingface.co/leo19941227/apc_series/resolve/main/apc_360hr.ckpt"
    file.rename(download._urls_to_filepaths(address, download=False))


def test_an_entry_uses_what_s3prl_has_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded(s3prl_files.write("apc", tmp_path), tmp_path, monkeypatch)
    assert upstream.load("s3prl:apc").dim == 48


def test_without_a_network_the_address_and_the_remedy_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3prl.util import download

    monkeypatch.setattr(download, "_download_dir", tmp_path)
    with pytest.raises(UpstreamError) as caught:
        upstream.load("s3prl:apc_960hr")
    assert "https://huggingface.co/leo19941227/apc_series/resolve/main/apc_960hr.ckpt cannot be downloaded" in str(caught.value)
    assert "give it with -k PATH" in str(caught.value)
    assert "ConnectionPool" not in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["[(32, 10, 5)] * open({mark!r}, 'w').write('')", "__import__('os').mkdir({mark!r})", "torch.hub", "torch.hub.load"]
)
def test_a_configuration_that_is_a_program_is_not_run(expression: str, tmp_path: Path) -> None:
    path = s3prl_files.write("wav2vec_custom", tmp_path)
    content = torch.load(path, weights_only=True)
    content["model_cfg"]["conv_feature_layers"] = expression.format(mark=str(tmp_path / "mark"))
    torch.save(content, path)
    with pytest.raises(UpstreamError, match="s3prl:wav2vec: refused: its configuration holds"):
        upstream.load("s3prl:wav2vec", path)
    assert not (tmp_path / "mark").exists()


def test_a_configuration_names_no_function_but_features(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    make.s3prl_file(path, make.published_config(audio=make.KALDI))
    assert upstream.load("s3prl:tera", path).dim == 64
    content = torch.load(path, weights_only=True)
    audio = content["Upstream_Config"]["audio"]["kaldi"]
    audio["feat_type"] = "torch.hub.load"
    audio["torch.hub.load"] = {"model": "any", "frame_shift": 10.0}
    torch.save(content, path)
    with pytest.raises(UpstreamError, match="refused: its configuration holds 'torchaudio.compliance.kaldi.torch.hub.load'"):
        upstream.load("s3prl:tera", path)


def test_yaml_that_makes_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stft.yaml"
    path.write_text("spectrogram: !!python/tuple [1]\n")
    with pytest.raises(UpstreamError, match="is not plain YAML"):
        upstream.load("s3prl:stft_mag", path)


def test_reading_is_put_back_as_it_was_after_a_failure(files: dict[str, Path | None]) -> None:
    before = torch.load, eval, torch.nn.Module.load_state_dict
    with pytest.raises(UpstreamError):
        upstream.load("s3prl:wav2vec", files["apc"])
    assert before == (torch.load, eval, torch.nn.Module.load_state_dict)


def test_without_s3prl_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "families", dict)
    with pytest.raises(UpstreamError, match="s3prl is not installed: pip install s3prl"):
        upstream.load("s3prl:apc")


def test_the_families_and_entries_are_those_of_the_package() -> None:
    found = catalogue.families()
    assert len(found) == 37
    assert found["apc"].entries == ("apc_local", "apc_url", "apc", "apc_360hr", "apc_960hr")
    assert found["vq_apc"].entries[0] == "vq_apc_url"
    assert catalogue.family_of()["wav2vec2_local"] == "wav2vec2"


@pytest.mark.slow
@pytest.mark.parametrize("family", catalogue.families())
def test_reading_the_package_agrees_with_importing_it(family: str) -> None:
    code = f"import s3prl.upstream.{family}.hubconf"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (result.returncode == 0) == (catalogue.families()[family].problem is None), result.stderr


def test_missing_modules_and_functions_are_found_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "__init__.py": "",
        "upstream/__init__.py": "",
        "upstream/good/hubconf.py": "from .expert import f as _f\ndef good(): ...\ndef _hidden(): ...\n",
        "upstream/good/expert.py": "try:\n    import not_there\nexcept ImportError:\n    pass\ndef f():\n    import not_there\n",
        "upstream/needs/hubconf.py": "from ..needs.expert import f\ndef needs(): ...\n",
        "upstream/needs/expert.py": "from ..good import expert\nimport not_there.inside\n",
        "upstream/lost/hubconf.py": "from .nowhere import thing\n",
        "upstream/calls/hubconf.py": "import torchaudio\ntorchaudio.gone('sox')\ntorchaudio.transforms\n",
        "upstream/typed/hubconf.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import not_there\ndef typed(ckpt): ...\n",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(catalogue, "package", lambda: tmp_path)
    found = catalogue.families.__wrapped__()
    assert {name: family.problem for name, family in found.items()} == {
        "good": None,
        "needs": "no module not_there.inside",
        "lost": "no module s3prl.upstream.lost.nowhere",
        "calls": "torchaudio has no gone",
        "typed": None,
    }
    assert found["good"].entries == ("good",)
    assert found["typed"].from_file == {"typed"}
