"""`python -m upstream.convert IN OUT --to FORMAT`: a checkpoint in another format, whatever format it is in.

PyTorch is only imported once there is something to read and a place to write to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from upstream.errors import UpstreamError
from upstream.locate import find_checkpoint

if TYPE_CHECKING:
    from upstream.formats.content import Content, Notes

FORMATS = ("native", "hf", "s3prl", "fairseq", "torchaudio")
FOLDERS = ("native", "hf")
EXAMPLES = """examples:
  python -m upstream.convert wav2vec_small.pt wav2vec2/ --to native          fairseq's file as a folder of Weir's
  python -m upstream.convert hubert/ hubert_hf/ --to hf                      a folder for transformers' from_pretrained
  python -m upstream.convert facebook/hubert-base-ls960 hubert.pt --to s3prl
  python -m upstream.convert ctc.pt ctc_hf/ --to hf --dictionary dict.ltr.txt

IN is a file or folder of fairseq, s3prl, WavLM, DistilHuBERT, Hugging Face, torchaudio or Weir, a shipped name or OWNER/NAME on
the hub. The wav2vec 2.0 family (wav2vec2, hubert, wavlm, data2vec, tera2, distilhubert, wav2vec2_conformer) goes to every format,
tera to native and s3prl, wav2vec, vq_wav2vec and vq_wav2vec_roberta to native, fairseq and s3prl.
native and hf write a folder, the others a file (torchaudio: and STEM.json beside it, which says what its shapes do not).
Nothing is lost on the way back: what a format has no place for is kept beside (torchaudio: the heads are lost).
exit status: 0 written, 2 not written, and why
"""
CONVERTED = "converted_ckpts"  # s3prl's name for the folder


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parser().parse_args(argv)
    return _reported(lambda: convert(args.source, args.target, args.to, args.overwrite, args.dictionary))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m upstream.convert",
        description="Write a checkpoint in another format.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("source", metavar="IN", help="the checkpoint to read")
    made.add_argument("target", metavar="OUT", type=Path, help="file or folder to write")
    made.add_argument("--to", required=True, choices=FORMATS, help="format to write")
    made.add_argument("--overwrite", action="store_true", help="replace OUT when it exists")
    made.add_argument("--dictionary", type=Path, metavar="FILE", help="fairseq's dict.ltr.txt of a CTC model that does not hold its own")
    return made


def tera2(argv: Sequence[str] | None = None) -> int:
    """`upstream/tera2/convert.py CKPT --output_dir=DIR`: a TERA2 file of fairseq as s3prl's, in DIR/STEM.pt; returns the exit status."""
    made = argparse.ArgumentParser(description="Write a TERA2 checkpoint of fairseq in s3prl's converted format, as DIR/STEM.pt.")
    made.add_argument("checkpoint", metavar="CKPT", type=Path, help="fairseq's file")
    made.add_argument("--output_dir", "--output-dir", metavar="DIR", type=Path, default=Path(CONVERTED), help=f"default: {CONVERTED}")
    made.add_argument("--overwrite", action="store_true", help="replace the file when it exists")
    args = made.parse_args(argv)
    target = args.output_dir / f"{args.checkpoint.stem}.pt"
    return _reported(lambda: convert(args.checkpoint, target, "s3prl", args.overwrite, family="tera2"))


def _reported(work: Callable[[], tuple[list[str], Notes]]) -> int:
    """Run `work` and print its lines and, on stderr, its notes, or its error."""
    try:
        lines, notes = work()
    except UpstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or 'the checkpoint'}: cannot be written ({error.strerror or error})\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stderr.write("".join(f"note: {note}\n" for note in notes))
    return 0


def convert(
    source: str | Path, target: Path, form: str, overwrite: bool = False, dictionary: Path | None = None, family: str | None = None
) -> tuple[list[str], Notes]:
    """Write the checkpoint `source` to `target`, whole or not at all.

    Args:
        source: path, shipped name or `OWNER/NAME` on the hub.
        target: file or folder.
        form: one of `FORMATS`.
        overwrite: whether `target` may exist.
        dictionary: fairseq's, of a CTC model; by default the `dict.ltr.txt` beside a file that does not hold its own.
        family: the only one that is wanted.

    Returns: lines that say what was read and written, and notes on what the format does not hold.

    Raises:
        UpstreamError: the checkpoint cannot be read, the format has no such model, or `target` is in the way.
    """
    _check_free(target, form, overwrite)
    path = find_checkpoint(source)

    from upstream.formats.families import kind_of  # brings PyTorch

    kind = kind_of(path)
    content = kind.opened(path)
    if family is not None and content.family != family:
        raise UpstreamError(f"{path}: holds a {content.family} encoder, not {family}; use python -m upstream.convert")
    if form not in kind.writers:
        raise UpstreamError(f"{path}: a {content.family} encoder is not written as {form}, only as {', '.join(kind.writers)}")
    content = _with_symbols(content, path, dictionary)
    target.parent.mkdir(parents=True, exist_ok=True)
    notes = kind.writers[form](content, target)
    return [f"read {path}: {described(content)}", *content.notes, f"wrote {target} ({form})"], notes


def _check_free(target: Path, form: str, overwrite: bool) -> None:
    existing = [path for path in (target, target.with_suffix(".json")) if path.exists() and (path == target or form == "torchaudio")]
    if existing and not overwrite:
        raise UpstreamError(f"{existing[0]}: exists; replace it with --overwrite, or give another name")
    if target.is_dir() and form not in FOLDERS:
        raise UpstreamError(f"{target}: is a folder, and {form} is written as one file; give a file's name")


def _with_symbols(content: Content, path: Path, dictionary: Path | None) -> Content:
    """The checkpoint with what its CTC outputs stand for."""
    from upstream.formats.base import TARGETS, Checkpoint
    from upstream.formats.vocabulary import read_dictionary
    from upstream.native import HEAD

    checkpoint = content.source
    if not isinstance(checkpoint, Checkpoint) or f"{HEAD}ctc.weight" not in checkpoint.tensors:
        if dictionary is not None:
            raise UpstreamError(f"{path}: has no CTC head, so there is nothing for --dictionary {dictionary} to name")
        return content
    beside = path.parent / "dict.ltr.txt"
    if dictionary is None and TARGETS not in checkpoint.config.pretraining and beside.is_file():
        dictionary = beside
    if dictionary is None:
        return content
    symbols = read_dictionary(dictionary)
    config = checkpoint.config.model_copy(update={"pretraining": {**checkpoint.config.pretraining, TARGETS: symbols}})
    notes = (*content.notes, f"symbols of the CTC outputs: {len(symbols)}, from {dictionary}")
    return replace(content, source=replace(checkpoint, config=config), notes=notes)


def described(content: Content) -> str:
    """Family, size and heads of a checkpoint, in words."""
    from upstream.native import ENCODER, HEAD

    buffers = ("running_mean", "running_var", "num_batches_tracked")
    sizes = [tensor.numel() for name, tensor in content.tensors.items() if name.startswith(ENCODER) and not name.endswith(buffers)]
    heads = sorted({name.removeprefix(HEAD).partition(".")[0] for name in content.tensors if name.startswith(HEAD)})
    words = f"{content.family}, {content.layers} layers, dim {content.dim}, {sum(sizes):,} parameters"
    return words + (f"; heads: {', '.join(heads)}" if heads else "")


if __name__ == "__main__":
    sys.exit(main())
