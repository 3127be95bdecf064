"""The cluster as pages tell of it: what is free, why a job waits, what runs on which node."""

from collections.abc import Mapping, Sequence

from lib import services
from lib.errors import DashboardError
from lib.jobs.cluster import CPU, GPU, MEMORY, Cluster, ClusterNode, needs_of, waiting_text
from lib.jobs.job import Job
from lib.jobs.training_settings import TrainingSettings, settings_from_payload
from lib.jobs.words import UNKNOWN, size_text
from lib.ui.parts.format import percent_text
from lib.ui.parts.text import escaped

PLACES = {"local": "this machine", "ray": "the cluster"}
CLUSTER = "ray"


def place_text(job: Job) -> str:
    """``this machine``, ``the cluster, node gpu-7``."""
    place = PLACES.get(job.executor, job.executor)
    return f"{place}, node {job.node}" if job.node else place


def free_text(cluster: Cluster) -> str:
    """``4 of 8 CPU, 1 of 2 GPU, 12 GB of 64 GB memory``."""
    if not cluster.nodes:
        return "nothing, for the cluster has no nodes now"
    names = dict.fromkeys([CPU, GPU, *(name for node in cluster.nodes for name in node.total if name != MEMORY)])
    counts = [f"{cluster.free(name):g} of {cluster.total(name):g} {name}" for name in names if cluster.total(name)]
    memory = f"{size_text(int(cluster.free(MEMORY)))} of {size_text(int(cluster.total(MEMORY)))} memory"
    return ", ".join([*counts, memory])


def wait_text(job: Job) -> str:
    """Why a job of the cluster's queue does not start; empty when there is room for it, or nothing is known."""
    if job.executor != CLUSTER:
        return ""
    try:
        found = services.latest_cluster()
    except DashboardError as error:
        return _waits_here(error)
    if found is None:
        return ""
    if found.problem is not None:
        return _waits_here(found.problem)
    return waiting_text(_needs(settings_from_payload(job.settings)), found.value)


def _waits_here(problem: DashboardError) -> str:
    return " ".join(filter(None, (str(problem), problem.hint, "Meanwhile the job waits here.")))


def room_text(settings: TrainingSettings) -> str:
    """What the cluster has free now, and whether a job with these settings would wait."""
    try:
        found = services.latest_cluster()
    except DashboardError as error:
        return f"unknown: {error}"
    if found is None or found.problem is not None:
        return f"unknown: {found.problem}" if found else "unknown"
    reason = waiting_text(_needs(settings), found.value)
    return f"{free_text(found.value)}. {f'The job would wait. {reason}' if reason else 'There is room for the job.'}"


def _needs(settings: TrainingSettings) -> Mapping[str, float]:
    return needs_of(settings, uses_gpu="gpus" in services.source().parameters(settings.trainer))


def node_text(node: ClusterNode, running: Sequence[Job]) -> str:
    """A line of Markdown: ``**gpu-7** · 1 of 8 CPU · 1 of 1 GPU in use · processors 50% busy · … · runs Aria v1``."""
    names = [CPU, GPU, *(name for name in node.total if name not in (CPU, GPU, MEMORY))]
    in_use = [f"{node.used.get(name, 0.0):g} of {node.total[name]:g} {name}" for name in names if node.total.get(name)]
    # The head may have the name of a node: the same machine.
    here = ", ".join(job.name or job.id for job in running if in_use and job.node == node.name)
    parts = [
        f"{' · '.join(in_use)} in use" if in_use else "takes no jobs",
        "load unknown" if node.cpu_load is None else f"processors {percent_text(node.cpu_load)} busy",
        f"memory {_memory_text(node)}",
        *(_card_text(node, number) for number in range(len(node.gpus))),
        f"runs {here}" if here else "",
    ]
    name = f"{node.name} (head)" if node.is_head else node.name
    return f"**{escaped(name, limit=100)}** · {' · '.join(escaped(part, limit=400) for part in parts if part)}"


def _memory_text(node: ClusterNode) -> str:
    if node.memory_bytes is None or node.memory_used_bytes is None:
        return UNKNOWN
    return f"{size_text(node.memory_used_bytes)} of {size_text(node.memory_bytes)}"


def _card_text(node: ClusterNode, number: int) -> str:
    card = node.gpus[number]
    busy = UNKNOWN if card.utilisation is None else percent_text(card.utilisation)
    if card.used_bytes is None or card.total_bytes is None:
        return f"{card.name}: {busy}"
    return f"{card.name}: {busy}, {size_text(card.used_bytes)} of {size_text(card.total_bytes)}"
