"""How far a job is, in words: unknown is unknown, and nothing ends before it has ended."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lib.jobs.job import Artifact, Attempt, Failure, Job, JobStatus, PresignedUrl, Progress
from lib.ui.monitor.attempts import all_attempts, attempt_label, is_latest, shown_attempt
from lib.ui.monitor.failure import cause_text, exit_text
from lib.ui.monitor.header import browser_title, state_of
from lib.ui.monitor.progress import (
    ahead_text,
    alarm_texts,
    bar_fraction,
    bar_text,
    position_text,
    progress_facts,
    silence_text,
    speed_text,
    stage_line,
    waiting_text,
)
from lib.ui.parts.links import wizard_params

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
JOB = Job(id="j", name="Aria v1", status=JobStatus.RUNNING, attempt=1, started_at=NOW - timedelta(seconds=5445))


def make_attempt(status: JobStatus, progress: Progress | None = None, **values: object) -> Attempt:
    return Attempt(number=1, status=status, progress=progress or Progress(), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "fraction", "text", "drawn"),
    [
        (JobStatus.RUNNING, 0.42, "Training progress: 42%", 0.42),
        (JobStatus.RUNNING, 0.9999, "Training progress: 99%", 0.9999),
        (JobStatus.RUNNING, None, "Training progress: unknown", None),
        (JobStatus.RUNNING, 1.7, "Training progress: 100%", 1.0),
        (JobStatus.SUCCEEDED, 0.97, "Training progress: 100%", 1.0),
        (JobStatus.FAILED, 0.31, "Progress at failure: 31%", 0.31),
        (JobStatus.CANCELLED, 0.31, "Progress when cancelled: 31%", 0.31),
        (JobStatus.LOST, 0.31, "Last known progress: 31%", 0.31),
    ],
)
def test_the_bar(status: JobStatus, fraction: float | None, text: str, drawn: float | None) -> None:
    attempt = make_attempt(status, Progress(fraction=fraction))
    assert (bar_text(attempt), bar_fraction(attempt)) == (text, drawn)


def test_counts_and_speed() -> None:
    counts = Progress(epoch=12, total_epochs=50, step=480, total_steps=2000)
    assert position_text(counts) == "Epoch 12/50 · Step 480/2000"
    assert position_text(Progress(step=480)) == "Epoch unknown · Step 480"
    assert [speed_text(pace) for pace in (0.41, 1.8, None, 0.0, math.nan)] == [
        "2.44 steps/s",
        "1.8 s/step",
        "unknown",
        "unknown",
        "unknown",
    ]


def test_facts_of_a_running_and_of_an_ended_attempt() -> None:
    running = make_attempt(JobStatus.RUNNING, Progress(loss=math.nan), started_at=NOW - timedelta(seconds=5445))
    assert [(fact.label, fact.value) for fact in progress_facts(running, JOB, NOW)] == [
        ("Estimated time remaining", "unknown"),
        ("Loss", "NaN"),
        ("Speed", "unknown"),
        ("Running for", "1h 30m 45s"),
    ]
    job = replace(JOB, duration_note="including time in the queue")
    ended = replace(running, status=JobStatus.SUCCEEDED, finished_at=NOW, progress=Progress(loss=0.0412))
    assert [(fact.label, fact.value, fact.note) for fact in progress_facts(ended, job, NOW)] == [
        ("Final loss", "0.0412", ""),
        ("Training time", "1h 30m 45s", "including time in the queue"),
    ]
    no_end = replace(ended, status=JobStatus.LOST, finished_at=None)
    assert progress_facts(no_end, JOB, NOW)[1].value == "unknown"


def test_the_queue_and_alarms_in_words() -> None:
    assert [waiting_text(replace(JOB, queue_position=place)) for place in (None, 1, 3)] == [
        "Its place in the queue is unknown.",
        "Next in the queue.",
        "Place 3 in the queue.",
    ]
    alarmed = make_attempt(JobStatus.RUNNING, alarms=("nan_loss", "disk_nearly_full"))
    nan, other = alarm_texts(alarmed)
    assert "NaN or infinite" in nan
    assert other == "Alarm: disk nearly full"


@pytest.mark.parametrize("alarm", ["exit_code_unknown", "upload_failed", "loss_diverged", "nan_latents"])
def test_every_alarm_we_raise_has_words(alarm: str) -> None:
    (text,) = alarm_texts(make_attempt(JobStatus.SUCCEEDED, alarms=(alarm,)))
    assert text.endswith(".")
    assert "Alarm" not in text


def test_when_the_job_that_runs_now_makes_room() -> None:
    assert ahead_text(replace(JOB, progress=Progress(eta_s=125))) == "about 2m 5s left (an estimate)"
    assert ahead_text(replace(JOB, cancelling=True, progress=Progress(eta_s=125))) == "which is stopping"
    assert ahead_text(JOB) == ""


def test_a_job_told_to_stop_has_no_stage_and_no_time_left() -> None:
    stopping = replace(JOB, cancelling=True)
    latest = make_attempt(JobStatus.RUNNING, Progress(stage="training", step=4, eta_s=468))
    assert stage_line(latest, stopping).startswith("Stopping… · ")
    assert [fact.label for fact in progress_facts(latest, stopping, NOW)] == ["Loss", "Speed", "Running for"]


def test_two_alarms_of_one_meaning_are_said_once() -> None:
    assert len(alarm_texts(make_attempt(JobStatus.RUNNING, alarms=("nan_loss", "inf_loss")))) == 1


def test_the_browser_title_tells_the_progress() -> None:
    assert browser_title(replace(JOB, progress=Progress(fraction=0.42))) == "42% · Aria v1"
    assert browser_title(JOB) == "Running · Aria v1"
    assert browser_title(replace(JOB, status=JobStatus.PENDING)) == "Waiting · Aria v1"
    assert browser_title(replace(JOB, status=JobStatus.UNKNOWN, raw_status="held")) == "Unknown (held) · Aria v1"
    stopping = replace(JOB, cancelling=True, progress=Progress(fraction=0.42))
    assert browser_title(stopping) == "Cancelling · Aria v1"


def test_the_page_is_drawn_anew_when_its_download_changes() -> None:
    link = PresignedUrl(url="https://s", expires_at=NOW)
    files = (Artifact(id="a", name="a", frozen_link=link),)
    running, done = JOB, replace(JOB, status=JobStatus.SUCCEEDED)
    assert state_of(running, NOW) == state_of(replace(running, artifacts=(Artifact(id="a", name="a"),)), NOW)
    assert state_of(done, NOW) != state_of(replace(done, artifacts=files), NOW), "a file was told after the end"
    before = NOW - timedelta(seconds=1)
    assert state_of(replace(done, artifacts=files), before) != state_of(replace(done, artifacts=files), NOW), "expired"


def test_the_latest_attempt_is_told_by_the_job_itself() -> None:
    first = Attempt(number=1, status=JobStatus.LOST, exit_code=-9)
    job = replace(JOB, attempt=2, attempts=(first, Attempt(number=2, status=JobStatus.PENDING)))
    assert [(each.number, each.status) for each in all_attempts(job)] == [(1, JobStatus.LOST), (2, JobStatus.RUNNING)]
    assert (shown_attempt(job, "1"), shown_attempt(job).number, shown_attempt(job, "9").number) == (first, 2, 2)
    assert attempt_label(job, shown_attempt(job)) == "Attempt 2 (latest): running"
    assert not is_latest(job, first)


def test_a_job_that_waits_for_its_next_attempt_keeps_the_former_one() -> None:
    failed = Attempt(number=1, status=JobStatus.FAILED, failure=Failure(cause="killed", message="Killed."))
    job = replace(JOB, status=JobStatus.PENDING, attempts=(failed,))
    assert [(each.number, each.status) for each in all_attempts(job)] == [(1, JobStatus.FAILED), (2, JobStatus.PENDING)]


def test_how_an_attempt_ended_in_words() -> None:
    assert [exit_text(code) for code in (None, 0, 1, -9, -99)] == [
        "",
        "Exit code 0",
        "Exit code 1",
        "Ended by signal 9 (SIGKILL)",
        "Ended by signal 99",
    ]
    assert cause_text(Failure(cause="out_of_memory", message="")) == "Cause: out of memory"
    assert cause_text(Failure(cause="precision", message="", confidence="likely")) == "Cause: precision (likely)"
    assert cause_text(None) == "Cause: unknown"
    assert wizard_params(JOB) == {"from": "j"}


@pytest.mark.parametrize(
    ("stage", "step", "total", "minutes", "text"),
    [
        (
            "training",
            0,
            1200,
            6,
            "Stalled at the start: step 0 of 1,200, training, no output for 6m 0s. "
            "This phase is usually quiet for less than 5m 0s; the job may be stuck.",
        ),
        ("loading model", None, None, 16, "Stalled at the start: before the first step, loading model, no output for"),
        ("caching latents", None, None, 12, "No output for 12m 0s."),
        ("training", 7, 1200, 12, "No output for 12m 0s."),
        ("training", 7, 1200, 6, ""),
    ],
)
def test_a_phase_before_the_first_step_that_is_quiet_for_too_long_is_stalled(
    stage: str, step: int | None, total: int | None, minutes: int, text: str
) -> None:
    progress = Progress(stage=stage, step=step, total_steps=total)
    job = replace(JOB, progress=progress, last_output_at=NOW - timedelta(minutes=minutes))
    said = silence_text(job, NOW)
    assert said.startswith(text)
    assert bool(said) is bool(text)
