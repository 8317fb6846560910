"""From what a run asks for to a store, or to none: decided once, the same for every process, and for the run that goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from lhotse.cut import Cut

from corpus.fingerprint import file_states, fingerprint
from engine import sources
from engine.config import Store as StoreConfig
from engine.sources import Frozen, Origin
from engine.store import choosing, layout
from engine.store.choosing import Demand
from engine.store.reading import Store
from engine.store.reduction import Reduction

log = logging.getLogger("weir")


@dataclass(frozen=True)
class Wanted:
    """A split whose representations may be stored.

    Attributes:
        cuts: that are stored; others are encoded as they are needed.
        batches: the same cuts, as they are encoded.
        uses: counts how often each will be needed.
        crops: how many parts of longer utterances are among the cuts.
    """

    split: str
    cuts: Sequence[Cut]
    batches: Sequence[Sequence[Cut]]
    reduction: Reduction
    uses: Callable[[], float]
    crops: int = 0


@dataclass(frozen=True)
class _Choice:
    """`why` stands in results and never changes for a run; `line` has the numbers of now."""

    store: bool
    why: str
    line: str
    folder: Path
    there: bool = False


class Storage:
    """The stores of a run with a frozen upstream.

    Args:
        deciding: all that decides the values beside the cuts: upstream, precision, kind of device, batches.
        title: of the run, for `--store-list`.
        earlier: what the run that goes on decided, by split: the `Store` of its checkpoint.
    """

    def __init__(
        self, config: StoreConfig, frozen: Frozen, accelerator: Accelerator, *,
        deciding: str, title: str, earlier: Mapping[str, dict[str, Any]],
    ) -> None:  # fmt: skip
        self.config, self.frozen, self.accelerator = config, frozen, accelerator
        self.deciding, self.title, self.earlier = deciding, title, earlier
        self._speed = 0.0

    def open(self, wanted: Wanted) -> tuple[Store | None, Origin]:
        """The store of a split, written where it is missing; None where its representations are computed as they are needed.

        Raises:
            ConfigError: the configuration insists on a store that does not fit.
            CheckpointError: the store is damaged, or cannot be written.
        """
        main = self.accelerator.is_main_process
        choice = self._choose(wanted) if main else None
        if self.accelerator.num_processes > 1:
            choice = broadcast_object_list([choice])[0]
        assert choice is not None
        log.info("%s: %s", wanted.split, choice.line)
        if not choice.store:
            return None, Origin("live", True, choice.why, self._padding)
        if not choice.there:
            about = {"what": f"{self.title} {wanted.split}", "upstream": self.deciding}
            sources.build_store(
                choice.folder, self.frozen, wanted.batches, wanted.reduction, about=about, accelerator=self.accelerator, quiet=not main
            )
        store = Store(choice.folder, pinned=self.accelerator.device.type == "cuda")
        return store, self._origin(wanted, store)

    def _choose(self, wanted: Wanted) -> _Choice:
        """The main process's decision."""
        kind, before = wanted.reduction, self.earlier.get(wanted.split, {}).get("reduction")
        folder = layout.location(self.deciding, fingerprint(wanted.cuts), file_states(wanted.cuts), kind.key)
        asked = self.config.mode != "auto"
        if self.config.mode == "off":
            return _live("--store off", "--store off", folder)
        if before == "live" and not asked:
            why = self.earlier[wanted.split]["why"]
            return _live(why, f"{why}, as before", folder)
        size = sources.estimate_bytes(self.frozen.upstream, wanted.cuts, kind)
        begun = layout.read_about(folder)
        if layout.is_complete(folder):  # whatever there is room for now: a run that goes on reads what it read before
            return _Choice(True, "", f"{kind.words} are read from the store ({layout.size_words(size)})", folder, there=True)
        demand = Demand(size, _bytes_in(folder) if begun else 0, sources.seconds(wanted.cuts), 0.0)
        fits, sizes = choosing.room(self.config, demand)
        if not fits:
            return _live("there is no room for a store", sizes, folder)
        words = f"{kind.words} are encoded once and stored ({sizes}"
        if kind.pooled or asked or begun or before is not None:
            return _Choice(True, "", f"{words})", folder)
        demand = replace(demand, uses=wanted.uses())
        worth, figures = choosing.pays(demand, lambda: self._measured(wanted.batches))
        if not worth:
            return _live("storing saves no time", f"{sizes} of {kind.words}: {figures}", folder)
        return _Choice(True, "", f"{words}: {figures})", folder)

    def _measured(self, batches: Sequence[Sequence[Cut]]) -> float:
        """The speed of encoding, measured once a run."""
        self._speed = self._speed or sources.measure_speed(self.frozen, batches)
        return self._speed

    @property
    def _padding(self) -> str:
        return "none" if self.frozen.upstream.padding == "alone" else "reference"

    def _origin(self, wanted: Wanted, store: Store) -> Origin:
        kind = wanted.reduction
        departures = []
        if kind.dtype not in ("float32", self.frozen.dtype):
            departures.append(f"frames are rounded to {' and '.join(store.dtypes)}")
        if wanted.crops:
            departures.append(f"training hears {wanted.crops} stored parts of a longer utterance, not a new one each time")
        if self._padding == "reference":
            departures.append("padding: reference gives other values in other batches than those that were stored")
        plain = "the head needs no more than the mean over valid frames" if kind.pooled else "every frame as the upstream gives it"
        return Origin(kind.kind, not departures, "; ".join(departures) or plain, self._padding)


def _live(why: str, numbers: str, folder: Path) -> _Choice:
    return _Choice(False, why, f"encoded at every step ({numbers})", folder)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
