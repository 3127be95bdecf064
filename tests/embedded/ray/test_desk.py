"""The desk alone: one question that fails holds up nothing else, and is not logged for ever."""

from dataclasses import replace

import pytest

from lib.embedded.ray.client import RayJob, Submission
from lib.embedded.ray.desk import DeskLimits, Errand
from lib.errors import BadPayload, SourceUnavailable
from lib.jobs.cluster import Cluster
from tests.embedded.ray.fake_ray import FakeRay
from tests.embedded.ray.hand_site import AT_ONCE, HandDesk


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Office:
    """A desk with a clock that is moved by hand."""

    def __init__(self, limits: DeskLimits = AT_ONCE) -> None:
        self.ray, self.clock = FakeRay(), Clock()
        self.desk = HandDesk(self.ray, ("runner.zip", b""), limits=limits, clock=self.clock)  # type: ignore[arg-type]

    def take(self, job_id: str, status: str = "RUNNING") -> Errand:
        self.ray.jobs[job_id] = RayJob(id=job_id, status=status)
        submission = Submission(id=job_id, entrypoint="true", needs={"CPU": 1.0})
        errand = Errand(submission=submission, was_accepted=True, on_accepted=lambda: None)
        self.desk.take(errand)
        return errand

    def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.now_s += step_s
            self.desk.tick()


ODD = "What answers at head:8265 is not Ray's Jobs API."


def odd() -> Cluster:
    raise BadPayload(ODD)


def test_nodes_that_cannot_be_read_hold_up_no_stop_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    stopped, ended = office.take("stopped"), office.take("ended", status="SUCCEEDED")
    monkeypatch.setattr(office.ray, "cluster", odd)
    stopped.wants_stop = True
    office.desk.remove("ended")
    for _ in range(6):
        assert office.desk.cluster(at_most_s=1.0) is None  # jobs wait for room all the time
        office.pass_time(1)
    assert (office.ray.stopped[0], office.ray.removed) == ("stopped", ["ended"])
    assert (stopped.job is not None, ended.job) == (True, None)


def test_a_job_that_cannot_be_asked_for_holds_up_no_other_and_no_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(limits=replace(AT_ONCE, stop_again_s=60))
    office.take("broken")
    fine = office.take("fine")
    office.ray.jobs["over"] = RayJob(id="over", status="FAILED")
    office.desk.remove("broken too")
    office.desk.remove("over")
    job = office.ray.job

    def fails_for_one(job_id: str) -> RayJob | None:
        if job_id.startswith("broken"):
            raise SourceUnavailable("The Ray cluster at head:8265 answered with an error: trouble.")
        return job(job_id)

    monkeypatch.setattr(office.ray, "job", fails_for_one)
    office.pass_time(8)
    assert fine.job is not None
    assert office.ray.removed == ["over"]


def test_a_problem_that_stays_is_logged_now_and_then_though_others_are_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office()
    office.take("fine")
    monkeypatch.setattr(office.ray, "cluster", odd)
    for _ in range(100):
        office.desk.cluster(at_most_s=1.0)
        office.pass_time(9)
    assert [record.getMessage() for record in caplog.records] == [
        "What answers at head:8265 is not Ray's Jobs API."
    ] * 2
    assert office.desk.silent_s() <= 9  # it does answer


def test_ray_is_made_to_look_at_a_job_at_most_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(limits=DeskLimits())
    waiting = office.take("waiting", status="PENDING")
    looked: list[float] = []
    monkeypatch.setattr(office.ray, "look_again", lambda _: looked.append(office.clock.now_s))
    for _ in range(60):
        waiting.wants_look = True
        office.pass_time(1)
    assert len(looked) == 3
