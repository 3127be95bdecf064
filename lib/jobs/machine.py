"""What the machine is busy with while a job runs. None is unknown."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """One card at one moment.

    Attributes:
        peak_bytes: The most memory in use on the card in any look so far: of everything that runs there.
    """

    index: int
    name: str
    memory_bytes: int
    total_bytes: int
    peak_bytes: int = 0
    busy_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUse:
    """The whole machine at one moment, other programs included."""

    at: float
    cpu_percent: float
    memory_bytes: int
    memory_total_bytes: int
    gpus: tuple[GpuUse, ...] = ()

    def after(self, former: "MachineUse | None") -> "MachineUse":
        """The same with the peaks of all looks so far."""
        peaks = {gpu.index: gpu.peak_bytes for gpu in former.gpus} if former else {}
        found = (replace(gpu, peak_bytes=max(gpu.memory_bytes, peaks.get(gpu.index, 0))) for gpu in self.gpus)
        return replace(self, gpus=tuple(found))
