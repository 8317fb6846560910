"""Speech encoders of Hugging Face Transformers (`-u hf -k FOLDER_OR_REPO`), run by that library.

Models of waveforms (wav2vec 2.0, MMS, XLS-R, HuBERT, WavLM, data2vec, …), w2v-BERT 2 and Whisper's encoder.
Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.adapters.huggingface_folder import build_model, read_model_config
from upstream.adapters.huggingface_inputs import Filterbanks, Inputs, LogMelWindows, Waves
from upstream.base import Padding, Representation, Upstream
from upstream.checkpoint import read_weights
from upstream.errors import UpstreamError
from upstream.folder import read_preprocessor
from upstream.layers.lengths import valid_frames
from upstream.native import CONFIG_FILE, some

SUPPORTED = (
    "wav2vec2 (MMS and XLS-R too), wav2vec2-conformer, wav2vec2-bert, hubert, wavlm, data2vec-audio, unispeech, unispeech-sat, "
    "sew, sew-d, whisper"
)
# Parts of a configuration that say where it comes from or what the heads are.
NOT_THE_ENCODER = {
    *("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "vocab_size", "id2label", "label2id"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "final_dropout", "ctc_loss_reduction", "ctc_zero_infinity"),
}


class HuggingFace(Upstream):
    """A model of Transformers and the input that it was trained on.

    The states are the input of the first layer, then every layer's output, the last one being the encoder's output after its
    final norm (`last_hidden_state`); adapters and heads behind the encoder are left out. In SEW the layers see several frames
    squeezed into one: their states are repeated to the rate of the output.

    With `padding="alone"` utterances of different lengths share a batch only where padding is masked out of everything; other
    models see those of equal length together. With `padding="reference"` the batch is padded, normalised and masked as the
    library's own feature extractor does it.
    """

    family = "hf"

    def __init__(self, model: Any, inputs: Inputs, padding: Padding = "alone") -> None:
        super().__init__()
        self.name = self.family
        self.model, self.inputs, self.padding = model, inputs, padding
        self.stride, self.minimum_samples = inputs.stride, inputs.minimum_samples
        self.dim, self.num_states = model.config.hidden_size, model.config.num_hidden_layers + 1
        self.notes = (inputs.note,)

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> HuggingFace:
        """Build the encoder from a folder with `config.json`, weights and, where the input is normalised, `preprocessor_config.json`.

        Raises:
            UpstreamError: no folder, code of its own, missing weights, or no speech encoder that gives hidden states.
        """
        if path is None:
            raise UpstreamError("upstream 'hf' needs a model: give its folder, or OWNER/NAME on the hub, with -k")
        if not path.is_dir():
            beside = (path.parent / CONFIG_FILE).is_file()
            remedy = f": -k {path.parent}" if beside else "; files of fairseq or s3prl go with -u hubert, -u wav2vec2 and so on"
            raise UpstreamError(f"{path}: is a file; -u hf takes the folder of a model{remedy}")
        config = read_model_config(path)
        preprocessor = read_preprocessor(path)
        inputs: Inputs
        if config.model_type == "whisper":
            inputs = LogMelWindows(config, preprocessor)
        elif config.model_type == "wav2vec2-bert":
            inputs = Filterbanks(config, preprocessor)
        else:
            _check_takes_waves(config, path / CONFIG_FILE)
            inputs = Waves(config, preprocessor, padding)
        tensors = read_weights(path)
        if config.model_type == "whisper":
            tensors = _of_the_encoder(tensors)
        model, unused = build_model(_model_class(config), config, tensors, path)
        made = cls(model, inputs, padding).eval()
        if inputs.window is None:
            made._check_states(path)
        if unused:
            made.notes += (f"weights not used, since they are not the encoder's: {some(unused)}",)
        return made

    def _check_states(self, path: Path) -> None:
        """Encode the shortest utterance, so that a model that is not what its configuration says is refused at once."""
        lengths = torch.tensor([self.minimum_samples])
        with torch.no_grad():
            found = tuple(self._encode(torch.zeros(1, self.minimum_samples), lengths).shape)
        expected = (self.num_states, 1, int(self.inputs.frames(lengths)), self.dim)
        if found != expected:
            raise UpstreamError(f"{path}: model_type '{self.model.config.model_type}' gives states {found}, expected {expected}")

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each, which may be on another device."""
        self.check_lengths(lengths)
        frames = self.inputs.frames(lengths.long())
        longest = int(frames.max())
        wavs = wavs[:, : int(lengths.max())]
        samples = lengths.to(wavs.device, torch.int64)
        wavs = wavs.masked_fill(~valid_frames(samples, wavs.shape[1]), 0.0)
        if self.inputs.window is not None:
            states = self._by_windows(wavs, samples, self.inputs.window)[:, :, :longest]
        elif self.inputs.batches or self.padding == "reference":
            states = self._encode(wavs, samples)
        else:
            states = self._by_lengths(wavs, samples, longest)
        valid = valid_frames(frames.to(states.device), states.shape[2])
        return Representation(states.masked_fill(~valid[None, :, :, None], 0.0), frames)

    def _encode(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """States (L, B, F, D) of one call of the model; frames past a length are not meaningful."""
        output = self.model(**self.inputs(wavs, lengths), output_hidden_states=True, return_dict=True)
        if not output.hidden_states:
            raise UpstreamError(f"model_type '{self.model.config.model_type}' gives no hidden states; supported: {SUPPORTED}")
        last = output.last_hidden_state
        return torch.stack([*(self._at_output_rate(state, last.shape[1]) for state in output.hidden_states[:-1]), last])

    def _at_output_rate(self, state: Tensor, frames: int) -> Tensor:
        """Repeat the states (B, F, D) of layers that see squeezed frames; an odd last frame has no state of its own."""
        if state.shape[1] == frames:
            return state
        source = torch.arange(frames, device=state.device).div(self.model.config.squeeze_factor, rounding_mode="floor")
        return state[:, source.clamp(max=state.shape[1] - 1)]

    def _by_lengths(self, wavs: Tensor, lengths: Tensor, frames: int) -> Tensor:
        """Encode utterances of equal length together, so that nothing is padded."""
        rows, parts = [], []
        for samples in lengths.unique().tolist():
            rows.append((lengths == samples).nonzero()[:, 0])
            states = self._encode(wavs[rows[-1], :samples], lengths[rows[-1]])
            parts.append(torch.nn.functional.pad(states, (0, 0, 0, frames - states.shape[2])))
        return torch.cat(parts, dim=1)[:, torch.cat(rows).argsort()]

    def _by_windows(self, wavs: Tensor, lengths: Tensor, window: int) -> Tensor:
        """Cut each utterance into windows, the last one padded with silence, and join their states."""
        count = -(-wavs.shape[1] // window)
        cut = torch.nn.functional.pad(wavs, (0, count * window - wavs.shape[1])).view(-1, window)
        starts = torch.arange(count, device=wavs.device) * window
        samples = (lengths[:, None] - starts).flatten().clamp(0, window)
        used = samples.nonzero()[:, 0]
        encoded = self._encode(cut[used], samples[used])
        states = encoded.new_zeros(len(encoded), len(cut), *encoded.shape[2:]).index_copy(1, used, encoded)
        return states.view(len(encoded), len(wavs), -1, encoded.shape[-1])

    def configuration(self) -> dict[str, Any]:
        """The encoder's part of the library's configuration, what decides its input, and the release that computes it."""
        kept = {key: value for key, value in self.model.config.to_diff_dict().items() if key not in NOT_THE_ENCODER}
        return {"config": kept, "input": dict(self.inputs.settings), "transformers": version("transformers")}


def _check_takes_waves(config: Any, where: Path) -> None:
    """Refuse a model that does not begin with convolutions over a waveform, or does not end as an encoder."""
    kind = _model_class(config)
    encoder = getattr(kind, "main_input_name", None) == "input_values" and hasattr(kind, "_get_feat_extract_output_lengths")
    convolutions = hasattr(config, "conv_kernel") and hasattr(config, "conv_stride")
    if not (encoder and convolutions) or getattr(config, "is_encoder_decoder", False):
        raise UpstreamError(
            f"{where}: model_type '{config.model_type}' is no speech encoder that gives hidden states here; supported: {SUPPORTED}"
        )


def _model_class(config: Any) -> Any:
    """The library's class without heads; None where it has none."""
    import transformers

    if config.model_type == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder
    return transformers.MODEL_MAPPING.get(type(config), None)


def _of_the_encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of Whisper's encoder by its own names, whatever the whole model around it was saved as."""
    short = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return {name.removeprefix("encoder."): tensor for name, tensor in short.items() if name.startswith("encoder.")}
