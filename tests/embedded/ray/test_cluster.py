"""Trainings on a real cluster of this machine, by a real worker process."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from lib.embedded.datasets.sample import prepare
from lib.embedded.worker.launcher import WorkerLauncher
from lib.jobs.job import ArtifactKind, Job, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from lib.sources.embedded.source import EmbeddedSource
from tests.artifacts.s3_server import s3_server
from tests.embedded.ray.real_cluster import RealCluster
from tests.embedded.scripted import REFERENCE, TRAIN
from tests.reaper import kill_all, living, working_on
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
WAIT = "print('ready', flush=True)\ntime.sleep(600)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    if find_spec("ray") is None:
        if os.environ.get("CI") == "true":
            raise AssertionError("Ray is not installed: uv sync --group ray")
        pytest.skip("Ray is not installed: uv sync --group ray")
    # Sockets are in its folder, and a socket's path is at most 107 bytes: pytest's folders are too deep.
    with (
        TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        closing(RealCluster(Path(folder))) as built,
    ):
        built.start_head()
        built.start_node()
        print(f"\nthe cluster took {built.seconds}", file=sys.stderr)  # noqa: T201
        yield built


class Site:
    """A data folder whose worker is a process of its own."""

    def __init__(
        self,
        folder: Path,
        cluster: RealCluster,
        recipes: str | None = None,
        transport: str = "folder",
        rules: TrainingRules = TrainingRules(),  # noqa: B008 (frozen)
    ) -> None:
        self.folder, self.cluster = folder, cluster
        settings = replace(cluster.settings, transport=transport)
        more = {"recipes": recipes} if recipes else {}
        launcher = WorkerLauncher(folder, ray=settings, rules=rules, **more)
        self.source = EmbeddedSource(
            folder, launcher=launcher, executors=("local", "ray"), ray=cluster.settings, **more
        )
        prepare(self.source.datasets, self.source.configs.save)
        self.dataset_id = self.source.datasets.list()[0].id

    def submit(self, name: str, **settings: object) -> Job:
        chosen = TrainingSettings(**{"where": "ray", **settings})
        return self.source.create_job(
            JobRequest(name=name, dataset_id=self.dataset_id, config_id=None, settings=chosen, submission_id=name)
        )

    def script(self, name: str, script: str) -> Job:
        return self.submit(name, trainer="scripted", extra={"script": script})

    def until(self, job: Job, is_so: Callable[[Job], object]) -> Job:
        def told() -> str:
            return f"not as wanted: {self.source.get_job(job.id)} {(self.folder / 'worker.log').read_text()[-2000:]}"

        wait_for(lambda: is_so(self.source.get_job(job.id)), told, poll_s=0.1)
        return self.source.get_job(job.id)

    def ended(self, job: Job) -> Job:
        return self.until(job, lambda now: now.status.is_terminal)

    def kill_worker(self) -> None:
        for process in self.workers():
            os.kill(process.pid, signal.SIGKILL)

    def workers(self) -> list[psutil.Process]:
        return living(lambda each: {"lib.embedded.worker.worker", str(self.folder)} <= {*each.cmdline()})

    def close(self) -> None:
        kill_all(self.workers)
        kill_all(lambda: working_on(self.folder))
        self.source.close()


@pytest.fixture
def site(tmp_path: Path, cluster: RealCluster) -> Iterator[Site]:
    with closing(Site(tmp_path / "data", cluster)) as built:
        yield built


@pytest.fixture
def scripts(tmp_path: Path, cluster: RealCluster) -> Iterator[Site]:
    with closing(Site(tmp_path / "data", cluster, REFERENCE)) as built:
        yield built


def test_tiny_trains_on_the_cluster_though_the_worker_is_killed_on_the_way(site: Site) -> None:
    began = time.monotonic()
    job = site.submit("fox", epochs=3, resolution=128)
    site.until(job, lambda now: now.progress.step)
    first_line_s = time.monotonic() - began
    site.kill_worker()
    done = site.ended(job)
    assert done.status is JobStatus.SUCCEEDED, done.failure
    assert (done.attempt, done.executor, bool(done.node)) == (1, "ray", True)
    (final,) = [file for file in done.artifacts if file.kind is ArtifactKind.LORA and file.epoch is None]
    assert site.source.locate_artifact(job.id, final.id).path.stat().st_size
    print(f"submit to the first step: {first_line_s:.1f} s", file=sys.stderr)  # noqa: T201
    wait_for(lambda: site.cluster.client.job(f"lora-{job.id}-a1") is None, "Ray still keeps the record", poll_s=0.2)


def test_tiny_trains_where_only_a_store_is_between_here_and_the_node(
    tmp_path: Path, cluster: RealCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path / "s3") as server:
        store = server.settings
        values = {"ENDPOINT": store.endpoint, "KEY": store.key, "SECRET": store.secret, "BUCKET": store.bucket}
        for name, value in values.items():
            monkeypatch.setenv(f"S3_{name}", value)
        with closing(Site(tmp_path / "data", cluster, transport="s3")) as site:
            job = site.submit("fox", epochs=1, resolution=128, sample_prompts=("a fox",))
            done = site.ended(job)
            assert done.status is JobStatus.SUCCEEDED, done.failure
            kinds = [file.kind for file in done.artifacts]
            assert {ArtifactKind.LORA, ArtifactKind.SAMPLE} <= {*kinds}
            (final,) = [file for file in done.artifacts if file.kind is ArtifactKind.LORA and file.epoch is None]
            assert site.source.locate_artifact(job.id, final.id).path.stat().st_size
            assert done.progress.step


def test_jobs_wait_here_for_a_slot_and_a_running_one_is_cancelled(scripts: Site) -> None:
    running = [scripts.script(f"long {number}", WAIT) for number in range(2)]
    for job in running:
        scripts.until(job, lambda now: now.progress.stage is not None and now.node)
    last = scripts.script("last", TRAIN)
    assert scripts.source.get_job(last.id).status is JobStatus.PENDING
    for job in running:
        scripts.source.cancel_job(job.id)
    assert {scripts.ended(job).status for job in running} == {JobStatus.CANCELLED}
    assert scripts.ended(last).status is JobStatus.SUCCEEDED


def test_a_node_that_dies_is_a_cause_of_its_own(scripts: Site) -> None:
    job = scripts.script("long", WAIT)
    scripts.until(job, lambda now: now.node)
    scripts.cluster.kill("node")
    lost = scripts.ended(job)
    assert lost.failure is not None
    assert (lost.status, lost.failure.cause) == (JobStatus.FAILED, "node_lost")
    assert working_on(scripts.folder) == scripts.workers()
