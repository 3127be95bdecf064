"""The source against a real server: one job, new jobs, configurations, health."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.store.side_table import SideTable
from lib.errors import DatasetError, InvalidRequest, JobNotFound, NotSupported, SourceUnavailable, SubmissionUnsure
from lib.jobs.annotations import Annotations
from lib.jobs.job import JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobQuery
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, setting_problems, settings_from_payload
from lib.sources.influencerai.api_errors import NotSent
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from lib.sources.influencerai.submission import Submissions
from lib.sources.protocol import WINDOWS, Action
from tests.sources.influencerai.api_server import START, ApiServer, iso
from tests.sources.influencerai.conftest import AT_ONCE, PATIENT

DATASET = "cmwtedhsk000d9n7dpxohdhqz"
CONFIG = "cmwte97ft00004h7dp7ige61y"
SETTINGS = TrainingSettings(trainer="sd-scripts", base_model="sdxl", epochs=3, learning_rate=2e-4)


def request(submission_id: str = "s1") -> JobRequest:
    return JobRequest(
        name=" Aria v2 ", dataset_id=DATASET, config_id=CONFIG, settings=SETTINGS, submission_id=submission_id
    )


def posts(api: ApiServer) -> int:
    return api.count("POST /jobs$")


def sent_id(api: ApiServer) -> str:
    return str(next(body for body in api.bodies if body and "payload" in body)["payload"]["clientSubmissionId"])


def test_a_new_job_is_posted_with_what_the_worker_needs(api: ApiServer, source: InfluencerSource) -> None:
    job = source.create_job(request())
    assert (job.name, job.status, job.config_id, job.dataset_id) == ("Aria v2", JobStatus.PENDING, CONFIG, DATASET)
    sent = api.jobs[job.id]["payload"]
    assert (sent["trainingName"], sent["datasetId"], sent["configId"]) == ("Aria v2", DATASET, CONFIG)
    assert sent["config"]["epochs"] == 3
    assert sent["config"]["modelName"] == "sdxl"
    assert source.list_jobs(JobQuery()).jobs[0].id == job.id
    assert source.get_job(job.id).settings["learning_rate"] == 2e-4


def test_what_people_write_is_kept_here_and_a_table_that_cannot_be_read_is_said(
    api: ApiServer, connect: Callable[..., InfluencerClient], tmp_path: Path
) -> None:
    table = SideTable(tmp_path, "api")
    source = InfluencerSource(connect(), files=None, side_table=table, intervals=AT_ONCE, background=False)
    job_id = api.add_job(payload={"trainingName": "Aria", "datasetId": DATASET})["id"]
    source.annotate_job(job_id, Annotations(name="Fox", tags=("b",), is_starred=True))
    # Another dashboard with the same folder sees it, too, and goes on with it.
    again = InfluencerSource(connect(), files=None, side_table=table, intervals=AT_ONCE, background=False)
    again.annotate_job(job_id, Annotations(note="n"))
    (listed,) = source.list_jobs(JobQuery(search="fox", tag="b")).jobs
    assert (listed.name, listed.note, listed.is_starred) == ("Fox", "n", True)
    assert source.get_job(job_id).note == "n"
    table.path.write_bytes(b"not a database" * 100)
    broken = InfluencerSource(connect(), files=None, side_table=table, intervals=AT_ONCE, background=False)
    page = broken.list_jobs(JobQuery())
    assert page.jobs[0].name == "Aria"
    assert page.incomplete.startswith("Stars, names, notes and tags given here are missing: The database")


def test_a_double_click_makes_one_job(api: ApiServer, source: InfluencerSource) -> None:
    start, ids = threading.Barrier(6), []

    def click() -> None:
        start.wait()
        ids.append(source.create_job(request()).id)

    threads = [threading.Thread(target=click) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids)), posts(api)) == (6, 1, 1)


def test_a_job_whose_answer_was_lost_is_found_and_not_posted_again(api: ApiServer, source: InfluencerSource) -> None:
    api.add_job(payload={"trainingName": "Aria v2", "datasetId": DATASET})  # a namesake is another job
    api.trouble("POST /jobs", "lost").release.set()
    job = source.create_job(request())
    assert api.jobs[job.id]["payload"]["clientSubmissionId"] == "s1"
    assert source.create_job(request()).id == job.id
    assert (posts(api), len(api.jobs)) == (1, 2)


@pytest.mark.parametrize(
    ("trouble", "list_fails"),
    [("reset", ""), ("reset", "500"), ("408", ""), ("502", ""), ("503", ""), ("504", "html"), ("500", "500")],
)
def test_what_is_not_known_is_said_and_never_posted_again(
    api: ApiServer, source: InfluencerSource, trouble: str, list_fails: str
) -> None:
    api.trouble("POST /jobs", trouble)
    if list_fails:
        api.trouble(r"GET /jobs\?", list_fails, skip=1)
    for _ in range(3):
        with pytest.raises(SubmissionUnsure, match="may or may not have been created") as caught:
            source.create_job(request())
    assert "Start another one like it" in caught.value.hint
    assert posts(api) == 1
    api.calm()
    api.add_job("late", payload={"clientSubmissionId": "s1"})
    assert source.create_job(request()).id == "late"
    assert posts(api) == 1


@pytest.mark.parametrize("jobs_since", [0, 3])
def test_a_dashboard_that_was_started_anew_does_not_post_again(
    api: ApiServer, source: InfluencerSource, connect: Callable[..., InfluencerClient], jobs_since: int
) -> None:
    for _ in range(3):  # too large to be read at once
        api.add_job(result="x" * 400_000)
    job = source.create_job(request())
    for _ in range(jobs_since):
        api.add_job()
    client = connect(replace(PATIENT, list_bytes=1 << 20))
    anew = InfluencerSource(client, files=None, intervals=AT_ONCE, background=False)
    assert anew.create_job(request()).id == job.id
    assert posts(api) == 1
    anew.close()


def test_what_surely_did_not_arrive_may_be_sent_again(api: ApiServer, client: InfluencerClient) -> None:
    submissions = Submissions(client)
    api.stop()
    with pytest.raises(NotSent, match="the connection was refused"):
        submissions.submit("s1", {})
    api.start()
    api.trouble("POST /jobs", "401", times=1)
    api.trouble("POST /auth/login", "reset", skip=1)
    with pytest.raises(NotSent, match="broke the connection"):
        submissions.submit("s1", {})
    api.calm()
    assert submissions.submit("s1", {}).id == next(iter(api.jobs))
    assert (posts(api), len(api.jobs)) == (2, 1)


def test_a_refused_post_may_be_tried_again(api: ApiServer, source: InfluencerSource) -> None:
    api.trouble("POST /jobs", "500", times=1)
    with pytest.raises(SourceUnavailable, match="Internal server error"):
        source.create_job(request())
    assert source.create_job(request()).name == "Aria v2"
    assert (posts(api), len(api.jobs)) == (2, 1)


def test_bad_requests_name_their_fields_and_send_nothing(api: ApiServer, source: InfluencerSource) -> None:
    bad = replace(request(), name=" ", dataset_id="nowhere", settings=replace(SETTINGS, epochs=0))
    with pytest.raises(InvalidRequest) as caught:
        source.create_job(bad)
    assert set(caught.value.fields) == {"name", "dataset_id", "epochs"}
    assert posts(api) == 0


def test_a_retry_is_a_new_job_with_the_same_values(api: ApiServer, source: InfluencerSource) -> None:
    old = source.create_job(request())
    with pytest.raises(InvalidRequest, match="not ended"):
        source.retry_job(old.id)
    api.patch(old.id, "failed", {"message": "x"})
    assert [source.get_job(old.id).status.is_terminal for _ in range(2)] == [False, True]  # confirmed by a second read
    new = source.retry_job(old.id)
    assert new.id != old.id
    assert source.retry_job(old.id).id == new.id  # a double click
    before, after = (api.jobs[each.id]["payload"] for each in (old, new))
    assert after.pop("retryOf") == old.id
    assert after.pop("clientSubmissionId") != before.pop("clientSubmissionId")
    assert after == before


def test_a_retry_without_an_answer_is_looked_for_and_not_posted_again(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    clock = [1000.0]
    pace = replace(AT_ONCE, interval_s=0.001)
    source = InfluencerSource(connect(), files=None, intervals=pace, background=False, clock=lambda: clock[0])
    api.add_job("old", status="failed", finishedAt=iso(START), updatedAt=iso(START), payload={"trainingName": "x"})
    api.trouble("POST /jobs", "504", times=1)
    for _ in range(2):
        with pytest.raises(SubmissionUnsure, match="may or may not have been created"):
            source.retry_job("old")
        clock[0] += 60
    late = {"trainingName": "x", "clientSubmissionId": sent_id(api)}
    api.add_job("late", payload=late)
    assert source.retry_job("old").id == "late"
    assert posts(api) == 1
    clock[0] += 60
    assert source.retry_job("old").id != "late"  # its outcome is known: this is another retry
    assert posts(api) == 2
    source.close()


@pytest.mark.parametrize("payload", [None, "text", [1]])
def test_a_job_without_values_is_not_retried(api: ApiServer, source: InfluencerSource, payload: object) -> None:
    api.add_job("old", status="failed", finishedAt=iso(START), updatedAt=iso(START), payload=payload)
    with pytest.raises(InvalidRequest, match="does not say what it was started with"):
        source.retry_job("old")
    assert posts(api) == 0


def test_values_the_api_has_no_field_for_are_sent_and_named(api: ApiServer, source: InfluencerSource) -> None:
    ours = replace(SETTINGS, repeats=7, seed=9, sample_prompts=("a cat",), extra={"clip_skip": 2})
    asked = replace(request(), settings=ours)
    assert source.preview(asked).warnings[-1] == (
        "The deployment decides about: repeats, seed, sample prompts, further options."
    )
    assert not [each for each in source.preview(request()).warnings if "decides" in each]
    job = source.create_job(asked)
    assert api.jobs[job.id]["payload"]["config"]["meta"]["dashboard"]["repeats"] == 7
    assert settings_from_payload(source.get_job(job.id).settings) == ours
    (listed,) = source.list_jobs(JobQuery()).jobs
    assert settings_from_payload(listed.settings) == ours  # for the columns of the CSV


@pytest.mark.parametrize(
    "action",
    [
        Action.CANCEL,
        Action.DELETE,
        Action.MOVE,
        Action.ANNOTATE,
        Action.RETRY_IN_PLACE,
        Action.SWEEP,
        Action.CHANGE_DATASETS,
    ],
)
def test_what_the_api_cannot_do_has_a_reason(source: InfluencerSource, action: Action) -> None:
    assert source.reason_against(action).startswith("The InfluencerAI API has no way to ")
    calls = {
        Action.CANCEL: lambda: source.cancel_job("a"),
        Action.DELETE: lambda: source.delete_job("a"),
        Action.MOVE: lambda: source.move_job("a", 1),
        Action.ANNOTATE: lambda: source.annotate_job("a", Annotations(is_starred=True)),
        Action.SWEEP: lambda: source.create_sweep(request(), {"learning_rate": (1e-4, 2e-4)}),
    }
    if action in calls:
        with pytest.raises(NotSupported, match="no way to"):
            calls[action]()


@pytest.mark.parametrize("job_id", ["nope", "", "..", "x" * 200, "a/b", "\0"])
def test_unknown_ids(source: InfluencerSource, job_id: str) -> None:
    with pytest.raises(JobNotFound):
        source.get_job(job_id)
    with pytest.raises(JobNotFound):
        source.read_log(job_id, attempt=1, offset=0)


def test_one_call_per_job_and_interval_with_fifty_viewers(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    api.add_job("a")
    clock = [1000.0]
    source = InfluencerSource(connect(), files=None, clock=lambda: clock[0])
    seen: list[str] = []
    for at_s, calls in ((0, 1), (1.9, 1), (2, 2), (3.9, 2), (4.1, 3)):
        clock[0] = 1000 + at_s
        threads = [threading.Thread(target=lambda: seen.append(source.get_job("a").id)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert api.count("GET /jobs/a") == calls
    source.close()
    assert seen == ["a"] * 250


def test_the_log_grows_and_stays_readable_while_the_api_is_down(api: ApiServer, source: InfluencerSource) -> None:
    api.add_job("a")
    lines = [f"steps:  {n}%|#| {n}/100 [00:{n:02d}<01:00, 1.0s/it, avr_loss=0.{n:02d}]" for n in range(1, 40)]
    for end in (5, 18, 30):
        logs = lines[max(0, end - 20) : end]
        api.patch("a", "running", {"progress": {"stage": "running", "logs": logs}})
        shown = source.get_job("a")
    assert (shown.progress.step, shown.progress.total_steps, shown.progress.loss) == (30, 100, 0.30)
    whole = "".join(f"{line}\n" for line in lines[:30]).encode()
    chunk = source.read_log("a", attempt=1, offset=0)
    assert (chunk.data, chunk.size_bytes) == (whole, len(whole))
    assert source.read_log("a", attempt=1, offset=10, limit=5).data == whole[10:15]
    assert source.read_log("a", attempt=2, offset=0).data == b""
    assert [point.step for point in source.loss_points("a", attempt=1)] == list(range(1, 31))
    api.stop()
    with pytest.raises(SourceUnavailable):
        source.get_job("a")
    assert source.read_log("a", attempt=1, offset=0).data == whole
    assert len(source.loss_points("a", attempt=1)) == 30


def test_configurations_are_kept_in_the_api(api: ApiServer, source: InfluencerSource) -> None:
    ours = replace(SETTINGS, repeats=7, seed=9, sample_prompts=("a cat",), extra={"optimizer_type": "Prodigy"})
    saved = source.configs.save(TrainingConfig(id="", name=" Mine ", settings=ours, is_default=True))
    assert saved.id
    assert source.configs.get(saved.id) == saved
    assert (saved.name, saved.settings, saved.is_default) == ("Mine", ours, True)
    assert [config.name for config in source.configs.list()] == ["Mine", "cfg stock"]
    changed = source.configs.save(replace(saved, description="d", settings=replace(ours, epochs=5)))
    assert (changed.id, changed.settings.epochs, changed.description) == (saved.id, 5, "d")
    with pytest.raises(InvalidRequest, match="cannot be saved"):
        source.configs.save(replace(saved, id="", name="cfg stock"))
    api.add_job(payload={"configId": saved.id})
    with pytest.raises(InvalidRequest, match="active job"):
        source.configs.delete(saved.id)
    api.jobs.clear()
    source.configs.delete(saved.id)
    for gone in (source.configs.get, source.configs.delete):
        with pytest.raises(InvalidRequest, match="no such configuration"):
            gone(saved.id)


def test_values_of_other_types_are_read_as_ours(api: ApiServer, source: InfluencerSource) -> None:
    odd = {
        "modelName": 7,
        "epochs": "10",
        "learningRate": "2e-4",
        "batchSize": True,
        "resolution": 64.0,
        "networkDim": 10**300,
        "networkAlpha": -0.5,
    }
    api.configs = [{"id": "odd", "name": "Odd", **odd}]
    found = source.configs.get("odd").settings
    usual = TrainingSettings(trainer="sd-scripts")
    as_read: dict[str, Any] = {"base_model": "7", "epochs": 10, "learning_rate": 2e-4, "resolution": 64}
    assert found == replace(usual, **as_read, network_alpha=-0.5)
    assert [type(each) for each in (found.epochs, found.resolution)] == [int, int]
    assert {"resolution", "network_alpha"} == set(setting_problems(found))  # as the API says, and said to be wrong
    api.add_job("a", payload={"config": {"id": "odd", **odd}})
    settings = source.get_job("a").settings
    assert (settings["epochs"], settings["base_model"], settings["batch_size"]) == (10, "7", True)


def test_a_large_row_is_shown_shortened_and_retried_whole(api: ApiServer, source: InfluencerSource) -> None:
    nested: list[object] = []
    for _ in range(200):
        nested = [nested]
    payload = {"trainingName": "x", "notes": "y" * 100_000, "nested": nested}
    api.add_job("old", status="failed", finishedAt=iso(START), updatedAt=iso(START), payload=payload)
    shown = source.get_job("old").payload
    assert (shown["id"], len(shown["payload"]["notes"])) == ("old", 2001)
    assert json.dumps(shown).count("[") < 60
    retried = source.retry_job("old")
    sent = api.jobs[retried.id]["payload"]
    assert {**sent, **payload} == sent


def test_bad_configurations_name_their_fields(source: InfluencerSource) -> None:
    bad = TrainingConfig(id="", name=" ", settings=replace(SETTINGS, epochs=0))
    with pytest.raises(InvalidRequest) as caught:
        source.configs.save(bad)
    assert set(caught.value.fields) == {"name", "epochs"}


@pytest.mark.parametrize("count", [100, 230])
def test_all_pages_of_a_list_are_read_and_none_beyond(api: ApiServer, source: InfluencerSource, count: int) -> None:
    api.datasets = [{"id": f"d{number}", "meta": {}} for number in range(count)]
    assert len(source.datasets.list()) == count
    assert api.count("GET /datasets") == -(-count // 100)


def test_datasets_by_name(source: InfluencerSource) -> None:
    aria = next(dataset for dataset in source.datasets.list() if dataset.id == DATASET)
    assert (aria.name, aria.image_count, aria.status) == ("Aria", 24, "pending")
    assert source.datasets.get(DATASET) == aria
    assert {dataset.name for dataset in source.datasets.list()} == {"Aria", "../../日本 語.zip"}
    with pytest.raises(DatasetError):
        source.datasets.get("nope")


def test_outcomes_count_the_jobs_that_the_list_shows(api: ApiServer, source: InfluencerSource) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=1)
    for job_id, status, others in (
        ("a", "succeeded", {}),
        ("b", "completed", {}),
        ("c", "failed", {}),
        ("theirs", "failed", {"tenantId": "tenant_dev_2"}),
        ("picture", "failed", {"type": "image-generation"}),
    ):
        api.add_job(job_id, **others)
        api.patch(job_id, status, at=ended)
    for window in WINDOWS:
        buckets = source.outcomes(window)
        assert (sum(each.succeeded for each in buckets), sum(each.failed for each in buckets)) == (2, 1)
    api.trouble("GET", "500")
    anew = InfluencerSource(source._client, files=None, intervals=AT_ONCE, background=False)
    with pytest.raises(SourceUnavailable):
        anew.outcomes("24h")
    anew._index.close()


def test_health_reads_what_the_api_says_of_itself(api: ApiServer, source: InfluencerSource) -> None:
    checks = {check.name: check for check in source.health()}
    assert [checks[name].ok for name in ("InfluencerAI API", "API database", "API queue (Redis)", "Queues")] == [
        True
    ] * 4
    assert "always reports 0 waiting" in checks["Queues"].message
    assert checks["Artifact store"].ok is None
    api.health = {"status": "error", "checks": {"db": {"status": "error", "error": "no disk"}, "odd": 7}}
    checks = {check.name: check for check in source.health()}
    assert (checks["InfluencerAI API"].ok, checks["API database"].message) == (False, "no disk")
    assert checks["API odd"].ok is None
    api.stop()
    assert [check.ok for check in source.health()] == [False, False, None]


def test_the_source_says_which_trainer_and_settings_its_worker_uses(api: ApiServer, source: InfluencerSource) -> None:
    assert source.first_settings() == TrainingSettings(trainer="sd-scripts")
    assert {"epochs", "learning_rate", "base_model"} <= source.used_settings
    assert not source.used_settings & {"repeats", "seed", "sample_prompts", "extra"}
    tuned = replace(SETTINGS, repeats=7, seed=9, epochs=3)
    assert source.in_effect(tuned) == SETTINGS
    # Whatever trainer a configuration or a job was made for elsewhere, the worker runs its own.
    made_for_tiny = {"trainer": "tiny", "repeats": 7}
    saved = source.configs.save(TrainingConfig(id="", name="Mine", settings=replace(tuned, trainer="tiny")))
    assert (saved.settings.trainer, saved.settings.repeats) == ("sd-scripts", 7)
    api.add_job("a", payload={"config": {"epochs": 3, "meta": {"dashboard": made_for_tiny}}})
    job = source.get_job("a")
    assert (job.trainer, settings_from_payload(job.settings).trainer) == ("sd-scripts", "sd-scripts")
