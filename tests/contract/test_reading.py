"""What every source answers when it is read."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest

from lib.errors import ArtifactError, DatasetError, InvalidRequest, JobNotFound
from lib.jobs.job import Failure, Job, JobStatus, LossPoint, Progress
from lib.jobs.query import JobQuery, SortBy, select_jobs
from tests.contract.houses import NOW, House

LOSSES = {1: 0.2, 2: math.nan, 3: math.inf, 4: 0.1, 5: 0.2, 7: -1.0, 9: 1e-9}
FRACTIONS = {1: 1.0, 2: 1.0, 3: 0.5, 4: 0.0, 6: 0.25, 9: 0.5}
FAILURE = Failure(cause="out_of_memory", message="Out of memory.", hint="Less.", evidence=("a", "b"))


def ended(number: int, name: str, status: JobStatus, *, age: timedelta, lasted_s: float, dataset: str = "Cats") -> Job:
    created = NOW - age
    return Job(
        id=f"{created:%Y%m%d-%H%M%S}-{number:04d}",
        name=name,
        status=status,
        raw_status=status.value,
        attempt=1,
        created_at=created,
        started_at=created + timedelta(seconds=5),
        updated_at=created + timedelta(seconds=5 + lasted_s),
        finished_at=created + timedelta(seconds=5 + lasted_s),
        progress=Progress(fraction=FRACTIONS.get(number), step=10, total_steps=20, loss=LOSSES.get(number)),
        failure=FAILURE if status is JobStatus.FAILED else None,
        dataset_id=dataset.lower(),
        dataset_name=dataset,
        config_id="sdxl",
        config_name="SDXL Größe",
        trainer="tiny",
        settings={"epochs": 3},
    )


def known_jobs() -> list[Job]:
    """A job of each kind, with names that sort and search badly."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    running = ended(9, "zeta  two", JobStatus.RUNNING, age=2 * hour, lasted_s=0)
    pending = ended(10, "Alpha", JobStatus.PENDING, age=hour, lasted_s=0)
    return [
        ended(1, "Größe", JobStatus.SUCCEEDED, age=20 * day, lasted_s=50),
        ended(2, "alpha", JobStatus.SUCCEEDED, age=3 * day, lasted_s=7000, dataset="Dogs_%"),
        ended(3, "Alpha 10%", JobStatus.FAILED, age=3 * day - hour, lasted_s=3),
        ended(4, "beta_x", JobStatus.LOST, age=10 * hour, lasted_s=900),
        ended(5, "betaax", JobStatus.CANCELLED, age=9 * hour, lasted_s=400, dataset="Dogs"),
        ended(6, "<b>*x*</b>", JobStatus.FAILED, age=8 * hour, lasted_s=60),
        replace(running, finished_at=None, updated_at=NOW),
        replace(pending, attempt=0, started_at=None, finished_at=None, progress=Progress()),
    ]


QUERIES = [
    *(JobQuery(sort_by=by, descending=down) for by, down in product(SortBy, (True, False))),
    *(JobQuery(statuses=frozenset({status}), sort_by=SortBy.NAME) for status in JobStatus),
    JobQuery(statuses=frozenset({JobStatus.FAILED, JobStatus.LOST}), sort_by=SortBy.DURATION),
    *(JobQuery(search=text) for text in ("ALPHA", "größe", "  dogs ", "10%", "_x", "0004", "sdxl", "nothing", "*")),
    *(JobQuery(search=text) for text in ("\u2060al\u2060pha", "alpha  10%", "zeta two", "\u2060")),
    *(JobQuery(search="a", sort_by=by, descending=down) for by, down in product(SortBy, (True, False))),
    JobQuery(search="alpha", statuses=frozenset({JobStatus.FAILED})),
    JobQuery(created_from=NOW - timedelta(days=3), created_until=NOW - timedelta(hours=9)),
    JobQuery(finished_from=NOW - timedelta(days=1), finished_until=NOW, statuses=frozenset({JobStatus.FAILED})),
    JobQuery(finished_until=NOW - timedelta(days=1)),
    JobQuery(skip=3, take=2),
    JobQuery(skip=6, take=5, sort_by=SortBy.NAME, descending=False),
    JobQuery(skip=50),
]


def test_lists_filter_sort_and_page_by_the_one_rule(house: House) -> None:
    house.put_jobs(known_jobs())
    # As this source knows them: one of an API learns no loss of a job that ended before it looked.
    jobs = list(house.source.all_jobs(JobQuery()))
    assert [job.id for job in jobs] == [job.id for job in select_jobs(known_jobs(), JobQuery(take=100), NOW).jobs]
    for query in QUERIES:
        expected = select_jobs(jobs, query, NOW)
        page = house.source.list_jobs(query)
        assert [job.id for job in page.jobs] == [job.id for job in expected.jobs], query
        assert page.total == expected.total, query


@pytest.mark.parametrize("sort_by", [SortBy.PROGRESS, SortBy.LOSS, SortBy.DURATION, SortBy.FINISHED_AT])
def test_what_is_unknown_comes_last_in_both_directions(house: House, sort_by: SortBy) -> None:
    house.put_jobs(known_jobs())
    for descending in (True, False):
        listed = house.source.list_jobs(JobQuery(sort_by=sort_by, descending=descending)).jobs
        values = [_value(job, sort_by) for job in listed]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=descending)
        assert values == known + [None] * (len(values) - len(known))
        assert None in values


def _value(job: Job, sort_by: SortBy) -> object:
    loss = job.progress.loss
    return {
        SortBy.PROGRESS: job.progress.fraction,
        SortBy.LOSS: None if loss is None or math.isnan(loss) else loss,
        SortBy.DURATION: job.duration_s(NOW),
        SortBy.FINISHED_AT: job.finished_at,
    }[sort_by]


def test_all_jobs_come_once_in_the_order_of_the_list(house: House) -> None:
    house.put_jobs(
        [*known_jobs(), *(ended(n, "more", JobStatus.LOST, age=timedelta(n), lasted_s=n) for n in range(11, 130))]
    )
    first = house.source.list_jobs(JobQuery(take=100))
    jobs = [*first.jobs, *house.source.list_jobs(JobQuery(skip=100, take=100)).jobs]
    assert len({job.id for job in jobs}) == len(jobs) == first.total == 127
    for query in QUERIES:
        found = [job.id for job in house.source.all_jobs(replace(query, skip=2, take=3))]
        listed = select_jobs(jobs, replace(query, skip=0, take=len(jobs)), NOW)
        assert found == [job.id for job in listed.jobs], query


def test_a_list_without_jobs(house: House) -> None:
    page = house.source.list_jobs(JobQuery())
    assert (page.jobs, page.total) == ((), 0)
    assert sum(house.source.count_by_status().values()) == 0


def test_a_listed_job_keeps_what_is_known(house: House) -> None:
    job = known_jobs()[2]
    house.put_jobs([job])
    (listed,) = house.source.list_jobs(JobQuery()).jobs
    got = house.source.get_job(job.id)
    for name in ("name", "status", "created_at", "started_at", "finished_at", "progress", "failure", "attempt"):
        assert getattr(listed, name) == getattr(job, name), name
        assert getattr(got, name) == getattr(job, name), name
    assert (got.dataset_name, got.config_name) == (job.dataset_name, job.config_name)


def test_counts_by_status(house: House) -> None:
    house.put_jobs(known_jobs())
    counts = {status: count for status, count in house.source.count_by_status().items() if count}
    assert counts == {
        JobStatus.SUCCEEDED: 2,
        JobStatus.FAILED: 2,
        JobStatus.LOST: 1,
        JobStatus.CANCELLED: 1,
        JobStatus.RUNNING: 1,
        JobStatus.PENDING: 1,
    }


@pytest.mark.parametrize("job_id", ["", "nobody", "../../etc/passwd", "a/b", "x\0y", "ü" * 5000, "' OR 1=1 --"])
def test_an_unknown_job_is_not_found(house: House, job_id: str) -> None:
    house.put_jobs(known_jobs())
    for ask in (
        lambda: house.source.get_job(job_id),
        lambda: house.source.read_log(job_id, attempt=1, offset=0),
        lambda: house.source.loss_points(job_id, attempt=1),
        lambda: house.source.locate_artifact(job_id, "1/lora.safetensors"),
    ):
        with pytest.raises(JobNotFound):
            ask()


@pytest.mark.parametrize("artifact_id", ["", "1/none", "../1/log", "/etc/passwd", "1/../../x", "1/\0"])
def test_an_unknown_artifact_is_an_error(house: House, artifact_id: str) -> None:
    job = known_jobs()[0]
    house.put_jobs([job])
    with pytest.raises(ArtifactError):
        house.source.locate_artifact(job.id, artifact_id)


def test_a_log_is_read_piece_by_piece(house: House) -> None:
    job, log = known_jobs()[0], b"one\r\n\xff\x00two\n" * 100
    house.put_jobs([job])
    house.put_log(job, log)
    pieces, offset = [], 0
    while (chunk := house.source.read_log(job.id, attempt=1, offset=offset, limit=300)).data:
        assert (chunk.offset, chunk.size_bytes) == (offset, len(log))
        assert len(chunk.data) <= 300
        pieces.append(chunk.data)
        offset = chunk.offset + len(chunk.data)
    assert b"".join(pieces) == log
    assert house.source.read_log(job.id, attempt=1, offset=10**9).data == b""


def test_a_log_that_is_not_there_yet_is_empty(house: House) -> None:
    pending = known_jobs()[-1]
    house.put_jobs([pending])
    chunk = house.source.read_log(pending.id, attempt=1, offset=0)
    assert (chunk.data, chunk.size_bytes) == (b"", 0)
    assert tuple(house.source.loss_points(pending.id, attempt=1)) == ()


def test_what_is_recorded_beside_the_losses_comes_with_the_losses_where_they_are_known(house: House) -> None:
    job = known_jobs()[0]
    house.put_jobs([job])
    house.put_losses(
        job,
        [
            LossPoint(step=1, loss=0.5, at=10.0, learning_rate=1e-4, grad_norm=0.7),
            LossPoint(step=2, loss=0.4, learning_rate=9e-5),
            LossPoint(step=3, loss=0.3, grad_norm=0.6),
            LossPoint(step=4, loss=0.2, validation_loss=0.25),
        ],
    )
    points = house.source.loss_points(job.id, attempt=1)
    assert [(point.learning_rate, point.grad_norm, point.validation_loss) for point in points] == [
        (1e-4, 0.7, None),
        (9e-5, None, None),
        (None, 0.6, None),
        (None, None, 0.25),
    ]


def test_losses_come_once_per_step_and_keep_infinity(house: House) -> None:
    job = known_jobs()[0]
    house.put_jobs([job])
    house.put_losses(job, [LossPoint(step=1, loss=0.5, at=10.0), LossPoint(step=2, loss=0.4, at=11.0)])
    house.put_losses(job, [LossPoint(step=1, loss=0.5), LossPoint(step=2, loss=0.3), LossPoint(step=3, loss=math.inf)])
    points = house.source.loss_points(job.id, attempt=1)
    assert [(point.step, point.loss) for point in points] == [(1, 0.5), (2, 0.3), (3, math.inf)]


@pytest.mark.parametrize(("window", "count", "width"), [("24h", 24, 1), ("7d", 7, 24), ("30d", 30, 24)])
def test_outcomes(house: House, window: str, count: int, width: int) -> None:
    house.put_jobs(known_jobs())
    buckets = house.source.outcomes(window)
    assert len(buckets) == count
    # Full hours, or days in UTC; the last one is not over.
    last = NOW.replace(minute=0) if window == "24h" else NOW.replace(hour=0, minute=0)
    assert [bucket.start for bucket in buckets] == [last - timedelta(hours=width) * age for age in range(count)][::-1]
    assert all(bucket.end - bucket.start == timedelta(hours=width) for bucket in buckets)
    for bucket in buckets:
        query = JobQuery(finished_from=bucket.start, finished_until=bucket.end, take=100)
        inside = select_jobs(known_jobs(), query, NOW).jobs
        assert bucket.succeeded == sum(job.status is JobStatus.SUCCEEDED for job in inside), bucket
        assert bucket.failed == sum(job.status in (JobStatus.FAILED, JobStatus.LOST) for job in inside), bucket


def test_health_says_when_it_looked(house: House) -> None:
    checks = house.source.health()
    assert checks
    for check in checks:
        assert check.name
        assert check.message
        assert isinstance(check.checked_at, datetime)
        assert check.checked_at.tzinfo is not None


def test_datasets_and_configurations(house: House) -> None:
    datasets, configs = house.source.datasets, house.source.configs
    assert {each.id: each.name for each in datasets.list()} == (
        {house.dataset_id: "Portraits"} if house.dataset_id else {}
    )
    assert {each.id: each.name for each in configs.list()} == ({house.config_id: "Quick"} if house.config_id else {})
    assert [datasets.get(each.id).name for each in datasets.list()] == [each.name for each in datasets.list()]
    assert [configs.get(each.id).name for each in configs.list()] == [each.name for each in configs.list()]
    with pytest.raises(DatasetError):
        datasets.get("../nobody")
    with pytest.raises(InvalidRequest):
        configs.get("nobody")
