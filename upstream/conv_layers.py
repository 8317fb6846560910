"""Stacks of convolutions as published configurations write them: `[(512, 10, 5)] + [(512, 3, 2)] * 4`.

fairseq evaluates these strings as Python; here they are lists of `(channels, kernel, stride)`, sums and repetitions, nothing else.
"""

from __future__ import annotations

import re
from itertools import groupby

from upstream.errors import UpstreamError
from upstream.layers.convolutions import ConvLayer

_LAYER = r"\(\s*([1-9]\d{0,5})\s*,\s*([1-9]\d{0,5})\s*,\s*([1-9]\d{0,5})\s*,?\s*\)"
_GROUP = rf"\[\s*(?P<layers>{_LAYER}(?:\s*,\s*{_LAYER})*)\s*,?\s*\](?:\s*\*\s*(?P<times>[1-9]\d?)\b)?"
_STACK = re.compile(r"\s*{0}(?:\s*\+\s*{0})*\s*".format(re.sub(r"\(\?P<\w+>", "(?:", _GROUP)))


def parse_conv_layers(text: str) -> tuple[ConvLayer, ...]:
    """Read a published string of convolutions.

    Args:
        text: lists of `(channels, kernel, stride)`, each perhaps repeated (`* 4`, at most 99), joined by `+`.

    Returns: one `(channels, kernel, stride)` for each layer.

    Raises:
        UpstreamError: anything else.
    """
    if not _STACK.fullmatch(text):
        example = "[(512, 10, 5)] + [(512, 3, 2)] * 4"
        raise UpstreamError(f"convolutions {text[:80]!r}: are not lists of (channels, kernel, stride) such as {example}")
    layers: list[ConvLayer] = []
    for group in re.finditer(_GROUP, text):
        found = [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in re.findall(_LAYER, group["layers"])]
        layers += found * int(group["times"] or 1)
    return tuple(layers)


def format_conv_layers(layers: tuple[ConvLayer, ...]) -> str:
    """Write convolutions as published configurations do; equal neighbours become a repetition."""
    groups = [(layer, len(list(equal))) for layer, equal in groupby(layers)]
    return " + ".join(f"[{layer}]" + (f" * {times}" if times > 1 else "") for layer, times in groups)
