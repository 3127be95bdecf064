"""Looks at the machine: processors and memory through psutil, NVIDIA cards through their library where there is one."""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from lib.jobs.machine import GpuUse, MachineUse

EVERY_S = 10.0
# The driver makes it where there is a card.
CARD = Path("/dev/nvidiactl")


def nvidia_library(card: Path = CARD) -> Any | None:
    """The module pynvml, ready for use; None, and nothing imported, where there is no card or no such package."""
    if not card.exists():
        return None
    with contextlib.suppress(Exception):  # not installed, or the driver does not fit: its errors are its own
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        return library
    return None


class Machine:
    """A look every ten seconds; in between, and where a look fails, there is none."""

    def __init__(self, library: Callable[[], Any | None] = nvidia_library, every_s: float = EVERY_S) -> None:
        self._open_library = library
        self._every_s = every_s
        self._library: Any | None = None
        self._look_at: float | None = None

    def look(self) -> MachineUse | None:
        """What the machine does now, when a look is due."""
        now = time.monotonic()
        if self._look_at is None:
            self._library = self._open_library()
            psutil.cpu_percent()  # counts from here to the first look
            self._look_at = now + self._every_s
        if now < self._look_at:
            return None
        self._look_at = now + self._every_s
        memory = psutil.virtual_memory()
        return MachineUse(
            at=time.time(),
            cpu_percent=psutil.cpu_percent(),
            memory_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            gpus=tuple(_gpus(self._library)) if self._library else (),
        )


def _gpus(library: Any) -> Iterable[GpuUse]:
    with contextlib.suppress(library.NVMLError):
        for place in range(library.nvmlDeviceGetCount()):
            with contextlib.suppress(library.NVMLError):
                yield _gpu(library, place, library.nvmlDeviceGetHandleByIndex(place))


def _gpu(library: Any, place: int, card: Any) -> GpuUse:
    def known(ask: Callable[[], Any]) -> Any | None:
        with contextlib.suppress(library.NVMLError):  # many cards do not say everything
            return ask()
        return None

    name, memory = library.nvmlDeviceGetName(card), library.nvmlDeviceGetMemoryInfo(card)
    busy = known(lambda: library.nvmlDeviceGetUtilizationRates(card).gpu)
    power_mw = known(lambda: library.nvmlDeviceGetPowerUsage(card))
    return GpuUse(
        index=place,
        name=name.decode() if isinstance(name, bytes) else name,
        memory_bytes=memory.used,
        total_bytes=memory.total,
        busy_percent=busy,
        temperature_c=known(lambda: library.nvmlDeviceGetTemperature(card, library.NVML_TEMPERATURE_GPU)),
        power_w=None if power_mw is None else power_mw / 1_000,
    )
