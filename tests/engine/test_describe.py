"""`--describe`: the certificate of an encoder, measured once and only where its weights are at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import downstream
import upstream
from engine import listing
from engine.errors import ConfigError
from tests.upstream import make
from upstream import certify


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def describe(name: str, checkpoint: str | None = None) -> str:
    """What `--describe` prints."""
    return listing.card(name, downstream.registry, checkpoint)


@pytest.mark.parametrize("name, weights", [("tera", "tera-mini"), ("baseline", "none")])
def test_weights_at_hand_are_measured_once(name: str, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe(name)
    assert f"measured weights                    {weights}\n" in first
    assert "padding, neighbours and batch size change nothing" in first
    monkeypatch.setattr(certify, "certify", lambda *_: pytest.fail("measured again"))
    assert describe(name) == first


def test_the_first_time_says_that_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    describe("fbank")
    assert capsys.readouterr().err == "measuring fbank once, which takes seconds …\n"
    describe("fbank")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name, command",
    [
        ("hubert", "python -m upstream.certify hubert [-k CKPT], or with --random"),
        ("tera2_base", "python -m upstream.certify tera2 -k CKPT, or with --random"),
        ("hf", "python -m upstream.certify hf -k CKPT"),
        ("s3prl", "python -m upstream.certify s3prl:NAME [-k CKPT]"),
        ("s3prl:apc", "python -m upstream.certify s3prl:apc [-k CKPT]"),
    ],
)
def test_others_are_told_how_to_measure(name: str, command: str) -> None:
    assert describe(name).endswith(f"not measured yet: {command}")


def test_weights_of_the_users_are_shown_only_where_they_are_named(tmp_path: Path) -> None:
    folder = str(tmp_path / "mine")
    make.tera().save_native(tmp_path / "mine")
    assert describe("tera", folder).endswith(f"not measured yet: python -m upstream.certify tera -k {folder}")
    certify.certify("tera", folder)
    assert "measured weights                    tera-mini\n" in describe("tera")
    assert f"measured weights                    {folder}\n" in describe("tera", folder)
    assert "measured weights                    tera-mini\n" in describe("tera", "tera-mini")


def test_a_checkpoint_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="checkpoint './none.pt': there is no such file or folder"):
        describe("tera", "./none.pt")
    with pytest.raises(ConfigError, match="'fbank' takes no checkpoint"):
        describe("fbank", "tera-mini")


@pytest.mark.parametrize("name, nearest", [("s3prl:apk", "apc"), ("torchaudio:HUBERT_BAS", "HUBERT_BASE")])
def test_an_unknown_member_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        describe(name)


def test_members_are_described_by_what_the_packages_have() -> None:
    assert "in s3prl         an entry of apc, which has apc_local, " in describe("s3prl:apc")
    assert "HUBERT_BASE, " in describe("torchaudio") and "WAVLM_LARGE" in describe("torchaudio")
    assert "torchaudio:HUBERT_BASE" in describe("torchaudio:HUBERT_BASE")


def test_an_encoder_of_another_package_is_described_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upstream.registry.targets, "theirs", "their_package:Encoder")
    assert describe("theirs").splitlines() == [
        "upstream     theirs: from another package: their_package:Encoder",
        "certificate  python -m upstream.certify theirs measures it; not kept, as its code can change",
    ]


def test_what_is_kept_is_shown_without_torch(repository: Path) -> None:
    first = describe("tera")
    code = "import sys, run_downstream; run_downstream.main(['--describe', 'tera']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == first


def test_an_encoder_that_cannot_be_measured_is_still_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, checkpoint: str | None) -> None:
        raise certify.UpstreamError("tera: dim is declared as 7, but measured as 6")

    monkeypatch.setattr(certify, "at_hand", refuse)
    assert describe("tera").endswith("certificate        none: tera: dim is declared as 7, but measured as 6")
