"""Which cards a job gets: its own, for as long as it runs."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lib.embedded.worker.machine import nvidia_library
from lib.embedded.worker.processes import TRAINER_VARIABLE

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
# CUDA counts the fastest card first, the driver's library by their places; cards are named as the latter does.
BY_PLACE = "PCI_BUS_ID"


class Gpus:
    """The cards of this machine that trainers may use.

    Args:
        names: CUDA's numbers or ids. As many jobs share a card as it is named times. Empty: nothing is assigned.
        order: What CUDA's numbers count by; empty where the environment says it already.
    """

    def __init__(self, names: Sequence[str], order: str = "") -> None:
        self._names, self._order = tuple(names), order

    @property
    def count(self) -> int:
        """How many different cards there are."""
        return len(set(self._names))

    def free(self, wanted: int, taken: Iterable[str]) -> tuple[str, ...] | None:
        """Cards for a job that wants so many, at most all there are; None while too few are free."""
        left = Counter(self._names)
        left.subtract(taken)
        wanted = min(wanted, self.count)
        found = [name for name in dict.fromkeys(self._names) if left[name] > 0]
        return tuple(found[:wanted]) if len(found) >= wanted else None

    def environ(self, names: Sequence[str]) -> Mapping[str, str]:
        """The variables that let a trainer see these cards and no other."""
        order = {ORDER: self._order} if self._order else {}
        return {VISIBLE: ",".join(names), **order} if names else {}


def find_gpus(
    given: Sequence[str], environ: Mapping[str, str], library: Callable[[], Any | None] = nvidia_library
) -> Gpus:
    """The cards that were named, else those that this process was given, else all that the driver knows."""
    if given:
        return Gpus(given, BY_PLACE)
    for name in (f"{TRAINER_VARIABLE}{VISIBLE}", VISIBLE):
        if name in environ:
            parts = (part.strip() for part in environ[name].split(","))
            return Gpus([part for part in parts if part and part != "-1"])
    found = library()
    if found is not None:
        with contextlib.suppress(found.NVMLError):
            return Gpus([str(place) for place in range(found.nvmlDeviceGetCount())], BY_PLACE)
    return Gpus(())
