"""Clusters that are not what they should be: each is told in plain words, and nothing is lost."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from lib.embedded.files.attempt_folder import Exit
from lib.embedded.ray.client import RayClient
from lib.embedded.ray.desk import RayDesk
from lib.errors import SourceUnavailable
from lib.jobs.cluster import Cluster
from lib.jobs.job import JobStatus
from lib.ray_settings import RaySettings
from tests.embedded.ray.fake_ray import FakeRay, play_runner
from tests.embedded.ray.hand_site import SETTINGS, HandDesk, Site
from tests.embedded.ray.test_client import TOKEN, Played
from tests.waiting import PATIENCE_S, wait_for

NODE = {"node_id": "a", "node_ip": "192.0.2.2", "state": "ALIVE", "resources_total": {"CPU": 4, "GPU": 1}}
HTML = b"<html>\n<title>A wiki</title>\n</html>"


@pytest.fixture
def played() -> Iterator[Played]:
    with closing(Played()) as built:
        yield built


@pytest.fixture
def site(tmp_path: Path, played: Played) -> Iterator[Site]:
    settings = replace(SETTINGS, address=f"http://127.0.0.1:{played.server.server_port}", token=TOKEN)
    with closing(Site(tmp_path / "data", settings)) as built:
        built.ray = played.client  # type: ignore[assignment]
        built.hire()
        yield built


def let_work(played: Played) -> None:
    """From now on it is a cluster with a node."""
    played.answers.clear()
    for path, data in {
        "/api/cluster_status": {"clusterStatus": {"loadMetricsReport": {"usageByNode": {}}}},
        "/api/v0/nodes": {"result": {"result": [NODE]}},
    }.items():
        played.answers[path] = (200, "application/json", json.dumps({"data": data}).encode())
    played.play("/api/version", "version")
    played.play("/api/packages/gcs/runner.zip", "get-present")
    played.play("/api/jobs/", "submit-ok")
    played.play("*", "get-unknown")

    def note() -> None:
        if played.seen[-1][:2] == ("POST", "/api/jobs/"):
            played.answers["*"] = (200, "application/json", b'{"status": "RUNNING"}')

    played.before = note


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "text/html", HTML), "is not Ray's Jobs API. RAY_ADDRESS is the address of the dashboard of the head"),
        ((404, "text/plain", b"404: Not Found"), "is not Ray's Jobs API. RAY_ADDRESS is the address of the dashboard"),
        ((200, "application/json", b'{"data": {"clusterSt'), "is not Ray's Jobs API."),
        ((403, "text/plain", b"Forbidden: Invalid authentication token"), "refused the token. Set RAY_AUTH_TOKEN"),
        ((500, "text/plain", b"Server got itself in trouble"), "answered with an error: Server got itself in trouble"),
        ((503, "text/html", HTML), "answered with an error: HTTP 503"),
    ],
    ids=["a wiki", "no such API", "half an answer", "a wrong token", "an error", "a proxy's page"],
)
def test_a_job_waits_here_until_the_cluster_is_one(
    site: Site, played: Played, answer: tuple[int, str, bytes], words: str
) -> None:
    played.answers["*"] = answer
    job = site.submit()
    site.step(5)
    assert site.job(job).status is JobStatus.PENDING
    (check,) = [each for each in site.source.health() if each.name == "Cluster"]
    assert (check.ok, words in check.message) == (False, True), check.message
    assert TOKEN not in check.message
    assert {seen[0] for seen in played.seen} == {"GET"}
    let_work(played)
    site.step(4)
    sent = [json.loads(seen[3]) for seen in played.seen if seen[:2] == ("POST", "/api/jobs/")]
    assert {each["submission_id"] for each in sent} == {f"lora-{job.id}-a1"}
    assert site.job(job).status is JobStatus.RUNNING
    (check,) = [each for each in site.source.health() if each.name == "Cluster"]
    assert (check.ok, "1 node with 4 CPU and 1 GPU" in check.message) == (True, True)


def test_of_a_running_job_wrong_answers_say_nothing(site: Site, played: Played) -> None:
    let_work(played)
    job = site.submit()
    site.step(4)
    play_runner(site.attempt(job), log=b"running\n")
    for answer in ((200, "text/html", HTML), (403, "text/plain", b"Forbidden"), (404, "text/html", HTML)):
        played.answers = {"*": answer}
        site.step(3)
        assert site.job(job).status is JobStatus.RUNNING
    site.attempt(job).write_exit(Exit(exit_code=1, finished_at=1.0))
    site.step(2)
    assert site.job(job).status is JobStatus.FAILED


def test_a_head_that_is_slow_holds_up_no_round_of_the_worker(tmp_path: Path) -> None:
    asked, may_answer = Event(), Event()

    class SlowRay(FakeRay):
        def cluster(self) -> Cluster:
            asked.set()
            assert may_answer.wait(PATIENCE_S)
            return super().cluster()

    class Threaded(HandDesk):
        _begin = RayDesk._begin

    with closing(Site(tmp_path / "data")) as site:
        site.ray = SlowRay()
        site.desk_type = Threaded
        site.hire()
        job = site.submit()
        site.worker.tick()
        assert asked.wait(PATIENCE_S)
        site.worker.tick()  # would never end
        assert site.job(job).status is JobStatus.PENDING
        may_answer.set()
        wait_for(lambda: (site.worker.tick(), site.ray.posted)[1], "nothing was sent", poll_s=0.01)
        site.worker.close()
    assert site.desk._thread is not None
    assert not site.desk._thread.is_alive()


def test_a_page_waits_once_for_all_questions_about_the_nodes(played: Played) -> None:
    let_work(played)
    pauses = iter([0.4, 0.4, 0.4])
    never = Event()
    played.before = lambda: never.wait(next(pauses))
    client = RayClient(RaySettings(address=f"http://127.0.0.1:{played.server.server_port}"), timeout_s=1.0)
    with closing(client), pytest.raises(SourceUnavailable, match="took too long"):
        client.cluster(with_load=True)


@pytest.mark.parametrize(
    ("exit_", "log", "cause", "words"),
    [
        (
            Exit(exit_code=None, finished_at=1.0, start_error="/opt/lora/bin/python: No such file or directory"),
            b"/opt/lora/bin/python: No such file or directory\n",
            "missing_trainer",
            "The trainer could not be started: /opt/lora/bin/python: No such file or directory.",
        ),
        (
            Exit(exit_code=1, finished_at=1.0, free_bytes=1 << 40),
            b"OSError: /models/sdxl is not a local folder and is not a valid model identifier listed on "
            b"'https://huggingface.co/models'\n",
            "missing_model",
            "/models/sdxl",
        ),
        (
            Exit(exit_code=1, finished_at=1.0, free_bytes=0),
            b"training\n",
            "disk_full",
            "The disk was full when the trainer ended.",
        ),
    ],
    ids=["no trainer", "no model", "no disk"],
)
def test_what_a_node_lacks_is_the_cause(tmp_path: Path, exit_: Exit, log: bytes, cause: str, words: str) -> None:
    with closing(Site(tmp_path / "data")) as site:
        job = site.submit()
        site.ray.run(site.started(job))
        play_runner(site.attempt(job), log=log, exit_=exit_)
        ended = site.until(job, lambda now: now.status.is_terminal)
    assert ended.failure is not None
    assert (ended.failure.cause, words in ended.failure.message) == (cause, True), ended.failure
    assert ended.node == "n1"
    assert ended.failure.hint


def test_what_is_asked_of_ray_cannot_be_misunderstood(site: Site, played: Played) -> None:
    let_work(played)
    site.submit(gpus=1, cluster_cpus=2)
    site.step(4)
    (sent,) = [json.loads(seen[3]) for seen in played.seen if seen[:2] == ("POST", "/api/jobs/")]
    # Ray ignores what it does not know in ``runtime_env``, and what asks for nothing runs on its head.
    assert sent["runtime_env"].keys() == {"env_vars", "working_dir"}
    assert sent["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
    assert (sent["entrypoint_num_cpus"], sent["entrypoint_num_gpus"]) == (2.0, 1.0)
