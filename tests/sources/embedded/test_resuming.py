"""What an ended job can be continued from, and what is refused, without a trainer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.store.runs import AttemptEnd, Claim
from lib.embedded.trainers.kohya_files import collect_kohya
from lib.errors import InvalidRequest
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Job, JobStatus, LossPoint, Progress
from lib.jobs.training_settings import TrainingSettings, settings_payload
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_reading import known_jobs
from tests.embedded.scripted import FIRST
from tests.embedded.trainers.test_kohya_states import RANK_1, make_state

# 3 epochs of 3 steps; cancelled in the last one.
PROGRESS = Progress(step=7, total_steps=9, epoch=3, total_epochs=3, fraction=0.8)


class ResumedHouse(EmbeddedHouse):
    """A data folder with one job of sd-scripts that was cancelled, whose files are as the trainer left them."""

    def put(self, settings: TrainingSettings = RANK_1) -> Job:
        job = next(each for each in known_jobs() if each.status is JobStatus.CANCELLED and each.attempt)
        job = replace(job, trainer="sd-scripts", settings=settings_payload(settings), progress=PROGRESS)
        self.put_jobs([replace(job, dataset_id=self.dataset_id)])
        return self.source.get_job(job.id)

    def output(self, job: Job, attempt: int = 1) -> Path:
        folder = self.source._files.attempt(job.id, attempt)
        folder.make()
        return folder.output

    def end_next(self, progress: Progress, status: JobStatus = JobStatus.CANCELLED) -> None:
        """The attempt that waits runs and ends."""
        claim = self.source._store.runs.claim_next()
        assert claim is not None
        self.source._store.runs.finish(
            claim, AttemptEnd(verdict=Verdict(status=status), finished_at=claim.started_at + 60, progress=progress)
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ResumedHouse]:
    built = ResumedHouse(tmp_path / "data")
    yield built
    built.close()


def test_whole_states_come_first_and_a_broken_one_says_what_is_wrong(house: ResumedHouse) -> None:
    job = house.put()
    output = house.output(job)
    make_state(output, "v1-000001-state", 1, 3)
    (make_state(output, "v1-000002-state", 2, 6) / "optimizer.bin").write_bytes(b"half")
    points = house.source.resume_points(job.id)
    assert [(point.id, point.step, bool(point.problem)) for point in points] == [
        ("1/v1-000001-state", 3, False),
        ("1/v1-000002-state", 6, True),
    ]
    with pytest.raises(InvalidRequest, match=r"cannot go on from v1-000002-state\. It was only half written"):
        house.source.continue_job(job.id, points[1].id, 0)
    with pytest.raises(InvalidRequest, match="is gone"):
        house.source.continue_job(job.id, "1/v1-000009-state", 0)
    assert house.source.get_job(job.id).status is JobStatus.CANCELLED


def test_the_weights_of_an_epoch_are_offered_where_their_step_is_known(house: ResumedHouse) -> None:
    job = house.put()
    output = house.output(job)
    (output / "v1-000002.safetensors").write_bytes(FIRST)
    (output / "v1.safetensors").write_bytes(FIRST)  # of an attempt that was cancelled: nobody knows its step
    claim = Claim(
        job_id=job.id, attempt=1, name=job.name, settings=RANK_1, dataset_id="", time_limit_s=None, started_at=0.0
    )
    house.source._store.runs.record_artifacts(claim, collect_kohya(output), {})
    (point,) = house.source.resume_points(job.id)
    assert (point.path, point.is_state, point.step, point.epoch) == ("v1-000002.safetensors", False, 6, 2)
    (output / "v1-000002.safetensors").unlink()
    assert house.source.resume_points(job.id) == []


def test_epochs_are_added_to_the_whole_training_and_a_retry_forgets_them(house: ResumedHouse) -> None:
    job = house.put()
    make_state(house.output(job), "v1-000002-state", 2, 6)
    again = house.source.continue_job(job.id, "1/v1-000002-state", 2)
    assert (again.status, again.start and again.start.epochs) == (JobStatus.PENDING, 5)
    assert house.source.resume_points(job.id) == ()
    claim = house.source._store.runs.claim_next()
    assert claim is not None
    assert (claim.attempt, claim.settings.epochs, claim.start) == (2, 5, again.start)
    house.source._store.runs.unclaim(claim)
    house.source.cancel_job(job.id)
    assert house.source.retry_job(job.id).start is None


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        (RANK_1, 0, "The training has 3 epochs, and is finished there. Add at least one."),
        (RANK_1, -1, "Only epochs or steps can be added."),
        (RANK_1, 10**9, "Epochs must be between 1 and 1000."),
        (replace(RANK_1, max_steps=9), 0, "The training has 9 steps, and is finished there. Add at least one."),
    ],
)
def test_what_leaves_nothing_to_train_is_refused(
    house: ResumedHouse, settings: TrainingSettings, more: int, message: str
) -> None:
    job = house.put(settings)
    make_state(house.output(job), "v1-000003-state", 3, 9)
    with pytest.raises(InvalidRequest) as refused:
        house.source.continue_job(job.id, "1/v1-000003-state", more)
    assert message in refused.value.fields["more"]


def test_steps_are_added_to_those_that_were_trained(house: ResumedHouse) -> None:
    """sd-scripts goes on in whole epochs, past the steps that were asked for."""
    job = house.put(replace(RANK_1, max_steps=8))
    make_state(house.output(job), "v1-000003-state", 3, 9)
    (point,) = house.source.resume_points(job.id)
    assert (point.problem, point.note[:33]) == ("", "sd-scripts goes on in whole epoch")
    start = house.source.continue_job(job.id, point.id, 4).start
    assert start is not None
    assert start.max_steps == 13


@pytest.mark.parametrize(
    ("images", "settings", "is_refused"),
    [(1, RANK_1, False), (None, RANK_1, False), (5, RANK_1, True), (5, replace(RANK_1, max_steps=90), False)],
)
def test_a_dataset_that_changed_since_is_said(
    house: ResumedHouse, images: int | None, settings: TrainingSettings, is_refused: bool
) -> None:
    job = house.put(settings)
    make_state(house.output(job), "v1-000002-state", 2, 6)
    if images is not None:
        house.source._files.attempt(job.id, 1).note_images(images)
    (point,) = house.source.resume_points(job.id)
    assert point.problem.startswith("It was trained on 5 images, and its data has 1 now") is is_refused
    if is_refused:
        with pytest.raises(InvalidRequest, match=r"cannot go on from v1-000002-state\. It was trained on 5 images"):
            house.source.continue_job(job.id, point.id, 1)
    else:
        assert house.source.continue_job(job.id, point.id, 1).status is JobStatus.PENDING


def test_losses_of_an_attempt_follow_those_it_goes_on_from(house: ResumedHouse) -> None:
    job = house.put()
    make_state(house.output(job), "v1-000002-state", 2, 6)
    house.put_losses(replace(job, attempt=1), [LossPoint(step=step, loss=1.0) for step in range(1, 8)])
    house.source.continue_job(job.id, "1/v1-000002-state", 2)
    house.end_next(replace(PROGRESS, step=8, total_steps=15, total_epochs=5))
    house.put_losses(replace(job, attempt=2), [LossPoint(step=step, loss=2.0) for step in range(7, 9)])
    found = house.source.loss_points(job.id, attempt=2)
    assert [(point.step, point.loss) for point in found] == [*((step, 1.0) for step in range(1, 7)), (7, 2.0), (8, 2.0)]
    assert len(house.source.loss_points(job.id, attempt=1)) == 7
