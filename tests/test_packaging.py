"""The distribution: our names are ours, everything is inside, and it works from any folder."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"configs", "corpus", "downstream", "engine", "pretrain", "report", "upstream"}
ENTRIES = {"leaderboard", "run_downstream", "run_pretrain"}


@pytest.mark.parametrize("name", sorted(ROOMS | ENTRIES))
def test_top_level_names_are_ours(name):
    module = importlib.import_module(name)
    assert Path(module.__file__).resolve().is_relative_to(ROOT)


def test_every_pinned_version_is_exact_and_every_dependency_is_pinned():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r'([a-z0-9-]+)==([\w.]+)(; python_version [<>=]+ "3\.11")?', line)
            assert match, line
            pinned[match[1]] = match[2]
    text = (ROOT / "pyproject.toml").read_text()
    tables = re.findall(r"^(?:dependencies|demo|test|dev) = \[(.*?)\]", text, flags=re.DOTALL | re.MULTILINE)
    wanted = {re.split(r"[<>=]", name)[0].lower().replace("_", "-") for table in tables for name in re.findall(r'"([^"]+)"', table)}
    assert len(tables) == 4
    assert not wanted - pinned.keys()
    assert pinned["torch"] == pinned["torchaudio"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"  # a copy: building leaves folders behind
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("weir-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_configurations_and_no_foreign_names(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0].removesuffix(".py") for name in names if ".dist-info/" not in name}
    assert top == ROOMS | ENTRIES
    for inside in [path.relative_to(ROOT).as_posix() for folder in ("configs", "upstream/shipped") for path in (ROOT / folder).rglob("*")]:
        if (ROOT / inside).is_file() and "__pycache__" not in inside:
            assert inside in names
    assert "configs/downstream/superb/asr.yaml" in names
    assert any(name.endswith("licenses/NOTICE") for name in names)


@pytest.mark.slow
def test_the_installed_command_works_from_another_folder(wheel, tmp_path):
    """A fresh environment gets the wheel alone; what it depends on is borrowed from this one."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site.stdout.strip()) / "borrowed.pth").write_text("\n".join(borrowed))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    commands = [("weir", "--list", "asr"), ("weir-pretrain", "--list", "tera"), ("weir-leaderboard", "-h", "--compare")]
    for command, flag, expected in commands:
        done = subprocess.run([python.parent / command, flag], cwd=elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    where = subprocess.run([python, "-c", "import upstream; print(upstream.__file__)"], cwd=elsewhere, capture_output=True, text=True)
    assert where.stdout.startswith(site.stdout.strip())
    assert not list(elsewhere.iterdir())
