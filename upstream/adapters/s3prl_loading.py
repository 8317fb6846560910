"""Building an encoder of s3prl without trusting the file that it is built from.

s3prl reads checkpoints with a plain `torch.load`, which runs whatever a pickle names, and evaluates strings of the configuration
in it (`conv_feature_layers`) as Python. While it builds an encoder here, reading gives tensors and plain values only, and
evaluating refuses whatever calls something. Its messages go to the log.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import io
import logging
import socket
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from torch import nn

from upstream.adapters import s3prl_catalogue as catalogue
from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.native import some

logger = logging.getLogger(__name__)

YAML = (".yaml", ".yml")
FILE_ARGUMENTS = ("ckpt", "model_config")  # what the first argument of an expert that opens a file is called
DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte
EXTRACTORS = "torchaudio.compliance.kaldi"  # whose functions a configuration may name
BY_TRANSFORMERS = ("hf_hubert", "hf_wav2vec2")  # families that hand the user's folder to Transformers, past what is checked here
EVALUATED = (
    *(ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.expr_context),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.UnaryOp, ast.USub, ast.Name, ast.Attribute, ast.Subscript),
)


@dataclass(frozen=True)
class Built:
    """An encoder of s3prl.

    Attributes:
        expert: in evaluation mode, on the CPU.
        files: the sha256 of every file that it was built from.
        notes: what the user should know.
    """

    expert: nn.Module
    files: list[str]
    notes: tuple[str, ...]


@dataclass
class Reading:
    """What is read while an encoder is built: files, and parameters for which they hold nothing."""

    files: set[Path] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


def build_expert(member: str, path: Path | None) -> Built:
    """Build an encoder of s3prl.

    Args:
        member: an entry of one of its hubconfs, or a family's name.
        path: the checkpoint, which takes the place of the published weights; None downloads those through s3prl.

    Raises:
        UpstreamError: unknown or not importable here, a file that is not the family's or not harmless, or no network.
    """
    name, family = f"s3prl:{member}", _family(member)
    entry = _entry(name, member, family) if path is None else ""
    read = Reading({path} if path else set())
    screen = sys.stderr  # for the progress of downloads
    try:
        with quiet(), _harmless(name, path, read, screen), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # some experts keep noise among their weights
            expert = _from_file(name, family, path) if path else _published(family, entry)
    except UpstreamError:
        raise
    except (Exception, SystemExit) as error:
        remedy = f"is {path} a checkpoint of s3prl's {family.name}?" if path else "give a checkpoint with -k PATH"
        raise UpstreamError(f"{name}: s3prl cannot build it ({_reason(error)}); {remedy}") from error
    notes = (f"these weights are in no file and stay random: {some(read.missing)}",) if read.missing else ()
    return Built(expert.cpu().eval(), sorted(_digest(file) for file in read.files), notes)


def _family(member: str) -> catalogue.Family:
    family = catalogue.find_family(member)
    if family.name in BY_TRANSFORMERS:
        raise UpstreamError(f"s3prl:{member}: only hands the folder of a model to Transformers; load it with -u hf -k DIR, which checks it")
    if family.problem:
        raise UpstreamError(f"s3prl:{member}: s3prl's {family.name} cannot be imported here: {family.problem}")
    return family


def _entry(name: str, member: str, family: catalogue.Family) -> str:
    """The entry that brings its own weights; the only one of the family where its name was given."""
    complete = [entry for entry in family.entries if entry not in family.from_file]
    if member in complete:
        return member
    if member in family.from_file or not complete:
        raise UpstreamError(f"{name}: needs a checkpoint: give it with -k PATH")
    if len(complete) > 1:
        raise UpstreamError(f"{name}: has several encoders, name one: {', '.join(f's3prl:{entry}' for entry in complete)}")
    return complete[0]


def _published(family: catalogue.Family, entry: str) -> nn.Module:
    expert: nn.Module = getattr(import_module(f"s3prl.upstream.{family.name}.hubconf"), entry)()
    return expert


def _from_file(name: str, family: catalogue.Family, path: Path) -> nn.Module:
    """The family's expert over a file, which is what its entries for files build."""
    expert = import_module(f"s3prl.upstream.{family.name}.expert").UpstreamExpert
    _, first, *others = inspect.signature(expert.__init__).parameters.values()
    if first.name not in FILE_ARGUMENTS:
        raise UpstreamError(f"{name}: s3prl's {family.name} takes no checkpoint, but was given '{path}'; leave -k out")
    if required := [each.name for each in others if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]:
        raise UpstreamError(f"{name}: s3prl's {family.name} needs {', '.join(required)} besides a file; leave -k out")
    made: nn.Module = expert(str(path))
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """What s3prl prints and warns goes to the log, at the level of details."""
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for line in said.getvalue().splitlines():
            logger.debug("s3prl: %s", line)


@contextmanager
def _harmless(name: str, path: Path | None, read: Reading, screen: TextIO) -> Iterator[None]:
    """Reading, evaluating and downloading as described above; `read` receives what happened."""
    given = {str(path): _checked(path)} if path else {}

    def load(file: Any, *_: Any, **__: Any) -> Any:
        read.files.add(Path(file))
        return given.pop(str(file)) if str(file) in given else read_checkpoint(Path(file))

    from s3prl.util import download

    with ExitStack() as stack:
        stack.enter_context(_replaced(torch, "load", load))
        stack.enter_context(_replaced(nn.Module, "load_state_dict", _filler(name, nn.Module.load_state_dict, read)))
        stack.enter_context(_replaced(builtins, "eval", _evaluator(name, builtins.eval)))
        stack.enter_context(_replaced(download, "_download", _downloader(name, download._download, screen)))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _checked(path: Path) -> Any:
    """The content of the user's file; refused when it is not harmless."""
    if path.suffix not in YAML:
        return read_checkpoint(path)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UpstreamError(f"{path}: is not plain YAML ({_reason(error)})") from None


def _filler(name: str, fill: Callable[..., Any], read: Reading) -> Callable[..., Any]:
    """`load_state_dict` that notes what stays random: several families load whatever fits and say nothing."""

    def filled(module: nn.Module, weights: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        found = fill(module, weights, *arguments, **options)
        parameters = {key for key, _ in module.named_parameters()}
        missing = parameters.intersection(found.missing_keys)
        if parameters and missing == parameters:
            raise UpstreamError(f"{name}: the file holds none of the weights of {type(module).__name__}, such as {some(missing, 3)}")
        read.missing |= missing
        return found

    return filled


def _evaluator(name: str, evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """`eval` that refuses in s3prl's own code what is not a literal, a sum of them, or the name of a part of a model or a feature."""

    def checked(source: Any, *scopes: Any) -> Any:
        caller = sys._getframe(1)
        scopes = scopes or (caller.f_globals, caller.f_locals)
        if not str(caller.f_globals.get("__name__")).startswith(f"{catalogue.PACKAGE}."):
            return evaluate(source, *scopes)
        if all(_calls_nothing(node) for node in ast.walk(ast.parse(str(source).strip(), mode="eval"))):
            value = evaluate(source, *scopes)
            if isinstance(value, nn.Module) or getattr(value, "__module__", None) == EXTRACTORS:
                return value
            if not callable(value) and not isinstance(value, types.ModuleType):
                return value
        raise UpstreamError(f"{name}: refused: its configuration holds {str(source)[:80]!r}, which s3prl would run as Python")

    return checked


def _calls_nothing(node: ast.AST) -> bool:
    return isinstance(node, EVALUATED) and not (isinstance(node, ast.Attribute) and node.attr.startswith("_"))


def _downloader(name: str, download: Callable[..., None], screen: TextIO) -> Callable[..., None]:
    """s3prl's download with its progress shown, a limit on silence, and one message where it fails."""

    def downloaded(filepath: Path, url: str, *arguments: Any, **options: Any) -> None:
        if not Path(filepath).is_file():
            logger.info("%s: s3prl downloads %s", name, url)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            with redirect_stderr(screen):
                download(filepath, url, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - two HTTP clients, each with its own errors
            remedy = "download it elsewhere and give it with -k PATH"
            raise UpstreamError(f"{name}: {url} cannot be downloaded ({_reason(error)}); {remedy}") from None
        finally:
            socket.setdefaulttimeout(before)

    return downloaded


def _digest(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    """What went wrong, of requests' errors what their innermost says, without the pool and the connection that say it."""
    inner = next((each for each in error.args if isinstance(each, Exception)), getattr(error, "reason", None))
    if isinstance(inner, Exception):
        return _reason(inner)
    if "Connection" in (said := str(error)).partition(": ")[0]:
        return said.partition(": ")[2]
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
