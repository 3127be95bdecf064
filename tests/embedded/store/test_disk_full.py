"""A disk that fills up while a training logs, saves, or is recorded: a clear state, nothing corrupt, and it goes on."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lib.embedded.store.connection import DiskFullError
from lib.errors import InvalidRequest
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery
from lib.sources.embedded.source import EmbeddedSource
from tests.embedded.worker.drill.processes import (
    all_killed_at_the_end,
    assert_sound,
    drill_request,
    make_dataset,
    open_source,
    wait_until,
)

pytestmark = pytest.mark.slow

DISK_BYTES = 16 << 20


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder on a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here (needs root on Linux): {error}")
    try:
        make_dataset(folder)
        with all_killed_at_the_end(folder):
            yield folder
    finally:
        # Lazily: whoever still looks at it must not leave it mounted.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True, timeout=60)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """Beside the small disk, so that proof can be written when that is full."""
    folder = tmp_path / "proof"
    folder.mkdir()
    return folder


def fill(data_dir: Path) -> None:
    """Leave not one byte free; what was filled before stays."""
    with (data_dir / "filler").open("ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2


def submit_until_refused(source: EmbeddedSource, proof: Path, data_dir: Path) -> None:
    """Submit to a full disk; what fits into space that is there already, or that the worker gave up, is still taken."""
    for number in range(100):
        fill(data_dir)
        request = drill_request(proof, f"too-much-{number}")
        with pytest.raises(InvalidRequest, match="only"):  # said beforehand
            source.create_job(request)
        # It may also fill between that look and the writing.
        source._store.submit(request, dataset_name="d", config_name=None)


def end_of(source: EmbeddedSource, job_id: str, data_dir: Path) -> Job:
    wait_until(data_dir, lambda: source.get_job(job_id).status.is_terminal, f"{job_id} did not end")
    return source.get_job(job_id)


def assert_goes_on(source: EmbeddedSource, proof: Path, data_dir: Path) -> None:
    """With space again, the next job succeeds, and nothing is damaged."""
    job = source.create_job(drill_request(proof, "after", seconds=0.2))
    ended = end_of(source, job.id, data_dir)
    assert ended.status is JobStatus.SUCCEEDED, ended.failure
    assert ended.progress.fraction == 1.0
    assert_sound(data_dir)


@pytest.mark.parametrize("mode", ["flood_log", "flood_output"])
def test_a_trainer_that_fills_the_disk(mode: str, data_dir: Path, proof: Path) -> None:
    with closing(open_source(data_dir)) as source:
        job = source.create_job(drill_request(proof, mode, mode=mode, seconds=0.2))
        ended = end_of(source, job.id, data_dir)
        assert ended.status is JobStatus.FAILED
        assert ended.failure
        assert ended.failure.cause == "disk_full", ended.failure
        assert "disk" in ended.failure.message.lower()
        assert ended.failure.hint
        assert source.list_jobs(JobQuery()).total == 1
        log = source.read_log(job.id, attempt=1, offset=0)
        assert log.data.startswith((proof / f"{job.id}-1.written").read_bytes()[:1000])
        assert_sound(data_dir)
        source.delete_job(job.id)
        assert_goes_on(source, proof, data_dir)


def test_a_disk_that_fills_before_the_end_is_recorded(data_dir: Path, proof: Path) -> None:
    with closing(open_source(data_dir)) as source:
        job = source.create_job(drill_request(proof, "waits", mode="wait_and_end", seconds=0.2))
        wait_until(data_dir, lambda: source.get_job(job.id).progress.step == 40, "the training did not begin")
        with pytest.raises(DiskFullError) as refused:
            submit_until_refused(source, proof, data_dir)
        assert refused.value.hint
        assert source.get_job(job.id).status is JobStatus.RUNNING
        (proof / "go").touch()
        wait_until(data_dir, (proof / f"{job.id}-1.done").exists, "the training did not end")
        fill(data_dir)
        assert source.get_job(job.id).id == job.id  # reading goes on
        (data_dir / "filler").unlink()
        ended = end_of(source, job.id, data_dir)
        assert ended.status is JobStatus.SUCCEEDED, ended.failure
        assert len(ended.artifacts) == 4
        for waiting in source.list_jobs(JobQuery(statuses=frozenset({JobStatus.PENDING}), take=100)).jobs:
            with suppress(InvalidRequest):  # it may have ended by now
                source.cancel_job(waiting.id)
        assert_goes_on(source, proof, data_dir)
