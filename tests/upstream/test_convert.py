"""`python -m upstream.convert`, and TERA2's converter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import upstream
from tests.upstream import make, roberta_files, wav2vec_files
from tests.upstream.formats import published
from upstream.checkpoint import read_checkpoint
from upstream.convert import FORMATS, convert, main, tera2
from upstream.errors import UpstreamError
from upstream.formats.families import KINDS
from upstream.formats.wav2vec2 import read
from upstream.native import read_native
from upstream.tera import head_tensors

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def hubert(tmp_path: Path) -> Path:
    """A fairseq file."""
    return published.fairseq_file(tmp_path / "hubert.pt", published.peer("hubert base"))


def tera2_file(path: Path) -> Path:
    """A TERA2 file as fairseq's fork writes it."""
    peer = published.peer("hubert base")
    published.fairseq_file(path, peer)
    content = torch.load(path, weights_only=False)
    content["model"] |= {"final_proj.weight": torch.ones(78, 32), "final_proj.bias": torch.ones(78)}
    content["cfg"]["model"]["_name"], content["cfg"]["task"]["_name"] = "tera", "tera_pretraining"
    content["task_state"] = {"dictionaries": [published.Dictionary(symbols) for symbols in published.SYMBOLS]}
    published.save_with_dictionaries(content, path)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_command_says_what_it_read_and_wrote(form: str, hubert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "model.pt"
    assert main([str(hubert), str(target), "--to", form]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = sum(tensor.numel() for name, tensor in read(hubert, "test").tensors.items() if name.startswith("encoder."))
    heads = "final_proj, label_embeddings, mask_embedding"
    assert lines[0] == f"read {hubert}: hubert, 2 layers, dim 32, {count:,} parameters; heads: {heads}"
    assert lines[1] == "input normalisation: off (the file's configuration)"
    assert lines[2:] == [f"wrote {target} ({form})"] and target.exists()
    assert upstream.load("hubert", target).family == "hubert"


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["-h"])
    said = capsys.readouterr().out
    assert "examples:" in said and "exit status: 0 written, 2 not written" in said


LIGHT = """
import sys
from upstream import convert
try:
    status = convert.main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print("HEAVY", sorted({"torch", "transformers", "numpy", "safetensors"} & sys.modules.keys()), status)
"""


@pytest.mark.parametrize(
    ("words", "status"),
    [("-h", 0), ("", 2), ("none.pt out --to onnx", 2), ("./none.pt out --to native", 2), ("tera-mini there --to native", 2)],
)
def test_help_and_mistakes_need_no_torch(words: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    command = [sys.executable, "-c", LIGHT, *words.split()]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith(f"HEAVY [] {status}\n"), done.stderr


def test_notes_on_what_was_written_are_no_part_of_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = published.fine_tuned_file(tmp_path / "ctc.pt", published.peer("wav2vec2 base"))
    assert main([str(path), str(tmp_path / "out"), "--to", "hf"]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"wrote {tmp_path / 'out'} (hf)\n") and "no vocab.json" not in said.out
    assert said.err.startswith("note: ") and "no vocab.json" in said.err


def test_help_says_which_family_goes_to_which_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-h"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(family in said for kind in KINDS for family in kind.families)
    assert [set(kind.writers) for kind in KINDS] == [{"native", "s3prl"}, *[{"native", "fairseq", "s3prl"}] * 2, set(FORMATS)]


def test_existing_target_is_kept_unless_told(hubert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.pt"
    target.write_text("mine")
    assert main([str(hubert), str(target), "--to", "s3prl"]) == 2
    assert capsys.readouterr().err == f"error: {target}: exists; replace it with --overwrite, or give another name\n"
    assert target.read_text() == "mine"
    assert main([str(hubert), str(target), "--to", "s3prl", "--overwrite"]) == 0
    published.assert_same_tensors(read(target, "test").tensors, read(hubert, "test").tensors)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["thesis.md", "data.json"], r"it holds 'data\.json', 'thesis\.md', which is never written there"),
        (["config.json", "model.safetensors", "notes.txt"], r"it holds 'notes\.txt'"),
        (["config.json", "model.safetensors", "vocab.json/mine"], r"it holds 'vocab\.json'"),
        (["config.json", "vocab.json"], r"it holds 'config\.json', 'vocab\.json' without 'model\.safetensors'"),
        (["model.safetensors"], r"without 'config\.json'"),
    ],
)
def test_overwriting_removes_no_folder_that_holds_other_things(files: list[str], words: str, hubert: Path, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UpstreamError, match=rf"is not overwritten: .*{words}.*; give another name"):
        convert(hubert, tmp_path / "out", "native", overwrite=True)
    assert all((tmp_path / "out" / name).read_text() == "mine" for name in files)


def test_overwriting_takes_an_empty_folder(hubert: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(hubert, tmp_path / "out", "native", overwrite=True)
    assert (tmp_path / "out/model.safetensors").is_file()


def test_overwriting_replaces_the_whole_folder(hubert: Path, tmp_path: Path) -> None:
    convert(hubert, tmp_path / "out", "hf")
    assert (tmp_path / "out/weir-heads.safetensors").is_file()
    convert(hubert, tmp_path / "out", "native", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("form", ["hf", "native"])
def test_folder_is_written_whole_or_not_at_all(form: str, hubert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(hubert, tmp_path / "out", form)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(Path, "rename" if form == "native" else "write_bytes", fail)
    assert main([str(hubert), str(tmp_path / "out"), "--to", form, "--overwrite"]) == 2
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hubert.pt", "out"]


def test_file_format_does_not_replace_a_folder(hubert: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UpstreamError, match="is a folder, and s3prl is written as one file"):
        convert(hubert, tmp_path / "out", "s3prl", overwrite=True)


@pytest.mark.parametrize("content", [b"", b"words", b"<html>"])
def test_unreadable_source_is_an_error_of_one_line(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.pt").write_bytes(content)
    assert main([str(tmp_path / "in.pt"), str(tmp_path / "out"), "--to", "native"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'in.pt'}: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_dictionary_is_taken_from_the_command_or_from_beside_the_file(tmp_path: Path) -> None:
    path = published.fine_tuned_file(tmp_path / "ctc.pt", published.peer("wav2vec2 base"))
    named = tmp_path / "letters.txt"
    named.write_text("| 3\nE 2\nT 1\n")
    lines, _ = convert(path, tmp_path / "first", "hf", dictionary=named)
    assert f"symbols of the CTC outputs: 7, from {named}" in lines
    assert (tmp_path / "first/vocab.json").is_file()
    _, notes = convert(path, tmp_path / "second", "hf")
    assert any("no vocab.json" in note for note in notes)
    named.rename(tmp_path / "dict.ltr.txt")
    lines, _ = convert(path, tmp_path / "third", "hf")
    assert f"symbols of the CTC outputs: 7, from {tmp_path / 'dict.ltr.txt'}" in lines
    assert (tmp_path / "third/vocab.json").read_text() == (tmp_path / "first/vocab.json").read_text()


def test_dictionary_without_a_ctc_head_is_refused(hubert: Path, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="has no CTC head"):
        convert(hubert, tmp_path / "out", "hf", dictionary=tmp_path / "dict.ltr.txt")


def test_tera_goes_to_a_folder_and_back(tmp_path: Path) -> None:
    model = make.tera()
    model.save_native(tmp_path / "tera", head_tensors(make.head(model)))
    convert(tmp_path / "tera", tmp_path / "tera.ckpt", "s3prl")
    convert(tmp_path / "tera.ckpt", tmp_path / "again", "native")
    first, again = (read_native(tmp_path / folder, ["tera"]) for folder in ("tera", "again"))
    assert first[0] == again[0]
    published.assert_same_tensors(first[1], again[1])
    with pytest.raises(UpstreamError, match="a tera encoder is not written as hf, only as native, s3prl"):
        convert(tmp_path / "tera", tmp_path / "out", "hf")


@pytest.mark.parametrize("family", ["wav2vec", "vq_wav2vec", "vq_wav2vec_roberta"])
@pytest.mark.parametrize("form", ["fairseq", "s3prl"])
def test_older_families_go_to_a_folder_and_back(form: str, family: str, tmp_path: Path) -> None:
    source = tmp_path / "in.pt"
    if family == "vq_wav2vec_roberta":
        source = roberta_files.s3prl_files(tmp_path)[0]
    else:
        wav2vec_files.fairseq_file(source, **(wav2vec_files.GUMBEL if family == "vq_wav2vec" else {}))
    convert(source, tmp_path / "native", "native")
    (tmp_path / "published").mkdir()
    lines, _ = convert(tmp_path / "native", tmp_path / "published/out.pt", form)
    assert lines[0].startswith(f"read {tmp_path / 'native'}: {family}, ")
    convert(tmp_path / "published/out.pt", tmp_path / "again", "native")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "native" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_older_families_keep_half_precision(tmp_path: Path) -> None:
    model, vq = make.tera(), tmp_path / "vq.pt"
    model.save_native(tmp_path / "tera", head_tensors(make.head(model)), dtype=torch.float16)
    wav2vec_files.fairseq_file(vq, **wav2vec_files.GUMBEL)
    content = torch.load(vq, weights_only=False)
    torch.save(content | {"model": {name: tensor.half() for name, tensor in content["model"].items()}}, vq)
    for source in (tmp_path / "tera", vq):
        convert(source, tmp_path / "out.pt", "s3prl", overwrite=True)
        convert(tmp_path / "out.pt", tmp_path / "out", "native", overwrite=True)
        tensors = read_checkpoint(tmp_path / "out/model.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_tera2_script_writes_s3prls_file(tmp_path: Path) -> None:
    source = tera2_file(tmp_path / "checkpoint_best.pt")
    script = [sys.executable, "upstream/tera2/convert.py", str(source), f"--output_dir={tmp_path / 'converted'}"]
    run = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    content = torch.load(tmp_path / "converted/checkpoint_best.pt")
    assert content.keys() == {"task_cfg", "model_cfg", "model_weight", "dictionaries_symbols"}
    assert content["model_cfg"]["_name"] == "tera" and content["task_cfg"]["_name"] == "tera_pretraining"
    assert content["dictionaries_symbols"] == published.SYMBOLS
    assert content["model_weight"]["final_proj.weight"].shape == (78, 32)
    published.assert_same_tensors(content["model_weight"], read_checkpoint(source)["model"])
    assert read(tmp_path / "converted/checkpoint_best.pt", "tera2").config.family == "tera2"


def test_tera2_converter_refuses_other_families(hubert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tera2([str(hubert), "--output_dir", str(tmp_path / "out")]) == 2
    assert "holds a hubert encoder, not tera2; use python -m upstream.convert" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
