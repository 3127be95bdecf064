"""Ray's three answers about its nodes as one ``Cluster``."""

import math
from collections.abc import Mapping
from typing import Any

from lib.jobs.cluster import Cluster, ClusterNode, GpuLoad

# What every node has, and nobody asks for.
_INNER = ("node:", "object_store_memory")
_MB = 1 << 20
_MOST = 1e18  # bytes; nothing that is counted is more


def cluster_from(status: Mapping[str, Any], nodes: Mapping[str, Any], load: Mapping[str, Any]) -> Cluster:
    """The nodes that are alive.

    Raises KeyError, IndexError, TypeError, ValueError, AttributeError or OverflowError for a shape that is not Ray's.

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
    total = {name: _amount(each) for name, each in node["resources_total"].items() if not name.startswith(_INNER)}
    used = {name: _used(usage.get(name, usage.get(_camel(name)))) for name in total}
    memory = load.get("mem") or [None, None, None, None]
    cpu = load.get("cpu")
    return ClusterNode(
        id=node["node_id"],
        name=str(load.get("hostname") or node["node_ip"]),
        is_head=bool(node.get("is_head_node")),
        total=total,
        used=used,
        cpu_load=None if cpu is None else _amount(cpu) / 100,
        memory_bytes=None if memory[0] is None else int(_amount(memory[0])),
        memory_used_bytes=None if memory[3] is None else int(_amount(memory[3])),
        gpus=tuple(map(_gpu, load.get("gpus") or ())),
    )


def _used(pair: Any) -> float:
    return 0.0 if pair is None else _amount(pair[0])


def _amount(value: Any) -> float:
    """A number that can be added and shown: what JSON calls NaN or Infinity is none."""
    number = float(value)
    if not math.isfinite(number) or abs(number) > _MOST:
        raise ValueError
    return number


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(part.title() for part in more)


def _gpu(card: Mapping[str, Any]) -> GpuLoad:
    busy, used, total = (card.get(name) for name in ("utilizationGpu", "memoryUsed", "memoryTotal"))
    return GpuLoad(
        name=str(card.get("name") or f"GPU {card.get('index')}"),
        utilisation=None if busy is None else _amount(busy) / 100,
        used_bytes=None if used is None else int(_amount(used)) * _MB,
        total_bytes=None if total is None else int(_amount(total)) * _MB,
    )
