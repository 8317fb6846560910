"""The flags of both commands: s3prl's letters keep their meaning. Nothing but argparse is needed to understand them."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  python run_downstream.py -m train -u tera -d asr                  train on the built-in corpus, no data needed
  python run_downstream.py -m evaluate -u tera -d asr               and evaluate it
  python run_downstream.py -m train -u tera -d asr -n first --data DIR -o config.optimizer.lr=1.0e-4
  python run_downstream.py -m train -u tera -d asr -n first -a      go on after an interruption
  python run_downstream.py -m evaluate -e result/downstream/first/dev-clean-best.ckpt -t test-clean
  python run_downstream.py -m inference -e result/downstream/first -t speech.wav more/
  python run_downstream.py -m train -u tera -d er -v all            cross-validation: every fold, and their mean
  python run_downstream.py -m train -u tera -d ks --layers all      one head for each hidden state
  python run_downstream.py -m train -u tera -d ks --sweep lr=1e-2,1e-3 --seeds 5    learning rates and seeds at once
  python run_downstream.py -m evaluate -u tera -d qbe -n search     a task without training
  python run_downstream.py -m extract -u tera -t speech/ -p features/          write the hidden states of audio to disk
  python run_downstream.py --list | --describe asr | --describe tera
"""


def downstream_parser() -> argparse.ArgumentParser:
    """The flags of `run_downstream.py`. Every default is None: whether a flag was typed matters where a checkpoint has its own value."""
    parser = argparse.ArgumentParser(
        prog="run_downstream.py",
        usage="run_downstream.py -m {train,evaluate,inference,extract} [-u UPSTREAM] [-d TASK] [options]",
        description="Train a downstream head on an upstream's hidden states, evaluate it, or use it; or write hidden states to disk.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=None,
    )
    _add_what(parser)
    _add_experiment(parser)
    _add_upstream(parser)
    _add_data(parser)
    _add_extraction(parser)
    _add_machine(parser)
    return parser


def _names(flag: str) -> list[str]:
    """A long flag, and the same with dashes: `--past_exp` and `--past-exp`."""
    return [flag] if "_" not in flag else [flag, flag.replace("_", "-")]


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to do")
    add = group.add_argument
    add(
        "-m",
        "--mode",
        choices=("train", "evaluate", "inference", "predict", "extract"),
        help="predict is another word for inference; extract needs no task",
    )
    add("-u", "--upstream", metavar="NAME", help="encoder (see --list)")
    add("-d", "--downstream", metavar="TASK", help="task (see --list)")
    add(
        "-t",
        *_names("--evaluate_split"),
        nargs="+",
        metavar="SPLIT",
        help="splits to evaluate; for inference: audio files and folders; for extract: manifests too (.tsv, .csv, .jsonl)",
    )
    add("-v", *_names("--downstream_variant"), metavar="NAME", help="variant of the task, such as fold3 of er; all runs every one")
    add("-c", "--config", metavar="FILE", help="configuration in place of the preset's")
    add("-o", "--override", metavar="K=V", help="override configuration values: config.optimizer.lr=1.0e-4, several separated by ',,'")
    add(
        "--preset",
        choices=("superb", "mini"),
        help="the benchmark's recipe, or a small one for minutes (default: mini on the built-in corpora)",
    )
    add("--list", action="store_true", default=None, help="list upstreams and tasks")
    add("--describe", metavar="NAME", help="the protocol card of a task, or what an upstream is")
    add("--check", action="store_true", default=None, help="build everything, print sizes and estimates, and stop")


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("experiment")
    add = group.add_argument
    add("-n", "--expname", metavar="NAME", help="the folder is result/downstream/NAME (default: TASK-UPSTREAM), or result/extract/NAME")
    add("-p", "--expdir", metavar="DIR", help="the folder itself")
    add("-e", *_names("--past_exp"), metavar="PATH", help="checkpoint, or an experiment's folder")
    add("-i", *_names("--init_ckpt"), metavar="FILE", help="begin from this checkpoint's weights")
    add("-a", *_names("--auto_resume"), action="store_true", default=None, help="go on with the run in the folder, or start it")
    add("--overwrite", action="store_true", default=None, help="replace the run in the folder")
    add("--sweep", metavar="lr=A,B,…", help="train: one head for each learning rate, all at once; the best one on dev is reported")
    add("--seeds", type=int, metavar="N", help="train: N heads (for each rate), seeds from --seed on; their mean and interval are reported")
    add("--json", action="store_true", default=None, help="evaluate: one JSON object on stdout in place of the table")


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("upstream")
    add = group.add_argument
    add("-k", *_names("--upstream_ckpt"), metavar="CKPT", help="file, folder, shipped name (tera-mini) or OWNER/NAME on the hub")
    add("-g", *_names("--upstream_model_config"), metavar="FILE", help="YAML with options of the upstream, such as padding: reference")
    add("-f", *_names("--upstream_trainable"), action="store_true", default=None, help="train the upstream too")
    selections = ("hidden_states", "last_hidden_state")
    add("-s", *_names("--upstream_feature_selection"), choices=selections, help="what the head sees (default: hidden_states)")
    add("-l", *_names("--upstream_layer_selection"), type=int, metavar="N", help="one hidden state in place of the weighted sum")
    add(
        "--layers",
        metavar="LAYERS",
        help="train: all trains one head for each hidden state, in sub-folders, and draws metric over layer; "
        "extract: all, or hidden states such as 6,9,-1 (--layers=-1,-2 where the first is negative)",
    )
    add(*_names("--upstream_feature_normalize"), action="store_true", default=None, help="layer norm on each hidden state")


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--data", type=Path, metavar="DIR", help="folder that holds LibriSpeech/ and the like (or WEIR_DATA)")
    add("--demo", action="store_true", default=None, help="the built-in corpora, whatever WEIR_DATA says")
    add("--store", choices=("auto", "frames", "pooled", "off"), help="keep the frozen upstream's representations on disk (default: auto)")
    add("--store-limit", metavar="SIZE", help="largest store of a split (default: 50G)")
    add("--store-list", action="store_true", default=None, help="list what is stored")
    add("--store-prune", action="store_true", default=None, help="remove what no run finished, or what --older-than says")
    add("--older-than", type=float, metavar="DAYS", help="prune what was not used for so long, finished or not")
    add("--store-verify", action="store_true", default=None, help="read everything that is stored and take out what is damaged")


def _add_extraction(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("extract")
    add = group.add_argument
    add("--what", choices=("states", "mean", "codes"), help="hidden states (default), their mean over frames, or discrete codes")
    add("--format", choices=("safetensors", "npy", "hdf5"), help="default: safetensors; npy is one file an utterance")
    add("--dtype", choices=("float32", "float16"), help="default: float32")
    add("--shard-size", metavar="SIZE", help="largest file with several utterances (default: 512M)")
    add("--batch-seconds", type=float, metavar="S", help="audio encoded at once, padding included (default: 60)")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    add = group.add_argument
    add("--seed", type=int, metavar="N", help="default: 1337")
    add("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    add("--precision", choices=("fp32", "bf16", "fp16"), help="default: fp32")


def pretrain_parser() -> argparse.ArgumentParser:
    """The flags of `run_pretrain.py`."""
    parser = argparse.ArgumentParser(
        prog="run_pretrain.py",
        description="Pre-train an upstream. Without --data, on the built-in demo corpus.",
        epilog="""examples:
  python run_pretrain.py -u tera -n my-tera                          on the built-in corpus
  python run_pretrain.py -u tera --data DIR -n my-tera -o config.runner.total_steps=2000
  python run_pretrain.py -u tera -n my-tera -a                       go on after an interruption
  python run_downstream.py -m train -u tera -k result/pretrain/my-tera -d asr""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-u", "--upstream", metavar="NAME", help="what to pre-train (see --list)")
    add("-c", "--config", type=Path, metavar="FILE", help="recipe (default: configs/pretrain/NAME-mini.yaml)")
    add("-n", "--expname", metavar="NAME", help="the run's folder is result/pretrain/NAME; default: the recipe's name")
    add("-p", "--expdir", type=Path, metavar="DIR", help="the run's folder itself")
    add("-o", "--override", metavar="K=V", help="override configuration values: config.optimizer.lr=1.0e-4, several separated by ',,'")
    add("-a", "--auto_resume", "--auto-resume", action="store_true", help="go on with the run in the folder, or start it")
    add("--overwrite", action="store_true", help="replace the run in the folder")
    add("--data", type=Path, metavar="DIR", help="folder that holds LibriSpeech/ (or WEIR_DATA)")
    add("--demo", action="store_true", help="the built-in corpus, whatever WEIR_DATA says")
    add("--seed", type=int, default=1337, help="default: %(default)s")
    add("--device", help="cpu, cuda or cuda:N; default: a GPU where there is one")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: %(default)s")
    add("--list", action="store_true", help="list the objectives and their recipes")
    return parser
