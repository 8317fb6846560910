"""What the benchmarks share: the machine in a line, timing in turns, a table, and the JSON file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine.memory import keep_large_blocks
from upstream.fast.linear import Linear

SHAPES = ((1600, 768, 3072), (1600, 3072, 768), (3200, 1536, 512), (2048, 2048, 2048))  # rows, inputs, outputs
PACKAGES = ("torch", "torchaudio", "transformers", "s3prl", "numpy")
ALLOCATOR = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD")


@dataclass(frozen=True)
class Times:
    """Seconds of the rounds of one variant."""

    rounds: tuple[float, ...]

    @property
    def min(self) -> float:
        """The least."""
        return min(self.rounds)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rounds)


class Seconds(float):
    """What a variant returns that times itself."""


@dataclass(frozen=True)
class Row:
    """A ratio for the JSON file; above 1 always means that ours is better."""

    id: str
    what: str
    ours: float
    peer: float
    unit: str
    ratio: float


def interleaved(variants: Mapping[Any, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[Any, Times]:
    """Time all variants in turns, after a warm-up of each, so that what else the machine does meets all of them."""
    for call in list(variants.values()) * warm_up:
        call()
    seconds: dict[Any, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            begin = time.perf_counter()
            made = call()
            taken = time.perf_counter() - begin
            seconds[name].append(float(made) if isinstance(made, Seconds) else taken)
    return {name: Times(tuple(taken)) for name, taken in seconds.items()}


def parser(description: str, rounds: int = 5) -> argparse.ArgumentParser:
    """The flags of every benchmark."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    found.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    found.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    found.add_argument("--quick", action="store_true", help="tiny sizes and two rounds: whether it runs, not how fast")
    found.add_argument("--keep-blocks", action="store_true", help="large blocks of memory stay in the process, for the peers too")
    return found


def start(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Set up the process as the flags say and print the line that stands before every table. Returns machine and versions."""
    warnings.filterwarnings("ignore")  # peers' of old calls
    torch.set_num_threads(args.threads)
    if args.keep_blocks:
        keep_large_blocks()
    if args.quick:
        args.rounds = min(args.rounds, 2)
    torch.manual_seed(0)
    machine, found = describe("large blocks kept" if args.keep_blocks else ""), versions()
    print(line(machine, found), flush=True)
    return machine, found


def cpu() -> str:
    """The processor's name and numbers."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    values = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in values.items()}
    features = [name for name in ("amx_bf16", "avx512_bf16", "avx512_vnni") if name in values.get("flags", "").split()]
    name = values.get("model name", platform.machine())
    return f"{name} (family {values.get('cpu family', '?')}, model {values.get('model', '?')}; {' '.join(features) or 'no bf16'})"


def multiplications(dtype: torch.dtype) -> dict[str, tuple[float, Callable[[], object]]]:
    """Matmuls of an encoder's shapes: operations and call of each, by `F.linear` and as `upstream.fast` does it here."""
    calls: dict[str, tuple[float, Callable[[], object]]] = {}
    for rows, inputs, outputs in SHAPES:
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        linear = Linear(weight, None, dtype)
        name = f"{rows} x {inputs} x {outputs}"
        operations = 2.0 * rows * inputs * outputs
        calls[f"{name} plain"] = operations, lambda x=x, weight=weight: F.linear(x, weight)  # type: ignore[misc]
        calls[f"{name} ours"] = operations, lambda x=x, linear=linear: linear(x)  # type: ignore[misc]
    return calls


@torch.no_grad()
def peak(dtype: torch.dtype, rounds: int = 9) -> float:
    """The most floating-point operations a second that any matmul of an encoder's shapes reaches here, in GFLOP/s."""
    calls = multiplications(dtype)
    times = interleaved({name: call for name, (_, call) in calls.items()}, rounds, warm_up=2)
    return max(operations / times[name].min for name, (operations, _) in calls.items()) / 1e9


def describe(allocator: str = "") -> dict[str, Any]:
    """What decides speed on this machine; `allocator` says what the benchmark itself has set of it."""
    given = [f"{name}={os.environ[name]}" for name in ALLOCATOR if name in os.environ]
    return {
        "cpu": cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "malloc": allocator or " ".join(given) or f"{' '.join(platform.libc_ver())}, as it comes",
        "gemm_fp32_gflops": round(peak(torch.float32)),
        "gemm_bf16_gflops": round(peak(torch.bfloat16)),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are timed, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def line(machine: Mapping[str, Any], found: Mapping[str, str]) -> str:
    """Machine and versions, to stand before every table."""
    return (
        f"{machine['cpu']}, {machine['capability']}, {machine['threads']} of {machine['cores']} cores, load {machine['load']}, "
        f"GEMM peak {machine['gemm_fp32_gflops']} GFLOP/s fp32, {machine['gemm_bf16_gflops']} bf16, malloc: {machine['malloc']}; "
        + ", ".join(f"{name} {version}" for name, version in found.items())
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with even columns."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in lines)


def write_json(path: Path, benchmark: str, machine: Mapping[str, Any], found: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write the rows of a benchmark for the table of all of them."""
    content = {"benchmark": benchmark, "machine": machine, "versions": found, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def finish(args: argparse.Namespace, benchmark: str, machine: Mapping[str, Any], found: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Print the ratios, and write them where the flags say."""
    cells = [[row.id, row.what, f"{row.ours:.4g}", f"{row.peer:.4g}", row.unit, f"{row.ratio:.4g}"] for row in rows]
    print("\n" + table(("id", "what", "ours", "peer", "unit", "ratio"), cells))
    if args.json:
        write_json(args.json, benchmark, machine, found, rows)
