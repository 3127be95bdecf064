"""Shared reads: one call for many viewers, and nothing stale once a job has ended."""

from collections.abc import Iterator

import pytest

from lib import services
from lib.jobs.job import Job, JobStatus, LossPoint
from lib.sources.memory import MemorySource


@pytest.fixture
def source() -> Iterator[MemorySource]:
    memory = MemorySource()
    memory.add(Job(id="j1", name="one", status=JobStatus.RUNNING, attempt=1))
    services.connect(memory)
    yield memory
    services.connect(None)


def test_many_viewers_make_one_read(source: MemorySource) -> None:
    for _viewer in range(50):
        services.latest_job("j1")
    assert source.calls["get_job"] == 1


def test_the_last_losses_of_a_run_are_drawn_when_it_has_just_ended(source: MemorySource) -> None:
    source.losses["j1", 1] = [LossPoint(step=1, loss=0.5)]
    assert services.latest_loss("j1", 1, is_over=False).value.raw.line[-1].step == 1
    source.losses["j1", 1].append(LossPoint(step=2, loss=0.25))
    assert services.latest_loss("j1", 1, is_over=True).value.raw.line[-1].step == 2
