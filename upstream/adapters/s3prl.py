"""Any encoder of the installed s3prl: `-u s3prl:NAME [-k CHECKPOINT]`.

NAME is an entry of one of s3prl's hubconfs or the name of a family (`--list`); a checkpoint takes the place of the published
weights. Dimension, number of states and the shortest utterance are measured when the encoder is loaded.
Source: https://github.com/s3prl/s3prl, s3prl/upstream/interfaces.py and s3prl/upstream/*/expert.py.
Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from upstream.adapters import s3prl_catalogue as catalogue
from upstream.adapters.s3prl_loading import build_expert, quiet
from upstream.base import Padding, Representation, Upstream
from upstream.errors import UpstreamError
from upstream.featurizer import nominal_lengths

STATES = "hidden_states"
LAST = "last_hidden_state"  # what an expert without the others gives
MOST_FRAMES_APART = 5  # states of one resolution may differ by an edge; the shortest decides, as in s3prl


class S3prl(Upstream):
    """An expert of s3prl behind the interface of this package.

    With padding `alone` each utterance goes through the expert by itself, and has as many frames as the expert gives for it.
    With `reference` the batch goes through it as it is in s3prl, and an utterance has samples / stride frames, rounded.

    Args:
        expert: takes a list of B waveforms (T,) and gives a dictionary with `hidden_states`, L tensors (B, F, D).
        name: registered name, for messages.
        source: plain values that decide the states besides the weights.
        padding: see above.
    """

    name = "s3prl"
    family = "s3prl"

    def __init__(self, expert: nn.Module, name: str, source: Mapping[str, Any], padding: Padding = "alone") -> None:
        super().__init__()
        self.expert, self.name, self.source, self.padding = expert.eval(), name, dict(source), padding
        self.notes = (f"encoded by the code of s3prl {source['s3prl']}", *_without_memory(expert))
        _adopt_tensors(expert)
        with torch.no_grad(), quiet():
            self._measure()

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> S3prl:
        """Not possible: the name of one of s3prl's encoders is needed, see `from_member`."""
        raise UpstreamError("s3prl: needs a name behind a colon: -u s3prl:NAME (see --list)")

    @classmethod
    def from_member(cls, member: str, path: Path | None, padding: Padding = "alone") -> S3prl:
        """Build one of s3prl's encoders from a file of its family, or from the weights that s3prl downloads for it."""
        built = build_expert(member, path)
        source = {"entry": member, "s3prl": catalogue.version(), "files": built.files}
        model = cls(built.expert, f"{cls.family}:{member}", source, padding)
        model.notes += built.notes
        return model

    def configuration(self) -> dict[str, Any]:
        """The entry, the release of s3prl, what the files were (they hold the configuration), and the states that are given."""
        return {**self.source, "states": self.kept}

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        self.check_lengths(lengths)
        utterances = [wav[:samples] for wav, samples in zip(wavs, lengths.tolist(), strict=True)]
        if self.padding == "reference":
            states = self._states(utterances)
            frames = nominal_lengths(lengths, self.stride, torch.full_like(lengths, states.shape[2]))
            valid = torch.arange(states.shape[2], device=states.device) < frames.to(states.device)[:, None]
            return Representation(states.where(valid[..., None], 0.0), frames.to(wavs.device))
        each = [self._states([wav])[:, 0].transpose(0, 1) for wav in utterances]  # (F, L, D)
        frames = torch.tensor([len(states) for states in each], device=wavs.device)
        return Representation(pad_sequence(each, batch_first=True).permute(2, 0, 1, 3), frames)

    def _states(self, wavs: list[Tensor]) -> Tensor:
        """The states (L, B, F, D) that are given, of one resolution."""
        states = self._all_states(wavs)
        if len(states) != self.all_states:
            raise UpstreamError(f"{self.name}: gave {len(states)} hidden states, {self.all_states} before; train it without layer drop")
        chosen = [states[index] for index in self.kept]
        frames = min(state.shape[1] for state in chosen)
        return torch.stack([state[:, :frames] for state in chosen])

    def _all_states(self, wavs: list[Tensor]) -> list[Tensor]:
        made = self.expert(wavs)
        states = made.get(STATES)
        states = made.get(LAST) if states is None else states
        if isinstance(states, Mapping):
            states = list(states.values())
        states = [states] if isinstance(states, Tensor) else list(states or [])
        if not states or any(not isinstance(state, Tensor) or state.dim() != 3 or len(state) != len(wavs) for state in states):
            raise UpstreamError(f"{self.name}: its expert gives no {STATES} of (batch, frames, features)")
        return states

    def _measure(self) -> None:
        """Find out what the expert gives for a second of noise, and for how little it gives anything."""
        noise = 0.1 * torch.randn(self.sample_rate, generator=torch.Generator().manual_seed(0))
        try:
            states = self._all_states([noise])
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise UpstreamError(f"{self.name}: its expert fails on a second of noise: {type(error).__name__}: {error}") from error
        self.all_states, last = len(states), states[-1]
        alike = [state.shape[2] == last.shape[2] and abs(state.shape[1] - last.shape[1]) < MOST_FRAMES_APART for state in states]
        self.kept = [index for index, kept in enumerate(alike) if kept]
        self.dim, self.num_states = last.shape[2], len(self.kept)
        self.stride = self._stride(last.shape[1])
        self.minimum_samples = self._least(noise)
        if not all(alike):
            shapes = ", ".join(f"{index} {tuple(state.shape[1:])}" for index, state in enumerate(states) if not alike[index])
            self.notes += (f"of {len(states)} hidden states, those unlike the last {tuple(last.shape[1:])} are left out: {shapes}",)
        if any(not torch.equal(once, again) for once, again in zip(states, self._all_states([noise]), strict=True)):
            self.notes += ("its hidden states change from call to call",)

    def _stride(self, frames: int) -> int:
        rates = getattr(self.expert, "get_downsample_rates", None)
        return int(rates(STATES)) if rates else round(self.sample_rate / frames)

    def _least(self, noise: Tensor) -> int:
        """The fewest samples that give a frame and no infinite value, by bisection."""
        low, high = 0, len(noise)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._encodes(noise[:middle]) else (middle, high)
        return max(high, self.stride // 2 + 1) if self.padding == "reference" else high

    def _encodes(self, wav: Tensor) -> bool:
        try:
            states = self._states([wav])
        except Exception:  # noqa: BLE001 - what an expert raises for too short an input is its own affair
            return False
        return states.shape[2] > 0 and bool(states.isfinite().all())


def _without_memory(expert: nn.Module) -> tuple[str, ...]:
    """Stop recurrent parts from going on where the last batch ended (cpc, trained on consecutive pieces); says so."""
    keeping = [module for module in expert.modules() if getattr(module, "keepHidden", False)]
    for module in keeping:
        module.keepHidden, module.hidden = False, None  # type: ignore[assignment]
    return ("every utterance starts from an empty recurrent state; s3prl goes on from the batch before",) if keeping else ()


def _adopt_tensors(expert: nn.Module) -> None:
    """Make buffers of constants that are plain attributes, so that they follow the weights to a device."""
    for module in expert.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and not value.requires_grad:
                delattr(module, name)
                module.register_buffer(name, value.cpu(), persistent=False)
