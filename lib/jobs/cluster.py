"""A cluster as people see it: its nodes, what is free on them, and why a job has to wait."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lib.jobs.training_settings import TrainingSettings
from lib.jobs.words import size_text

CPU, GPU, MEMORY = "CPU", "GPU", "memory"
# The settings, beside the trainer, that say what a job needs.
NEEDED = ("gpus", "cluster_cpus", "cluster_memory_gb", "cluster_resources")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """One card of a node, as its driver sees it. None means unknown.

    Attributes:
        utilisation: Busy share, in [0, 1].
    """

    name: str
    utilisation: float | None = None
    used_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A node that is alive.

    Attributes:
        name: Its host name, or else its address.
        total, used: Resource -> how much of it there is, and how much running jobs asked for. Memory is in bytes.
        cpu_load: Busy share of its processors, in [0, 1]; None when unknown.
        memory_used_bytes, memory_bytes: What its system says; None when unknown.
    """

    id: str
    name: str
    is_head: bool = False
    total: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    cpu_load: float | None = None
    memory_used_bytes: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[GpuLoad, ...] = ()

    def free(self, resource: str) -> float:
        """How much of a resource nobody asked for."""
        return max(0.0, self.total.get(resource, 0.0) - self.used.get(resource, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a cluster has now, at its last answer."""

    nodes: tuple[ClusterNode, ...]

    def total(self, resource: str) -> float:
        """How much of a resource all nodes have together."""
        return sum(node.total.get(resource, 0.0) for node in self.nodes)

    def free(self, resource: str) -> float:
        """How much of it is free on all nodes together."""
        return sum(node.free(resource) for node in self.nodes)


def needs_of(settings: TrainingSettings, *, uses_gpu: bool) -> dict[str, float]:
    """Resource -> what a job with these settings asks the cluster for. It always asks for a processor.

    A job that asks for nothing would run on the head at once, however many there are.
    """
    needs = {CPU: float(settings.cluster_cpus)}
    if uses_gpu:
        needs[GPU] = float(settings.gpus)
    if settings.cluster_memory_gb:
        needs[MEMORY] = float(settings.cluster_memory_gb * _GIB)
    return needs | resources_in(settings.cluster_resources)


def resources_in(lines: Iterable[str]) -> dict[str, float]:
    """``A100=1`` -> {"A100": 1.0}. Raises ValueError, which says what is wrong."""
    found: dict[str, float] = {}
    for line in filter(None, map(str.strip, lines)):
        name, _, amount = (part.strip() for part in line.partition("="))
        try:
            number = float(amount)
        except ValueError:
            number = math.nan
        if not name or name in (CPU, GPU, MEMORY) or not 0 < number <= 10_000:
            raise ValueError(f"{line[:40]!r} is no resource: write a name of the cluster's and a number, as in A100=1.")
        found[name] = number
    return found


def fits(needs: Mapping[str, float], cluster: Cluster, reserved: Sequence[Mapping[str, float]] = ()) -> bool:
    """Whether one node has room now, beside jobs that were submitted and do not count as running yet."""
    left = [{name: node.free(name) for name in node.total} for node in cluster.nodes]
    for other in reserved:
        place = next((node for node in left if _has(node, other)), None)
        for name, amount in other.items() if place is not None else ():
            place[name] -= amount  # type: ignore[index]
    return any(_has(node, needs) for node in left)


def never_fits(needs: Mapping[str, float], cluster: Cluster) -> bool:
    """Whether no node could run it even if it were empty."""
    return not any(_has(node.total, needs) for node in cluster.nodes)


def waiting_text(needs: Mapping[str, float], cluster: Cluster) -> str:
    """Why a job waits: ``Needs 1 GPU: 0 of 4 free.`` Empty when one node has room for it."""
    if fits(needs, cluster):
        return ""
    if not cluster.nodes:
        return "The cluster has no nodes now."
    short = [name for name, amount in needs.items() if max(node.free(name) for node in cluster.nodes) < amount]
    if not short:
        return f"Needs {_listed(needs)} on one node; no node has all of it free."
    said = "; ".join(f"{_free_text(name, cluster)}" for name in short)
    if never_fits(needs, cluster):
        return f"No node of the cluster has {_listed({name: needs[name] for name in short})}: {said}."
    return f"Needs {_listed({name: needs[name] for name in short})}: {said}."


def amount_text(name: str, amount: float) -> str:
    """``1 GPU``, ``16 GB of memory``, ``2 of A100``."""
    if name == MEMORY:
        return f"{size_text(int(amount))} of memory"
    return f"{amount:g} {name}" if name in (CPU, GPU) else f"{amount:g} of {name}"


def _listed(needs: Mapping[str, float]) -> str:
    return ", ".join(amount_text(name, amount) for name, amount in needs.items())


def _free_text(name: str, cluster: Cluster) -> str:
    total, free = cluster.total(name), cluster.free(name)
    if name == MEMORY:
        return f"{size_text(int(free))} of {size_text(int(total))} memory free"
    return f"{free:g} of {total:g} {name} free" if total else f"there is no {name}"


def _has(node: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in needs.items())
