"""What fits into a cluster, and what people are told where something does not."""

import pytest

from lib.jobs.cluster import Cluster, ClusterNode, fits, needs_of, never_fits, resources_in, waiting_text
from lib.jobs.training_settings import TrainingSettings

BUSY = ClusterNode(
    id="a", name="a", total={"CPU": 8.0, "GPU": 4.0, "A100": 4.0, "memory": 8 << 30}, used={"GPU": 4.0, "A100": 4.0}
)
IDLE = ClusterNode(id="b", name="b", total={"CPU": 8.0, "GPU": 2.0, "memory": 4 << 30})
CLUSTER = Cluster(nodes=(BUSY, IDLE))


def test_a_job_always_asks_for_a_processor() -> None:
    assert needs_of(TrainingSettings(), uses_gpu=False) == {"CPU": 1.0}
    settings = TrainingSettings(gpus=2, cluster_cpus=4, cluster_memory_gb=1, cluster_resources=("A100=2", ""))
    assert needs_of(settings, uses_gpu=True) == {"CPU": 4.0, "GPU": 2.0, "memory": float(1 << 30), "A100": 2.0}


@pytest.mark.parametrize("line", ["A100", "=1", "A100=x", "A100=0", "A100=nan", "GPU=1", "memory=5"])
def test_what_is_no_resource_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="as in A100=1"):
        resources_in([line])


def test_what_fits_counts_what_was_submitted_and_does_not_run_yet() -> None:
    card = {"CPU": 1.0, "GPU": 1.0}
    assert fits(card, CLUSTER)
    assert fits(card, CLUSTER, [card])
    assert not fits(card, CLUSTER, [card, card])
    assert not fits({"GPU": 3.0}, CLUSTER)
    assert not never_fits({"GPU": 3.0}, CLUSTER)
    assert never_fits({"GPU": 5.0}, CLUSTER)
    assert never_fits({"H100": 1.0}, CLUSTER)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"GPU": 1.0}, ""),
        ({"GPU": 3.0}, "Needs 3 GPU: 2 of 6 GPU free."),
        ({"A100": 1.0}, "Needs 1 of A100: 0 of 4 A100 free."),
        ({"H100": 1.0}, "No node of the cluster has 1 of H100: there is no H100."),
        ({"memory": float(100 << 30)}, "No node of the cluster has 100 GB of memory: 12 GB of 12 GB memory free."),
        (
            {"GPU": 1.0, "memory": float(6 << 30)},
            "Needs 1 GPU, 6 GB of memory on one node; no node has all of it free.",
        ),
    ],
)
def test_why_a_job_waits(needs: dict[str, float], words: str) -> None:
    assert waiting_text(needs, CLUSTER) == words


def test_a_cluster_without_nodes_says_so() -> None:
    assert waiting_text({"CPU": 1.0}, Cluster(nodes=())) == "The cluster has no nodes now."
