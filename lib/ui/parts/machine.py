"""What the machine does beside a running job, in words."""

from collections.abc import Sequence

from lib.jobs.machine import GpuUse, MachineUse
from lib.jobs.words import size_text


def machine_text(use: MachineUse, now_s: float) -> str:
    """``CPU 34% · RAM 12 of 64 GB · …``: the whole machine, with the age of the look."""
    parts = [
        f"CPU {use.cpu_percent:.0f}%",
        f"RAM {size_text(use.memory_bytes)} of {size_text(use.memory_total_bytes)}",
        *map(_gpu_text, use.gpus),
    ]
    age_s = round(now_s - use.at)
    when = "now" if age_s < 5 else f"{age_s} s ago"
    return f"Machine {when}: {' · '.join(parts)}"


def gpus_text(names: Sequence[str]) -> str:
    """``GPU 1``, ``GPUs 0, 1``: the cards set aside for a job. Empty where there are none."""
    return f"{'GPU' if len(names) == 1 else 'GPUs'} {', '.join(names)}" if names else ""


def _gpu_text(gpu: GpuUse) -> str:
    facts = [
        None if gpu.busy_percent is None else f"{gpu.busy_percent}%",
        f"{size_text(gpu.memory_bytes)} of {size_text(gpu.total_bytes)}",
        None if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
        None if gpu.power_w is None else f"{gpu.power_w:.0f} W",
    ]
    return f"GPU {gpu.index}, {gpu.name}: {', '.join(filter(None, facts))}"


def peak_text(use: MachineUse | None) -> str:
    """``11.2 GB of 24 GB (NVIDIA …)`` per card; everything on the card counts. Empty where there is none."""
    gpus = use.gpus if use else ()
    return ", ".join(f"{size_text(gpu.peak_bytes)} of {size_text(gpu.total_bytes)} ({gpu.name})" for gpu in gpus)
