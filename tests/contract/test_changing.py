"""What every source does when it is told to, as far as its capabilities go."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO

import pytest

from lib.errors import InvalidRequest, JobNotFound
from lib.jobs.annotations import Annotations
from lib.jobs.job import Job, JobLink, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobQuery, SortBy
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.protocol import Action
from tests.contract.houses import House
from tests.contract.test_reading import known_jobs


def request_for(house: House, submission_id: str = "one", **values: object) -> JobRequest:
    request = JobRequest(
        name="Aria v1",
        dataset_id=house.dataset_id,
        config_id=house.config_id,
        settings=TrainingSettings(epochs=3),
        submission_id=submission_id,
    )
    return replace(request, **values)  # type: ignore[arg-type]


def by_status(house: House, status: JobStatus) -> Job:
    (job, *_) = house.source.list_jobs(JobQuery(statuses=frozenset({status}))).jobs
    return job


def test_every_refusal_has_a_reason(house: House) -> None:
    reasons = [house.source.reason_against(action) for action in Action]
    assert all(reason.endswith(".") for reason in reasons if reason)


def test_create(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    job = house.source.create_job(request_for(house))
    got = house.source.get_job(job.id)
    assert (got.name, got.status, got.dataset_id) == ("Aria v1", JobStatus.PENDING, house.dataset_id)
    assert got.created_at is not None
    assert [each.id for each in house.source.list_jobs(JobQuery()).jobs] == [job.id]


def test_a_job_carries_its_time_limit_also_into_its_next_attempt(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.CANCEL, Action.RETRY, Action.RETRY_IN_PLACE)
    job = house.source.create_job(request_for(house, time_limit_s=5_400.0))
    house.source.cancel_job(job.id)
    house.source.retry_job(job.id)
    (listed,) = house.source.list_jobs(JobQuery()).jobs
    assert job.time_limit_s == house.source.get_job(job.id).time_limit_s == listed.time_limit_s == 5_400.0
    assert house.source.create_job(request_for(house, "two")).time_limit_s is None


def test_a_submission_makes_one_job(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    ids = {house.source.create_job(request_for(house, "again")).id for _ in range(3)}
    assert len(ids) == 1
    assert house.source.create_job(request_for(house, "another")).id not in ids
    assert house.source.list_jobs(JobQuery()).total == 2


def test_a_sweep_makes_all_its_jobs_once_and_is_found_again(house: House, able: Callable[..., None]) -> None:
    able(Action.SWEEP)
    house.source.create_job(request_for(house, "single"))
    values = {"network_dim": (4, 8), "learning_rate": (1e-4, 2e-4)}
    made = house.source.create_sweep(request_for(house), values)
    assert [job.name for job in made] == [
        f"Aria v1: LR {rate}, rank {dim}" for rate in ("0.0001", "0.0002") for dim in (4, 8)
    ]
    assert {job.sweep for job in made} == {JobLink(id=made[0].sweep.id, name="Aria v1")}
    assert [job.id for job in house.source.queued_jobs(9)][1:] == [job.id for job in made]
    again = house.source.create_sweep(request_for(house), values)
    assert [job.id for job in again] == [job.id for job in made]
    found = house.source.list_jobs(JobQuery(sweep=made[0].sweep.id, search="Rank 8"))
    assert {job.id for job in found.jobs} == {made[1].id, made[3].id}
    assert house.source.list_jobs(JobQuery()).total == 5
    assert house.source.list_jobs(JobQuery(sweep="another")).total == 0
    house.source.delete_job(made[0].id)
    left = house.source.create_sweep(request_for(house), values)
    assert [job.id for job in left] == [job.id for job in made[1:]], "what was deleted since is not made again"


def test_of_a_sweep_with_a_bad_value_nothing_is_queued(house: House, able: Callable[..., None]) -> None:
    able(Action.SWEEP)
    with pytest.raises(InvalidRequest) as caught:
        house.source.create_sweep(request_for(house), {"learning_rate": (1e-4, 7.0)})
    assert "learning_rate" in caught.value.fields
    assert house.source.list_jobs(JobQuery()).total == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " \n"}, "name"),
        ({"dataset_id": "nobody"}, "dataset_id"),
        ({"settings": TrainingSettings(epochs=0)}, "epochs"),
        ({"settings": TrainingSettings(learning_rate=float("nan"))}, "learning_rate"),
    ],
)
def test_a_bad_request_names_the_field(
    house: House, able: Callable[..., None], values: dict[str, object], field: str
) -> None:
    able(Action.CREATE)
    with pytest.raises(InvalidRequest) as refused:
        house.source.create_job(request_for(house, **values))
    assert field in refused.value.fields
    if "settings" in values:
        assert house.source.preview(request_for(house, **values)).problems
    assert house.source.list_jobs(JobQuery()).total == 0


def test_foreign_text_comes_back_as_it_is(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    name = "<img src=x> ![a](http://b) \u202eabc ../../etc \U0001f600 '; DROP TABLE jobs; --"
    job = house.source.create_job(request_for(house, name=name))
    assert house.source.get_job(job.id).name == name
    assert house.source.list_jobs(JobQuery(search="drop table")).total == 1


def test_preview_does_nothing(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    preview = house.source.preview(request_for(house))
    assert preview.command
    assert house.source.list_jobs(JobQuery()).total == 0


def test_cancel(house: House, able: Callable[..., None]) -> None:
    able(Action.CANCEL)
    house.put_jobs(known_jobs())
    pending = by_status(house, JobStatus.PENDING)
    house.source.cancel_job(pending.id)
    cancelled = house.source.get_job(pending.id)
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.finished_at is not None
    with pytest.raises(InvalidRequest):
        house.source.cancel_job(pending.id)
    with pytest.raises(JobNotFound):
        house.source.cancel_job("nobody")


def test_retry(house: House, able: Callable[..., None]) -> None:
    able(Action.RETRY)
    house.put_jobs([replace(job, dataset_id=house.dataset_id) for job in known_jobs()])
    failed = by_status(house, JobStatus.FAILED)
    again = house.source.retry_job(failed.id)
    assert (again.id, again.status) == (failed.id, JobStatus.PENDING)
    got = house.source.get_job(failed.id)
    assert (got.failure, got.started_at, got.finished_at, got.progress.step) == (None, None, None, None)
    if not house.source.reason_against(Action.RETRY_IN_PLACE):
        assert [(attempt.number, attempt.status) for attempt in got.attempts] == [(1, JobStatus.FAILED)]
    with pytest.raises(InvalidRequest):
        house.source.retry_job(failed.id)
    with pytest.raises(JobNotFound):
        house.source.retry_job("nobody")


def test_a_retry_cancelled_in_the_queue_leaves_the_attempt_before_as_it_was(
    house: House, able: Callable[..., None]
) -> None:
    able(Action.RETRY, Action.CANCEL, Action.RETRY_IN_PLACE)
    house.put_jobs([replace(job, dataset_id=house.dataset_id) for job in known_jobs()])
    failed = by_status(house, JobStatus.FAILED)
    house.source.retry_job(failed.id)
    house.source.cancel_job(failed.id)
    got = house.source.get_job(failed.id)
    assert (got.status, got.attempt, got.failure, got.progress.step) == (JobStatus.CANCELLED, 2, None, None)
    assert [(attempt.number, attempt.status) for attempt in got.attempts] == [(1, JobStatus.FAILED)]
    again = house.source.retry_job(failed.id)
    assert (again.status, house.source.get_job(failed.id).attempts) == (JobStatus.PENDING, got.attempts)


def test_a_new_job_and_the_one_it_retries_know_each_other(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    first = house.source.create_job(request_for(house, "first"))
    assert (first.retry_of, first.retried_as) == (None, ())
    house.pass_time(timedelta(seconds=1))
    again = house.source.create_job(request_for(house, "again", name="Aria v1 (2)", retry_of=first.id))
    assert house.source.get_job(again.id).retry_of == JobLink(id=first.id, name="Aria v1")
    assert house.source.get_job(first.id).retried_as == (JobLink(id=again.id, name="Aria v1 (2)"),)
    (listed,) = (job for job in house.source.list_jobs(JobQuery()).jobs if job.id == again.id)
    assert listed.retry_of is not None
    assert listed.retry_of.id == first.id


def test_the_way_back_from_a_retry_stays_when_the_job_before_is_deleted(
    house: House, able: Callable[..., None]
) -> None:
    able(Action.CREATE, Action.CANCEL, Action.DELETE)
    first = house.source.create_job(request_for(house, "first"))
    again = house.source.create_job(request_for(house, "again", retry_of=first.id))
    house.source.cancel_job(first.id)
    house.source.delete_job(first.id)
    assert house.source.get_job(again.id).retry_of == JobLink(id=first.id)


def test_the_queue_and_places_in_it(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.MOVE)
    jobs = []
    for number in range(4):
        jobs.append(house.source.create_job(request_for(house, str(number))).id)
        house.pass_time(timedelta(seconds=1))

    def queue() -> list[int]:
        return sorted(range(4), key=lambda number: house.source.get_job(jobs[number]).queue_position)

    assert [house.source.get_job(job_id).queue_position for job_id in jobs] == [1, 2, 3, 4]
    assert [job.id for job in house.source.queued_jobs(3)] == jobs[:3]
    house.source.move_job(jobs[3], -2)
    assert queue() == [0, 3, 1, 2]
    house.source.move_job(jobs[0], 99)
    assert queue() == [3, 1, 2, 0]
    listed = [(job.id, job.queue_position) for job in house.source.queued_jobs(9)]
    assert listed == [(jobs[number], place) for place, number in enumerate(queue(), 1)]
    house.source.move_job(jobs[2], -99)
    assert queue() == [2, 3, 1, 0]
    house.source.cancel_job(jobs[2])
    assert house.source.get_job(jobs[3]).queue_position == 1
    with pytest.raises(InvalidRequest):
        house.source.move_job(jobs[2], 1)


def test_delete(house: House, able: Callable[..., None]) -> None:
    able(Action.DELETE)
    house.put_jobs(known_jobs())
    running, failed = by_status(house, JobStatus.RUNNING), by_status(house, JobStatus.FAILED)
    house.put_log(failed, b"log")
    before = house.source.list_jobs(JobQuery()).total
    house.source.delete_job(failed.id)
    assert house.source.list_jobs(JobQuery()).total == before - 1
    with pytest.raises(JobNotFound):
        house.source.read_log(failed.id, attempt=1, offset=0)
    with pytest.raises(InvalidRequest):
        house.source.delete_job(running.id)
    with pytest.raises(JobNotFound):
        house.source.delete_job(failed.id)


def test_configurations(house: House, able: Callable[..., None]) -> None:
    able(Action.CHANGE_CONFIGS)
    settings = replace(house.source.first_settings(), epochs=7, sample_prompts=("a", "b"), extra={"x": [1, "y"]})
    saved = house.source.configs.save(TrainingConfig(id="", name="Big", settings=settings, is_default=True))
    assert house.source.configs.get(saved.id).settings == settings
    assert [(each.name, each.is_default) for each in house.source.configs.list()] == [("Big", True), ("Quick", False)]
    for bad, field in (
        (TrainingConfig(id="", name="Big", settings=settings), "name"),
        (TrainingConfig(id=house.config_id, name="Big", settings=settings), "name"),
        (TrainingConfig(id="", name="  ", settings=settings), "name"),
        (TrainingConfig(id="", name="n" * 101, settings=settings), "name"),
        (TrainingConfig(id="", name="New", settings=replace(settings, resolution=1)), "resolution"),
        (TrainingConfig(id="", name="New", settings=replace(settings, extra={"x": [{"y": "z"}]})), "extra"),
        (TrainingConfig(id="", name="New", settings=replace(settings, extra={"hf_token": "z"})), "extra"),
        (TrainingConfig(id="", name="half a \ud83d", settings=settings), "name"),
        (TrainingConfig(id="", name="New", description="\0", settings=settings), "description"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            house.source.configs.save(bad)
        assert list(refused.value.fields) == [field]
    assert len(house.source.configs.list()) == 2
    house.source.configs.save(replace(saved, name="Bigger"))
    assert house.source.configs.get(saved.id).name == "Bigger"
    house.source.configs.delete(saved.id)
    with pytest.raises(InvalidRequest):
        house.source.configs.get(saved.id)


def test_names_of_configurations_differ_by_more_than_case(house: House, able: Callable[..., None]) -> None:
    able(Action.CHANGE_CONFIGS)
    with pytest.raises(InvalidRequest) as refused:
        house.source.configs.save(TrainingConfig(id="", name="QUICK", settings=TrainingSettings()))
    assert "name" in refused.value.fields
    house.source.configs.save(replace(house.source.configs.get(house.config_id), name="QUICK"))


def test_a_configuration_in_use_stays(house: House, able: Callable[..., None]) -> None:
    able(Action.CHANGE_CONFIGS, Action.CREATE, Action.CANCEL)
    job = house.source.create_job(request_for(house))
    with pytest.raises(InvalidRequest):
        house.source.configs.delete(house.config_id)
    house.source.cancel_job(job.id)
    house.source.configs.delete(house.config_id)
    assert house.source.get_job(job.id).config_name == "Quick"


def test_datasets(house: House, able: Callable[..., None]) -> None:
    able(Action.CHANGE_DATASETS, Action.CREATE, Action.CANCEL)
    dataset = house.source.datasets.create("Ünï/../<b>")
    assert house.source.datasets.get(dataset.id).name == "Ünï/../<b>"
    for bad in ("", "portraits", "n" * 101):
        with pytest.raises(InvalidRequest):
            house.source.datasets.create(bad)
    with pytest.raises(InvalidRequest) as refused:
        house.source.create_job(request_for(house, dataset_id=dataset.id))
    assert refused.value.fields == {"dataset_id": "The dataset has no images."}
    report = house.source.datasets.import_file(dataset.id, "no.exe", BytesIO(b"MZ"))
    assert (report.kept, list(report.refused)) == ((), ["no.exe"])
    house.source.datasets.delete(dataset.id)
    assert [each.id for each in house.source.datasets.list()] == [house.dataset_id]


def test_a_dataset_in_use_stays(house: House, able: Callable[..., None]) -> None:
    able(Action.CHANGE_DATASETS, Action.CREATE, Action.CANCEL)
    job = house.source.create_job(request_for(house))
    for refused in (
        lambda: house.source.datasets.delete(house.dataset_id),
        lambda: house.source.datasets.delete_image(house.dataset_id, "one.png"),
    ):
        with pytest.raises(InvalidRequest):
            refused()
    house.source.cancel_job(job.id)
    house.source.datasets.delete_image(house.dataset_id, "one.png")
    house.source.datasets.delete(house.dataset_id)
    assert tuple(house.source.datasets.list()) == ()


def test_what_people_write_on_a_job_is_kept_and_found(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.ANNOTATE)
    job, other = (house.source.create_job(request_for(house, each)) for each in ("one", "two"))
    house.source.annotate_job(
        job.id, Annotations(name=" Best fox ", note="*not* Markdown\n2", tags=("Fox", "a  b", "fox"))
    )
    house.source.annotate_job(job.id, Annotations(is_starred=True))
    for found in (house.source.get_job(job.id), house.source.list_jobs(JobQuery(tag="FOX")).jobs[0]):
        assert (found.name, found.note, found.tags) == ("Best fox", "*not* Markdown\n2", ("a b", "fox"))
        assert (found.is_starred, found.best) == (True, "")
    for query, expected in (
        (JobQuery(tag="fox"), [job.id]),
        (JobQuery(tag="fo"), []),
        (JobQuery(tag="a b", search="best FOX", sort_by=SortBy.LOSS), [job.id]),
        (JobQuery(tag="fox", search="aria"), []),
        (JobQuery(tag="fox", statuses=frozenset({JobStatus.FAILED})), []),
        (JobQuery(tag="fox", sort_by=SortBy.NAME, descending=False), [job.id]),
        (JobQuery(search="aria"), [other.id]),
    ):
        page = house.source.list_jobs(query)
        assert ([each.id for each in page.jobs], page.total) == (expected, len(expected)), query
        assert [each.id for each in house.source.all_jobs(query)] == expected, query
    house.source.annotate_job(job.id, Annotations(note="", tags=(), is_starred=False))
    emptied = house.source.get_job(job.id)
    assert (emptied.name, emptied.note, emptied.tags, emptied.is_starred) == ("Best fox", "", (), False)


@pytest.mark.parametrize(
    ("annotations", "field"),
    [
        (Annotations(name=" "), "name"),
        (Annotations(name="x" * 201), "name"),
        (Annotations(note="x" * 4_001), "note"),
        (Annotations(note="half \ud800"), "note"),
        (Annotations(tags=("x" * 41,)), "tags"),
        (Annotations(tags=("a,b",)), "tags"),
        (Annotations(tags=tuple(map(str, range(21)))), "tags"),
        (Annotations(best="1/nothing.safetensors"), "best"),
    ],
)
def test_a_bad_annotation_names_the_field_and_changes_nothing(
    house: House, able: Callable[..., None], annotations: Annotations, field: str
) -> None:
    able(Action.CREATE, Action.ANNOTATE)
    job = house.source.create_job(request_for(house))
    with pytest.raises(InvalidRequest) as caught:
        house.source.annotate_job(job.id, replace(annotations, is_starred=True))
    assert list(caught.value.fields) == [field]
    assert not house.source.get_job(job.id).is_starred
    with pytest.raises(JobNotFound):
        house.source.annotate_job("nobody", Annotations(is_starred=True))
