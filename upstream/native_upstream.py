"""Encoders whose weights are kept in Weir's own checkpoint format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import Upstream
from upstream.native import ENCODER, HEAD, load_strictly, write_native
from upstream.settings import Settings


class NativeUpstream(Upstream):
    """An encoder that is a configuration and one network.

    Attributes:
        config: the architecture.
        encoder: the network; all that is stored.
    """

    config: Settings
    encoder: nn.Module

    def load_encoder(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Copy the encoder's weights from native tensors; those of heads among them are ignored.

        Raises:
            UpstreamError: they do not fit; `where` begins the message.
        """
        kept = {name.removeprefix(ENCODER): tensor for name, tensor in tensors.items() if not name.startswith(HEAD)}
        load_strictly(self.encoder, kept, where)

    def native_tensors(self) -> dict[str, Tensor]:
        """The encoder's weights under the names of the native format, `encoder.…`."""
        return {ENCODER + name: tensor for name, tensor in self.encoder.state_dict().items()}

    def save_native(
        self,
        folder: Path,
        head: Mapping[str, Tensor] | None = None,
        *,
        dtype: torch.dtype | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `config.json` and `model.safetensors`, see native.py.

        Args:
            folder: where; created when missing.
            head: tensors that only pre-training needs, under `head.…` names; loading the encoder ignores them.
            dtype: type of the stored tensors, `torch.float16` to halve the file.
            notes: free facts about the training, kept in `config.json`.
        """
        config: dict[str, Any] = {"family": self.family, **self.config.model_dump(mode="json")}
        if notes:
            config["notes"] = dict(notes)
        write_native(folder, config, self.native_tensors() | dict(head or {}), dtype)
