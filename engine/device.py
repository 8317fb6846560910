"""Device, precision and processes, by Accelerate."""

from __future__ import annotations

from datetime import timedelta

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from engine.errors import ConfigError

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def accelerator(device: str | None, precision: str, unused_parameters: bool = False) -> Accelerator:
    """The accelerator of this process; `torchrun` or `accelerate launch` before the command gives several.

    Args:
        device: "cpu", "cuda", "cuda:1"; None takes a GPU where there is one.
        precision: a key of `PRECISIONS`.
        unused_parameters: some parameters get no gradient.
    """
    import torch

    if device is not None and device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(f"--device {device}: PyTorch sees no CUDA device here; give --device cpu")
        try:
            torch.cuda.set_device(device if ":" in device else 0)
        except (RuntimeError, ValueError):
            raise ConfigError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices here") from None
    elif device not in (None, "cpu"):
        raise ConfigError(f"--device {device!r}: give cpu, cuda or cuda:N")
    cpu = device == "cpu" or not torch.cuda.is_available()
    if cpu and precision == "fp16":
        raise ConfigError("--precision fp16 needs a GPU; give bf16 or fp32")
    replicas = DistributedDataParallelKwargs(
        broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=unused_parameters
    )
    waiting = InitProcessGroupKwargs(timeout=timedelta(days=1))  # one process may encode a corpus while the others wait
    return Accelerator(cpu=cpu, mixed_precision=PRECISIONS[precision], kwargs_handlers=[replicas, waiting])


def is_main_process() -> bool:
    """Whether this process writes and speaks; after an accelerator was made."""
    return bool(PartialState().is_main_process)


def finish() -> None:
    """Let the processes of a distributed run part, after the last accelerator's work."""
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()
