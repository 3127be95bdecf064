"""What is said of a continued training, and which files and marks belong to its line."""

from dataclasses import replace

import pytest

from lib.jobs.job import Artifact, ArtifactKind, Attempt, JobStatus, Progress
from lib.jobs.resume import ResumePoint, Start
from lib.jobs.training_settings import TrainingSettings, settings_payload
from lib.ui.monitor.attempts import files_of_line, line_of
from lib.ui.monitor.loss_chart import resumed_texts
from lib.ui.monitor.loss_spec import loss_spec, resume_marks
from lib.ui.monitor.resume import button_label, default_more, outlook_text, point_label, resume_text, schedule_text
from lib.ui.parts.loss_axes import LossAxis
from tests.making import NOW, make_job

STATE = Start(attempt=1, path="v1-000002-state", step=24, epoch=2, epochs=5)
SAID = "Goes on from the state v1-000002-state of attempt 1 (epoch 2, step 24)."
POINT = ResumePoint(attempt=1, path="v1-000002-state", is_state=True, step=24, epoch=2)
THREE = TrainingSettings(epochs=3)


def attempt(start: Start | None, status: JobStatus = JobStatus.RUNNING, number: int = 2, **progress: object) -> Attempt:
    known = Progress(**progress)  # type: ignore[arg-type]
    return Attempt(number=number, status=status, start=start, started_at=NOW, progress=known)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (attempt(None), ""),
        (attempt(STATE, JobStatus.PENDING), SAID),
        (attempt(STATE), SAID),
        (attempt(STATE, resumed_step=24, resumed_from="/a"), f"{SAID} The log confirms it: resumed at step 24."),
        (attempt(STATE, resumed_step=12, step=30), f"{SAID} But the log says: resumed at step 12."),
        (
            attempt(STATE, resumed_from="/a"),
            f"{SAID} The log confirms that it was loaded, but does not say at which step.",
        ),
        (
            attempt(STATE, step=30),
            f"{SAID} The log does not say that it was loaded: the training may have begun anew.",
        ),
        (
            attempt(replace(STATE, is_state=False, epoch=None, path="v1.safetensors"), resumed_from="/a"),
            "Goes on from the weights v1.safetensors of attempt 1 (step 24). The optimizer starts anew. "
            "The log confirms that it was loaded.",
        ),
    ],
)
def test_what_an_attempt_goes_on_from_and_whether_the_log_confirms_it(shown: Attempt, text: str) -> None:
    assert resume_text(shown) == text


def test_the_dialog_names_a_state_and_plain_weights_differently() -> None:
    weights = replace(POINT, is_state=False)
    assert point_label(POINT, with_attempt=True) == "State after epoch 2, step 24 · attempt 1"
    assert point_label(weights) == "Weights after epoch 2, step 24 (the optimizer starts anew)"
    assert button_label(POINT) == "Continue from step 24"
    assert button_label(weights) == "Continue with the weights of epoch 2"
    assert outlook_text(POINT, THREE, 2) == "The training goes on after epoch 2, up to 5 epochs in all."
    in_steps = replace(THREE, max_steps=100)
    assert outlook_text(replace(POINT, epoch=None), in_steps, 50) == (
        "The training goes on after step 24, up to 150 steps in all."
    )


def test_a_falling_learning_rate_is_said_to_rise_in_a_longer_training() -> None:
    falling = replace(THREE, lr_scheduler="cosine")
    assert schedule_text(falling, 2).startswith("The schedule cosine is laid over the whole training")
    assert [schedule_text(falling, 0), schedule_text(THREE, 2)] == ["", ""]


@pytest.mark.parametrize(
    ("point", "settings", "more"),
    [
        (POINT, THREE, 0),
        (replace(POINT, epoch=3), THREE, 3),
        (replace(POINT, epoch=None, step=36), THREE, 3),
        (replace(POINT, epoch=None), THREE, 0),
        (POINT, replace(THREE, max_steps=24), 24),
        (POINT, replace(THREE, max_steps=25), 0),
    ],
)
def test_what_is_proposed_to_be_added(point: ResumePoint, settings: TrainingSettings, more: int) -> None:
    job = make_job(settings=settings_payload(settings), progress=Progress(step=36, total_steps=36))
    assert default_more(point, job) == more


def test_what_was_added_before_is_not_added_twice() -> None:
    job = make_job(settings=settings_payload(THREE), start=replace(STATE, epochs=6), progress=Progress())
    assert default_more(replace(POINT, epoch=6, step=72), job) == 3
    assert default_more(replace(POINT, epoch=3, step=36), job) == 0


def test_files_and_marks_go_on_over_the_attempts_of_one_line() -> None:
    first, retried = attempt(None, JobStatus.CANCELLED, 1), attempt(None, JobStatus.CANCELLED, 2)
    third = attempt(STATE, JobStatus.CANCELLED, 3)
    fourth = attempt(replace(STATE, attempt=3, step=48, epoch=4), number=4)
    job = make_job(status=JobStatus.RUNNING, attempt=4, start=fourth.start, attempts=(first, retried, third, fourth))
    line = line_of(job, fourth)
    assert [each.number for each in line] == [1, 3, 4]
    assert [each.number for each in line_of(job, retried)] == [2]
    files = [
        Artifact(id=f"{number}/{epoch}", name="s.png", kind=ArtifactKind.SAMPLE, attempt=number, epoch=epoch)
        for number, epoch in ((1, 1), (1, 2), (1, 3), (2, 1), (3, 3), (3, 4), (3, 5), (4, 5))
    ]
    files.append(Artifact(id="1/s", name="s.png", kind=ArtifactKind.SAMPLE, attempt=1, step=25))
    assert sorted(file.id for file in files_of_line(files, line)) == ["1/1", "1/2", "3/3", "3/4", "4/5"]
    assert resumed_texts(line) == ["resumed at step 24", "resumed at step 48"]
    marks = resume_marks(line, LossAxis())
    assert [mark["x"] for mark in marks] == [24, 48]
    assert loss_spec(None, [], resumes=marks)["layer"][-1]["data"]["values"] == marks
