"""The verdict on an attempt whose machine was shut down: what a signal left in the log is no kill then."""

import time
from pathlib import Path

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.worker.attempt_end import judge_end
from lib.jobs.job import JobStatus

TERMINATED = b"steps: 5%|5| 5/100\nTerminated\n"
OUT_OF_MEMORY = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"


@pytest.mark.parametrize(
    ("log", "exit_code", "how", "status", "cause"),
    [
        (TERMINATED, -15, {}, JobStatus.FAILED, "interrupted"),
        (TERMINATED, -15, {"was_told": True}, JobStatus.LOST, "worker_lost"),
        (b"", 0, {"was_told": True}, JobStatus.LOST, "worker_lost"),
        (TERMINATED, None, {}, JobStatus.FAILED, "interrupted"),
        (TERMINATED, None, {"was_restarted": True}, JobStatus.LOST, "worker_lost"),
        (OUT_OF_MEMORY, 1, {"was_told": True}, JobStatus.FAILED, "out_of_memory"),
        (TERMINATED, -15, {"was_told": True, "cancelled": True}, JobStatus.CANCELLED, ""),
    ],
)
def test_what_a_shutdown_ended_is_lost_unless_the_log_proves_another_cause(
    tmp_path: Path, log: bytes, exit_code: int | None, how: dict[str, bool], status: JobStatus, cause: str
) -> None:
    folder = AttemptFolder(tmp_path / "attempt")
    folder.make()
    folder.log.write_bytes(log)
    verdict = judge_end(folder, Exit(exit_code=exit_code, finished_at=time.time(), **how), [], ())  # type: ignore[arg-type]
    assert (verdict.status, verdict.failure.cause if verdict.failure else "") == (status, cause)
    if status is JobStatus.LOST:
        assert verdict.failure is not None
        assert ", likely because the machine was " in verdict.failure.message
