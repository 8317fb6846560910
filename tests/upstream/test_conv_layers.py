"""Published strings of convolutions."""

from __future__ import annotations

import pytest

from upstream.conv_layers import format_conv_layers, parse_conv_layers
from upstream.errors import UpstreamError

WAV2VEC2 = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        "[(512,10,5)]+[(512,3,2)]*4+[(512,2,2)]*2",
        " [(512, 10, 5), (512, 3, 2), (512, 3, 2),] + [(512, 3, 2)] * 2 + [(512, 2, 2,)] * 2 ",
    ],
)
def test_published_spellings_are_read(text: str) -> None:
    assert parse_conv_layers(text) == WAV2VEC2


def test_a_list_of_several_layers_may_be_repeated() -> None:
    assert parse_conv_layers("[(4, 3, 1), (8, 2, 2)] * 2") == ((4, 3, 1), (8, 2, 2)) * 2


def test_what_is_written_is_short_and_read_again() -> None:
    assert format_conv_layers(WAV2VEC2) == "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
    assert parse_conv_layers(format_conv_layers(WAV2VEC2)) == WAV2VEC2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[(512, 10)]",
        "[(512, 10, 0)]",
        "[(512, 10, 5)] * 0",
        "[(512, 10, 5)] * 100000",
        "[(512, 10, 5)] ** 2",
        "[(512, 10, 5)] +",
        "[(512, 10, -5)]",
        "[(512, 10, 5.0)]",
        "__import__('os').system('true') or [(512, 10, 5)]",
        "[(512, 10, 5)] if print() else []",
    ],
)
def test_anything_else_is_refused_and_shown(text: str) -> None:
    with pytest.raises(UpstreamError, match="are not lists of .channels, kernel, stride. such as"):
        parse_conv_layers(text)
