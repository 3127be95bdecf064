"""Ray's three answers about its nodes as one ``Cluster``."""

from collections.abc import Mapping
from typing import Any

from lib.jobs.cluster import Cluster, ClusterNode, GpuLoad

# What every node has, and nobody asks for.
_INNER = ("node:", "object_store_memory")
_MB = 1 << 20


def cluster_from(status: Mapping[str, Any], nodes: Mapping[str, Any], load: Mapping[str, Any]) -> Cluster:
    """The nodes that are alive. Raises KeyError, TypeError, ValueError or AttributeError for a shape that is not Ray's.

    Args:
        status: ``/api/cluster_status``, whose names are in camel case, also those of resources.
        nodes: ``/api/v0/nodes?detail=1``, whose names are as they were given.
        load: ``/nodes?view=summary``; empty: host names and load stay unknown.
    """
    usage = status["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
    summary = {each["raylet"]["nodeId"]: each for each in load["data"]["summary"] if "now" in each} if load else {}
    found = [
        _node(each, usage.get(each["node_id"], {}), summary.get(each["node_id"], {}))
        for each in nodes["data"]["result"]["result"]
        if each["state"] == "ALIVE"
    ]
    return Cluster(nodes=tuple(sorted(found, key=lambda node: (not node.is_head, node.name, node.id))))


def _node(node: Mapping[str, Any], usage: Mapping[str, Any], load: Mapping[str, Any]) -> ClusterNode:
    total = {name: float(each) for name, each in node["resources_total"].items() if not name.startswith(_INNER)}
    used = {name: _used(usage.get(name, usage.get(_camel(name)))) for name in total}
    memory = load.get("mem") or [None, None, None, None]
    cpu = load.get("cpu")
    return ClusterNode(
        id=node["node_id"],
        name=str(load.get("hostname") or node["node_ip"]),
        is_head=bool(node.get("is_head_node")),
        total=total,
        used=used,
        cpu_load=None if cpu is None else float(cpu) / 100,
        memory_bytes=memory[0],
        memory_used_bytes=memory[3],
        gpus=tuple(map(_gpu, load.get("gpus") or ())),
    )


def _used(pair: Any) -> float:
    return 0.0 if pair is None else float(pair[0])


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(part.title() for part in more)


def _gpu(card: Mapping[str, Any]) -> GpuLoad:
    busy, used, total = (card.get(name) for name in ("utilizationGpu", "memoryUsed", "memoryTotal"))
    return GpuLoad(
        name=str(card.get("name") or f"GPU {card.get('index')}"),
        utilisation=None if busy is None else float(busy) / 100,
        used_bytes=None if used is None else int(used) * _MB,
        total_bytes=None if total is None else int(total) * _MB,
    )
