"""Pages in front of a source that has a cluster."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from lib.errors import SourceUnavailable
from lib.jobs.cluster import Cluster, ClusterNode, GpuLoad
from lib.jobs.dataset import Dataset
from lib.jobs.job import Attempt, Job, JobStatus, Progress
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.memory import MemorySource
from tests.pages.reading import texts

OpenPage = Callable[..., AppTest]
CARD = GpuLoad(name="A100", utilisation=0.93, used_bytes=60 << 30, total_bytes=80 << 30)
BUSY = ClusterNode(
    id="1",
    name="gpu-7",
    total={"CPU": 8.0, "GPU": 1.0, "memory": 64 << 30},
    used={"CPU": 1.0, "GPU": 1.0},
    cpu_load=0.5,
    memory_bytes=64 << 30,
    memory_used_bytes=16 << 30,
    gpus=(CARD,),
)
HEAD = ClusterNode(id="0", name="head", is_head=True, total={"CPU": 2.0, "memory": 8 << 30})


@pytest.fixture
def clustered(source: MemorySource) -> MemorySource:
    source.executors = ("local", "ray")
    source.cluster = lambda: Cluster(nodes=(HEAD, BUSY))
    attempt = Attempt(number=1, status=JobStatus.RUNNING, node="gpu-7", progress=Progress(stage="training", step=3))
    source.add(
        Job(
            id="r",
            name="Runs | there",
            status=JobStatus.RUNNING,
            executor="ray",
            node="gpu-7",
            attempt=1,
            attempts=(attempt,),
            progress=attempt.progress,
        ),
        Job(id="p", name="Waits", status=JobStatus.PENDING, executor="ray", settings={"where": "ray", "gpus": 1}),
        Job(id="h", name="Here", status=JobStatus.PENDING),
    )
    return source


def test_the_overview_shows_nodes_and_what_runs_there(clustered: MemorySource, open_page: OpenPage) -> None:
    said = texts(open_page("overview"))
    assert "Free now: 9 of 10 CPU, 0 of 1 GPU, 72 GB of 72 GB memory" in said
    assert "A100: 93%, 60 GB of 80 GB" in said
    assert "**gpu-7** · 1 of 8 CPU · 1 of 1 GPU in use · processors 50% busy" in said
    assert "runs Runs | there" in said
    assert "**head (head)** · 0 of 2 CPU in use · load unknown" in said


def test_an_empty_installation_shows_what_its_cluster_has(source: MemorySource, open_page: OpenPage) -> None:
    source.executors = ("ray",)
    source.cluster = lambda: Cluster(nodes=(HEAD, BUSY))
    said = texts(open_page("overview"))
    assert "Train your first LoRA" in said
    assert "Free now: 9 of 10 CPU, 0 of 1 GPU" in said


def test_a_cluster_without_nodes_says_so(clustered: MemorySource, open_page: OpenPage) -> None:
    clustered.cluster = lambda: Cluster(nodes=())
    assert "Free now: nothing, for the cluster has no nodes now" in texts(open_page("overview"))
    assert "The cluster has no nodes now." in texts(open_page("job", id="p"))


def test_a_waiting_job_says_what_it_waits_for_and_a_running_one_where_it_is(
    clustered: MemorySource, open_page: OpenPage
) -> None:
    assert "Needs 1 GPU: 0 of 1 GPU free." in texts(open_page("job", id="p"))
    assert "GPU free" not in texts(open_page("job", id="h"))
    assert "on gpu-7" in texts(open_page("job", id="r"))
    assert "Runs on: the cluster, node gpu-7" in texts(open_page("job", id="r", view="details"))


def test_the_list_is_filtered_by_place(clustered: MemorySource, open_page: OpenPage) -> None:
    app = open_page("jobs", where="ray")
    (table,) = app.dataframe
    assert len(table.value) == 2
    assert [box.value for box in app.selectbox if box.label == "Where"] == ["ray"]


def test_a_cluster_that_is_away_is_said_and_the_rest_of_the_page_is_there(
    clustered: MemorySource, open_page: OpenPage
) -> None:
    def away() -> Cluster:
        raise SourceUnavailable("The Ray cluster at head:8265 does not answer (no connection).", hint="Check it.")

    clustered.cluster = away
    said = texts(open_page("overview"))
    assert "does not answer" in said
    assert "Running now" in said or "Runs" in said
    waiting = texts(open_page("job", id="p"))
    assert "does not answer (no connection). Check it. Meanwhile the job waits here." in waiting


def test_without_a_cluster_nothing_of_it_is_shown(source: MemorySource, open_page: OpenPage) -> None:
    source.add(Job(id="p", name="Waits", status=JobStatus.PENDING))
    assert "Cluster" not in [each.value for each in open_page("overview").header]
    assert "Where" not in [box.label for box in open_page("jobs").selectbox]


def test_the_review_says_where_and_what_is_free_there(clustered: MemorySource, open_page: OpenPage) -> None:
    clustered.datasets.kept["d"] = Dataset(id="d", name="Foxes", image_count=12)
    clustered.configs.kept["c"] = TrainingConfig(id="c", name="Quick", settings=TrainingSettings(), is_default=True)
    chosen = {"datasetId": "d", "configId": "c", "name": "fox", "step": "3"}
    assert "**Where:** this machine" in texts(open_page("new_job", **chosen))
    there = texts(open_page("new_job", **chosen, where="ray", cluster_cpus="20"))
    assert "**Where:** the cluster" in there
    assert "9 of 10 CPU, 0 of 1 GPU" in there
    assert "The job would wait. No node of the cluster has" in there
