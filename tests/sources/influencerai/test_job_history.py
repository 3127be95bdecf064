"""What is remembered about a job, against the recorded life of one that failed three times."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.jobs.job import Job, JobStatus
from lib.sources.influencerai.job_history import JobHistories
from lib.sources.influencerai.log_windows import MISSING, MergedLog
from lib.sources.influencerai.snapshot import read_snapshot
from tests.sources.influencerai.api_server import RECORDINGS, START, iso

TRACE: list[dict[str, Any]] = json.loads((RECORDINGS / "worker" / "poll-trace.json").read_text())["trace"]
TRACE_START = datetime(2026, 11, 23, 15, 8, 56, 160_000, tzinfo=UTC)


class Watched:
    """One job as a viewer sees it over time."""

    def __init__(self) -> None:
        self.histories = JobHistories()
        self.row: dict[str, Any] = {"id": "a", "type": "lora-training", "payload": {}, "createdAt": iso(START)}

    def see(self, at_s: float, status: str, result: Any = None, **times: float) -> Job:
        """A read at ``at_s`` of a row written at ``updated`` (default: now)."""
        times = {"updated": at_s, **times}
        self.row |= {f"{name}At": iso(START + timedelta(seconds=value)) for name, value in times.items()}
        self.row |= {"status": status, "result": result}
        return self.histories.observe(read_snapshot(self.row), START + timedelta(seconds=at_s))

    def log(self, attempt: int = 1) -> str:
        run = self.histories.read("a", lambda history: history.run(attempt))
        assert run is not None
        return bytes(run.log.data).decode()


def progress(**fields: Any) -> dict[str, Any]:
    return {"progress": {"stage": "running", **fields}}


@pytest.mark.parametrize("every", [1, 2, 3], ids=["every answer", "every second", "every third"])
def test_the_recorded_life_of_a_failing_job(every: int) -> None:
    histories, seen = JobHistories(), []
    for entry in TRACE[::every]:
        now = TRACE_START + timedelta(seconds=entry["t"])
        seen.append(histories.observe(read_snapshot(entry["job"]), now))
    later = TRACE_START + timedelta(minutes=1)
    last = histories.observe(read_snapshot(TRACE[-1]["job"]), later)

    assert (last.status, last.attempt) == (JobStatus.FAILED, 3)
    assert [attempt.status for attempt in last.attempts] == [JobStatus.FAILED] * 3
    for before, after in pairwise(seen):  # never a flicker
        if before.status is not after.status:
            assert after.status is not JobStatus.PENDING
            assert after.attempt == before.attempt + (after.status is JobStatus.RUNNING)
    for attempt in (1, 2, 3):
        fractions = [j.progress.fraction for j in seen if j.attempt == attempt and j.progress.fraction is not None]
        assert fractions == sorted(fractions)
        assert fractions[-1] >= 0.75
    starts = [attempt.started_at for attempt in last.attempts]
    assert all(starts)
    assert starts == sorted(starts)  # type: ignore[type-var]
    assert starts[0] is not None
    assert starts[0] - TRACE_START < timedelta(seconds=2)
    assert last.failure is not None
    assert last.failure.traceback.startswith("Error: kohya_ss exited with code 1")


def test_each_attempt_keeps_its_own_log_and_cause() -> None:
    histories = JobHistories()
    for entry in TRACE:
        last = histories.observe(read_snapshot(entry["job"]), TRACE_START + timedelta(seconds=entry["t"]))
    first, second, third = (histories.read(last.id, lambda h, n=n: bytes(h.run(n).log.data)) for n in (1, 2, 3))  # type: ignore[misc]
    assert first is not None
    assert first.decode().splitlines()[-1] == "CUDA out of memory: 内存不足"
    assert first.count(b"\n") == 16
    assert second is not None
    assert second.decode().splitlines()[-1] == "epoch 8/8 step 8/8 loss=0.8"
    assert second == third
    assert MISSING not in first.decode() + second.decode()
    failure = last.attempts[0].failure
    assert failure is not None
    assert failure.evidence[-1] == "CUDA out of memory: 内存不足"
    assert last.attempts[0].progress.step == 8
    assert last.attempts[1].progress.loss == pytest.approx(0.18)
    points = histories.read(last.id, lambda history: history.runs[1].loss_points())
    assert points is not None
    assert [point.step for point in points] == list(range(1, 9))


def test_a_late_write_does_not_bring_an_ended_job_back() -> None:
    job, ended = Watched(), {"artifacts": [{"key": "lora-training/a/x.safetensors"}]}
    job.see(0, "pending")
    job.see(2, "running", progress(percent=50), started=2)
    unconfirmed = job.see(4, "succeeded", ended, finished=3.9, updated=3.9)
    assert unconfirmed.status is JobStatus.RUNNING  # until a second read confirms it
    assert unconfirmed.attempts[0].status is JobStatus.RUNNING
    flicker = job.see(4.1, "running", progress(), started=4.05, updated=4.05)
    assert flicker.status is JobStatus.RUNNING
    job.see(6, "succeeded", ended, finished=4.2, updated=4.2)
    final = job.see(8, "succeeded", ended, finished=4.2, updated=4.2)
    assert (final.status, final.attempt, len(final.artifacts)) == (JobStatus.SUCCEEDED, 1, 1)
    late = job.see(10, "running", progress(message="late"), started=4.3, updated=4.3)
    assert (late.status, len(late.artifacts), late.progress.fraction) == (JobStatus.SUCCEEDED, 1, 1.0)


def test_a_late_write_that_stays_does_not_take_back_an_end_that_was_seen() -> None:
    job, ended = Watched(), {"artifacts": [{"key": "lora-training/a/x.safetensors"}]}
    job.see(0, "succeeded", ended, started=0, finished=0)
    for at_s in (1, 30, 3600):
        late = job.see(at_s, "running", progress(), updated=0.2)
        assert (late.status, len(late.artifacts)) == (JobStatus.SUCCEEDED, 1)
    again = job.see(3700, "running", progress(), updated=3700)
    assert (again.status, again.attempt) == (JobStatus.RUNNING, 2)


def test_an_old_end_needs_no_second_read() -> None:
    job = Watched()
    job.see(0, "running", progress(), started=0)
    assert job.see(60, "failed", {"message": "x"}, finished=20, updated=20).status is JobStatus.FAILED


def test_an_answer_that_was_overtaken_is_ignored() -> None:
    job = Watched()
    job.see(10, "running", progress(percent=80), started=10)
    assert job.see(11, "running", progress(percent=40), updated=5).progress.fraction == 0.8


def test_progress_neither_falls_nor_vanishes() -> None:
    job = Watched()
    job.see(0, "running", progress(percent=60, step=6, totalSteps=10), started=0)
    for result in (progress(), progress(percent=10, step=1), "text", 7, None, [], True, {"progress": None}):
        shown = job.see(1, "running", result)
        assert (shown.progress.fraction, shown.progress.step, shown.progress.total_steps) == (0.6, 6, 10)


def test_a_bar_of_caching_latents_is_no_progress() -> None:
    job = Watched()
    caching = ["INFO caching latents...", "100%|##########| 16/16 [00:01<00:00, 9.9it/s]"]
    cached = job.see(0, "running", progress(percent=100, step=16, totalSteps=16, logs=caching), started=0)
    assert cached.progress.fraction is None
    bars = [*caching, "steps:  25%|##5       | 2/8 [00:02<00:06, 1.0s/it, avr_loss=0.12]"]
    assert job.see(2, "running", progress(percent=25, step=2, totalSteps=8, logs=bars)).progress.fraction == 0.25


def test_the_first_start_is_kept_and_an_unknown_one_is_said() -> None:
    job = Watched()
    job.see(0, "pending")
    job.see(25, "pending")
    job.see(30, "running", progress(), started=29)
    shown = job.see(60, "running", progress(), started=60)
    assert shown.started_at == START + timedelta(seconds=29)
    assert shown.duration_note == ""

    joined = Watched().see(60, "running", progress(), started=60)
    assert joined.started_at == START
    assert joined.duration_note == "including time in the queue"

    ended = Watched().see(600, "succeeded", started=100, finished=100, updated=100)
    assert ended.duration_s(START + timedelta(hours=1)) == 100
    assert ended.duration_note == "including time in the queue"


def test_a_job_first_seen_in_its_second_attempt() -> None:
    job = Watched().see(60, "running", progress(percent=10), started=60, finished=30)
    assert (job.attempt, [attempt.status for attempt in job.attempts]) == (2, [JobStatus.FAILED, JobStatus.RUNNING])
    assert job.started_at == START + timedelta(seconds=30)


def test_a_failure_nobody_watched_says_what_the_worker_said() -> None:
    job = Watched().see(60, "failed", {"message": "kohya_ss exited with code 1", "stack": "Error\n  at x"}, finished=9)
    assert job.failure is not None
    assert (job.failure.cause, job.failure.message) == ("unknown", "kohya_ss exited with code 1.")
    assert "keeps no log" in job.failure.hint
    assert job.failure.traceback == "Error\n  at x"


def test_old_histories_make_room() -> None:
    histories = JobHistories(most_jobs=2, most_log_bytes=100)
    for name in "abc":
        histories.observe(read_snapshot({"id": name, "status": "running"}), START)
    assert [histories.knows(name) for name in "abc"] == [False, True, True]
    histories.observe(read_snapshot({"id": "d", "status": "running", "result": progress(logs=["x" * 101])}), START)
    assert [histories.knows(name) for name in "bcd"] == [False, False, True]


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 19), min_size=1, max_size=12),
    words=st.sampled_from([("a",), ("a", "b"), ("a", "b", "", "c\r", "ü\x1b[31m")]),
    data=st.data(),
)
def test_windows_that_overlap_make_the_whole_log(sizes: list[int], words: tuple[str, ...], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.sampled_from(words), min_size=sum(sizes), max_size=sum(sizes)))
    lines = [f"{number}:{word}" for number, word in enumerate(drawn)]
    log, end = MergedLog(), 0
    for size in sizes:
        end += size
        log.merge(lines[max(0, end - 20) : end])
        log.merge(lines[max(0, end - 20) : end])  # the same window again adds nothing
        log.merge(lines[max(0, end - 20) : end - 1])  # nor does an older one
    assert log.data.decode() == "".join(f"{line}\n" for line in lines)


def test_a_gap_is_marked_and_an_older_window_is_ignored() -> None:
    log = MergedLog()
    log.merge([f"line {n}" for n in range(20)])
    log.merge([f"line {n}" for n in range(50, 70)])
    log.merge([f"line {n}" for n in range(55, 65)])
    log.merge([f"line {n}" for n in range(60, 72)])
    expected = [MISSING, *(f"line {n}" for n in range(20)), MISSING, *(f"line {n}" for n in range(50, 72))]
    assert log.data.decode().splitlines() == expected


def test_the_last_window_of_a_job_nobody_watched() -> None:
    log = MergedLog()
    assert log.merge(["a", "b"]) == ["a", "b"]
    assert log.data == b"a\nb\n"  # fewer lines than a window holds: nothing is missing before them
    long = MergedLog(most_bytes=3000)
    long.merge([f"{n}" for n in range(200)])
    long.merge([f"{n}" for n in range(100, 300)])
    long.merge(["\ud800", *(["y" * 100] * 40)])
    long.merge(["after"])
    assert long.data.decode().splitlines()[-1].startswith("… (the log is longer")
    assert len(long.data) < 3100
