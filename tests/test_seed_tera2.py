"""TERA2 as its authors use it: a file of fairseq, `upstream/tera2/convert.py`, and their five downstream commands with few steps."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine import make
from tests.test_every_task import FEW, tiny

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed (extra: demo)"),
]

# Task: its corpus here, arguments of the training command, evaluation command.
COMMANDS = {
    "asr": ("asr", "-d asr", "-m evaluate -t test-clean -e result/downstream/NAME/dev-clean-best.ckpt"),
    "ctc": ("pr", "-d ctc -c downstream/ctc/libriphone.yaml", "-m evaluate -e result/downstream/NAME/dev-best.ckpt"),
    "speech_commands": ("ks", "-d speech_commands", "-m evaluate -e result/downstream/NAME/dev-best.ckpt"),
    "voxceleb1": ("sid", "-d voxceleb1", "-m evaluate -e result/downstream/NAME/dev-best.ckpt"),
    "sv_voxceleb1": ("asv", "-d sv_voxceleb1", None),  # by its script
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TERA2 Slim with random weights as fairseq saves it, converted by the command as written."""
    folder = tmp_path_factory.mktemp("tera2")
    torch.save(fairseq_content(), folder / "checkpoint_best.pt")
    words = [sys.executable, "upstream/tera2/convert.py", str(folder / "checkpoint_best.pt"), f"--output_dir={folder}/converted_ckpts/"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "converted_ckpts" / "checkpoint_best.pt"


def fairseq_content() -> dict[str, Any]:
    """HuBERT's network of the published Slim size by s3prl, with TERA2's head."""
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

    sizes = {"encoder_layers": 12, "encoder_embed_dim": 384, "encoder_ffn_embed_dim": 768, "encoder_attention_heads": 8, "final_dim": 256}
    symbols = ["<s>", "<pad>", "</s>", "<unk>", *map(str, range(500))]
    model = HubertModel(HubertConfig(label_rate=100, **sizes), HubertPretrainingConfig(), [symbols])
    head = {"final_proj.weight": torch.randn(78, 384), "final_proj.bias": torch.zeros(78)}
    cfg = {
        "model": {"_name": "tera", "label_rate": 100, "mask_prob": 0.8, **sizes},
        "task": {"_name": "tera_pretraining", "normalize": False, "sample_rate": 16_000, "labels": ["km"], "label_rate": 100},
    }
    if importlib.util.find_spec("omegaconf"):  # as fairseq saves it
        from omegaconf import OmegaConf

        cfg = OmegaConf.create(cfg)  # type: ignore[assignment]
    return {
        "cfg": cfg,
        "model": model.state_dict() | head,
        "task_state": {"dictionaries": [{"symbols": symbols}]},
        "optimizer_history": [],
    }


@pytest.mark.parametrize("task", COMMANDS)
def test_the_authors_commands_leave_a_result(task: str, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, arguments, evaluation = COMMANDS[task]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIR_DATA", str(tiny(own)))
    train = f"-m train {arguments} -u tera2_local -k {converted} -n NAME --preset mini -o {FEW},,config.optimizer.lr=1.0e-4"
    assert make.downstream(*shlex.split(train)) == 0
    if evaluation:
        assert make.downstream(*shlex.split(evaluation)) == 0
    else:
        script = [str(ROOT / "downstream/sv_voxceleb1/test_expdir.sh"), "./result/downstream/NAME/", str(tiny(own) / "VoxCeleb1")]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(script, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    record = json.loads(Path("result/downstream/NAME/results.json").read_text())
    assert record["upstream"] == "tera2" and record["task"] == own and record["splits"]
