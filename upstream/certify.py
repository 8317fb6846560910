"""`python -m upstream.certify NAME`: measure an encoder's padding certificate, print it, and keep it for `--describe`.

PyTorch is only imported where something is measured.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import upstream
from upstream import cards
from upstream.certificate import Certificate
from upstream.certificate_cache import keep, kept
from upstream.errors import UpstreamError
from upstream.locate import checkpoint_here

if TYPE_CHECKING:
    from upstream.base import Padding, Upstream

RANDOM = "random, in the published configuration"
NONE = "none"
logger = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  python -m upstream.certify tera -k tera-mini     # a checkpoint: file, folder, shipped name or OWNER/NAME on the hub
  python -m upstream.certify hubert                # the published weights
  python -m upstream.certify hubert --random       # the published configuration with random weights, nothing is downloaded
  python -m upstream.certify hf -k FOLDER --json   # a model of Transformers; one JSON object
  python -m upstream.certify s3prl:apc -k FILE

Measured in float32 on the CPU, on noise that moves like speech, in utterances from the shortest possible to 3 s more.
exit status: 0 measured, 2 the encoder or its checkpoint cannot be used, or is not what it declares
"""


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 measured, 2 not an encoder that can be used as asked."""
    args = parser().parse_args(argv)
    try:
        certificate = certify(args.name, args.checkpoint, args.random, _say)
    except UpstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{certificate.as_json() if args.json else certificate.table()}\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m upstream.certify",
        description="Measure how much padding, neighbours and batch size change an encoder's frames, and what it is and costs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="an encoder, as run_downstream.py -u takes it")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("-k", "--checkpoint", metavar="CKPT", help="its weights (default: the published ones)")
    weights.add_argument("--random", action="store_true", help="random weights in the published configuration")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return parser


def _say(stage: str) -> None:
    """One line a stage: large encoders take a minute."""
    sys.stderr.write(f"{stage} …\n")
    sys.stderr.flush()


def certify(name: str, checkpoint: str | None = None, random: bool = False, say: Callable[[str], object] = str) -> Certificate:
    """Measure an encoder and keep its certificate in the cache.

    Args:
        name: a registered name or alias, or `FAMILY:MEMBER`.
        checkpoint: as in `upstream.load`; None takes the published weights.
        random: random weights in place of any checkpoint.
        say: is told of every stage when it begins.

    Raises:
        UpstreamError: unknown name, unusable or missing checkpoint, or an encoder that is not what it declares.
    """
    resolved = upstream.resolve(name) if random else upstream.check(name, checkpoint)
    path, weights = (None, RANDOM) if random else _located(resolved, checkpoint)

    def make(padding: Padding) -> Upstream:
        return upstream.build(resolved, padding=padding) if random else upstream.load(resolved, path, padding=padding)

    from upstream.measure import measure  # brings PyTorch

    certificate = measure(make, weights, say)
    if random and not certificate.parameters:
        certificate = replace(certificate, weights=NONE)
    if cards.split(resolved)[0] in cards.cards():  # the code of other packages' encoders may change unseen
        try:
            keep(certificate, path)
        except OSError as error:
            logger.warning("the certificate was not kept: %s", error)
    return certificate


def _located(name: str, checkpoint: str | None) -> tuple[Path | None, str]:
    """Where the weights are, and which ones they are in words."""
    if checkpoint is not None:
        path = upstream.find_checkpoint(checkpoint)
        return path, _called(checkpoint, path)
    published = upstream.card(name).published
    return upstream.published_checkpoint(name, published) if published else None, _own_weights(name)


def _called(checkpoint: str, path: Path | None) -> str:
    """What a checkpoint of the user's is called: its path here, or its name."""
    return str(path.absolute()) if path and Path(checkpoint).expanduser().exists() else checkpoint


def _own_weights(name: str) -> str:
    """What the weights that an encoder has without `-k` are called."""
    card = upstream.card(name)
    if card.published:
        return f"published, {card.published['repo']}/{card.published['file']}"
    return "the encoder's own" if card.takes_checkpoint else NONE


def at_hand(name: str, checkpoint: str | None = None) -> Certificate | None:
    """The certificate of a registered name that is there in seconds: a kept one, or that of weights which need no download.

    Args:
        name: a registered name, or `FAMILY:MEMBER`.
        checkpoint: whose certificate; None for the published weights, those that ship with Weir, or random ones.

    Raises:
        UpstreamError: the checkpoint cannot be used; or it had to be measured, and the encoder is not what it declares.
    """
    card = upstream.card(name)
    small = None if card.members else upstream.shipped_for(name)
    if checkpoint is not None:
        found = kept(name, {_called(checkpoint, checkpoint_here(checkpoint))})
    else:
        found = kept(name, {RANDOM, NONE, _own_weights(name), *([small] if small else [])})
    if found:
        return found
    if checkpoint not in (None, small) or (small is None and card.takes_checkpoint):
        return None
    _say(f"measuring {small or name} once, which takes seconds")
    return certify(name, small)


def how_to(name: str, checkpoint: str | None = None) -> str:
    """The command that measures an encoder, given its registered name, with its own weights or with a checkpoint."""
    if checkpoint is not None:
        return f"python -m upstream.certify {name} -k {checkpoint}"
    card = upstream.card(name)
    choice = "[-k CKPT]" if card.published or card.members else "-k CKPT"
    random = ", or with --random" if card.config else ""
    return f"python -m upstream.certify {name}{':NAME' if card.members and ':' not in name else ''} {choice}{random}"


if __name__ == "__main__":
    sys.exit(main())
